//! Whoever waits: for a settlement, for a change, for a position, for the next page. Each wait has an end, and costs nobody else anything.

use std::{collections::BTreeSet, time::Duration};

use jari_domain::order::OrderStatus;
use jari_proto::{
    availability::v1::{GetSlotRequest, ListAvailabilityRequest},
    operations::v1::{GetStatusRequest, ListParkedOrdersRequest, ListQuarantinedStreamsRequest},
    order::v1::{
        CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, ListOrdersRequest, OrderState, PlaceOrderRequest, WatchOrderRequest,
        WatchOrderResponse, WatchUntil,
    },
    product::v1::{GetProductRequest, ListProductsRequest},
    status::{reason, retry_after},
};
use prost_types::Duration as Wait;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    harness::{database, eventually},
    serving::{Serving, id, order},
    two_nodes::Pair,
};

/// Fails rather than hangs.
const AT_MOST: Duration = Duration::from_secs(60);

fn waiting(seconds: i64, nanos: i32) -> PlaceOrderRequest {
    PlaceOrderRequest { wait: Some(Wait { seconds, nanos }), ..order(&[("seat", 1)]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_at_its_bound_and_the_order_keeps_its_place() {
    let shop = Serving::on(database().await, |config| {
        config.settlement.enabled = false;
        config.engine.longest_wait_ms = 2_000;
    })
    .await;
    let slot = shop.on_sale("seat", 3).await;
    let mut accepted = Vec::new();
    for (seconds, nanos) in [(0, 0), (0, 1), (0, 50_000_000), (1, 0), (3_600, 0), (315_576_000_000, 999_999_999)] {
        let placed = tokio::time::timeout(AT_MOST, shop.orders().place_order(waiting(seconds, nanos))).await.expect("a wait has an end");
        let told = placed.unwrap().into_inner().order.unwrap();
        assert_eq!(told.state(), OrderState::Accepted, "nobody settles");
        accepted.push(told.order_id);
    }
    let before = shop.log().await.len();
    for (seconds, nanos) in [(-1, 0), (0, -1), (-3_600, -5)] {
        let refused = shop.orders().place_order(waiting(seconds, nanos)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::InvalidArgument, Some("REQUEST_INVALID")));
    }
    assert_eq!(shop.log().await.len(), before, "a wait that cannot be is refused before anything is accepted");
    // a caller whose deadline comes before the end of its wait is gone; its order is not
    let hasty = PlaceOrderRequest { order_id: "hasty".into(), ..waiting(20, 0) };
    // on a slow machine it may be gone before it was heard: then it says the same again
    eventually("the hasty order is accepted", || async {
        let mut request = Request::new(hasty.clone());
        request.set_timeout(Duration::from_millis(200));
        assert!(matches!(shop.orders().place_order(request).await.unwrap_err().code(), Code::DeadlineExceeded | Code::Cancelled));
        shop.log().await.iter().any(|event| &*event.aggregate_id == "hasty")
    })
    .await;
    let settling = Serving::on(shop.database.clone(), |_| {}).await;
    let history = settling.proved().await;
    assert_eq!(history.counts(&slot), (3, 3, 0));
    let ends: Vec<OrderStatus> = accepted.iter().map(|order| history.order(order).status()).collect();
    assert_eq!(ends, [[OrderStatus::Held; 3], [OrderStatus::Rejected; 3]].concat());
    assert_eq!(history.order("hasty").status(), OrderStatus::Rejected);
    settling.node.stop().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_to_wait_is_told_at_once_that_its_order_is_accepted() {
    let shop = Serving::on(database().await, |config| {
        config.settlement.enabled = false;
        config.engine.longest_wait_ms = 600_000;
        config.engine.settlement_waiters = 1;
    })
    .await;
    shop.on_sale("seat", 3).await;
    let mut orders = shop.orders();
    let waits = tokio::spawn(async move { orders.place_order(waiting(600, 0)).await });
    eventually("the first waits", || async { shop.log().await.iter().any(|event| &*event.aggregate_type == "Order") }).await;
    let told = tokio::time::timeout(AT_MOST, shop.orders().place_order(waiting(600, 0))).await.expect("it does not wait");
    assert_eq!(told.unwrap().into_inner().order.unwrap().state(), OrderState::Accepted);
    assert!(!waits.is_finished());
    waits.abort();
    // a place that is left is there for the next one
    eventually("somebody waits again", || async {
        tokio::time::timeout(Duration::from_secs(2), shop.orders().place_order(waiting(600, 0))).await.is_err()
    })
    .await;
    shop.node.stop().await;
}

async fn watch(node: &Serving, order_id: &str, until: WatchUntil, min_position: i64) -> Streaming<WatchOrderResponse> {
    let watch = WatchOrderRequest { order_id: order_id.into(), until: until.into(), min_position };
    node.order_queries().watch_order(watch).await.unwrap().into_inner()
}

async fn states(mut changes: Streaming<WatchOrderResponse>) -> Vec<OrderState> {
    let mut states = Vec::new();
    while let Some(change) = tokio::time::timeout(AT_MOST, changes.message()).await.expect("a watch ends").unwrap() {
        states.push(change.order.unwrap().state());
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_at_either_node_see_an_order_to_its_end_though_many_do_not_read() {
    let pair = Pair::start().await;
    pair.owner.on_sale("seat", 1_000).await;
    let placed = pair.other.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let (order_id, position) = (placed.order.unwrap().order_id, placed.position);
    let (mut sleepers, mut readers) = (Vec::new(), Vec::new());
    for node in [&pair.owner, &pair.other] {
        for _ in 0..40 {
            sleepers.push(watch(node, &order_id, WatchUntil::Final, position).await);
        }
        readers.push(tokio::spawn(states(watch(node, &order_id, WatchUntil::Final, position).await)));
        readers.push(tokio::spawn(states(watch(node, &order_id, WatchUntil::Decided, position).await)));
    }
    pair.owner.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: order_id.clone() }).await.unwrap();
    // both are told of the first change before the second comes
    let (decided, last): (Vec<_>, Vec<_>) = readers.into_iter().enumerate().partition(|(n, _)| n % 2 == 1);
    for (_, reader) in decided {
        assert_eq!(reader.await.unwrap(), [OrderState::Held, OrderState::Confirmed]);
    }
    // those who do not read are in nobody's way
    for _ in 0..20 {
        let held = pair.other.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
        assert_eq!(held.state(), OrderState::Held);
    }
    pair.other.orders().cancel_order(CancelOrderRequest { request_id: id(), order_id, reason: String::new() }).await.unwrap();
    for (_, reader) in last {
        let seen = reader.await.unwrap();
        assert_eq!((seen[0], seen[seen.len() - 1]), (OrderState::Held, OrderState::Cancelled), "{seen:?}");
    }
    for sleeper in sleepers {
        assert_eq!(states(sleeper).await.last(), Some(&OrderState::Cancelled), "who reads late is told how it ended, and no more");
    }
    pair.owner.proved().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_a_moment_ago_is_found_by_whoever_does_not_say_what_the_view_must_have_seen() {
    let shop = Serving::start().await;
    for n in 0..10 {
        let seat = format!("seat-{n}");
        let slot_id = shop.on_sale(&seat, 10).await;
        shop.availability().get_slot(GetSlotRequest { slot_id, min_position: 0 }).await.unwrap();
        // accepted and no more: the view takes a breath between two batches
        let place = PlaceOrderRequest { wait: None, ..order(&[(&seat, 1)]) };
        let order_id = shop.orders().place_order(place.clone()).await.unwrap().into_inner().order.unwrap().order_id;
        let watch = WatchOrderRequest { order_id, until: WatchUntil::Settled.into(), min_position: 0 };
        assert_eq!(states(shop.order_queries().watch_order(watch).await.unwrap().into_inner()).await.last(), Some(&OrderState::Held));
        let order_id = shop.orders().place_order(PlaceOrderRequest { request_id: id(), ..place }).await.unwrap().into_inner().order.unwrap().order_id;
        shop.order_queries().get_order(GetOrderRequest { order_id, min_position: 0 }).await.unwrap();
    }
    let nobody = shop.order_queries().get_order(GetOrderRequest { order_id: "nobody".into(), min_position: 0 }).await.unwrap_err();
    assert_eq!(reason(&nobody).as_deref(), Some("ORDER_NOT_FOUND"));
    shop.node.stop().await;
}

fn behind<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::Unavailable, Some("VIEW_BEHIND")));
    assert!(retry_after(&status).is_some(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_says_so_when_a_position_that_it_waits_for_does_not_come() {
    let pair = Pair::changed(|config| config.projections.wait_ms = 2_000).await;
    let slot_id = pair.owner.on_sale("seat", 10).await;
    let placed = pair.owner.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let order_id = placed.order.unwrap().order_id;
    for node in [&pair.owner, &pair.other] {
        let min_position = placed.position + 1_000;
        let (mut products, orders, mut slots) = (node.product_queries(), node.order_queries(), node.availability());
        let (order, order_id) = (orders.clone(), order_id.clone());
        let (mut listed, mut watched, mut found) = (orders, order.clone(), order);
        let (mut all, mut days) = (products.clone(), slots.clone());
        let (mut status, mut parked, mut aside) = (node.operations(), node.operations(), node.operations());
        let watch = WatchOrderRequest { order_id: order_id.clone(), min_position, until: 0 };
        let answers = tokio::join!(
            products.get_product(GetProductRequest { product_id: "seat".into(), min_position }),
            all.list_products(ListProductsRequest { min_position, ..Default::default() }),
            found.get_order(GetOrderRequest { order_id, min_position }),
            listed.list_orders(ListOrdersRequest { customer: "customer-1".into(), min_position, ..Default::default() }),
            watched.watch_order(watch),
            slots.get_slot(GetSlotRequest { slot_id: slot_id.clone(), min_position }),
            days.list_availability(ListAvailabilityRequest { product_id: "seat".into(), min_position, ..Default::default() }),
            status.get_status(GetStatusRequest { min_position }),
            parked.list_parked_orders(ListParkedOrdersRequest { min_position, ..Default::default() }),
            aside.list_quarantined_streams(ListQuarantinedStreamsRequest { min_position, ..Default::default() })
        );
        behind(answers.0);
        behind(answers.1);
        behind(answers.2);
        behind(answers.3);
        behind(answers.4.map(|_| Response::new(())));
        behind(answers.5);
        behind(answers.6);
        behind(answers.7);
        behind(answers.8);
        behind(answers.9);
    }
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_a_position_that_comes_from_the_other_node_meanwhile() {
    let pair = Pair::start().await;
    pair.owner.on_sale("seat", 10).await;
    let order_id = pair.owner.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    let head = i64::try_from(pair.owner.log().await.len()).unwrap();
    let (mut there, get) = (pair.other.order_queries(), GetOrderRequest { order_id: order_id.clone(), min_position: head + 2 });
    let asked = tokio::spawn(async move { there.get_order(get).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    pair.owner.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id }).await.unwrap();
    let told = asked.await.unwrap().unwrap().into_inner();
    assert_eq!((told.order.unwrap().state(), told.position >= head + 2), (OrderState::Confirmed, true));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_at_either_node_give_each_row_once_while_customers_go_on_ordering() {
    let pair = Pair::start().await;
    pair.owner.on_sale("seat", 1_000).await;
    let mut position = 0;
    let mut there: Vec<String> = Vec::new();
    for _ in 0..25 {
        let placed = pair.owner.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
        position = placed.position;
        there.insert(0, placed.order.unwrap().order_id);
    }
    for first in [&pair.owner, &pair.other] {
        let (mut seen, mut page_token, mut turn) = (Vec::new(), String::new(), 0);
        loop {
            // a page here, the next one there: a token is good at any node
            let node = if turn % 2_usize == 0 { first } else { &pair.other };
            let list = ListOrdersRequest { customer: "customer-1".into(), page_size: 4, page_token, min_position: position };
            let page = node.order_queries().list_orders(list).await.unwrap().into_inner();
            seen.extend(page.orders.into_iter().map(|order| order.order_id));
            page_token = page.next_page_token;
            turn += 1;
            if page_token.is_empty() {
                break;
            }
            node.orders().place_order(order(&[("seat", 1)])).await.unwrap();
            // rows change meanwhile, on pages that were read and on pages that come; the second time they are bought already
            let confirm = ConfirmOrderRequest { request_id: id(), order_id: there[5 * turn % there.len()].clone() };
            let _ = node.orders().confirm_order(confirm).await;
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice");
        let of_before: Vec<&String> = seen.iter().filter(|order| there.contains(order)).collect();
        assert_eq!(of_before, there.iter().collect::<Vec<_>>(), "none is left out, newest first");
    }
    pair.owner.proved().await;
    pair.stop().await;
}
