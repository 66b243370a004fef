//! What is a command, and what is told of what is none.

use std::{fs, path::Path};

use jari_contract::OrderCommandRefused;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    command::{Command, Refusal, read},
    dead_letter,
    record::Record,
};

const NOW: &str = "2026-12-24T09:00:00Z";
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A record as a sender writes it.
fn record(kind: &str, value: &Value) -> Record {
    let headers = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "019b4f2e-8c00-7a31-9f00-00000000cafe"),
        ("ce_source", "urn:example:kiosk-7"),
        ("ce_type", kind),
    ];
    Record {
        partition: 3,
        offset: 17,
        time_ms: Some(now().as_millisecond()),
        key: b"o-1".to_vec(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec(),
        value: value.to_string().into_bytes(),
    }
}

fn place(value: &Value) -> Record {
    record("reservation.order.v1.PlaceOrderCommand", value)
}

fn order() -> Value {
    json!({ "orderId": "o-1", "customer": "c-1", "lines": [{ "productId": "museum", "optionId": "general", "units": [{ "unitId": "adult", "quantity": 2 }] }] })
}

fn with(mut record: Record, header: &str, value: Option<&str>) -> Record {
    record.headers.retain(|(name, _)| name != header);
    record.headers.extend(value.map(|value| (header.to_owned(), value.as_bytes().to_vec())));
    record
}

fn refused(record: &Record) -> Refusal {
    read(record, now(), MONTH).unwrap_err()
}

#[test]
fn every_published_example_of_a_command_is_taken() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contract/published/v1/examples");
    let mut taken = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let example: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        if example["topic"] != "reservation.order-commands.v1" {
            continue;
        }
        let headers = example["headers"].as_object().unwrap();
        let record = Record {
            key: example["key"].as_str().unwrap().as_bytes().to_vec(),
            headers: headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().as_bytes().to_vec())).collect(),
            value: example["value"].to_string().into_bytes(),
            ..Record::default()
        };
        assert_eq!(read(&record, now(), MONTH).unwrap().command.order_id(), example["key"], "{example}");
        taken += 1;
    }
    assert_eq!(taken, 3);
}

#[test]
fn any_spelling_of_proto_json_is_the_same_command() {
    let canonical = read(&place(&order()), now(), MONTH).unwrap();
    let Command::Place(placed) = &canonical.command else { panic!("{canonical:?}") };
    assert_eq!((placed.customer.as_str(), placed.lines[0].units[0].quantity), ("c-1", 2));
    let other = json!({ "order_id": "o-1", "customer": "c-1", "lines": [{ "product_id": "museum", "option_id": "general", "starts_at": null, "units": [{ "unit_id": "adult", "quantity": "2" }] }] });
    assert_eq!(read(&place(&other), now(), MONTH).unwrap(), canonical);
    let without_defaults = record("reservation.order.v1.CancelOrderCommand", &json!({ "orderId": "o-1" }));
    assert!(matches!(read(&without_defaults, now(), MONTH).unwrap().command, Command::Cancel(cancel) if cancel.reason.is_empty()));
}

#[test]
fn headers_that_cannot_be_used_are_named_all_at_once() {
    let bare = Record { headers: Vec::new(), ..place(&order()) };
    let refusal = refused(&bare);
    assert_eq!(refusal.code, "COMMAND_HEADERS_INVALID");
    assert_eq!(refusal.details.keys().collect::<Vec<_>>(), ["ce_id", "ce_source", "ce_specversion"]);
    for (header, value) in [
        ("ce_id", Some("order-7")),
        ("ce_id", Some("00000000-0000-0000-0000-000000000000")),
        ("ce_source", Some("")),
        ("ce_source", Some("a\nb")),
        ("ce_specversion", Some("0.3")),
        ("content-type", Some("application/cloudevents+json; charset=utf-8")),
    ] {
        let refusal = refused(&with(place(&order()), header, value));
        assert_eq!(
            (refusal.code.as_str(), refusal.details.keys().collect::<Vec<_>>()),
            ("COMMAND_HEADERS_INVALID", vec![&header.to_owned()]),
            "{value:?}"
        );
    }
}

#[test]
fn what_is_no_command_is_refused_without_a_word_of_what_it_holds() {
    let secret = "Hong Gildong";
    let mut unknown = order();
    unknown["note"] = json!(secret);
    let mut person = order();
    person["contact"] = json!({ "name": secret });
    let mut kind = order();
    kind["customer"] = json!([secret]);
    let cut = Record { value: format!("{{\"customer\": \"{secret}").into_bytes(), ..place(&order()) };
    let trailing = Record { value: format!("{} {secret}", order()).into_bytes(), ..place(&order()) };
    let binary = Record { value: vec![0xff, 0xfe, 0], ..place(&order()) };
    let none = Record { value: Vec::new(), ..place(&order()) };
    for (record, code) in [
        (place(&unknown), "COMMAND_UNREADABLE"),
        (place(&person), "COMMAND_PERSONAL_DATA"),
        (place(&kind), "COMMAND_UNREADABLE"),
        (cut, "COMMAND_UNREADABLE"),
        (trailing, "COMMAND_UNREADABLE"),
        (binary, "COMMAND_UNREADABLE"),
        (none, "COMMAND_UNREADABLE"),
        (place(&json!([secret])), "COMMAND_UNREADABLE"),
        (with(place(&order()), "ce_type", Some("reservation.order.v1.PlaceOrderRequest")), "COMMAND_TYPE_UNKNOWN"),
        (with(place(&order()), "ce_type", None), "COMMAND_TYPE_UNKNOWN"),
    ] {
        let refusal = refused(&record);
        assert_eq!(refusal.code, code, "{refusal:?}");
        let letter = dead_letter::of(&record, refusal, Uuid::nil(), now());
        let told = String::from_utf8(letter.public.data).unwrap();
        assert!(!told.contains(secret) && told.contains("\"command\":\"\""), "{told}");
    }
}

#[test]
fn a_command_under_the_key_of_another_order_is_refused() {
    for key in [&b"o-2"[..], b"", &[0xff]] {
        let record = Record { key: key.to_vec(), ..place(&order()) };
        let refusal = refused(&record);
        assert_eq!(refusal.code, "COMMAND_KEY_INVALID");
        let letter = dead_letter::of(&record, refusal, Uuid::nil(), now());
        assert_eq!(&*letter.public.key, if key == b"o-2" { "o-2" } else { "" });
    }
}

#[test]
fn a_command_that_names_no_order_is_refused_under_whatever_key() {
    let kinds = ["PlaceOrderCommand", "ConfirmOrderCommand", "CancelOrderCommand"];
    for (kind, key) in kinds.iter().flat_map(|kind| [(kind, &b""[..]), (kind, b"o-1")]) {
        let mut value = if *kind == "PlaceOrderCommand" { order() } else { json!({}) };
        for id in [None, Some(json!("")), Some(Value::Null)] {
            value.as_object_mut().unwrap().remove("orderId");
            value.as_object_mut().unwrap().extend(id.map(|id| ("orderId".to_owned(), id)));
            let record = Record { key: key.to_vec(), ..record(&format!("reservation.order.v1.{kind}"), &value) };
            let refusal = refused(&record);
            assert_eq!(refusal.code, "COMMAND_KEY_INVALID", "{value}: whoever sends a command twice would order twice");
            assert!(refusal.message.contains("names no order"), "{refusal:?}");
        }
    }
}

#[test]
fn a_command_older_than_ids_are_remembered_is_not_executed() {
    let at = |age: SignedDuration| Record { time_ms: Some((now() - age).as_millisecond()), ..place(&order()) };
    assert!(read(&at(MONTH), now(), MONTH).is_ok());
    assert_eq!(refused(&at(MONTH + SignedDuration::from_secs(1))).code, "COMMAND_TOO_OLD");
}

#[test]
fn the_same_record_is_told_under_the_same_id_whenever_it_is_refused() {
    let record = place(&json!({}));
    let id = |record: &Record, at: Timestamp| dead_letter::of(record, refused(record), Uuid::nil(), at).public.attributes.id;
    assert_eq!(id(&record, now()), id(&record, now() + MONTH));
    assert_ne!(id(&record, now()), id(&Record { offset: 18, ..record.clone() }, now()));
    assert_ne!(id(&record, now()), id(&Record { time_ms: Some(1), ..record.clone() }, now()), "a topic that was made anew begins at 0 again");
}

#[test]
fn a_customer_or_an_order_that_is_no_reference_is_not_copied_into_the_letter() {
    let person = "gildong@example.com";
    let kept = |value: &str| {
        let record = Record { value: value.as_bytes().to_vec(), ..place(&order()) };
        let refusal = Refusal { code: "REQUEST_INVALID".into(), message: String::new(), details: [].into(), retryable: false };
        let letter = dead_letter::of(&record, refusal, Uuid::nil(), now()).public;
        let refused: OrderCommandRefused = serde_json::from_slice(&letter.data).unwrap();
        serde_json::from_str::<Value>(&refused.command).unwrap()
    };
    for name in ["customer", "orderId", "order_id"] {
        for wrong in [json!(person), json!("-c-1"), json!("x".repeat(65)), Value::Null] {
            let (mut sent, mut blank) = (order(), order());
            sent[name] = wrong;
            blank[name] = json!("");
            assert_eq!(kept(&sent.to_string()), blank, "{sent}");
        }
    }
    let twice = order().to_string().replacen('{', &format!("{{\"customer\":\"{person}\","), 1);
    assert_eq!(kept(&twice), order(), "the last one counts, and the first is as personal");
}

#[test]
fn what_was_not_decided_is_sent_again_under_its_own_id_and_what_was_refused_under_another() {
    let (letter, command) = (Uuid::from_u128(7), "019b4f2e-8c00-7a31-9f00-00000000cafe");
    let again = |code: &str| {
        let refusal = Refusal { code: code.into(), message: String::new(), details: [].into(), retryable: true };
        let public = dead_letter::of(&place(&order()), refusal, Uuid::nil(), now()).public;
        let refused = serde_json::from_slice(&public.data).unwrap();
        dead_letter::DeadLetter { offset: 0, id: letter, refused }.id_again()
    };
    for code in ["STREAM_UNREADABLE", "DECISION_FAILED", "LOG_REFUSED", "COMMAND_FAILED"] {
        assert_eq!(again(code).to_string(), command, "{code}: should it have been done after all, it is known");
    }
    for code in ["SLOT_SOLD_OUT", "ORDER_NOT_FOUND"] {
        assert_ne!(again(code).to_string(), command, "{code} is recorded under that id");
        assert_eq!(again(code), again(code));
    }
}

#[test]
fn whoever_reads_a_letter_finds_the_whole_command_and_where_it_stands() {
    let value = json!({ "orderId": "o-1", "reason": "rain" });
    let record = record("reservation.order.v1.CancelOrderCommand", &value);
    let refusal = Refusal {
        code: "ORDER_NOT_FOUND".into(),
        message: "there is no such order".into(),
        details: [("order_id".to_owned(), "o-1".to_owned())].into(),
        retryable: true,
    };
    let log_id: Uuid = "01980000-0000-7000-8000-000000000001".parse().unwrap();
    let letter = dead_letter::of(&record, refusal, log_id, now() + SignedDuration::from_millis(250));
    let expected = json!({
        "orderId": "o-1",
        "code": "ORDER_NOT_FOUND",
        "message": "there is no such order",
        "details": { "order_id": "o-1" },
        "retryable": true,
        "commandId": "019b4f2e-8c00-7a31-9f00-00000000cafe",
        "commandSource": "urn:example:kiosk-7",
        "commandType": "reservation.order.v1.CancelOrderCommand",
        "command": value.to_string(),
        "partition": 3,
        "offset": "17",
        "refusedAt": "2026-12-24T09:00:00.250Z",
    });
    assert_eq!(serde_json::from_slice::<Value>(&letter.public.data).unwrap(), expected);
    let attributes = &letter.public.attributes;
    assert_eq!((&*letter.public.key, attributes.subject.as_deref()), ("o-1", Some("orders/o-1")));
    assert_eq!(
        (&*attributes.source, attributes.correlation_id.as_deref()),
        ("urn:uuid:01980000-0000-7000-8000-000000000001", Some("019b4f2e-8c00-7a31-9f00-00000000cafe"))
    );
    assert_eq!((&*attributes.time, letter.recorded_ms), ("2026-12-24T09:00:00.250000Z", now().as_millisecond() + 250));
}
