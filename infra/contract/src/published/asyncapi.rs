//! The AsyncAPI 3.0 document, from the integrator's side: what their program receives, and what it may send.

use serde_json::{Map, Value, json};

use super::examples::Example;
use crate::{PublicType, Topic, catalogue::public_types};

/// Of the published contract. The first number is that of the topics.
const VERSION: &str = "1.1.0";

const KAFKA_BINDING: &str = "0.5.0";

const DESCRIPTION: &str = "What happened to products, slots and orders, signed heads of the log, and commands on orders, as CloudEvents 1.0 in Kafka's binary mode: attributes in \
    headers, data as JSON in the value. The data is the canonical proto3 JSON of the message that `ce_type` names. Written from the integrator's side. Properties, \
    headers and event types may be added: ignore those that you do not know. Schemas are JSON Schema 2020-12, and use nothing that a reader of \
    draft 7 does not understand.";

/// The headers: name, whether each record has it, and its schema but for what an event's own type says of it.
const HEADERS: &[(&str, bool, &str)] = &[
    ("content-type", true, "Of the value."),
    ("ce_specversion", true, "Of CloudEvents."),
    (
        "ce_id",
        true,
        "Position in the log, in decimal; with `.1` behind it for what is told beside an event, `.head` for a signed head. A UUID for commands and what is told of them. Unique within `ce_source`: a repeated delivery has the same.",
    ),
    ("ce_source", true, "`urn:uuid:` and the log's id. Of a command: the program that sends it."),
    ("ce_type", true, "Full name of the message in `proto/` whose JSON the value is."),
    ("ce_time", true, "When it was recorded, with microseconds. Of events it never runs back from one position to the next."),
    ("ce_dataschema", true, "`$id` of the value's JSON Schema: a name, not an address."),
    ("ce_sequence", true, "The position in 20 digits, so that text sorts as the log does."),
    ("ce_streamversion", true, "Its place in the stream of what it happened to, from 1, in decimal."),
    ("ce_subject", false, "What it happened to: `orders/<id>`, `slots/<id>`, `products/<id>` or `logs/<id>`."),
    ("ce_partitionkey", false, "The record's key."),
    ("ce_correlationid", false, "The first command of the chain of causes; of a refusal the command."),
    ("ce_causationid", false, "`ce_id` of the event that caused it; absent when a caller did."),
    ("ce_traceparent", false, "W3C trace context of the call that caused it."),
];

/// The key of each topic's records, as a property of the value.
pub(super) fn key_property(topic: Topic) -> &'static str {
    match topic {
        Topic::Product => "productId",
        Topic::Slot | Topic::Availability => "slotId",
        Topic::Order | Topic::OrderCommand | Topic::RefusedOrderCommand => "orderId",
        Topic::LogHead => "logId",
    }
}

fn area(topic: Topic) -> &'static str {
    match topic {
        Topic::Product => "product",
        Topic::Slot => "slot",
        Topic::Order => "order",
        Topic::Availability => "availability",
        Topic::LogHead => "log-head",
        Topic::OrderCommand => "order-command",
        Topic::RefusedOrderCommand => "refused-order-command",
    }
}

fn of(topic: Topic) -> impl Iterator<Item = &'static PublicType> {
    public_types().filter(move |public| public.topic == topic)
}

/// The document. Its references are relative to where it stands in `published/v1`.
pub(super) fn document(examples: &[Example]) -> Value {
    let messages: Map<_, _> = Example::one_of_each(examples).into_iter().map(|example| (example.of.name.to_owned(), message(example))).collect();
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:jari:contract:v1",
        "info": { "title": "Jari: public events", "version": VERSION, "description": DESCRIPTION, "license": { "name": "Apache-2.0" } },
        "defaultContentType": "application/json",
        "channels": Topic::ALL.into_iter().map(|topic| (area(topic).to_owned(), channel(topic))).collect::<Map<_, _>>(),
        "operations": Topic::ALL.into_iter().map(|topic| (format!("{}-{}", action(topic), area(topic)), operation(topic))).collect::<Map<_, _>>(),
        "components": { "messages": messages },
    })
}

fn channel(topic: Topic) -> Value {
    let settings = topic.settings();
    let policy = if settings.compacted { "compact" } else { "delete" };
    json!({
        "address": topic.name(),
        "title": topic.name(),
        "description": topic.description(),
        "messages": of(topic).map(|public| (public.name.to_owned(), reference(&format!("#/components/messages/{}", public.name)))).collect::<Map<_, _>>(),
        "bindings": { "kafka": {
            "topic": topic.name(),
            "partitions": settings.partitions,
            "topicConfiguration": { "cleanup.policy": [policy], "retention.ms": settings.retention_ms },
            "bindingVersion": KAFKA_BINDING,
        } },
    })
}

/// What an integrator's program does there.
fn action(topic: Topic) -> &'static str {
    if topic.is_inbound() { "send" } else { "receive" }
}

fn operation(topic: Topic) -> Value {
    let channel = format!("#/channels/{}", area(topic));
    json!({
        "action": action(topic),
        "title": format!("{} {}", if topic.is_inbound() { "Send to" } else { "Follow" }, topic.name()),
        "channel": reference(&channel),
        "messages": of(topic).map(|public| reference(&format!("{channel}/messages/{}", public.name))).collect::<Vec<_>>(),
    })
}

fn message(example: &Example) -> Value {
    let Example { of, .. } = example;
    let schema = of.schema();
    json!({
        "name": of.event_type,
        "title": of.name,
        "summary": schema["description"],
        "contentType": "application/json",
        "headers": headers(of),
        "payload": reference(&format!("./schemas/{}.json", of.event_type)),
        "bindings": { "kafka": {
            "key": { "type": "string", "description": format!("`{}` of the value.", key_property(of.topic)) },
            "bindingVersion": KAFKA_BINDING,
        } },
        "x-key-property": key_property(of.topic),
        "examples": [{ "name": of.name, "headers": example.headers(), "payload": example.data() }],
    })
}

/// Where the table says so, but for what a topic cannot know: what tells of no event has no place in a stream, a command none in the log.
fn is_always_there(of: &PublicType, header: &str, told: bool) -> bool {
    let (of_streams, of_positions) = (header == "ce_streamversion", header == "ce_sequence");
    match of.topic {
        Topic::Product | Topic::Slot | Topic::Order | Topic::Availability => told,
        Topic::LogHead => told && !of_streams,
        Topic::RefusedOrderCommand => told && !of_streams && !of_positions,
        Topic::OrderCommand => matches!(header, "ce_specversion" | "ce_id" | "ce_source" | "ce_type"),
    }
}

/// The schema of the headers of a type's records.
pub(super) fn headers(of: &PublicType) -> Value {
    let schema = |name: &str, description: &str| {
        let mut schema = json!({ "type": "string", "description": description });
        match name {
            "content-type" => schema["const"] = "application/json".into(),
            "ce_specversion" => schema["const"] = "1.0".into(),
            "ce_type" => schema["const"] = of.event_type.into(),
            "ce_time" => schema["format"] = "date-time".into(),
            _ => {}
        }
        schema
    };
    json!({
        "type": "object",
        "required": HEADERS.iter().filter(|(name, always, _)| is_always_there(of, name, *always)).map(|(name, ..)| *name).collect::<Vec<_>>(),
        "properties": HEADERS.iter().map(|(name, _, description)| ((*name).to_owned(), schema(name, description))).collect::<Map<_, _>>(),
    })
}

fn reference(to: &str) -> Value {
    json!({ "$ref": to })
}
