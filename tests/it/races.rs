//! Two who want opposite things of one order at once, at two nodes: one of them wins, both hear it, and the units are where the winner put them.

use std::time::Duration;

use jari_domain::{Quantity, Timestamp, order::OrderStatus};
use jari_proto::{
    order::v1::{CancelOrderRequest, CancelOrderResponse, ConfirmOrderRequest, ConfirmOrderResponse, Order, OrderState, PlaceOrderRequest},
    product::v1::{ResumeProductRequest, SuspendProductRequest},
    status::reason,
};
use jiff::SignedDuration;
use tonic::{Response, Status};

use crate::{
    agreement::History,
    harness::eventually,
    raw,
    serving::{Serving, id, order},
    two_nodes::Pair,
};

/// The position of what was done, or the code of the refusal.
trait Told {
    fn told(self) -> Result<i64, String>;
}
impl Told for Result<Response<ConfirmOrderResponse>, Status> {
    fn told(self) -> Result<i64, String> {
        self.map(|answer| answer.into_inner().position).map_err(|status| reason(&status).unwrap())
    }
}
impl Told for Result<Response<CancelOrderResponse>, Status> {
    fn told(self) -> Result<i64, String> {
        self.map(|answer| answer.into_inner().position).map_err(|status| reason(&status).unwrap())
    }
}

impl Serving {
    /// A product whose orders hold for a second: shorter than any that this program lets begin, so another has written its first event.
    async fn on_sale_briefly(&self, product: &str, capacity: i32) -> String {
        let draft = format!(
            r#"('Product', '{product}', 1, 'ProductDrafted', '1.1', '{{"ProductDrafted":{{"title":"Brief","sale_mode":"REALTIME",
            "time_zone":"Asia/Seoul","currency":"KRW","hold_seconds":1,"cut_off_seconds":0}}}}', '{{}}')"#
        );
        raw::client(&self.database).await.batch_execute(&format!("{} {draft}", raw::INSERT)).await.unwrap();
        self.launched(product, capacity).await
    }

    async fn held(&self, product: &str) -> Order {
        let told = self.orders().place_order(order(&[(product, 1)])).await.unwrap().into_inner().order.unwrap();
        assert_eq!(told.state(), OrderState::Held);
        told
    }
}

fn confirm(order_id: &str) -> ConfirmOrderRequest {
    ConfirmOrderRequest { request_id: id(), order_id: order_id.into() }
}

fn cancel(order_id: &str) -> CancelOrderRequest {
    CancelOrderRequest { request_id: id(), order_id: order_id.into(), reason: "changed my mind".into() }
}

/// Waits until `millis` after the order's holds lapse; before that when negative.
async fn around_the_end(told: &Order, millis: i64) {
    let ends = told.hold_expires_at.unwrap();
    let at = Timestamp::new(ends.seconds, ends.nanos).unwrap() + SignedDuration::from_millis(millis);
    tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await;
}

/// What became of an order, as its buyer was told.
type Outcome = (String, Result<i64, String>);

/// Each of 48 places an order, here or there, and buys it at both nodes around its end; some at once.
async fn bought_around_the_end(pair: &Pair, product: &'static str) -> Vec<Outcome> {
    let (here, there) = (pair.owner.orders(), pair.other.orders());
    let racers = (0..48_i64).map(|n| {
        let (mut here, mut there, mut again) = (here.clone(), there.clone(), here.clone());
        tokio::spawn(async move {
            let placed = if n % 2 == 0 { &mut here } else { &mut there }.place_order(order(&[(product, 1)])).await.unwrap();
            let told = placed.into_inner().order.unwrap();
            assert!(matches!(told.state(), OrderState::Held | OrderState::Expired), "{told:?}");
            if n % 8 != 0 {
                around_the_end(&told, 10 * (n % 24) - 180).await;
            }
            let request = confirm(&told.order_id);
            let (first, same) = tokio::join!(here.confirm_order(request.clone()), there.confirm_order(request.clone()));
            let first = first.told();
            assert_eq!(first, same.told(), "the same request at both nodes is one");
            assert_eq!(first, again.confirm_order(request).await.told(), "and is answered the same afterwards");
            (told.order_id, first)
        })
    });
    futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect()
}

/// How many were bought; how all of them ended in the log is as their buyers were told.
fn bought(history: &History, outcomes: &[Outcome]) -> u32 {
    for (order_id, outcome) in outcomes {
        let end = match outcome.as_ref().map_err(String::as_str) {
            Ok(_) => "OrderConfirmed",
            Err(code) => {
                assert_eq!(code, "ORDER_EXPIRED");
                "OrderExpired"
            }
        };
        assert_eq!(history.story(order_id), ["OrderPlaced", "OrderHeld", end]);
    }
    outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_bought_or_expires_and_never_both_and_its_units_go_to_whom_comes_next() {
    let pair = Pair::start().await;
    let mut races = Vec::new();
    // on a machine that is slow for a moment nobody may be in time
    for product in ["seat", "aisle", "box", "circle", "stalls"] {
        let slot = pair.owner.on_sale_briefly(product, 48).await;
        let outcomes = bought_around_the_end(&pair, product).await;
        let some_bought = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
        let some_expired = outcomes.iter().any(|(_, outcome)| outcome.is_err());
        races.push((product, slot, outcomes));
        if some_bought && some_expired {
            break;
        }
    }
    eventually("every end is recorded", || async {
        let history = pair.other.settled().await;
        history.orders().all(|(_, order)| order.status() != OrderStatus::Held)
    })
    .await;
    let history = pair.other.proved().await;
    for (product, slot, outcomes) in &races {
        let bought = bought(&history, outcomes);
        assert_eq!(history.counts(slot), (48, 0, bought));
        let rest = order(&[(product, 48 - i32::try_from(bought).unwrap())]);
        let rest = pair.other.orders().place_order(rest).await.unwrap().into_inner().order.unwrap();
        assert!(matches!(rest.state(), OrderState::Held | OrderState::Expired), "what expired is sold to whom comes next");
    }
    let last = &races[races.len() - 1].2;
    assert!(last.iter().any(|(_, outcome)| outcome.is_ok()) && last.iter().any(|(_, outcome)| outcome.is_err()), "both win now and then");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_buy_and_give_back_one_order_at_once_the_log_shows_who_was_first() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 100).await;
    let racers = (0..40).map(|n| {
        let (mut buyer, mut keeper, mut other) = (pair.owner.orders(), pair.other.orders(), pair.owner.orders());
        tokio::spawn(async move {
            let told = buyer.place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
            let (buy, back, also) = (confirm(&told.order_id), cancel(&told.order_id), cancel(&told.order_id));
            if n % 2 == 0 {
                std::mem::swap(&mut buyer, &mut keeper);
            }
            let (bought, given, also_given) =
                tokio::join!(buyer.confirm_order(buy.clone()), keeper.cancel_order(back.clone()), other.cancel_order(also.clone()));
            let answers = (bought.told(), given.told(), also_given.told());
            let again = (keeper.confirm_order(buy).await.told(), buyer.cancel_order(back).await.told(), buyer.cancel_order(also).await.told());
            assert_eq!(answers, again, "the same requests have the same answers");
            (told.order_id, answers)
        })
    });
    let outcomes: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let history = pair.other.proved().await;
    for (order_id, (bought, given, also_given)) in &outcomes {
        assert_eq!(given.is_ok(), also_given.is_err(), "one of two gives it back: {given:?}, {also_given:?}");
        let late = [given, also_given, bought].into_iter().filter_map(|answer| answer.as_ref().err());
        assert!(late.into_iter().all(|code| code == "ORDER_CANCELLED"), "{bought:?}, {given:?}, {also_given:?}");
        let ends: &[&str] = if bought.is_ok() { &["OrderConfirmed", "OrderCancelled"] } else { &["OrderCancelled"] };
        assert_eq!(history.story(order_id)[2..], *ends);
    }
    assert_eq!(history.counts(&slot), (100, 0, 0));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_the_line_while_it_moves_takes_nothing_along() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 20).await;
    let racers = (0..60_u64).map(|n| {
        let (mut here, mut there) = (pair.owner.orders(), pair.other.orders());
        tokio::spawn(async move {
            let request = PlaceOrderRequest { order_id: format!("o-{n}"), wait: None, ..order(&[("seat", 1)]) };
            if n % 2 == 0 { &mut here } else { &mut there }.place_order(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(n % 5)).await;
            there.cancel_order(cancel(&format!("o-{n}"))).await.told()
        })
    });
    let outcomes: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let history = pair.other.proved().await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let status = history.order(&format!("o-{n}")).status();
        match outcome {
            Ok(_) => assert_eq!(status, OrderStatus::Cancelled),
            Err(code) => assert_eq!((code.as_str(), status), ("ORDER_REJECTED", OrderStatus::Rejected)),
        }
    }
    assert_eq!(history.counts(&slot), (20, 0, 0));
    let told = pair.owner.held("seat").await;
    assert!(pair.other.orders().cancel_order(cancel(&told.order_id)).await.told().is_ok());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_at_both_nodes_at_once_is_one_order_and_one_id_belongs_to_one_request() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 1_000).await;
    let rounds = (0..40).map(|n| {
        let (mut here, mut there) = (pair.owner.orders(), pair.other.orders());
        tokio::spawn(async move {
            let request = order(&[("seat", 1)]);
            let (one, same) = tokio::join!(here.place_order(request.clone()), there.place_order(request.clone()));
            let (one, same) = (one.unwrap().into_inner().order.unwrap(), same.unwrap().into_inner().order.unwrap());
            assert_eq!((one.order_id, one.accepted_position), (same.order_id, same.accepted_position));
            // two requests that want the same id for their order
            let named = |quantity| PlaceOrderRequest { order_id: format!("named-{n}"), ..order(&[("seat", quantity)]) };
            let (first, second) = tokio::join!(here.place_order(named(1)), there.place_order(named(2)));
            let refused: Vec<Status> = [first, second].into_iter().filter_map(Result::err).collect();
            assert_eq!(refused.iter().map(reason).collect::<Vec<_>>(), [Some("ORDER_EXISTS".to_owned())], "{refused:?}");
            // one request id for two things
            let (one, other) = (order(&[("seat", 1)]), order(&[("seat", 2)]));
            let other = PlaceOrderRequest { request_id: one.request_id.clone(), ..other };
            let (first, second) = tokio::join!(here.place_order(one), there.place_order(other));
            let refused: Vec<Status> = [first, second].into_iter().filter_map(Result::err).collect();
            assert_eq!(refused.iter().map(reason).collect::<Vec<_>>(), [Some("COMMAND_ID_REUSED".to_owned())], "{refused:?}");
        })
    });
    for round in futures::future::join_all(rounds).await {
        round.unwrap();
    }
    let history = pair.other.proved().await;
    assert_eq!((history.count("OrderPlaced"), history.count("OrderHeld")), (120, 120));
    let drawn: u32 = history.orders().flat_map(|(_, order)| order.draws().into_values()).map(Quantity::get).sum();
    assert_eq!(history.counts(&slot), (1_000, drawn, 0));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_accepted_at_one_node_while_its_product_is_suspended_at_the_other() {
    let pair = Pair::start().await;
    pair.owner.on_sale("seat", 10_000).await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let mut there = pair.other.orders();
            tokio::spawn(async move {
                let (mut taken, mut refused) = (0, 0);
                for _ in 0..40 {
                    match there.place_order(PlaceOrderRequest { wait: None, ..order(&[("seat", 1)]) }).await {
                        Ok(_) => taken += 1,
                        Err(status) => {
                            assert!(matches!(reason(&status).as_deref(), Some("PRODUCT_SUSPENDED" | "CONTENTION")), "{status:?}");
                            refused += 1;
                        }
                    }
                }
                (taken, refused)
            })
        })
        .collect();
    let mut products = pair.owner.products();
    while callers.iter().any(|caller| !caller.is_finished()) {
        let suspend = SuspendProductRequest { request_id: id(), product_id: "seat".into(), reason: "storm".into() };
        products.suspend_product(suspend).await.unwrap();
        products.resume_product(ResumeProductRequest { request_id: id(), product_id: "seat".into() }).await.unwrap();
    }
    let told = futures::future::join_all(callers).await.into_iter().map(Result::unwrap);
    let (taken, refused) = told.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(taken > 0 && refused > 0, "some come before, some after: {taken} taken, {refused} refused");
    let history = pair.other.proved().await;
    let mut on_sale = true;
    for event in &history.events {
        match &*event.event_type {
            "ProductSuspended" => on_sale = false,
            "ProductResumed" => on_sale = true,
            "OrderPlaced" => assert!(on_sale, "position {}: accepted while the product was suspended", event.position),
            _ => {}
        }
    }
    assert_eq!(history.count("OrderPlaced"), taken);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_ends_to_the_instant_though_nobody_is_left_to_record_it() {
    let settling = Serving::start().await;
    let slot = settling.on_sale_briefly("seat", 1).await;
    let standing = Serving::on(settling.database.clone(), |config| config.settlement.enabled = false).await;
    let told = settling.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    settling.node.stop().await;
    around_the_end(&told, 5).await;
    let mut orders = standing.orders();
    eventually("it knows that nobody settles", || async {
        standing.orders().confirm_order(confirm(&told.order_id)).await.told() != Err("SETTLEMENT_UNAVAILABLE".to_owned())
    })
    .await;
    assert_eq!(orders.confirm_order(confirm(&told.order_id)).await.told(), Err("ORDER_EXPIRED".to_owned()));
    assert_eq!(orders.cancel_order(cancel(&told.order_id)).await.told(), Err("ORDER_EXPIRED".to_owned()));
    assert_eq!(standing.slot(&slot, 0).await.2, 0, "its units are free");
    let history = standing.proved().await;
    let held = history.order(&told.order_id).status() == OrderStatus::Held;
    assert!(held || history.count("OrderExpired") == 1, "{:?}", history.story(&told.order_id));
    let next = Serving::on(standing.database.clone(), |_| {}).await;
    let sold = next.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    assert!(matches!(sold.state(), OrderState::Held | OrderState::Expired), "whoever comes next has them: {sold:?}");
    next.node.stop().await;
    standing.node.stop().await;
}
