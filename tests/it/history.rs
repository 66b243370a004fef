//! History tells what was so: events, states, differences and causes, put beside what was recorded while it happened.

use std::{collections::BTreeSet, time::Duration};

use jari_proto::{
    availability::v1::{GetSlotRequest, Slot},
    history::v1::{
        Aggregate, AggregateKind, CompareStatesRequest, Event, GetStateAsOfRequest, Moment, ReadLogRequest, ReadStreamRequest, State,
        TraceCausesRequest, aggregate, moment, state, trace_causes_request::Origin,
    },
    inventory::v1::{AdjustCapacityRequest, HoldUnitsRequest, SuspendSlotRequest},
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, Order, OrderState},
    product::v1::{GetProductRequest, Product, SuspendProductRequest},
    status::reason,
};
use tonic::{Code, Status};

use crate::{
    harness::{eventually, in_seconds},
    serving::{Serving, id, order, wire},
};

/// A wait that has failed rather than is slow.
const FOR_EVER: Duration = Duration::from_secs(120);

fn product_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::ProductId(id.into())) })
}
fn slot_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::SlotId(id.into())) })
}
fn order_named(id: &str) -> Option<Aggregate> {
    Some(Aggregate { aggregate: Some(aggregate::Aggregate::OrderId(id.into())) })
}
fn at(position: i64) -> Option<Moment> {
    Some(Moment { moment: Some(moment::Moment::Position(position)) })
}
fn at_time(time: jari_domain::Timestamp) -> Option<Moment> {
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
async fn read(shop: &Serving, asked: ReadLogRequest) -> (Vec<Event>, i64) {
    let mut answers = shop.history().read_log(asked).await.unwrap().into_inner();
    let (mut events, mut position) = (Vec::new(), 0);
    while let Some(answer) = tokio::time::timeout(FOR_EVER, answers.message()).await.expect("a reading with an end ends").unwrap() {
        events.extend(answer.events);
        position = answer.position;
    }
    (events, position)
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.rsplit('.').next().unwrap()).collect()
}

async fn place(shop: &Serving, order_id: &str, lines: &[(&str, i32)]) -> (Order, i64, String) {
    let mut place = order(lines);
    place.order_id = order_id.into();
    let request_id = place.request_id.clone();
    let answer = shop.orders().place_order(place).await.unwrap().into_inner();
    (answer.order.unwrap(), answer.position, request_id)
}

async fn confirm(shop: &Serving, order_id: &str) -> i64 {
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: order_id.into() }).await.unwrap().into_inner().position
}

async fn cancel(shop: &Serving, order_id: &str) -> i64 {
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
            let by = log.iter().rev().find(|event| event.recorded_at <= time).map(|event| event.position as i64);
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
    let expires_at = in_seconds(2);
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
async fn the_log_is_told_whole_and_filters_leave_what_they_name() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    shop.on_sale("print", 50).await;
    place(&shop, "first", &[("poster", 2)]).await;
    place(&shop, "second", &[("poster", 1), ("print", 1)]).await;
    place(&shop, "third", &[("print", 51)]).await;
    confirm(&shop, "first").await;
    let log = shop.log().await;
    let (whole, end) = read(&shop, ReadLogRequest::default()).await;
    assert_eq!(end, log.len() as i64);
    for (event, stored) in whole.iter().zip(&log) {
        let (position, version) = (stored.position as i64, stored.sequence as i64);
        assert_eq!((event.position, event.stream_version, event.time.unwrap()), (position, version, wire(stored.recorded_at)));
        assert_eq!((event.id.clone(), event.subject.ends_with(&*stored.aggregate_id)), (position.to_string(), true));
        assert_eq!(Some(event.correlation_id.as_str()), stored.metadata.correlation_id.as_deref());
    }
    assert_eq!(whole.len(), log.len());
    assert!(whole.iter().any(|e| e.data_json.starts_with(r#"{"orderId":"first","customer":"customer-1","lines":[{"productId":"poster""#)));

    let filtered = async |ask: ReadLogRequest, wanted: &dyn Fn(&Event) -> bool| {
        let (events, position) = read(&shop, ask).await;
        let wanted: Vec<Event> = whole.iter().filter(|event| wanted(event)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < whole.len());
        assert_eq!((&events, position), (&wanted, end), "however little is wanted, all is read");
    };
    let is = |event: &Event, name: &str| event.r#type.ends_with(&format!(".{name}"));
    let types = vec!["OrderHeld".into(), "reservation.order.v1.OrderRejected".into()];
    let by_type = ReadLogRequest { event_types: types, ..Default::default() };
    filtered(by_type, &|event| is(event, "OrderHeld") || is(event, "OrderRejected")).await;
    let kinds = vec![AggregateKind::Product.into(), AggregateKind::Slot.into()];
    let by_kind = ReadLogRequest { kinds, ..Default::default() };
    filtered(by_kind, &|event| event.subject.starts_with("products/") || event.subject.starts_with("slots/")).await;
    let by_order = ReadLogRequest { order_id: "first".into(), ..Default::default() };
    filtered(by_order, &|event| event.subject == "orders/first" || event.data_json.contains(r#""holdId":"first""#)).await;
    let by_product = ReadLogRequest { product_id: "print".into(), ..Default::default() };
    filtered(by_product, &|event| event.subject == "products/print" || event.data_json.contains(r#""productId":"print""#)).await;
    let by_slot = ReadLogRequest { slot_id: "print@stock".into(), ..Default::default() };
    filtered(by_slot, &|event| event.data_json.contains(r#""slotId":"print@stock""#)).await;
    let all =
        ReadLogRequest { kinds: vec![AggregateKind::Order.into()], product_id: "print".into(), order_id: "second".into(), ..Default::default() };
    filtered(all, &|event| event.subject == "orders/second" && is(event, "OrderPlaced")).await;

    let beside = ReadLogRequest { event_types: vec!["AvailabilityChanged".into()], ..Default::default() };
    let (beside, _) = read(&shop, beside).await;
    assert!(!beside.is_empty() && beside.iter().all(|event| event.id == format!("{}.1", event.position)));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_from_moment_to_moment_tell_each_event_once() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    for n in 0..5 {
        place(&shop, &format!("order-{n}"), &[("poster", 1)]).await;
    }
    let log = shop.log().await;
    let between = |after, until| ReadLogRequest { after, until, ..Default::default() };
    for middle in &log {
        let (position, time) = (middle.position as i64, middle.recorded_at);
        for moment in [at(position), at_time(time), at_time(time - jiff::SignedDuration::from_micros(1))] {
            let (mut told, reached) = read(&shop, between(None, moment)).await;
            let (rest, end) = read(&shop, between(moment, None)).await;
            assert_eq!(reached, told.last().map_or(0, |event| event.position));
            told.extend(rest);
            assert_eq!(told.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=log.len() as i64).collect::<Vec<_>>());
            assert_eq!(end, log.len() as i64);
        }
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_sees_each_event_once_across_the_join_of_old_and_new() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10_000).await;
    let placing: Vec<_> = (0..8)
        .map(|_| {
            let mut orders = shop.orders();
            tokio::spawn(async move {
                for _ in 0..15 {
                    orders.place_order(order(&[("poster", 1)])).await.unwrap();
                }
            })
        })
        .collect();
    // readers begin while orders come in, each at another place
    let readers: Vec<_> = (0..6)
        .map(|n| {
            let mut history = shop.history();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20 * n)).await;
                let asked = ReadLogRequest { after: at(n as i64 % 3), follow: true, ..Default::default() };
                let mut answers = history.read_log(asked).await.unwrap().into_inner();
                let mut seen = n as i64 % 3;
                while seen < 4 + 120 * 3 {
                    let answer = tokio::time::timeout(FOR_EVER, answers.message()).await.expect("there is more").unwrap().unwrap();
                    for event in &answer.events {
                        assert_eq!(event.position, seen + 1, "none twice, none missing");
                        seen = event.position;
                    }
                    assert!(answer.position >= seen && answer.head_position >= answer.position);
                }
                answers
            })
        })
        .collect();
    for task in placing {
        task.await.unwrap();
    }
    let mut following = Vec::new();
    for reader in readers {
        following.push(reader.await.unwrap());
    }
    let stopping = tokio::spawn(shop.node.stop());
    for mut answers in following {
        let end = loop {
            match tokio::time::timeout(FOR_EVER, answers.message()).await.expect("a stop ends it") {
                Ok(Some(answer)) => assert_eq!(answer.events, []),
                Ok(None) => panic!("who follows has no end"),
                Err(status) => break status,
            }
        };
        assert_eq!((end.code(), reason(&end).as_deref()), (Code::Unavailable, Some("SHUTTING_DOWN")));
    }
    tokio::time::timeout(FOR_EVER, stopping).await.expect("the node stops").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_told_by_version_and_followed_from_before_its_beginning() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let mut history = shop.history();
    let ask = |after_version, follow| ReadStreamRequest { aggregate: order_named("first"), after_version, until: None, follow };
    let none = history.read_stream(ask(0, false)).await.unwrap_err();
    assert_eq!((none.code(), reason(&none).as_deref()), (Code::NotFound, Some("ORDER_NOT_FOUND")));
    let mut followed = history.read_stream(ask(0, true)).await.unwrap().into_inner();
    let (_, held, _) = place(&shop, "first", &[("poster", 1)]).await;
    confirm(&shop, "first").await;
    cancel(&shop, "first").await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let answer = tokio::time::timeout(FOR_EVER, followed.message()).await.expect("there is more").unwrap().unwrap();
        seen.extend(answer.events);
        assert_eq!(answer.version, seen.len() as i64);
    }
    assert_eq!(names(&seen), ["OrderPlaced", "OrderHeld", "OrderConfirmed", "OrderCancelled"]);
    assert_eq!(seen.iter().map(|event| event.stream_version).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let mut rest = history.read_stream(ask(2, false)).await.unwrap().into_inner();
    let answer = rest.message().await.unwrap().unwrap();
    assert_eq!((names(&answer.events), answer.version), (vec!["OrderConfirmed", "OrderCancelled"], 4));
    assert!(rest.message().await.unwrap().is_none());
    let mut until = history.read_stream(ReadStreamRequest { until: at(held), ..ask(0, false) }).await.unwrap().into_inner();
    assert_eq!(names(&until.message().await.unwrap().unwrap().events), ["OrderPlaced", "OrderHeld"]);
    shop.node.stop().await;
}

async fn causes(shop: &Serving, origin: Origin, page_size: i32) -> Result<Vec<Event>, Status> {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = TraceCausesRequest { origin: Some(origin.clone()), page_size, page_token };
        let page = shop.history().trace_causes(asked).await?.into_inner();
        assert!(page_size == 0 || page.events.len() <= page_size as usize);
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(events);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_lead_from_the_call_to_its_last_consequence_and_nowhere_else() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    shop.on_sale("print", 50).await;
    // others at the same time, so that chains lie between each other
    let others = (0..10).map(|n| {
        let mut orders = shop.orders();
        let mut place = order(&[("poster", 1)]);
        place.order_id = format!("other-{n}");
        tokio::spawn(async move { orders.place_order(place).await.unwrap() })
    });
    let others: Vec<_> = others.collect();
    let (_, _, request_id) = place(&shop, "first", &[("poster", 2), ("print", 1)]).await;
    for other in others {
        other.await.unwrap();
    }
    confirm(&shop, "first").await;

    let chain = causes(&shop, Origin::CorrelationId(request_id.to_uppercase()), 0).await.unwrap();
    assert_eq!(names(&chain)[0], "OrderPlaced");
    let mut sorted = names(&chain);
    sorted.sort_unstable();
    assert_eq!(sorted, ["OrderHeld", "OrderPlaced", "UnitsHeld", "UnitsHeld"]);
    assert!(chain.iter().all(|event| event.correlation_id == request_id && event.data_json.contains("first")));
    assert!(chain[1..].iter().all(|event| event.causation_id == chain[0].id), "the settlement names its cause");
    for event in &chain {
        assert_eq!(causes(&shop, Origin::Position(event.position), 0).await.unwrap(), chain, "from any event of it");
    }
    assert_eq!(causes(&shop, Origin::CorrelationId(request_id.clone()), 1).await.unwrap(), chain, "in pages of one");

    let of_order = causes(&shop, Origin::OrderId("first".into()), 0).await.unwrap();
    let (log, _) = read(&shop, ReadLogRequest { order_id: "first".into(), ..Default::default() }).await;
    assert_eq!(of_order, log, "with its confirmation, and the slots of both");
    assert_eq!(names(&of_order).iter().filter(|name| name.ends_with("Confirmed")).count(), 3);

    // time ends an order by itself: what it did then was called by nobody
    let client = shop.database.connection().await.unwrap();
    let expired = r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('Order', 'other-1', 3, 'OrderExpired', '1.0', '{"OrderExpired":{"expired_at":"2026-12-24T09:00:00Z"}}', '{}')"#;
    client.execute(expired, &[]).await.unwrap();
    let placed = causes(&shop, Origin::OrderId("other-1".into()), 0).await.unwrap();
    let called = placed[0].correlation_id.clone();
    let chain = causes(&shop, Origin::CorrelationId(called), 0).await.unwrap();
    assert_eq!((names(&chain).last().copied(), &chain), (Some("OrderExpired"), &placed));
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

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_told_ends_the_reading_after_all_before_it() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let before = shop.log().await.len() as i64;
    shop.scrawl("Order", "strange", 1).await;
    place(&shop, "first", &[("poster", 1)]).await;
    let mut answers = shop.history().read_log(ReadLogRequest::default()).await.unwrap().into_inner();
    let mut told = Vec::new();
    let end = loop {
        match answers.message().await {
            Ok(answer) => told.extend(answer.unwrap().events),
            Err(status) => break status,
        }
    };
    assert_eq!(told.len() as i64, before);
    assert_eq!((end.code(), reason(&end).as_deref()), (Code::DataLoss, Some("HISTORY_UNREADABLE")));
    let (rest, _) = read(&shop, ReadLogRequest { after: at(before + 1), ..Default::default() }).await;
    assert_eq!(names(&rest)[0], "OrderPlaced", "who knows better may go on after it");
    let kinds = vec![AggregateKind::Product.into()];
    let products: BTreeSet<String> = read(&shop, ReadLogRequest { kinds, ..Default::default() }).await.0.into_iter().map(|e| e.subject).collect();
    assert_eq!(products, BTreeSet::from(["products/poster".to_owned()]), "it was no product");
    let state = shop.history().get_state_as_of(GetStateAsOfRequest { aggregate: order_named("strange"), as_of: None }).await.unwrap_err();
    assert_eq!(reason(&state).as_deref(), Some("HISTORY_UNREADABLE"));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_bounded_and_a_place_comes_back_when_one_is_given_up() {
    let shop = Serving::start().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(shop.history().read_log(ReadLogRequest { follow: true, ..Default::default() }).await.unwrap());
    }
    let refused = shop.history().read_log(ReadLogRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::ResourceExhausted, Some("HISTORY_BUSY")));
    assert!(jari_proto::status::retry_after(&refused).is_some());
    open.pop();
    eventually("a place is free", || async { shop.history().read_log(ReadLogRequest::default()).await.is_ok() }).await;
    drop(open);
    shop.node.stop().await;
}
