//! Every version of every event that was ever written has a file in `golden/`, named `Aggregate/Event.version.json`: what it looks like
//! in storage. An event that is written in a second form, with fields that it mostly goes without, has a file for that as well, named
//! `Aggregate/Event.version.form.json`. A file is never edited: logs are full of what it shows. `GOLDEN=new cargo test -p jari-domain golden` writes the
//! files of new events, versions and forms, and leaves the others alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    AnyEvent, Currency, DecodeError, Money, Quantity, Sealed,
    given::t,
    ids::{CustomerRef, HoldId, OptionId, PoolId, ProductId, SlotId, UnitId},
    order::{LineFailure, LineUnit, OrderEvent, OrderLine, OrderStatus, SlotDraw},
    product::{Draw, ProductEvent, ProductOption, SaleMode, Unit},
    registry::EVENT_TYPES,
    slot::{Counts, Holder, Sale, SlotEvent, Window},
};

/// How many files show a version that is written no more. Raise it with each new version of an event.
const OLDER_VERSIONS: usize = 5;

/// Sealed once, under a fixed key for a fixed order: `infra/sealing/src/vectors.rs` opens what the golden file has of it.
const PERSONAL: &str = "sealed:v1:0b7e4f0d6d2c4a519a3c5d1f2e8b7c60:JCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkyuU7Ef_ZDAcAYvOZZ1Ty3YTVIIjrCda7Eu0H8jG6l15G2UDNbCakJpYEKrTs1E4I_kDMpT0LxP4P5cul6IaIM-bmuBJqEw4w0V5foFelgtQ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn won(minor: u64) -> Money {
    Money { minor, currency: Currency::parse("KRW").unwrap() }
}

fn units(units: u32) -> Quantity {
    Quantity::new(units)
}

fn product_events() -> Vec<ProductEvent> {
    let adult = Unit { unit_id: UnitId::parse("adult").unwrap(), title: "어른 Adult".into(), price: won(12_000), heads: 1 };
    let family = Unit { unit_id: UnitId::parse("family").unwrap(), title: "Family of four".into(), price: won(36_000), heads: 4 };
    let option = ProductOption {
        option_id: OptionId::parse("guided").unwrap(),
        title: "Guided tour".into(),
        units: vec![adult, family],
        draws: vec![
            Draw { pool_id: PoolId::parse("gallery").unwrap(), per_head: 1 },
            Draw { pool_id: PoolId::parse("headset").unwrap(), per_head: 2 },
        ],
    };
    vec![
        ProductEvent::ProductDrafted {
            title: "Night at the museum".into(),
            sale_mode: SaleMode::Reservation,
            time_zone: "Asia/Seoul".into(),
            currency: Currency::parse("KRW").unwrap(),
            hold_seconds: 600,
            cut_off_seconds: 1_800,
        },
        ProductEvent::OptionDefined { option },
        ProductEvent::OptionWithdrawn { option_id: OptionId::parse("guided").unwrap() },
        ProductEvent::ProductLaunched {},
        ProductEvent::ProductSuspended { reason: "Flood in the east wing".into() },
        ProductEvent::ProductResumed {},
        ProductEvent::ProductEnded {},
    ]
}

fn slot_events() -> Vec<SlotEvent> {
    let hold_id = HoldId::parse("0193f1a2-order-7").unwrap();
    let counts = Counts { capacity: units(100), held: units(7), confirmed: units(30), ..Counts::default() };
    let while_it = |sale| Some(Counts { sale, ..counts });
    let held = |holder| SlotEvent::UnitsHeld { hold_id: hold_id.clone(), quantity: units(2), expires_at: t(-86_400), holder, counts };
    let cancelled = |holder| SlotEvent::UnitsCancelled { hold_id: hold_id.clone(), quantity: units(1), holder, counts };
    vec![
        SlotEvent::SlotOpened {
            pool_id: PoolId::parse("gallery").unwrap(),
            window: Some(Window { starts_at: t(0), ends_at: t(3_600) }),
            counts: Counts { capacity: units(100), ..Counts::default() },
        },
        held(Holder::Caller),
        held(Holder::Order),
        SlotEvent::HoldExtended { hold_id: hold_id.clone(), expires_at: t(-86_300) },
        SlotEvent::HoldConfirmed { hold_id: hold_id.clone(), quantity: units(2), counts },
        SlotEvent::HoldReleased { hold_id: hold_id.clone(), quantity: units(2), counts },
        SlotEvent::HoldExpired { hold_id: hold_id.clone(), quantity: units(2), expired_at: t(-86_300), counts },
        cancelled(Holder::Caller),
        cancelled(Holder::Order),
        SlotEvent::CapacityAdjusted { counts },
        SlotEvent::SlotSuspended { reason: "Storm warning".into(), counts: while_it(Sale::Suspended) },
        SlotEvent::SlotResumed { counts: while_it(Sale::Open) },
        SlotEvent::SlotClosed { counts: while_it(Sale::Closed) },
    ]
}

fn order_events() -> Vec<OrderEvent> {
    let slot_id = SlotId::parse("gallery@20270101T000000Z").unwrap();
    let line = OrderLine {
        product_id: ProductId::parse("museum").unwrap(),
        option_id: OptionId::parse("guided").unwrap(),
        starts_at: Some(t(0)),
        units: vec![LineUnit { unit_id: UnitId::parse("adult").unwrap(), quantity: units(2), price: won(12_000) }],
        draws: vec![SlotDraw { slot_id: slot_id.clone(), quantity: units(2) }],
        total: won(24_000),
    };
    let failure = LineFailure {
        line: 0,
        slot_id,
        code: "SLOT_HELD_BY_OTHERS".into(),
        message: "2 units were asked for and 1 are free; others hold 9, which may come back".into(),
        details: BTreeMap::from([("available".into(), "1".into()), ("requested".into(), "2".into())]),
        retryable: true,
    };
    vec![
        OrderEvent::OrderPlaced {
            customer: CustomerRef::parse("c-81723").unwrap(),
            lines: [line].into(),
            total: won(24_000),
            hold_seconds: 600,
            personal: Some(Sealed::parse(PERSONAL).unwrap()),
        },
        OrderEvent::OrderHeld { expires_at: t(-86_400) },
        OrderEvent::OrderRejected { failures: vec![failure] },
        OrderEvent::OrderConfirmed {},
        OrderEvent::OrderExpired { expired_at: t(-86_400) },
        OrderEvent::OrderCancelled { reason: "Changed my mind".into(), was: OrderStatus::Confirmed },
    ]
}

fn samples() -> Vec<AnyEvent> {
    let products = product_events().into_iter().map(AnyEvent::Product);
    let slots = slot_events().into_iter().map(AnyEvent::InventorySlot);
    products.chain(slots).chain(order_events().into_iter().map(AnyEvent::Order)).collect()
}

/// What a form in which an event is written beside its usual one adds to the name of its file. `holder` is written of orders only.
fn form(event: &AnyEvent) -> &'static str {
    match event {
        AnyEvent::InventorySlot(SlotEvent::UnitsHeld { holder: Holder::Order, .. } | SlotEvent::UnitsCancelled { holder: Holder::Order, .. }) => {
            ".order"
        }
        _ => "",
    }
}

/// Where the file of an event as it is written today stands.
fn file_of(event: &AnyEvent) -> PathBuf {
    root().join(event.aggregate_type()).join(format!("{}.{}{}.json", event.event_type(), event.event_version(), form(event)))
}

/// Event and version of `Event.version.json` and of `Event.version.form.json`.
fn named(file: &str) -> Option<(&str, &str)> {
    let (event_type, rest) = file.strip_suffix(".json")?.split_once('.')?;
    let version = rest.match_indices('.').nth(1).map_or(rest.len(), |(form, _)| form);
    Some((event_type, &rest[..version]))
}

#[test]
fn every_event_type_has_a_sample_for_its_golden_file() {
    let samples = samples();
    for (aggregate, events) in EVENT_TYPES {
        for (event_type, _) in *events {
            let found = samples.iter().any(|sample| (sample.aggregate_type(), sample.event_type()) == (*aggregate, *event_type));
            assert!(found, "{aggregate}/{event_type} is new: add a sample of it to golden.rs");
        }
    }
}

#[test]
fn what_is_written_today_equals_its_golden_file_byte_for_byte() {
    for sample in samples() {
        let path = file_of(&sample);
        let written = sample.to_payload().unwrap() + "\n";
        if !path.exists() && std::env::var("GOLDEN").is_ok_and(|value| value == "new") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &written).unwrap();
        }
        let stored =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}. Write it: GOLDEN=new cargo test -p jari-domain golden", path.display()));
        assert_eq!(
            stored,
            written,
            "{} shows what logs hold. The shape changed: give the event a new version in its event.rs, lift the old one in upcast, write the \
             new file (GOLDEN=new), and leave this file as it is",
            path.display()
        );
        let read = AnyEvent::decode(sample.aggregate_type(), sample.event_type(), sample.event_version(), &stored);
        assert_eq!(read, Ok(sample), "nothing of {} is lost in reading", path.display());
    }
}

#[test]
fn every_golden_file_of_whatever_version_can_still_be_read() {
    let mut files = 0;
    for aggregate in fs::read_dir(root()).unwrap() {
        let aggregate = aggregate.unwrap();
        for file in fs::read_dir(aggregate.path()).unwrap() {
            let file = file.unwrap();
            let (folder, name) = (aggregate.file_name(), file.file_name());
            let (folder, name) = (folder.to_str().unwrap(), name.to_str().unwrap());
            let (event_type, version) = named(name).unwrap();
            let payload = fs::read_to_string(file.path()).unwrap();
            let event = AnyEvent::decode(folder, event_type, version, &payload)
                .unwrap_or_else(|e| panic!("golden/{folder}/{name}: {e}. Logs hold such events: lift them in upcast, and keep the file"));
            assert_eq!((event.aggregate_type(), event.event_type()), (folder, event_type));
            files += 1;
        }
    }
    let current: BTreeSet<PathBuf> = samples().iter().map(file_of).collect();
    assert_eq!(current.len(), samples().len(), "each sample has a file of its own");
    assert_eq!(files, current.len() + OLDER_VERSIONS, "a golden file is never removed: logs hold what it shows");
}

#[test]
fn a_draft_from_before_cut_offs_is_lifted_to_one_without_a_cut_off() {
    let old = fs::read_to_string(root().join("Product/ProductDrafted.1.0.json")).unwrap();
    assert!(!old.contains("cut_off_seconds"), "version 1.0 knew no cut-off");
    let lifted = AnyEvent::decode("Product", "ProductDrafted", "1.0", &old).unwrap();
    let AnyEvent::Product(ProductEvent::ProductDrafted { title, cut_off_seconds, .. }) = &lifted else { panic!("{lifted:?}") };
    assert_eq!((title.as_str(), *cut_off_seconds), ("Night at the museum", 0));
    assert_eq!(lifted.event_version(), "1.1", "it is written again only as what it is today");
}

#[test]
fn an_order_from_before_personal_data_is_lifted_to_one_without_any() {
    let old = fs::read_to_string(root().join("Order/OrderPlaced.1.0.json")).unwrap();
    let lifted = AnyEvent::decode("Order", "OrderPlaced", "1.0", &old).unwrap();
    assert_eq!(lifted.to_payload().unwrap() + "\n", old, "and costs no byte that it did not cost before");
    assert_eq!(lifted.event_version(), "1.1");
}

#[test]
fn an_event_that_this_program_cannot_know_is_not_guessed_at() {
    let unknown = |aggregate_type, event_type: &str, event_version: &str| DecodeError::UnknownEvent {
        aggregate_type,
        event_type: event_type.into(),
        event_version: event_version.into(),
    };
    for (aggregate, event, version) in [
        ("Product", "ProductDrafted", "9.0"),
        ("Product", "ProductRenamed", "1.0"),
        ("InventorySlot", "UnitsHeld", "0.9"),
        ("InventorySlot", "OrderPlaced", "1.0"),
        ("Order", "OrderPlaced", ""),
    ] {
        assert_eq!(AnyEvent::decode(aggregate, event, version, "{}"), Err(unknown(aggregate, event, version)));
    }
    assert_eq!(AnyEvent::decode("Session", "Begun", "1.0", "{}"), Err(DecodeError::UnknownAggregate("Session".into())));
    for (event, version, payload) in [
        ("ProductEnded", "1.0", r#"{"ProductResumed":{}}"#),
        ("ProductDrafted", "1.0", r#"{"ProductResumed":{}}"#),
        ("ProductDrafted", "1.0", "{"),
        ("ProductDrafted", "1.1", r#"{"ProductDrafted":{"title":"no more"}}"#),
    ] {
        let decoded = AnyEvent::decode("Product", event, version, payload);
        assert!(matches!(decoded, Err(DecodeError::Payload { .. })), "{payload}: {decoded:?}");
    }
}
