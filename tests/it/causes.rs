//! Chains of causes: from a customer's call to the last of what came of it.

use jari_history::HistorySettings;
use jari_proto::{
    history::v1::{Event, ReadLogRequest, TraceCausesRequest, trace_causes_request::Origin},
    inventory::v1::{ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest},
    status::reason,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    harness::{eventually, in_seconds},
    history::{confirm, names, place, read},
    history_log::served_with,
    raw::client,
    serving::{Serving, id, order, wire},
};

pub async fn causes(shop: &Serving, origin: Origin, page_size: i32) -> Result<Vec<Event>, Status> {
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
    let confirmation: Vec<Event> = of_order.iter().filter(|event| event.r#type.ends_with("Confirmed")).cloned().collect();
    assert_eq!(confirmation.len(), 3, "the order, and its hold in two slots");
    for event in &confirmation {
        assert_eq!(causes(&shop, Origin::Position(event.position), 0).await.unwrap(), confirmation, "another call, a chain of its own");
    }

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

async fn hold(shop: &Serving, slot_id: &str, hold_id: &str, seconds: i64) -> HoldUnitsRequest {
    let expires_at = Some(wire(in_seconds(seconds)));
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.into(), hold_id: hold_id.into(), quantity: 1, expires_at };
    shop.inventory().hold_units(hold.clone()).await.unwrap();
    hold
}

/// So many events of other writers, who move nothing.
async fn crowd(shop: &Serving, slot_id: &str, events: i64) {
    let more = format!(
        r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT 'InventorySlot', '{slot_id}', (SELECT max(sequence) FROM events WHERE aggregate_id = '{slot_id}') + n,
            'SlotResumed', '1.0', '{{"SlotResumed":{{}}}}', '{{}}' FROM generate_series(1, {events}) n"#
    );
    client(&shop.database).await.batch_execute(&more).await.unwrap();
}

async fn expired(shop: &Serving) -> usize {
    shop.log().await.iter().filter(|event| &*event.event_type == "HoldExpired").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_by_itself_is_told_with_the_call_that_set_its_end() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("seat", 9).await;
    let lapses = hold(&shop, &slot_id, "lapses", 2).await;
    let bought = hold(&shop, &slot_id, "bought", 300).await;
    let confirm = ConfirmHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "bought".into() };
    shop.inventory().confirm_hold(confirm).await.unwrap();
    let longer = hold(&shop, &slot_id, "longer", 300).await;
    let extend = ExtendHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "longer".into(), expires_at: Some(wire(in_seconds(2))) };
    shop.inventory().extend_hold(extend.clone()).await.unwrap();
    eventually("both have lapsed", || async { expired(&shop).await == 2 }).await;
    let told = async |request_id: &str| causes(&shop, Origin::CorrelationId(request_id.into()), 0).await.unwrap();
    let chain = told(&lapses.request_id).await;
    assert_eq!(names(&chain), ["UnitsHeld", "HoldExpired"]);
    for event in &chain {
        assert_eq!(causes(&shop, Origin::Position(event.position), 0).await.unwrap(), chain, "from either event of it");
    }
    assert_eq!(names(&told(&bought.request_id).await), ["UnitsHeld"], "to buy it was another call");
    assert_eq!(names(&told(&longer.request_id).await), ["UnitsHeld"], "its end is another call's");
    assert_eq!(names(&told(&extend.request_id).await), ["HoldExtended", "HoldExpired"]);

    // a caller may name its chain: the call is found by its own id, and not by that name
    let named = id();
    let mut request = tonic::Request::new(HoldUnitsRequest { request_id: id(), hold_id: "named".into(), ..lapses });
    request.get_mut().expires_at = Some(wire(in_seconds(300)));
    request.metadata_mut().insert("x-jari-correlation-id", named.parse().unwrap());
    let request_id = request.get_ref().request_id.clone();
    shop.inventory().hold_units(request).await.unwrap();
    let chain = told(&request_id).await;
    assert_eq!((names(&chain), &chain[0].correlation_id), (vec!["UnitsHeld"], &named));
    let unknown = causes(&shop, Origin::CorrelationId(named), 0).await.unwrap_err();
    assert_eq!(reason(&unknown).as_deref(), Some("CAUSES_UNKNOWN"));

    // another writer may say that nothing caused its event, in whatever way
    let by_hand = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT aggregate_type, aggregate_id, sequence + 1, event_type, event_version, replace(payload::text, 'named', 'by-hand')::json,
            '{\"causation\":\"0\",\"decided_at\":\"2026-11-01T00:00:00Z\"}' FROM events WHERE payload::text LIKE '%\"named\"%'";
    assert_eq!(client(&shop.database).await.execute(by_hand, &[]).await.unwrap(), 1);
    let position = shop.log().await.last().unwrap().position.to_i64();
    assert_eq!(names(&causes(&shop, Origin::Position(position), 0).await.unwrap()), ["UnitsHeld"]);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_hold_is_found_in_a_long_history_or_the_answer_says_that_there_may_be_more() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("seat", 9).await;
    let stop = CancellationToken::new();
    // at most 200 events behind the end of a hold
    let history = served_with(&shop, HistorySettings { page: 10, ..HistorySettings::default() }, &stop).await;
    let told = async |request_id: &str| {
        let asked = TraceCausesRequest { origin: Some(Origin::CorrelationId(request_id.into())), ..Default::default() };
        let told = history.clone().trace_causes(asked).await.unwrap().into_inner();
        (told.events.iter().map(|event| event.r#type.rsplit('.').next().unwrap().to_owned()).collect::<Vec<_>>(), told.may_go_on)
    };
    let crowded = hold(&shop, &slot_id, "crowded", 10).await;
    crowd(&shop, &slot_id, 700).await;
    eventually("it has lapsed", || async { expired(&shop).await == 1 }).await;
    crowd(&shop, &slot_id, 700).await;
    assert_eq!(told(&crowded.request_id).await, (vec!["UnitsHeld".into(), "HoldExpired".into()], false), "far from both ends");
    let lasting = hold(&shop, &slot_id, "lasting", 300).await;
    crowd(&shop, &slot_id, 700).await;
    assert_eq!(told(&lasting.request_id).await, (vec!["UnitsHeld".into()], false), "it lasts");
    // somebody bought it where nobody looks
    let (lost, lapsed) = (hold(&shop, &slot_id, "lost", 10).await, in_seconds(10));
    crowd(&shop, &slot_id, 300).await;
    let confirm = ConfirmHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "lost".into() };
    shop.inventory().confirm_hold(confirm).await.unwrap();
    eventually("its time is over", || async { in_seconds(0) > lapsed }).await;
    crowd(&shop, &slot_id, 700).await;
    assert_eq!(told(&lost.request_id).await, (vec!["UnitsHeld".into()], true));
    stop.cancel();
    shop.node.stop().await;
}
