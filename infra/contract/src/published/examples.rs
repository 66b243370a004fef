//! Examples: what the golden events of the domain are told as, all with the same metadata.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jari_domain::{
    AnyEvent, Decider, Position,
    order::Order,
    product::Product,
    registry::{EVENT_TYPES, static_type},
    slot::InventorySlot,
};
use jari_event_store::{Body, Metadata, RecordedEvent};
use serde_json::{Value, json};

use crate::{
    LogHeadSigned, PublicMessage, PublicType, Publisher,
    catalogue::public_types,
    log_head,
    order_command::{CancelOrderCommand, ConfirmOrderCommand, LineRequest, OrderCommandRefused, PlaceOrderCommand, UnitQuantity, send},
    public_events,
    value::{Count, Int64, Time},
};

pub(crate) const POSITION: Position = Position::new(4_711);

/// One message, and what the catalogue says of it.
pub(crate) struct Example {
    pub(crate) of: &'static PublicType,
    /// The private event that it was told of.
    pub(crate) private: &'static str,
    pub(crate) message: PublicMessage,
}

impl Example {
    pub(crate) fn data(&self) -> Value {
        serde_json::from_slice(&self.message.data).unwrap()
    }

    pub(crate) fn headers(&self) -> BTreeMap<&str, &str> {
        self.message.attributes.headers().collect()
    }

    /// The whole record, for people.
    pub(crate) fn record(&self) -> Value {
        json!({ "topic": self.message.topic.name(), "key": &*self.message.key, "headers": self.headers(), "value": self.data() })
    }

    /// The first of each type. Several events of a slot are told beside as one type.
    pub(crate) fn one_of_each(all: &[Self]) -> Vec<&Self> {
        public_types().filter_map(|public| all.iter().find(|example| example.of.event_type == public.event_type)).collect()
    }
}

/// The publisher of the examples' log.
pub(crate) fn publisher() -> Publisher {
    Publisher::new("01980000-0000-7000-8000-000000000001".parse().unwrap())
}

/// An event of this stream, with metadata as the engine writes it.
pub(crate) fn recorded(aggregate_type: &'static str, id: &str, event: AnyEvent) -> RecordedEvent {
    RecordedEvent {
        position: POSITION,
        aggregate_type: static_type(aggregate_type).map_or(Cow::Borrowed(aggregate_type), Cow::Borrowed),
        aggregate_id: id.into(),
        sequence: 3,
        event_type: event.event_type().into(),
        event_version: event.event_version().into(),
        body: Body::Known(event),
        metadata: Arc::new(Metadata {
            command_id: Some("019b4f2e-8c00-7a31-9f00-00000000c0de".into()),
            correlation_id: Some("019b4f2e-8c00-7a31-9f00-00000000cafe".into()),
            causation: Some("4707".into()),
            actor: Some("engine/settlement".into()),
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            ..Metadata::default()
        }),
        recorded_at: "2026-12-24T09:00:00.25Z".parse().unwrap(),
    }
}

fn stream(aggregate_type: &str) -> &'static str {
    match aggregate_type {
        Product::TYPE => "museum",
        InventorySlot::TYPE => "gallery@20270101T000000Z",
        Order::TYPE => "0193f1a2-order-7",
        other => panic!("{other} is a new aggregate: give its examples an id"),
    }
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../domain/golden")
}

/// Every version and form of every event that was ever written: its aggregate, its version, and the event.
pub(crate) fn written() -> Vec<(&'static str, String, AnyEvent)> {
    let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    let folder = golden_folder();
    let of = |aggregate: &String| names(&folder.join(aggregate)).into_iter().map(|file| (aggregate.clone(), file)).collect::<Vec<_>>();
    let read = |(aggregate, file): (String, String)| {
        // `Event.version.json`, or `Event.version.form.json`
        let parts: Vec<&str> = file.split('.').collect();
        let version = format!("{}.{}", parts[1], parts[2]);
        let aggregate = static_type(&aggregate).unwrap();
        (aggregate, version.clone(), decoded(aggregate, parts[0], &version, &file))
    };
    names(&folder).iter().flat_map(of).map(read).collect()
}

/// The golden event of this type and version, in its usual form.
pub(crate) fn golden(aggregate_type: &str, event_type: &str, event_version: &str) -> AnyEvent {
    decoded(aggregate_type, event_type, event_version, &format!("{event_type}.{event_version}.json"))
}

fn decoded(aggregate_type: &str, event_type: &str, event_version: &str, file: &str) -> AnyEvent {
    let path = golden_folder().join(aggregate_type).join(file);
    let payload = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    AnyEvent::decode(aggregate_type, event_type, event_version, &payload).unwrap()
}

/// A head that was signed with the first key of RFC 8032's test vectors.
pub(crate) fn head() -> Example {
    let told = LogHeadSigned {
        log_id: "01980000-0000-7000-8000-000000000001".into(),
        position: Int64::position(POSITION),
        head: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        signed_at: "2026-12-24T09:00:30.5Z".into(),
        public_key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".into(),
        signature: "w+JJ4nmEg21TnrscjAUnXzaXfuUpfk8lM2BiAIIS/QO/tqKPniQP446bdyX/4xQroAgxK9hbsKuVt3MdmWnQDg==".into(),
    };
    Example { of: log_head::TYPE, private: "", message: publisher().publish_head(&told) }
}

/// Commands as an integrator sends them, and one that was refused.
pub(crate) fn commands() -> Vec<Example> {
    let (order, source) = ("0193f1a2-order-7", "urn:example:kiosk-7");
    let (id, at) = ("019b4f2e-8c00-7a31-9f00-00000000cafe".parse().unwrap(), "2026-12-24T08:59:59.75Z".parse().unwrap());
    let line = LineRequest {
        product_id: "museum".into(),
        option_id: "general".into(),
        starts_at: Some(Time::from("2027-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap())),
        units: vec![UnitQuantity { unit_id: "adult".into(), quantity: Count::new(2, "two").unwrap() }],
    };
    let place = PlaceOrderCommand { order_id: order.into(), customer: "customer-1".into(), lines: vec![line] };
    let confirm = ConfirmOrderCommand { order_id: order.into() };
    let cancel = CancelOrderCommand { order_id: order.into(), reason: "rain".into() };
    let refused = OrderCommandRefused {
        order_id: order.into(),
        code: "ORDER_NOT_FOUND".into(),
        message: "there is no such order".into(),
        details: BTreeMap::from([("order_id".into(), order.into())]),
        retryable: false,
        command_id: "019b4f2e-8c00-7a31-9f00-00000000cafe".into(),
        command_source: source.into(),
        command_type: "reservation.order.v1.ConfirmOrderCommand".into(),
        command: format!("{{\"orderId\":\"{order}\"}}"),
        partition: Count::new(3, "a partition").unwrap(),
        offset: Int64::offset(1_234),
        refused_at: Time::from("2026-12-24T09:00:00.25Z".parse::<jiff::Timestamp>().unwrap()),
    };
    let log = "01980000-0000-7000-8000-000000000001".parse().unwrap();
    let messages = [
        send(&place, order, id, source, at),
        send(&confirm, order, id, source, at),
        send(&cancel, order, id, source, at),
        refused.publish("019b4f2e-8c00-8a31-9f00-00000000beef".parse().unwrap(), log),
    ];
    let of = |message: &PublicMessage| public_types().find(|public| public.event_type == message.attributes.event_type).unwrap();
    messages.into_iter().map(|message| Example { of: of(&message), private: "", message }).collect()
}

/// What each event that the domain writes today is told as, a signed head, and commands.
pub(crate) fn all() -> Vec<Example> {
    let mut examples = vec![head()];
    examples.extend(commands());
    for (aggregate_type, events) in EVENT_TYPES {
        for (event_type, event_version) in *events {
            let event = recorded(aggregate_type, stream(aggregate_type), golden(aggregate_type, event_type, event_version));
            let messages = publisher().publish(&event).unwrap_or_else(|e| panic!("{e}"));
            assert!(!messages.is_empty(), "{aggregate_type}/{event_type} is told to nobody");
            examples.extend(messages.into_iter().map(|message| Example {
                of: public_events().find(|public| public.event_type == message.attributes.event_type).expect("what is told is in the catalogue"),
                private: event_type,
                message,
            }));
        }
    }
    examples
}
