//! History tells what was so: events, states, differences and causes, put beside what was recorded while it happened.

use std::time::Duration;

use jari_proto::{
    availability::v1::{GetSlotRequest, Slot},
    history::v1::{
        Aggregate, CompareStatesRequest, Event, GetStateAsOfRequest, Moment, ReadLogRequest, State, TraceCausesRequest, aggregate,
        history_service_client::HistoryServiceClient, moment, state, trace_causes_request::Origin,
    },
    inventory::v1::{AdjustCapacityRequest, HoldUnitsRequest, SuspendSlotRequest},
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, Order, OrderState},
    product::v1::{GetProductRequest, Product, SuspendProductRequest},
    status::reason,
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    causes::causes,
    harness::{eventually, in_seconds},
    serving::{Serving, id, order, wire},
};

/// A wait that has failed rather than is slow.
pub const FOR_EVER: Duration = Duration::from_secs(120);

pub fn product_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::ProductId(id.into())) })
}
pub fn slot_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::SlotId(id.into())) })
}
pub fn order_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::OrderId(id.into())) })
}
pub fn at(position: i64) -> Option<Moment> {
    Some(Moment { moment: Some(moment::Moment::Position(position)) })
}
pub fn at_time(time: jari_domain::Timestamp) -> Option<Moment> {
    Some(Moment { moment: Some(moment::Moment::Time(wire(time))) })
}

/// `None` when it had not begun.
async fn as_of(shop: &Serving, aggregate: Option<Aggregate>, as_of: Option<Moment>) -> Option<State> {
    match shop.history().get_state_as_of(GetStateAsOfRequest { aggregate, as_of }).await {
        Ok(answer) => answer.into_inner().state,
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("{status}"),
    }
}

/// Every event of a reading that ends, and the position at which it ended.
pub async fn read(shop: &Serving, asked: ReadLogRequest) -> (Vec<Event>, i64) {
    read_from(&mut shop.history(), asked).await
}

pub async fn read_from(history: &mut HistoryServiceClient<Channel>, asked: ReadLogRequest) -> (Vec<Event>, i64) {
    let mut answers = history.read_log(asked).await.unwrap().into_inner();
    let (mut events, mut position) = (Vec::new(), 0);
    while let Some(answer) = tokio::time::timeout(FOR_EVER, answers.message()).await.expect("a reading with an end ends").unwrap() {
        events.extend(answer.events);
        position = answer.position;
    }
    (events, position)
}

pub fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.rsplit('.').next().unwrap()).collect()
}

pub async fn place(shop: &Serving, order_id: &str, lines: &[(&str, i32)]) -> (Order, i64, String) {
    let mut place = order(lines);
    place.order_id = order_id.into();
    let request_id = place.request_id.clone();
    let answer = shop.orders().place_order(place).await.unwrap().into_inner();
    (answer.order.unwrap(), answer.position, request_id)
}

pub async fn confirm(shop: &Serving, order_id: &str) -> i64 {
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: order_id.into() }).await.unwrap().into_inner().position
}

pub async fn cancel(shop: &Serving, order_id: &str) -> i64 {
    let cancel = CancelOrderRequest { request_id: id(), order_id: order_id.into(), reason: "rain".into() };
    shop.orders().cancel_order(cancel).await.unwrap().into_inner().position
}

/// What the queries told once they had seen a position.
struct Recorded {
    position: i64,
    product: Option<Product>,
    slot: Option<Slot>,
    orders: Vec<(&'static str, Option<Order>)>,
}

fn there<T>(answer: Result<tonic::Response<T>, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("{status}"),
    }
}

async fn record(shop: &Serving) -> Recorded {
    let position = shop.log().await.len() as i64;
    let get = GetProductRequest { product_id: "poster".into(), min_position: position };
    let product = there(shop.product_queries().get_product(get).await).and_then(|answer| answer.product);
    let get = GetSlotRequest { slot_id: "poster@stock".into(), min_position: position };
    let slot = there(shop.availability().get_slot(get).await).and_then(|answer| answer.slot);
    let mut orders = Vec::new();
    for order_id in ["first", "second", "third"] {
        let get = GetOrderRequest { order_id: order_id.into(), min_position: position };
        orders.push((order_id, there(shop.order_queries().get_order(get).await).and_then(|answer| answer.order)));
    }
    Recorded { position, product, slot, orders }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_as_of_a_position_is_what_the_queries_told_then() {
    let shop = Serving::start().await;
    let mut recording = vec![record(&shop).await];
    shop.draft("poster").await;
    recording.push(record(&shop).await);
    let slot_id = shop.launched("poster", 5).await;
    recording.push(record(&shop).await);
    place(&shop, "first", &[("poster", 2)]).await;
    recording.push(record(&shop).await);
    let rejected = place(&shop, "second", &[("poster", 4)]).await.0;
    assert_eq!(rejected.state(), OrderState::Rejected);
    recording.push(record(&shop).await);
    confirm(&shop, "first").await;
    recording.push(record(&shop).await);
    place(&shop, "third", &[("poster", 1)]).await;
    recording.push(record(&shop).await);
    cancel(&shop, "third").await;
    recording.push(record(&shop).await);
    // callers' clocks have nanoseconds
    let expires_at = Some(prost_types::Timestamp { nanos: 123_456_789, ..wire(in_seconds(300)) });
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "own".into(), quantity: 1, expires_at };
    shop.inventory().hold_units(hold).await.unwrap();
    recording.push(record(&shop).await);
    let suspend = SuspendSlotRequest { request_id: id(), slot_id: slot_id.clone(), reason: "flood".into() };
    shop.inventory().suspend_slot(suspend).await.unwrap();
    recording.push(record(&shop).await);
    let suspend = SuspendProductRequest { request_id: id(), product_id: "poster".into(), reason: "flood".into() };
    shop.products().suspend_product(suspend).await.unwrap();
    recording.push(record(&shop).await);
    cancel(&shop, "first").await;
    recording.push(record(&shop).await);
    shop.inventory().adjust_capacity(AdjustCapacityRequest { request_id: id(), slot_id, capacity: 9 }).await.unwrap();
    recording.push(record(&shop).await);

    for then in &recording {
        let position = then.position;
        let product = as_of(&shop, product_named("poster"), at(position)).await.map(|told| told.state.unwrap());
        assert_eq!(product, then.product.clone().map(state::State::Product), "as of {position}");
        let slot = as_of(&shop, slot_named("poster@stock"), at(position)).await.map(|told| told.state.unwrap());
        assert_eq!(slot, then.slot.clone().map(state::State::Slot), "as of {position}");
        for (order_id, known) in &then.orders {
            let told = as_of(&shop, order_named(order_id), at(position)).await.map(|told| told.state.unwrap());
            assert_eq!(told, known.clone().map(state::State::Order), "{order_id} as of {position}");
        }
    }
    let last = recording.last().unwrap();
    let now = as_of(&shop, slot_named("poster@stock"), None).await.unwrap();
    assert_eq!((now.position, now.state), (last.position, last.slot.clone().map(state::State::Slot)), "no moment is now");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_taken_for_the_last_event_that_was_recorded_by_then() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    for n in 0..6 {
        place(&shop, &format!("order-{n}"), &[("poster", 1)]).await;
    }
    let log = shop.log().await;
    for event in &log {
        for micros in [-1, 0, 1] {
            let time = event.recorded_at + jiff::SignedDuration::from_micros(micros);
            let by = log.iter().rev().find(|event| event.recorded_at <= time).map(|event| event.position.to_i64());
            let told = as_of(&shop, product_named("poster"), at_time(time)).await;
            assert_eq!(told.as_ref().map(|told| told.position), by, "{time}");
            let same = as_of(&shop, product_named("poster"), at(by.unwrap_or(0))).await;
            assert_eq!(told.map(|told| told.state), same.map(|same| same.state));
        }
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_had_lapsed_is_not_counted_though_nobody_had_recorded_it() {
    let shop = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    let slot_id = shop.on_sale("seat", 3).await;
    let expires_at = in_seconds(10);
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), quantity: 2, expires_at: Some(wire(expires_at)) };
    let position = shop.inventory().hold_units(hold).await.unwrap().into_inner().position;
    eventually("it has lapsed", || async { jari_domain::Timestamp::now() > expires_at }).await;
    let held = |told: Option<State>| match told.unwrap().state {
        Some(state::State::Slot(slot)) => (slot.counts.unwrap().held, slot.earliest_hold_expires_at.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(held(as_of(&shop, slot_named(&slot_id), at(position)).await), (2, true), "when it was recorded, it was good");
    assert_eq!(held(as_of(&shop, slot_named(&slot_id), at_time(expires_at)).await), (0, false), "at its end it is over");
    assert_eq!(held(as_of(&shop, slot_named(&slot_id), None).await), (0, false));
    assert_eq!(shop.log().await.len() as i64, position, "nobody had recorded it");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_between_two_moments_names_what_changed_and_nothing_else() {
    let shop = Serving::start().await;
    let before = shop.log().await.len() as i64;
    shop.on_sale("poster", 5).await;
    let opened = shop.log().await.len() as i64;
    place(&shop, "first", &[("poster", 2)]).await;
    let held = shop.log().await.len() as i64;
    let compare = |aggregate, before: i64, after: i64| {
        let mut history = shop.history();
        async move {
            history.compare_states(CompareStatesRequest { aggregate, before: at(before), after: at(after) }).await.map(tonic::Response::into_inner)
        }
    };
    let told = compare(slot_named("poster@stock"), opened, held).await.unwrap();
    let paths: Vec<_> = told.changes.iter().map(|c| (c.path.as_str(), c.before_json.as_str(), c.after_json.as_str())).collect();
    assert_eq!(paths[..2], [("counts.available", "5", "3"), ("counts.held", "0", "2")]);
    assert_eq!((paths.len(), paths[2].0, paths[2].1), (3, "earliestHoldExpiresAt", ""));
    assert_eq!(compare(slot_named("poster@stock"), opened, opened).await.unwrap().changes, []);
    let began = compare(slot_named("poster@stock"), before, held).await.unwrap();
    assert!(began.before.is_none() && began.after.is_some() && began.changes.iter().any(|change| change.path == "slotId"));
    let never = compare(order_named("nobody"), before, held).await.unwrap_err();
    assert_eq!((never.code(), reason(&never).as_deref()), (Code::NotFound, Some("ORDER_NOT_FOUND")));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_history_cannot_tell_is_refused_with_a_code_that_says_why() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let head = shop.log().await.len() as i64;
    let mut history = shop.history();
    let log = |after, until, follow| ReadLogRequest { after, until, follow, ..Default::default() };
    let nowhere = Some(Moment { moment: None });
    let beyond = Some(Moment { moment: Some(moment::Moment::Time(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })) });
    let ahead = at_time(in_seconds(3_600));
    for (asked, code) in [
        (log(at(head + 1), None, false), "POSITION_AHEAD"),
        (log(at(head + 1), None, true), "POSITION_AHEAD"),
        (log(None, at(head + 1), false), "POSITION_AHEAD"),
        (log(None, ahead, false), "TIME_AHEAD"),
        (log(at(-1), None, false), "MOMENT_INVALID"),
        (log(nowhere, None, false), "MOMENT_INVALID"),
        (log(beyond, None, false), "MOMENT_INVALID"),
        (log(None, at(1), true), "MOMENT_INVALID"),
        (ReadLogRequest { event_types: vec!["OrderShipped".into()], ..Default::default() }, "EVENT_TYPE_UNKNOWN"),
        (ReadLogRequest { event_types: vec!["OrderHeld".into(); 65], ..Default::default() }, "EVENT_TYPE_UNKNOWN"),
        (ReadLogRequest { kinds: vec![0], ..Default::default() }, "ENUM_INVALID"),
        (ReadLogRequest { order_id: "a b".into(), ..Default::default() }, "ID_INVALID"),
        (ReadLogRequest { slot_id: "poster".into(), ..Default::default() }, "ID_INVALID"),
    ] {
        let shown = format!("{asked:?}");
        assert_eq!(history.read_log(asked).await.err().and_then(|s| reason(&s)).as_deref(), Some(code), "{shown}");
    }
    for (aggregate, as_of, code) in [
        (None, None, "AGGREGATE_REQUIRED"),
        (order_named(""), None, "ID_INVALID"),
        (product_named("poster"), at(head + 1), "POSITION_AHEAD"),
        (product_named("poster"), ahead, "TIME_AHEAD"),
        (product_named("poster"), at(0), "PRODUCT_NOT_FOUND"),
        (slot_named("poster@stock"), at(1), "SLOT_NOT_FOUND"),
    ] {
        let refused = history.get_state_as_of(GetStateAsOfRequest { aggregate, as_of }).await.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some(code), "{refused}");
        assert_eq!(refused.code() == Code::OutOfRange, code.ends_with("_AHEAD"));
    }
    let unknown = causes(&shop, Origin::CorrelationId(id()), 0).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_deref()), (Code::NotFound, Some("CAUSES_UNKNOWN")));
    assert_eq!(reason(&causes(&shop, Origin::Position(head + 1), 0).await.unwrap_err()).as_deref(), Some("POSITION_AHEAD"));
    assert_eq!(reason(&causes(&shop, Origin::Position(0), 0).await.unwrap_err()).as_deref(), Some("MOMENT_INVALID"));
    assert_eq!(reason(&causes(&shop, Origin::Position(1), 1_001).await.unwrap_err()).as_deref(), Some("PAGE_SIZE_INVALID"));
    let foreign = TraceCausesRequest { origin: Some(Origin::Position(1)), page_size: 0, page_token: "x".into() };
    assert_eq!(reason(&history.trace_causes(foreign).await.unwrap_err()).as_deref(), Some("PAGE_TOKEN_INVALID"));
    shop.node.stop().await;
}
