//! Each rule of the comparison, once: what it finds, and what it lets pass.

use serde_json::{Value, json};

use super::compat::{Break, Published, breaks};

fn published() -> Published {
    let kafka = json!({ "partitions": 12, "topicConfiguration": { "cleanup.policy": ["delete"], "retention.ms": 1000 } });
    let headers =
        json!({ "type": "object", "required": ["ce_id"], "properties": { "ce_id": { "type": "string" }, "ce_subject": { "type": "string" } } });
    let schema = json!({
        "$id": "urn:x:Held:1.0",
        "type": "object",
        "description": "It is held.",
        "required": ["id", "state"],
        "properties": {
            "id": { "type": "string" },
            "until": { "type": "string", "format": "date-time" },
            "minor": { "type": "string", "pattern": "^[0-9]+$" },
            "units": { "type": "integer", "minimum": 0 },
            "state": { "description": "Where.", "$ref": "#/$defs/State" },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
            "details": { "type": "object", "additionalProperties": { "type": "string" } },
        },
        "$defs": {
            "State": { "oneOf": [{ "const": "OPEN", "type": "string" }, { "const": "CLOSED", "type": "string" }] },
            "Line": { "type": "object", "required": ["line"], "properties": { "line": { "type": "integer" } } },
        },
    });
    Published {
        document: json!({
            "channels": { "order": { "address": "order.v1", "messages": { "Held": {}, "Sold": {} }, "bindings": { "kafka": kafka } } },
            "components": { "messages": { "Held": { "name": "x.Held", "x-key-property": "id", "headers": headers } } },
        }),
        schemas: [("Held".to_owned(), schema)].into(),
    }
}

/// What is found when this is changed in the document, or in the schema with a new name.
fn found(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
    let mut new = published();
    let schema = new.schemas.get_mut("Held").unwrap();
    schema["$id"] = json!("urn:x:Held:1.1");
    change(&mut new.document, schema);
    breaks(&published(), &new).into_iter().map(|Break { at, what }| format!("{at}: {what}")).collect()
}

fn remove(value: &mut Value, pointer: &str, name: &str) {
    value.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

fn put(value: &mut Value, pointer: &str, name: &str, new: Value) {
    value.pointer_mut(pointer).unwrap()[name] = new;
}

#[test]
fn what_is_only_added_breaks_nobody_who_ignores_it() {
    let added = found(|document, schema| {
        put(document, "/channels", "seller", json!({ "address": "seller.v1" }));
        put(document, "/channels/order/messages", "Expired", json!({}));
        put(document, "/channels/order/bindings/kafka/topicConfiguration", "retention.ms", json!(-1));
        put(document, "/components/messages/Held/headers/properties", "ce_new", json!({ "type": "string" }));
        put(document, "/components/messages/Held/headers", "required", json!(["ce_id", "ce_subject"]));
        put(schema, "/properties", "note", json!({ "type": "string" }));
        put(schema, "", "required", json!(["id", "state", "until"]));
        put(schema, "/properties/units", "minimum", json!(1));
        put(schema, "/properties/units", "maximum", json!(9));
        put(schema, "/$defs/Line/properties", "total", json!({ "type": "integer" }));
        put(schema, "", "description", json!("Every line is held."));
        put(schema, "/$defs/State/oneOf/0", "description", json!("Sells."));
    });
    assert_eq!(added, [""; 0]);
}

#[test]
fn a_topic_or_message_that_is_gone_is_found() {
    assert_eq!(found(|document, _| remove(document, "/channels", "order")), ["channel order: the channel is gone"]);
    assert_eq!(found(|document, _| remove(document, "/channels/order/messages", "Sold")), ["channel order: the message Sold is gone"]);
    let renamed = found(|document, _| put(document, "/channels/order", "address", json!("order.v2")));
    assert_eq!(renamed, ["channel order: its address was \"order.v1\" and is \"order.v2\""]);
    let renamed = found(|document, _| put(document, "/components/messages/Held", "name", json!("y.Held")));
    assert_eq!(renamed, ["message Held: its type was \"x.Held\" and is \"y.Held\""]);
    let mut without = published();
    without.schemas.clear();
    let gone = Break { at: "Held".to_owned(), what: "the schema is gone".to_owned() };
    assert_eq!(breaks(&published(), &without), [gone]);
}

#[test]
fn another_key_or_number_of_partitions_is_found() {
    let key = found(|document, _| put(document, "/components/messages/Held", "x-key-property", json!("customer")));
    assert_eq!(key, ["message Held: its key was \"id\" and is \"customer\""]);
    let partitions = found(|document, _| put(document, "/channels/order/bindings/kafka", "partitions", json!(24)));
    assert_eq!(partitions, ["channel order: its number of partitions was 12 and is 24"]);
}

#[test]
fn records_that_are_kept_otherwise_or_shorter_are_found() {
    let configuration = "/channels/order/bindings/kafka/topicConfiguration";
    let compacted = found(|document, _| put(document, configuration, "cleanup.policy", json!(["compact"])));
    assert_eq!(compacted, ["channel order: its cleanup policy was [\"delete\"] and is [\"compact\"]"]);
    let shorter = found(|document, _| put(document, configuration, "retention.ms", json!(999)));
    assert_eq!(shorter, ["channel order: records are kept for 999 ms, not for 1000"]);
}

#[test]
fn a_header_that_is_gone_or_not_always_there_is_found() {
    let headers = "/components/messages/Held/headers";
    let gone = found(|document, _| remove(document, &format!("{headers}/properties"), "ce_subject"));
    assert_eq!(gone, ["headers of Held.ce_subject: the property is gone"]);
    let optional = found(|document, _| put(document, headers, "required", json!([])));
    assert_eq!(optional, ["headers of Held.ce_id: it was always there and may be absent"]);
}

#[test]
fn a_property_that_is_gone_is_found_at_any_depth() {
    assert_eq!(found(|_, schema| remove(schema, "/properties", "until")), ["Held.until: the property is gone"]);
    assert_eq!(found(|_, schema| remove(schema, "/$defs/Line/properties", "line")), ["Held.lines[].line: the property is gone"]);
    assert_eq!(found(|_, schema| remove(schema, "", "properties")).len(), 7);
}

#[test]
fn a_property_that_may_be_absent_from_now_on_is_found() {
    assert_eq!(found(|_, schema| put(schema, "", "required", json!(["id"]))), ["Held.state: it was always there and may be absent"]);
    assert_eq!(found(|_, schema| remove(schema, "/$defs/Line", "required")), ["Held.lines[].line: it was always there and may be absent"]);
}

#[test]
fn a_value_of_another_type_format_or_pattern_is_found() {
    let typed = found(|_, schema| put(schema, "/properties/id", "type", json!("integer")));
    assert_eq!(typed, ["Held.id: its type was \"string\" and is \"integer\""]);
    assert_eq!(found(|_, schema| put(schema, "/properties/details/additionalProperties", "type", json!("integer"))).len(), 1);
    let format = found(|_, schema| remove(schema, "/properties/until", "format"));
    assert_eq!(format, ["Held.until: its format was \"date-time\" and is absent"]);
    assert_eq!(found(|_, schema| put(schema, "/properties/minor", "pattern", json!("^.*$"))).len(), 1);
    let lower = found(|_, schema| put(schema, "/properties/units", "minimum", json!(-1)));
    assert_eq!(lower, ["Held.units: its minimum was 0 and is -1"]);
}

#[test]
fn a_closed_set_that_grows_or_shrinks_is_found() {
    let variants = |names: &[&str]| names.iter().map(|name| json!({ "const": name, "type": "string" })).collect::<Value>();
    let grown = found(|_, schema| put(schema, "/$defs/State", "oneOf", variants(&["OPEN", "CLOSED", "PAUSED"])));
    assert_eq!(grown, ["Held.state: the value \"PAUSED\" is new to whoever knows them all"]);
    let shrunk = found(|_, schema| put(schema, "/$defs/State", "oneOf", variants(&["OPEN"])));
    assert_eq!(shrunk, ["Held.state: the value \"CLOSED\" is gone"]);
    let narrowed = found(|_, schema| put(schema, "/properties/id", "enum", json!(["a", "b"])));
    assert!(narrowed.contains(&"Held.id: only some of its values are left".to_owned()), "{narrowed:?}");
    let any = found(|_, schema| put(schema, "/$defs", "State", json!({ "type": "string" })));
    assert!(any.contains(&"Held.state: it had some values and may have any".to_owned()), "{any:?}");
    let same = found(|_, schema| put(schema, "/$defs", "State", json!({ "type": "string", "enum": ["CLOSED", "OPEN"] })));
    assert_eq!(same, [""; 0], "another spelling of the same");
}

#[test]
fn a_change_under_the_same_name_is_found() {
    let changed = found(|_, schema| {
        put(schema, "", "$id", json!("urn:x:Held:1.0"));
        put(schema, "/properties", "note", json!({ "type": "string" }));
    });
    assert_eq!(changed, ["Held: it changed and is still called the same: raise its version in its module's table"]);
    let told = found(|_, schema| {
        put(schema, "", "$id", json!("urn:x:Held:1.0"));
        put(schema, "", "description", json!("Told better."));
        put(schema, "", "required", json!(["state", "id"]));
    });
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_keyword_that_the_comparison_does_not_know_is_found() {
    let closed = found(|_, schema| put(schema, "", "additionalProperties", json!(false)));
    assert_eq!(closed, ["Held: its additionalProperties was absent and is false"]);
}

#[test]
fn a_schema_that_holds_itself_is_found_and_not_walked_for_ever() {
    let mut nested = published();
    put(nested.schemas.get_mut("Held").unwrap(), "/$defs/Line/properties", "inner", json!({ "$ref": "#/$defs/Line" }));
    let found = breaks(&nested, &nested.clone());
    assert!(!found.is_empty() && found.iter().all(|Break { what, .. }| what == "it is nested too deep to be compared"), "{found:?}");
}

/// The same for a type that integrators send.
fn found_when_sent(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let sent = || {
        let mut published = published();
        published.document["operations"] = json!({ "send-order": { "action": "send", "channel": { "$ref": "#/channels/order" } } });
        published.document["channels"]["order"]["messages"]["Held"] = json!({ "$ref": "#/components/messages/Held" });
        published.document["components"]["messages"]["Held"]["name"] = json!("Held");
        published
    };
    let (old, mut new) = (sent(), sent());
    let schema = new.schemas.get_mut("Held").unwrap();
    schema["$id"] = json!("urn:x:Held:1.1");
    change(schema);
    breaks(&old, &new).into_iter().map(|Break { at, what }| format!("{at}: {what}")).collect()
}

#[test]
fn what_a_sender_need_not_say_breaks_none_of_them() {
    let changed = found_when_sent(|schema| {
        put(schema, "/properties", "note", json!({ "type": "string" }));
        put(schema, "", "required", json!(["id"]));
        schema["$defs"]["State"]["oneOf"].as_array_mut().unwrap().push(json!({ "const": "ASIDE", "type": "string" }));
    });
    assert_eq!(changed, [""; 0]);
}

#[test]
fn what_a_sender_of_before_does_not_know_to_say_breaks_it() {
    assert_eq!(
        found_when_sent(|schema| put(schema, "", "required", json!(["id", "state", "until"]))),
        ["Held.until: it might be absent and must be there"]
    );
    assert_eq!(found_when_sent(|schema| put(schema, "/properties/units", "minimum", json!(1))), ["Held.units: its minimum was 0 and is 1"]);
    assert_eq!(found_when_sent(|schema| put(schema, "/properties/units", "maximum", json!(9))), ["Held.units: its maximum was absent and is 9"]);
    assert_eq!(found_when_sent(|schema| remove(schema, "/properties", "minor")), ["Held.minor: the property is gone"]);
}
