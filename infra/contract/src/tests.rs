//! What a message says, and what it leaves out.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jari_domain::{
    AnyEvent, Currency, DecodeError, Money, Position, Quantity,
    ids::{CustomerRef, HoldId, PoolId},
    order::{OrderEvent, OrderStatus},
    registry::EVENT_TYPES,
    slot::{Counts, Holder, Sale, SlotEvent},
};
use jari_event_store::{Body, Metadata, RecordedEvent};
use serde_json::{Value, json};

use crate::{
    ContractError, PublicMessage, Topic,
    published::examples::{POSITION, golden, publisher, recorded, written},
    value::{Int64, Time},
};

const SLOT: &str = "gallery@20270101T000000Z";

fn publish(event: &RecordedEvent) -> Vec<PublicMessage> {
    publisher().publish(event).unwrap()
}

fn slot(event: SlotEvent) -> RecordedEvent {
    recorded("InventorySlot", SLOT, AnyEvent::InventorySlot(event))
}

fn order(event: OrderEvent) -> RecordedEvent {
    recorded("Order", "o-1", AnyEvent::Order(event))
}

fn data(message: &PublicMessage) -> Value {
    serde_json::from_slice(&message.data).unwrap()
}

fn headers(message: &PublicMessage) -> BTreeMap<&str, &str> {
    message.attributes.headers().collect()
}

fn counts(capacity: u32, held: u32, confirmed: u32, sale: Sale) -> Counts {
    let [capacity, held, confirmed] = [capacity, held, confirmed].map(Quantity::new);
    Counts { capacity, held, confirmed, sale }
}

#[test]
fn an_event_is_told_in_the_headers_of_kafka_s_binary_mode() {
    let event = order(OrderEvent::OrderConfirmed {});
    let [message] = &publish(&event)[..] else { panic!() };
    assert_eq!((message.topic, &*message.key), (Topic::Order, "o-1"));
    assert_eq!(data(message), json!({ "orderId": "o-1" }));
    let expected = BTreeMap::from([
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "4711"),
        ("ce_source", "urn:uuid:01980000-0000-7000-8000-000000000001"),
        ("ce_type", "reservation.order.v1.OrderConfirmed"),
        ("ce_subject", "orders/o-1"),
        ("ce_time", "2026-12-24T09:00:00.250000Z"),
        ("ce_dataschema", "urn:jari:schema:reservation.order.v1.OrderConfirmed:1.0"),
        ("ce_partitionkey", "o-1"),
        ("ce_sequence", "00000000000000004711"),
        ("ce_streamversion", "3"),
        ("ce_correlationid", "019b4f2e-8c00-7a31-9f00-00000000cafe"),
        ("ce_causationid", "4707"),
        ("ce_traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]);
    assert_eq!(headers(message), expected);
}

#[test]
fn the_actor_and_the_command_of_an_event_are_told_to_nobody() {
    let event = order(OrderEvent::OrderConfirmed {});
    let message = &publish(&event)[0];
    let told: String = message.attributes.headers().map(|(_, value)| value).collect();
    assert!(!told.contains("engine") && !told.contains("c0de"), "{told}");
}

#[test]
fn what_another_writer_put_into_metadata_is_no_header_unless_it_may_be() {
    for bad in ["", "two words", "line\nbreak", "자리", &"x".repeat(257)] {
        let metadata = Metadata { correlation_id: Some(bad.into()), causation: Some(bad.into()), trace: Some(bad.into()), ..Metadata::default() };
        let event = RecordedEvent { metadata: Arc::new(metadata), ..order(OrderEvent::OrderConfirmed {}) };
        let message = &publish(&event)[0];
        let headers = headers(message);
        for name in ["ce_correlationid", "ce_causationid", "ce_traceparent"] {
            assert_eq!(headers.get(name), None, "{bad:?}");
        }
    }
}

#[test]
fn a_trace_that_is_none_by_its_standard_is_left_out() {
    let trace = |text: &str| {
        let metadata = Metadata { trace: Some(text.into()), ..Metadata::default() };
        let event = RecordedEvent { metadata: Arc::new(metadata), ..order(OrderEvent::OrderConfirmed {}) };
        publish(&event)[0].attributes.trace_parent.is_some()
    };
    assert!(trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
    for bad in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    ] {
        assert!(!trace(bad), "{bad}");
    }
}

#[test]
fn an_id_that_no_header_can_carry_still_is_key_and_data() {
    let event = recorded("Order", "ord er", AnyEvent::Order(OrderEvent::OrderConfirmed {}));
    let message = &publish(&event)[0];
    assert_eq!((&*message.key, data(message)), ("ord er", json!({ "orderId": "ord er" })));
    assert_eq!((&message.attributes.subject, &message.attributes.partition_key), (&None, &None));
}

#[test]
fn the_text_of_sequences_sorts_as_the_log_does() {
    let at = |number| {
        let event = RecordedEvent { position: Position::new(number), ..order(OrderEvent::OrderConfirmed {}) };
        publish(&event)[0].attributes.sequence.clone().unwrap()
    };
    assert!(at(9) < at(10) && at(99_999) < at(100_000) && at(10) < at(u64::MAX), "{} {}", at(9), at(u64::MAX));
}

#[test]
fn a_stream_that_is_not_ours_is_told_to_nobody() {
    let error = DecodeError::UnknownAggregate("Session".into());
    let body = Body::Unreadable { payload: "{}".into(), error };
    let event = RecordedEvent { aggregate_type: Cow::Borrowed("Session"), body, ..order(OrderEvent::OrderConfirmed {}) };
    assert_eq!(publish(&event), []);
}

#[test]
fn an_event_of_ours_that_cannot_be_read_is_never_skipped() {
    let error = AnyEvent::decode("Order", "OrderPlaced", "9.0", "{}").unwrap_err();
    let body = Body::Unreadable { payload: "{}".into(), error };
    let (event_type, event_version) = (Cow::Borrowed("OrderPlaced"), Cow::Borrowed("9.0"));
    let event = RecordedEvent { body, event_type, event_version, ..order(OrderEvent::OrderConfirmed {}) };
    let error = publisher().publish(&event).unwrap_err();
    assert!(matches!(error, ContractError::Unreadable { position: POSITION, .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("4711") && told.contains("Order/OrderPlaced 9.0"), "{told}");
}

#[test]
fn a_value_that_the_messages_have_no_room_for_is_never_cut() {
    let hold_id = HoldId::parse("h").unwrap();
    let expires_at = "2027-01-01T00:00:00Z".parse().unwrap();
    let won = Money { minor: u64::MAX, currency: Currency::parse("KRW").unwrap() };
    let customer = CustomerRef::parse("c").unwrap();
    for event in [
        slot(SlotEvent::UnitsHeld { hold_id, quantity: Quantity::new(u32::MAX), expires_at, holder: Holder::Caller, counts: Counts::default() }),
        slot(SlotEvent::CapacityAdjusted { counts: counts(1 << 31, 0, 0, Sale::Open) }),
        order(OrderEvent::OrderPlaced { customer, lines: [].into(), total: won, hold_seconds: 600, personal: None }),
        order(OrderEvent::OrderCancelled { reason: String::new(), was: OrderStatus::Expired }),
    ] {
        let told = publisher().publish(&event);
        assert!(matches!(told, Err(ContractError::OutOfRange { position: POSITION, .. })), "{told:?}");
    }
}

#[test]
fn an_order_that_is_given_back_says_where_it_stood() {
    for (was, told) in
        [(OrderStatus::Placed, "ORDER_STATE_ACCEPTED"), (OrderStatus::Held, "ORDER_STATE_HELD"), (OrderStatus::Confirmed, "ORDER_STATE_CONFIRMED")]
    {
        let event = order(OrderEvent::OrderCancelled { reason: "rain".into(), was });
        assert_eq!(data(&publish(&event)[0]), json!({ "orderId": "o-1", "reason": "rain", "previousState": told }));
    }
}

#[test]
fn what_is_absent_is_left_out_and_what_is_nothing_is_written() {
    let pool_id = PoolId::parse("poster").unwrap();
    let opened = SlotEvent::SlotOpened { pool_id, window: None, counts: Counts::default() };
    let nothing = json!({ "capacity": 0, "held": 0, "confirmed": 0, "available": 0 });
    let event = recorded("InventorySlot", "poster@stock", AnyEvent::InventorySlot(opened));
    assert_eq!(data(&publish(&event)[0]), json!({ "slotId": "poster@stock", "poolId": "poster", "counts": nothing }));
    let event = order(OrderEvent::OrderRejected { failures: vec![] });
    assert_eq!(data(&publish(&event)[0]), json!({ "orderId": "o-1", "failures": [] }));
}

#[test]
fn a_change_of_what_can_be_booked_is_told_beside_its_event() {
    let closed = slot(SlotEvent::SlotClosed { counts: Some(counts(100, 7, 30, Sale::Closed)) });
    let [event, beside] = &publish(&closed)[..] else { panic!() };
    assert_eq!((event.topic, event.attributes.id.as_str()), (Topic::Slot, "4711"));
    assert_eq!((beside.topic, beside.attributes.id.as_str(), &*beside.key), (Topic::Availability, "4711.1", SLOT));
    assert_eq!(beside.attributes.subject.as_deref(), Some("slots/gallery@20270101T000000Z"));
    let counts = json!({ "capacity": 100, "held": 7, "confirmed": 30, "available": 63 });
    let expected = json!({ "slotId": SLOT, "poolId": "gallery", "counts": counts, "saleState": "SLOT_STATE_CLOSED", "position": "4711" });
    assert_eq!(data(beside), expected);
}

#[test]
fn the_state_of_the_sale_is_that_after_the_event() {
    for (sale, told) in [(Sale::Open, "SLOT_STATE_OPEN"), (Sale::Suspended, "SLOT_STATE_SUSPENDED"), (Sale::Closed, "SLOT_STATE_CLOSED")] {
        let event = slot(SlotEvent::CapacityAdjusted { counts: counts(5, 3, 4, sale) });
        let beside = data(&publish(&event)[1]);
        assert_eq!((&beside["saleState"], &beside["counts"]["available"]), (&json!(told), &json!(0)), "overcommitted: none are free");
    }
}

#[test]
fn a_hold_that_lasts_longer_changes_nothing_that_can_be_booked() {
    let extended = SlotEvent::HoldExtended { hold_id: HoldId::parse("h").unwrap(), expires_at: "2027-01-01T00:00:00Z".parse().unwrap() };
    assert_eq!(publish(&slot(extended)).iter().map(|message| message.topic).collect::<Vec<_>>(), [Topic::Slot]);
}

#[test]
fn a_suspension_from_before_events_said_their_counts_is_told_without_them() {
    for event_type in ["SlotSuspended", "SlotResumed", "SlotClosed"] {
        let event = recorded("InventorySlot", SLOT, golden("InventorySlot", event_type, "1.0"));
        assert_eq!(publish(&event).iter().map(|message| message.topic).collect::<Vec<_>>(), [Topic::Slot], "{event_type}: counts are not made up");
    }
}

#[test]
fn every_version_and_form_of_every_event_that_a_log_may_hold_is_told() {
    let mut told = 0;
    for (aggregate_type, event_version, event) in written() {
        let event_type = event.event_type();
        // as stored: the body is today's
        let messages = publish(&RecordedEvent { event_version: Cow::Owned(event_version.clone()), ..recorded(aggregate_type, SLOT, event) });
        assert!(messages[0].attributes.event_type.ends_with(&format!(".{event_type}")), "{event_type} {event_version}");
        told += 1;
    }
    let today: usize = EVENT_TYPES.iter().map(|(_, events)| events.len()).sum();
    assert!(told > today, "{told} of {today}: older versions are among them");
}

#[test]
fn the_same_event_gives_the_same_bytes_whenever_it_is_told() {
    let event = slot(SlotEvent::CapacityAdjusted { counts: counts(5, 0, 0, Sale::Open) });
    assert_eq!(publish(&event), publish(&event.clone()));
}

#[test]
fn an_instant_has_as_many_digits_as_canonical_json_gives_it() {
    let text = |text: &str| Time::from(text.parse::<jiff::Timestamp>().unwrap()).to_string();
    for canonical in [
        "2027-01-01T00:00:00Z",
        "2027-01-01T00:00:00.500Z",
        "2027-01-01T00:00:00.000500Z",
        "2027-01-01T00:00:00.000000500Z",
        "1969-12-31T23:59:59.500Z",
    ] {
        assert_eq!(text(canonical), canonical);
    }
    assert_eq!(text("2027-01-01T09:00:00.1+09:00"), "2027-01-01T00:00:00.100Z");
}

#[test]
fn a_number_of_64_bits_is_text_and_nothing_else() {
    let read = |text: &str| serde_json::from_str::<Int64>(text).map(Int64::get).ok();
    assert_eq!(read("\"9223372036854775807\""), Some(9_223_372_036_854_775_807));
    for bad in ["7", "\"-1\"", "\"\"", "\"1.5\"", "\"9223372036854775808\"", "null"] {
        assert_eq!(read(bad), None, "{bad}");
    }
    assert_eq!(serde_json::to_string(&Int64::new(24_000, "").unwrap()).unwrap(), "\"24000\"");
}
