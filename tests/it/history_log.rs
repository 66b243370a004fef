//! Reading the log and single histories: whole, in parts, followed, filtered, bounded.

use std::{collections::BTreeSet, time::Duration};

use jari_event_store::{LogTail, StreamWatchers, TailSettings};
use jari_history::{History, HistoryContext, HistorySettings};
use jari_proto::{
    history::v1::{
        AggregateKind, CompareStatesRequest, Event, GetStateAsOfRequest, ReadLogRequest, ReadStreamRequest, TraceCausesRequest,
        history_service_client::HistoryServiceClient, trace_causes_request::Origin,
    },
    status::reason,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code,
    transport::{Channel, Server, server::TcpIncoming},
};

use crate::{
    harness::eventually,
    history::{FOR_EVER, at, at_time, cancel, confirm, names, order_named, place, read, read_from, slot_named},
    serving::{Serving, order, wire},
};

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
        let (position, version) = (stored.position.to_i64(), stored.sequence as i64);
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
        let (position, time) = (middle.position.to_i64(), middle.recorded_at);
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
    // a stop that waits for streams to end by themselves would not end before the test does
    let shop = Serving::on(crate::harness::database().await, |config| config.server.drain_seconds = 3_600).await;
    shop.on_sale("poster", 10_000).await;
    let placing: Vec<_> = (0..8)
        .map(|_| {
            let mut orders = shop.orders();
            tokio::spawn(async move {
                for _ in 0..25 {
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
                while seen < 4 + 200 * 3 {
                    let answer = tokio::time::timeout(FOR_EVER, answers.message()).await.expect("there is more").unwrap().unwrap();
                    for event in &answer.events {
                        assert_eq!(event.position, seen + 1, "none twice, none missing");
                        seen = event.position;
                    }
                    assert!(answer.events.len() <= 500 && answer.position >= seen && answer.head_position >= answer.position);
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

    // once it is mended, a node that had met it reads it again
    let mend = "ALTER TABLE events DISABLE TRIGGER USER;
        UPDATE events SET event_type = 'OrderConfirmed', payload = '{\"OrderConfirmed\":{}}' WHERE event_type = 'Scrawled';
        ALTER TABLE events ENABLE TRIGGER USER";
    crate::raw::client(&shop.database).await.batch_execute(mend).await.unwrap();
    let (all, _) = read(&shop, ReadLogRequest::default()).await;
    assert_eq!((all.len(), &*all[usize::try_from(before).unwrap()].r#type), (shop.log().await.len(), "reservation.order.v1.OrderConfirmed"));
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

/// The service on the node's log once more, with bounds of its own.
pub async fn served_with(shop: &Serving, settings: HistorySettings, stop: &CancellationToken) -> HistoryServiceClient<Channel> {
    let tail_settings = TailSettings { keep: 4, page: 3, ..TailSettings::default() };
    let (tail, _) = LogTail::start(shop.database.clone(), tail_settings, stop.clone()).await.unwrap();
    let (watchers, _) = StreamWatchers::start(tail.clone(), stop.clone());
    let context = HistoryContext::new(shop.database.clone(), (tail, shop.node.engine.clock().clone()), watchers, shop.node.identity.log_id, settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = Server::builder().add_service(History::server(context));
    tokio::spawn(service.serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.clone().cancelled_owned()));
    HistoryServiceClient::connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_takes_a_place_and_one_that_follows_keeps_it() {
    let shop = Serving::start().await;
    let slot = slot_named(&shop.on_sale("poster", 50).await);
    let (_, position, _) = place(&shop, "first", &[("poster", 1)]).await;
    let stop = CancellationToken::new();
    let mut history = served_with(&shop, HistorySettings { places: 1, ..HistorySettings::default() }, &stop).await;
    let state = GetStateAsOfRequest { aggregate: slot.clone(), as_of: None };
    let compare = CompareStatesRequest { aggregate: slot, before: at(position), after: None };
    let causes = TraceCausesRequest { origin: Some(Origin::OrderId("first".into())), page_size: 0, page_token: String::new() };
    let open = history.read_log(ReadLogRequest { follow: true, ..Default::default() }).await.unwrap();
    for refused in [
        history.get_state_as_of(state.clone()).await.unwrap_err(),
        history.compare_states(compare.clone()).await.unwrap_err(),
        history.trace_causes(causes.clone()).await.unwrap_err(),
        history.read_stream(ReadStreamRequest { aggregate: order_named("first"), after_version: 0, until: None, follow: false }).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::ResourceExhausted, Some("HISTORY_BUSY")));
    }
    drop(open);
    eventually("its place is free", || async { history.clone().get_state_as_of(state.clone()).await.is_ok() }).await;
    history.compare_states(compare).await.unwrap();
    history.trace_causes(causes).await.unwrap();
    stop.cancel();
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_tell_the_same() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    shop.on_sale("print", 50).await;
    for n in 0..4 {
        place(&shop, &format!("order-{n}"), &[("poster", 1), ("print", 2)]).await;
    }
    confirm(&shop, "order-1").await;
    let head = shop.log().await.len() as i64;
    let stop = CancellationToken::new();
    let told = async |mut history: HistoryServiceClient<Channel>| {
        let log = read_from(&mut history, ReadLogRequest::default()).await;
        let of_order = read_from(&mut history, ReadLogRequest { order_id: "order-1".into(), until: at(head - 1), ..Default::default() }).await;
        let asked = ReadStreamRequest { aggregate: slot_named("poster@stock"), after_version: 1, until: at(head - 1), follow: false };
        let mut answers = history.read_stream(asked).await.unwrap().into_inner();
        let (mut stream, mut version) = (Vec::new(), 0);
        while let Some(answer) = answers.message().await.unwrap() {
            stream.extend(answer.events);
            version = answer.version;
        }
        let mut states = Vec::new();
        for position in 0..=head {
            let asked = GetStateAsOfRequest { aggregate: slot_named("poster@stock"), as_of: at(position) };
            states.push(history.get_state_as_of(asked).await.ok().map(tonic::Response::into_inner));
        }
        let asked = TraceCausesRequest { origin: Some(Origin::OrderId("order-1".into())), page_size: 0, page_token: String::new() };
        let causes = history.trace_causes(asked).await.unwrap().into_inner().events;
        (log, of_order, (stream, version), states, causes)
    };
    let expected = told(shop.history()).await;
    assert_eq!((expected.0.0.len() as i64, expected.4.len()), (head, 7));
    for page in [1, 2, 3, 5] {
        let history = served_with(&shop, HistorySettings { page, ..HistorySettings::default() }, &stop).await;
        assert_eq!(told(history).await, expected, "{page} a page");
    }
    stop.cancel();
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_nothing_hears_how_far_the_reading_is() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    let stop = CancellationToken::new();
    let settings = HistorySettings { heartbeat: Duration::from_millis(50), ..HistorySettings::default() };
    let mut history = served_with(&shop, settings, &stop).await;
    let asked = ReadLogRequest { event_types: vec!["OrderExpired".into()], follow: true, ..Default::default() };
    let mut answers = history.read_log(asked).await.unwrap().into_inner();
    let asked = ReadStreamRequest { aggregate: order_named("nobody"), after_version: 0, until: None, follow: true };
    let mut silent = history.read_stream(asked).await.unwrap().into_inner();
    for n in 0..3 {
        place(&shop, &format!("order-{n}"), &[("poster", 1)]).await;
        let head = shop.log().await.len() as i64;
        let mut reached = 0;
        while reached < head {
            let answer = tokio::time::timeout(FOR_EVER, answers.message()).await.expect("it is said from time to time").unwrap().unwrap();
            assert!(answer.events.is_empty() && answer.position >= reached);
            reached = answer.position;
        }
        let answer = tokio::time::timeout(FOR_EVER, silent.message()).await.expect("it is said from time to time").unwrap().unwrap();
        assert!(answer.events.is_empty() && answer.version == 0);
    }
    stop.cancel();
    shop.node.stop().await;
}
