//! What would break a program that was written by an older version of the contract: one that reads what is published, or sends what is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Deeper than any schema of ours nests; the end of the walk, should one refer to itself.
const MAX_DEPTH: usize = 32;

/// What tells people and programs about a value, but allows or forbids none.
const ANNOTATIONS: &[&str] = &["$schema", "$id", "$defs", "title", "description", "examples"];

/// One version of the contract: the AsyncAPI document, and the schemas by the full names of their events.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) document: Value,
    pub(super) schemas: BTreeMap<String, Value>,
}

impl Published {
    /// Out of the files of a published folder.
    pub(super) fn of(files: &BTreeMap<String, String>) -> Self {
        let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
        let schema = |(path, text): (&String, &String)| Some((path.strip_prefix("schemas/")?.strip_suffix(".json")?.to_owned(), json(text)));
        Self { document: json(&files["asyncapi.json"]), schemas: files.iter().filter_map(schema).collect() }
    }
}

/// Something that hurts a consumer of the old version: where, and what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Break {
    pub(super) at: String,
    pub(super) what: String,
}

/// Everything in `new` that hurts who knows `old`. New topics, messages, properties and headers do not: consumers are told to ignore what they do
/// not know.
pub(super) fn breaks(old: &Published, new: &Published) -> Vec<Break> {
    let mut found = Found::default();
    for (name, channel) in members(&old.document["channels"]) {
        channels(&mut found, &format!("channel {name}"), channel, &new.document["channels"][name]);
    }
    let messages = &new.document["components"]["messages"];
    for (name, message) in members(&old.document["components"]["messages"]).filter(|(name, _)| !messages[*name].is_null()) {
        found.same(&format!("message {name}"), "key", &message["x-key-property"], &messages[name]["x-key-property"]);
        found.same(&format!("message {name}"), "type", &message["name"], &messages[name]["name"]);
        schema(&mut found, &format!("headers of {name}"), Side::of(&message["headers"]), Side::of(&messages[name]["headers"]), 0);
    }
    let sent = sent(&old.document);
    for (name, before) in &old.schemas {
        let Some(after) = new.schemas.get(name) else {
            found.add(name, "the schema is gone");
            continue;
        };
        found.1 = if sent.contains(name.as_str()) { Role::Sends } else { Role::Reads };
        schema(&mut found, name, Side::of(before), Side::of(after), 0);
        if before["$id"] == after["$id"] && meaning(before) != meaning(after) {
            found.add(name, "it changed and is still called the same: raise its version in its module's table");
        }
    }
    found.0.into_iter().collect()
}

/// What the program of the old version does with a value: whoever reads must understand all that comes, whoever sends must be understood.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Reads,
    Sends,
}

/// The types that integrators send, by their full names.
fn sent(document: &Value) -> BTreeSet<&str> {
    let target = |reference: &Value| document.pointer(reference["$ref"].as_str().unwrap_or_default().trim_start_matches('#')).unwrap_or(&Value::Null);
    let sending = members(&document["operations"]).filter(|(_, operation)| operation["action"] == "send");
    let channels = sending.map(|(_, operation)| target(&operation["channel"]));
    channels.flat_map(|channel| members(&channel["messages"])).filter_map(|(_, message)| target(message)["name"].as_str()).collect()
}

#[derive(Default)]
struct Found(BTreeSet<Break>, Role);

impl Found {
    fn add(&mut self, at: &str, what: impl Into<String>) {
        self.0.insert(Break { at: at.to_owned(), what: what.into() });
    }

    fn same(&mut self, at: &str, what: &str, old: &Value, new: &Value) {
        if old != new {
            self.add(at, format!("its {what} was {old} and is {new}"));
        }
    }
}

fn channels(found: &mut Found, at: &str, old: &Value, new: &Value) {
    if new.is_null() {
        found.add(at, "the channel is gone");
        return;
    }
    found.same(at, "address", &old["address"], &new["address"]);
    for (message, _) in members(&old["messages"]).filter(|(message, _)| new["messages"][*message].is_null()) {
        found.add(at, format!("the message {message} is gone"));
    }
    let (old, new) = (&old["bindings"]["kafka"], &new["bindings"]["kafka"]);
    found.same(at, "number of partitions", &old["partitions"], &new["partitions"]);
    let (old, new) = (&old["topicConfiguration"], &new["topicConfiguration"]);
    found.same(at, "cleanup policy", &old["cleanup.policy"], &new["cleanup.policy"]);
    // -1 is for ever
    let kept = |value: &Value| value.as_i64().map(|ms| if ms < 0 { i64::MAX } else { ms });
    if kept(&new["retention.ms"]) < kept(&old["retention.ms"]) {
        found.add(at, format!("records are kept for {} ms, not for {}", new["retention.ms"], old["retention.ms"]));
    }
}

/// A part of a schema, and the whole in which its references point.
#[derive(Clone, Copy)]
struct Side<'a> {
    whole: &'a Value,
    part: &'a Value,
}

impl<'a> Side<'a> {
    fn of(whole: &'a Value) -> Self {
        Self { whole, part: whole }
    }

    fn at(self, part: &'a Value) -> Self {
        Self { part, ..self }
    }

    /// What the part says of the value, where it refers to something too.
    fn keywords(self) -> BTreeMap<&'a str, &'a Value> {
        let mut keywords: BTreeMap<_, _> = members(self.part).filter(|(name, _)| !ANNOTATIONS.contains(name)).collect();
        if let Some(target) = keywords.remove("$ref") {
            let pointer = target.as_str().and_then(|target| target.strip_prefix('#')).unwrap_or("/nowhere");
            let target = self.whole.pointer(pointer).unwrap_or(&Value::Null);
            keywords.extend(members(target).filter(|(name, _)| !ANNOTATIONS.contains(name)));
        }
        keywords
    }
}

fn schema(found: &mut Found, at: &str, old: Side<'_>, new: Side<'_>, depth: usize) {
    if depth > MAX_DEPTH {
        found.add(at, "it is nested too deep to be compared");
        return;
    }
    let (mut before, mut after) = (old.keywords(), new.keywords());
    let (choices_before, choices_after) = (choices(&mut before), choices(&mut after));
    if choices_before != choices_after {
        closed_set(found, at, choices_before.as_ref(), choices_after.as_ref());
    }
    for name in before.keys().chain(after.keys()).copied().collect::<BTreeSet<_>>() {
        match (name, before.get(name), after.get(name)) {
            ("properties", Some(was), is) => {
                for (property, was) in members(was) {
                    let at = format!("{at}.{property}");
                    match is.and_then(|is| is.get(property)) {
                        Some(is) => schema(found, &at, old.at(was), new.at(is), depth + 1),
                        None => found.add(&at, "the property is gone"),
                    }
                }
            }
            ("required", was, Some(is)) if found.1 == Role::Sends => {
                let was: BTreeSet<_> = texts(was.copied()).collect();
                for property in texts(Some(*is)).filter(|property| !was.contains(property)) {
                    found.add(&format!("{at}.{property}"), "it might be absent and must be there");
                }
            }
            ("required", Some(_), None) if found.1 == Role::Sends => {}
            ("required", Some(was), is) => {
                let is: BTreeSet<_> = texts(is.copied()).collect();
                for property in texts(Some(*was)).filter(|property| !is.contains(property)) {
                    found.add(&format!("{at}.{property}"), "it was always there and may be absent");
                }
            }
            // a new property hurts nobody, nor that one is always there from now on
            ("properties" | "required", None, _) => {}
            ("items" | "additionalProperties", Some(was), Some(is)) if was.is_object() && is.is_object() => {
                schema(found, &format!("{at}[]"), old.at(was), new.at(is), depth + 1);
            }
            // a larger range is what a sender of the smaller one stays within
            ("minimum" | "minLength" | "minItems", Some(was), Some(is)) if found.1 == Role::Sends && is.as_i64() <= was.as_i64() => {}
            ("maximum" | "maxLength" | "maxItems", Some(was), Some(is)) if found.1 == Role::Sends && is.as_i64() >= was.as_i64() => {}
            ("minimum" | "maximum", None, Some(is)) if found.1 == Role::Sends => found.add(at, format!("its {name} was absent and is {is}")),
            ("minimum" | "maximum", Some(was), Some(is)) if found.1 == Role::Sends => found.add(at, format!("its {name} was {was} and is {is}")),
            // a smaller range is what a consumer of the larger one understands
            ("minimum", Some(was), Some(is)) if is.as_i64() >= was.as_i64() => {}
            ("maximum", Some(was), Some(is)) if is.as_i64() <= was.as_i64() => {}
            ("minimum" | "maximum", None, Some(_)) => {}
            (_, was, is) if was == is => {}
            (_, was, is) => {
                let told = |value: Option<&&Value>| value.map_or_else(|| "absent".to_owned(), ToString::to_string);
                found.add(at, format!("its {name} was {} and is {}", told(was), told(is)));
            }
        }
    }
}

/// Takes the closed set of values out of the keywords: `enum`, `const`, or `oneOf` with a constant each.
fn choices(keywords: &mut BTreeMap<&str, &Value>) -> Option<BTreeSet<String>> {
    let of = |values: &[Value]| values.iter().map(ToString::to_string).collect();
    if let Some(Value::Array(values)) = keywords.get("enum").copied() {
        keywords.remove("enum");
        keywords.remove("type");
        return Some(of(values));
    }
    if let Some(value) = keywords.remove("const") {
        keywords.remove("type");
        return Some(BTreeSet::from([value.to_string()]));
    }
    let Some(Value::Array(variants)) = keywords.get("oneOf").copied() else { return None };
    let values = variants.iter().map(|variant| variant.get("const").map(ToString::to_string)).collect::<Option<_>>()?;
    keywords.remove("oneOf");
    // said once for all of them, or by each variant
    keywords.remove("type");
    Some(values)
}

fn closed_set(found: &mut Found, at: &str, old: Option<&BTreeSet<String>>, new: Option<&BTreeSet<String>>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(_)) => found.add(at, "only some of its values are left"),
        (Some(_), None) => found.add(at, "it had some values and may have any"),
        (Some(old), Some(new)) => {
            for value in old.difference(new) {
                found.add(at, format!("the value {value} is gone"));
            }
            if found.1 == Role::Sends {
                return;
            }
            for value in new.difference(old) {
                found.add(at, format!("the value {value} is new to whoever knows them all"));
            }
        }
    }
}

/// A schema without what is for people.
fn meaning(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept: Map<_, _> = members
                .iter()
                .filter(|(name, value)| !(value.is_string() && ["$schema", "$id", "title", "description"].contains(&name.as_str())))
                .map(|(name, value)| (name.clone(), if name == "required" && value.is_array() { in_order(value) } else { meaning(value) }))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(meaning).collect(),
        plain => plain.clone(),
    }
}

/// The names of what is always there are a set: in whatever order the code declares them.
fn in_order(required: &Value) -> Value {
    texts(Some(required)).collect::<BTreeSet<_>>().into_iter().collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
