//! Accepted is settled: once, in line, whatever happens to the node, the slot or the caller in between.

use std::time::Duration;

use jari_domain::{AnyEvent, Timestamp, slot::SlotEvent};
use jari_event_store::{Database, PoolSettings, RecordedEvent};
use jari_proto::{
    inventory::v1::HoldUnitsRequest,
    operations::v1::{ListParkedOrdersRequest, ParkedOrder, RetryParkedOrderRequest, RetryQuarantinedStreamRequest},
    order::v1::{CancelOrderRequest, OrderState, PlaceOrderRequest},
    status::reason,
};
use jiff::SignedDuration;
use tokio::runtime::{Builder, Runtime};

use crate::{
    harness::{eventually, server},
    raw,
    serving::{Serving, id, order, wire},
};

/// A node on threads of its own, all of which can end at once, wherever its work stands: what was only in its memory is gone.
struct Mortal {
    runtime: Runtime,
    serving: Serving,
}

impl Mortal {
    async fn start(database: &Database, settles: bool) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = database.config().clone();
        let starting = runtime.spawn(async move {
            let database = Database::new(config, PoolSettings::patient()).unwrap();
            Serving::on(database, |config| {
                config.settlement.enabled = settles;
                // one that is killed gives nothing back
                config.settlement.lease_ms = 1_500;
            })
            .await
        });
        Self { serving: starting.await.unwrap(), runtime }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// Whether an event is of the order, or of a hold of it.
fn concerns(event: &RecordedEvent, order_id: &str) -> bool {
    let held = matches!(event.event(), Some(AnyEvent::InventorySlot(SlotEvent::UnitsHeld { hold_id, .. })) if hold_id.as_str() == order_id);
    held || &*event.aggregate_id == order_id
}

/// An order that is only to be accepted.
fn accept(lines: &[(&str, i32)]) -> PlaceOrderRequest {
    PlaceOrderRequest { wait: None, ..order(lines) }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_line_waits_while_what_settlement_remembers_is_written_down() {
    let shop = Serving::start().await;
    shop.on_sale("seat", 10).await;
    let mut keeper = raw::client(&shop.database).await;
    let shut = keeper.transaction().await.unwrap();
    shut.batch_execute("LOCK TABLE process_memory IN EXCLUSIVE MODE").await.unwrap();
    let held = async || shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap().state() == OrderState::Held;
    assert!(held().await);
    let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'process_memory'::regclass AND NOT granted";
    eventually("its memory waits to be written", || async { shut.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0 }).await;
    assert!(held().await && held().await, "and it settles meanwhile");
    shut.rollback().await.unwrap();
    let head = shop.log().await.last().unwrap().position.to_i64();
    let saved = "SELECT c.position, (SELECT count(*) FROM process_memory m WHERE m.process = c.process) FROM process_checkpoints c WHERE c.process = 'settlement'";
    eventually("what came meanwhile is written down after it", || async {
        keeper.query_opt(saved, &[]).await.unwrap().is_some_and(|row| row.get::<_, i64>(0) >= head && row.get::<_, i64>(1) >= 3)
    })
    .await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_accepted_before_it_was_killed_is_settled_by_the_next_once_and_in_line() {
    let database = crate::harness::database().await;
    let first = Mortal::start(&database, false).await;
    let slot = first.serving.on_sale("seat", 60).await;
    let mut expected = 0;
    for _ in 0..20 {
        let told = first.serving.orders().place_order(accept(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
        assert_eq!(told.state(), OrderState::Accepted);
        expected += 1;
    }
    first.kill();
    for round in 1..=4 {
        // this one settles as well, and dies while it does
        let node = Mortal::start(&database, true).await;
        let callers: Vec<_> = (0..24)
            .map(|_| {
                let (mut orders, request) = (node.serving.orders(), accept(&[("seat", 1)]));
                tokio::spawn(async move { (orders.place_order(request.clone()).await.is_ok(), request) })
            })
            .collect();
        let told = futures::future::select_all(callers).await;
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        node.kill();
        let mut again = vec![told.0.unwrap()];
        for caller in told.2 {
            again.push(caller.await.unwrap());
        }
        let next = Mortal::start(&database, false).await;
        for (_, request) in &again {
            // accepted or not, whoever asks again under the same id has one order
            next.serving.orders().place_order(request.clone()).await.unwrap();
        }
        expected += again.len();
        next.kill();
    }
    let last = Serving::on(database, |_| {}).await;
    let history = last.proved().await;
    assert_eq!((history.count("OrderPlaced"), history.counts(&slot)), (expected, (60, 60, 0)));
    last.node.stop().await;
}

impl Serving {
    async fn parked(&self) -> Vec<ParkedOrder> {
        self.operations().list_parked_orders(ListParkedOrdersRequest::default()).await.unwrap().into_inner().parked_orders
    }

    /// Ids of orders that are parked.
    async fn waiting(&self) -> Vec<String> {
        self.parked().await.into_iter().map(|parked| parked.order_id).collect()
    }

    /// How often a parked order was tried. A new owner, and one that lost the database for a moment, tries every order once more.
    async fn attempts(&self, order_id: &str) -> i32 {
        self.parked().await.into_iter().find(|parked| parked.order_id == order_id).map_or(0, |parked| parked.attempts)
    }

    async fn retry(&self, order_id: &str) {
        let retry = RetryParkedOrderRequest { request_id: id(), order_id: order_id.into() };
        self.operations().retry_parked_order(retry).await.unwrap();
    }

    /// Has a parked order tried again, and not the other.
    async fn retry_in_vain(&self, order_id: &str, other: &str) {
        self.retry(order_id).await;
        eventually("it was tried once more", || async { self.attempts(order_id).await > self.attempts(other).await }).await;
    }

    async fn accept(&self, order_id: &str, lines: &[(&str, i32)]) {
        let request = PlaceOrderRequest { order_id: order_id.into(), ..accept(lines) };
        self.orders().place_order(request).await.unwrap();
    }

    /// What was scrawled into a slot's stream can be read: as if the program had learned to.
    async fn deciphered(&self, slot: &str) {
        self.rewrite(&format!(
            r#"UPDATE events SET event_type = 'SlotResumed', payload = '{{"SlotResumed":{{}}}}' WHERE event_type = 'Scrawled' AND aggregate_id = '{slot}'"#
        ))
        .await;
    }

    /// Changes events, which nobody but a superuser can.
    async fn rewrite(&self, update: &str) {
        let mut config = server().await;
        config.dbname(self.database.config().get_dbname().unwrap());
        let superuser = Database::new(config, PoolSettings::patient()).unwrap();
        raw::client(&superuser).await.batch_execute(&format!("SET session_replication_role = replica; {update}")).await.unwrap();
    }

    /// The availability view reads the stream again.
    async fn read_again(&self, slot: &str) {
        self.let_read_again("availability", "InventorySlot", slot).await;
    }

    async fn let_read_again(&self, view: &str, aggregate_type: &str, aggregate_id: &str) {
        let retry = RetryQuarantinedStreamRequest {
            request_id: id(),
            projection: view.into(),
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
        };
        self.operations().retry_quarantined_stream(retry).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_order_lets_others_pass_and_is_settled_on_an_operators_word_once_its_cause_is_mended() {
    let shop = Serving::start().await;
    let broken = shop.on_sale("broken", 3).await;
    let sound = shop.on_sale("sound", 3).await;
    shop.scrawl("InventorySlot", &broken, 2).await;
    shop.accept("stuck", &[("sound", 1), ("broken", 1)]).await;
    shop.accept("stuck-too", &[("broken", 1)]).await;
    let passing = shop.orders().place_order(order(&[("sound", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(passing.state(), OrderState::Held, "the line goes on, also at a slot of the parked order");
    eventually("both are parked", || async { shop.parked().await.len() == 2 }).await;
    let parked = shop.parked().await;
    assert_eq!(
        parked.iter().map(|parked| (&*parked.order_id, &*parked.code)).collect::<Vec<_>>(),
        [("stuck", "STREAM_UNREADABLE"), ("stuck-too", "STREAM_UNREADABLE")]
    );
    assert!(parked[0].accepted_position < parked[1].accepted_position, "by their place in line");
    shop.retry_in_vain("stuck", "stuck-too").await;
    shop.deciphered(&broken).await;
    shop.retry("stuck").await;
    eventually("it is parked no more", || async { shop.waiting().await == ["stuck-too"] }).await;
    shop.retry("stuck-too").await;
    eventually("neither is", || async { shop.waiting().await.is_empty() }).await;
    let again = RetryParkedOrderRequest { request_id: id(), order_id: "stuck".into() };
    let refused = shop.operations().retry_parked_order(again).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("ORDER_NOT_PARKED"));
    shop.read_again(&broken).await;
    let history = shop.proved().await;
    assert_eq!((history.counts(&broken), history.counts(&sound)), ((3, 2, 0), (3, 2, 0)));
    assert_eq!(history.story("stuck"), ["OrderPlaced", "OrderHeld"]);
    let log = shop.log().await;
    let placed = log.iter().find(|event| &*event.aggregate_id == "stuck").unwrap();
    let calls = |event: &RecordedEvent| (event.metadata.correlation_id.clone(), event.metadata.causation.clone());
    for held in log.iter().filter(|event| event.position > placed.position && concerns(event, "stuck")) {
        assert_eq!(calls(held), (placed.metadata.correlation_id.clone(), Some(placed.position.to_string())), "{held:?}");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_order_that_was_cancelled_or_that_the_next_owner_settled_is_parked_no_more() {
    let shop = Serving::start().await;
    let slots = [shop.on_sale("broken", 3).await, shop.on_sale("worse", 3).await];
    for slot in &slots {
        shop.scrawl("InventorySlot", slot, 2).await;
    }
    for (order_id, product) in [("regretted", "broken"), ("patient", "broken"), ("hopeless", "worse")] {
        shop.accept(order_id, &[(product, 1)]).await;
    }
    eventually("all are parked", || async { shop.parked().await.len() == 3 }).await;
    let cancel = CancelOrderRequest { request_id: id(), order_id: "regretted".into(), reason: "waited too long".into() };
    shop.orders().cancel_order(cancel).await.unwrap();
    eventually("nothing is left to do for who has gone", || async { shop.waiting().await == ["patient", "hopeless"] }).await;
    let before = shop.attempts("hopeless").await;
    shop.deciphered(&slots[0]).await;
    let database = shop.database.clone();
    shop.node.stop().await;
    let next = Serving::on(database, |_| {}).await;
    eventually("the next owner tries all who wait", || async { next.waiting().await == ["hopeless"] && next.attempts("hopeless").await > before })
        .await;
    next.deciphered(&slots[1]).await;
    next.retry("hopeless").await;
    eventually("none is parked", || async { next.waiting().await.is_empty() }).await;
    for slot in &slots {
        next.read_again(slot).await;
    }
    let history = next.proved().await;
    assert_eq!((history.story("patient"), history.story("hopeless")), (vec!["OrderPlaced", "OrderHeld"], vec!["OrderPlaced", "OrderHeld"]));
    assert_eq!(history.story("regretted"), ["OrderPlaced", "OrderCancelled"]);
    assert!(history.orders().all(|(_, order)| order.expires_at().is_none_or(|at| at > Timestamp::now())));
    next.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_newer_program_accepted_is_parked_and_settled_once_it_can_be_read() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 9).await;
    let place = |order_id: &str| PlaceOrderRequest { order_id: order_id.into(), ..order(&[("seat", 1)]) };
    shop.orders().place_order(place("known")).await.unwrap();
    for order_id in ["newer", "newest"] {
        let insert = format!(
            "{} SELECT aggregate_type, '{order_id}', 1, event_type, '9.0', payload, '{{}}' FROM events
             WHERE event_type = 'OrderPlaced' AND aggregate_id = 'known'",
            raw::INSERT.trim_end_matches(" VALUES")
        );
        raw::client(&shop.database).await.batch_execute(&insert).await.unwrap();
    }
    eventually("both are parked", || async { shop.parked().await.len() == 2 }).await;
    let parked = shop.parked().await;
    assert_eq!(
        parked.iter().map(|parked| (&*parked.order_id, &*parked.code)).collect::<Vec<_>>(),
        [("newer", "STREAM_UNREADABLE"), ("newest", "STREAM_UNREADABLE")]
    );
    let passing = shop.orders().place_order(place("passing")).await.unwrap().into_inner().order.unwrap();
    assert_eq!(passing.state(), OrderState::Held, "the line goes on");
    shop.retry_in_vain("newer", "newest").await;
    // the program learns to read the one while it runs, the other with the next that starts
    let learn = |order_id| format!("UPDATE events SET event_version = '1.1' WHERE event_version = '9.0' AND aggregate_id = '{order_id}'");
    shop.rewrite(&learn("newer")).await;
    shop.retry("newer").await;
    eventually("it is parked no more", || async { shop.waiting().await == ["newest"] }).await;
    shop.rewrite(&learn("newest")).await;
    let database = shop.database.clone();
    shop.node.stop().await;
    let upgraded = Serving::on(database, |_| {}).await;
    eventually("neither is", || async { upgraded.waiting().await.is_empty() }).await;
    for order_id in ["newer", "newest"] {
        upgraded.let_read_again("orders", "Order", order_id).await;
    }
    let history = upgraded.proved().await;
    assert_eq!(history.counts(&slot), (9, 4, 0));
    assert_eq!((history.story("newer"), history.story("newest")), (vec!["OrderPlaced", "OrderHeld"], vec!["OrderPlaced", "OrderHeld"]));
    upgraded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_by_itself_belongs_to_the_call_that_set_its_end_also_with_the_next_owner() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 9).await;
    let hold = |hold_id: &str, millis| HoldUnitsRequest {
        request_id: id(),
        slot_id: slot.clone(),
        hold_id: hold_id.into(),
        quantity: 1,
        expires_at: Some(wire(Timestamp::now() + SignedDuration::from_millis(millis))),
    };
    shop.inventory().hold_units(hold("here", 2_000)).await.unwrap();
    eventually("it has ended", || async { shop.log().await.iter().any(|event| &*event.event_type == "HoldExpired") }).await;
    shop.inventory().hold_units(hold("there", 5_000)).await.unwrap();
    let database = shop.database.clone();
    shop.node.stop().await;
    let next = Serving::on(database, |_| {}).await;
    let ends = || async { next.log().await.iter().filter(|event| &*event.event_type == "HoldExpired").count() };
    eventually("both have", || async { ends().await == 2 }).await;
    let log = next.log().await;
    let of = |name: &str| log.iter().filter(|event| &*event.event_type == name).collect::<Vec<_>>();
    for (held, ended) in of("UnitsHeld").into_iter().zip(of("HoldExpired")) {
        assert!(held.metadata.correlation_id.is_some());
        assert_eq!(ended.metadata.correlation_id, held.metadata.correlation_id);
        assert_eq!(ended.metadata.causation, Some(held.position.to_string()));
    }
    next.node.stop().await;
}
