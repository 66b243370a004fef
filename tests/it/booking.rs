//! Booking over gRPC, as a customer's program does it.

use std::time::Duration;

use jari_domain::{AnyEvent, order::OrderEvent};
use jari_proto::{
    availability::v1::GetSlotRequest,
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, ListOrdersRequest, OrderState, WatchOrderRequest, WatchUntil},
    status::reason,
};
use tonic::Code;

use crate::{
    raw::{INSERT, client},
    serving::{Serving, id, order},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_then_confirmed_then_cancelled_and_every_view_agrees() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("poster", 5).await;
    let placed = shop.orders().place_order(order(&[("poster", 2)])).await.unwrap().into_inner();
    let held = placed.order.unwrap();
    assert_eq!(held.state(), OrderState::Held);
    assert_eq!(held.total.as_ref().unwrap().minor_units, 2_000);
    let order_id = held.order_id;
    let counts = |position| {
        let (mut queries, slot_id) = (shop.availability(), slot.clone());
        async move {
            let slot = queries.get_slot(GetSlotRequest { slot_id, min_position: position }).await.unwrap().into_inner().slot.unwrap();
            slot.counts.map(|c| (c.capacity, c.held, c.confirmed)).unwrap()
        }
    };
    assert_eq!(counts(placed.position).await, (5, 2, 0));
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: order_id.clone() };
    let confirmed = shop.orders().confirm_order(confirm.clone()).await.unwrap().into_inner();
    assert_eq!(counts(confirmed.position).await, (5, 0, 2));
    assert_eq!(shop.orders().confirm_order(confirm).await.unwrap().into_inner(), confirmed, "the same request has the same answer");
    let again = shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: order_id.clone() }).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_deref()), (Code::FailedPrecondition, Some("ORDER_ALREADY_CONFIRMED")));
    let cancel = CancelOrderRequest { request_id: id(), order_id: order_id.clone(), reason: "rain".into() };
    let cancelled = shop.orders().cancel_order(cancel).await.unwrap().into_inner();
    assert_eq!(counts(cancelled.position).await, (5, 0, 0));
    let get = GetOrderRequest { order_id: order_id.clone(), min_position: cancelled.position };
    let seen = shop.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap();
    assert_eq!((seen.state(), seen.cancel_reason.as_str()), (OrderState::Cancelled, "rain"));
    let list = ListOrdersRequest { customer: "customer-1".into(), page_size: 10, page_token: String::new(), min_position: cancelled.position };
    assert_eq!(shop.order_queries().list_orders(list).await.unwrap().into_inner().orders.len(), 1);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_several_lines_settles_whole_or_names_every_failing_line() {
    let shop = Serving::start().await;
    shop.on_sale("plenty", 100).await;
    shop.on_sale("scarce", 1).await;
    shop.on_sale("none", 0).await;
    let answer = shop.orders().place_order(order(&[("plenty", 1), ("scarce", 2), ("none", 1), ("plenty", 1)])).await.unwrap().into_inner();
    let rejected = answer.order.unwrap();
    assert_eq!(rejected.state(), OrderState::Rejected);
    let failures: Vec<(i32, &str)> = rejected.failures.iter().map(|f| (f.line, f.code.as_str())).collect();
    assert_eq!(failures, [(1, "SLOT_INSUFFICIENT_UNITS"), (2, "SLOT_SOLD_OUT")]);
    let held = shop.orders().place_order(order(&[("plenty", 40), ("plenty", 60)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(held.state(), OrderState::Held, "nothing was kept of the rejected order, and the same slot twice is summed");
    let late = shop.orders().place_order(order(&[("plenty", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(late.failures[0].code, "SLOT_HELD_BY_OTHERS", "units that may come back are told from units that are sold");
    assert!(late.failures[0].retryable);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_several_products_is_held_for_the_shortest_of_their_times() {
    let shop = Serving::start().await;
    for (product, seconds) in [("short", 30), ("long", 60)] {
        shop.draft_with(product, |draft| draft.hold_seconds = seconds).await;
        shop.launched(product, 10).await;
    }
    for lines in [[("short", 1), ("long", 1)], [("long", 1), ("short", 1)]] {
        let held = shop.orders().place_order(order(&lines)).await.unwrap().into_inner().order.unwrap();
        assert_eq!(held.state(), OrderState::Held);
    }
    let log = shop.log().await;
    let placed = log.iter().filter_map(|event| match event.event() {
        Some(AnyEvent::Order(OrderEvent::OrderPlaced { hold_seconds, .. })) => Some(*hold_seconds),
        _ => None,
    });
    assert_eq!(placed.collect::<Vec<_>>(), [30, 30]);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_the_present_state_and_each_change_after_it() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let mut place = order(&[("poster", 1)]);
    place.order_id = "watched".into();
    place.wait = None;
    let accepted = shop.orders().place_order(place).await.unwrap().into_inner();
    assert_eq!(accepted.order.unwrap().state(), OrderState::Accepted);
    let watch = WatchOrderRequest { order_id: "watched".into(), until: WatchUntil::Final.into(), min_position: accepted.position };
    let mut changes = shop.order_queries().watch_order(watch).await.unwrap().into_inner();
    let mut states = Vec::new();
    while let Some(change) = changes.message().await.unwrap() {
        let state = change.order.unwrap().state();
        if state == OrderState::Held {
            let cancel = CancelOrderRequest { request_id: id(), order_id: "watched".into(), reason: String::new() };
            shop.orders().cancel_order(cancel).await.unwrap();
        }
        states.push(state);
    }
    assert_eq!(states.last(), Some(&OrderState::Cancelled));
    assert!(states.contains(&OrderState::Held), "{states:?}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_comes_while_the_view_is_behind_the_log_misses_no_change() {
    // nobody settles: the one change of the order is written by hand
    let shop = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    shop.on_sale("poster", 5).await;
    let mut place = order(&[("poster", 1)]);
    (place.order_id, place.wait) = ("watched".into(), None);
    let accepted = shop.orders().place_order(place).await.unwrap().into_inner();
    let get = GetOrderRequest { order_id: "watched".into(), min_position: accepted.position };
    shop.order_queries().get_order(get).await.unwrap();
    // the view stands still while the log, and who hears of it, go on
    let view = client(&shop.database).await;
    view.batch_execute("BEGIN; LOCK TABLE views.builds IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    let cancelled = r#"'OrderCancelled', '1.0', '{"OrderCancelled":{"reason":"rain","was":"PLACED"}}', '{}'"#;
    client(&shop.database).await.batch_execute(&format!("{INSERT} ('Order', 'watched', 2, {cancelled})")).await.unwrap();
    // a command of this node makes its tail look; then a moment for those whom it tells
    shop.draft("another").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let watch = WatchOrderRequest { order_id: "watched".into(), until: WatchUntil::Final.into(), min_position: accepted.position };
    let mut changes = shop.order_queries().watch_order(watch).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().order.unwrap().state(), OrderState::Accepted, "as the view has it");
    view.batch_execute("COMMIT").await.unwrap();
    let change = tokio::time::timeout(Duration::from_secs(30), changes.message()).await.expect("the change is not missed");
    assert_eq!(change.unwrap().unwrap().order.unwrap().state(), OrderState::Cancelled);
    shop.node.stop().await;
}
