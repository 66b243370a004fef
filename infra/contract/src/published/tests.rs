//! What is published is what the code says, whole, valid, and no worse than what was published before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use jari_domain::registry::EVENT_TYPES;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::{
    asyncapi,
    compat::{Published, breaks},
    examples::{self, Example},
    files, folder, read,
};
use crate::{Settings, Topic, catalogue::public_types};

const WRITE: &str = "CONTRACT=write cargo test -p jari-contract published";

#[test]
fn what_is_published_is_what_the_code_makes() {
    let (made, at) = (files(), folder("v1"));
    if std::env::var("CONTRACT").is_ok_and(|value| value == "write") {
        let _ = fs::remove_dir_all(&at);
        for (path, text) in &made {
            let path = at.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let published = read(&at);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&published), names(&made), "write them anew: {WRITE}");
    for (path, text) in made {
        assert_eq!(published[&path], text, "{path} is not what the code says: write it anew ({WRITE}) and look at the difference");
    }
}

#[test]
fn nothing_that_is_published_breaks_who_reads_by_the_last_release() {
    let releases =
        fs::read_dir(folder("")).unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_prefix("v1.")?.parse::<u32>().ok());
    let last = releases.max().expect("published/v1.0 is there for ever");
    let (old, new) = (read(&folder(&format!("v1.{last}"))), files());
    let breaks = breaks(&Published::of(&old), &Published::of(&new));
    assert_eq!(breaks, [], "put it back, or publish it beside the old on a topic of its own, as version 2");
}

#[test]
fn every_event_of_the_domain_is_told_first_under_its_own_name() {
    let examples = examples::all();
    for (aggregate_type, events) in EVENT_TYPES {
        for (event_type, _) in *events {
            let first = examples.iter().find(|example| example.private == *event_type).map(|example| example.of.name);
            assert_eq!(first, Some(*event_type), "{aggregate_type}/{event_type}: name it in the table of the aggregate's module, and map it there");
        }
    }
}

#[test]
fn every_public_event_has_its_schema_message_and_example() {
    let (examples, files, pool) = (examples::all(), files(), pool());
    for public in public_types() {
        let name = public.event_type;
        assert!(examples.iter().any(|example| example.of.event_type == name), "{name} is in a table and nothing is told as it");
        assert!(pool.get_message_by_name(name).is_some(), "{name} has no message in proto/");
        for file in [format!("schemas/{name}.json"), format!("examples/{name}.json")] {
            assert!(files.contains_key(&file), "{file}");
        }
    }
    let unique: BTreeSet<_> = public_types().flat_map(|public| [public.name, public.data_schema]).collect();
    assert_eq!(unique.len(), 2 * public_types().count(), "names are unique");
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap_or_else(|e| panic!("{e}: {schema}"))
}

#[test]
fn each_example_is_valid_by_its_schema() {
    for example in examples::all() {
        let (schema, data) = (example.of.schema(), example.data());
        let faults: Vec<_> = validator(&schema).iter_errors(&data).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert_eq!(faults, [""; 0], "{}: {data}", example.of.name);
        let headers = serde_json::to_value(example.headers()).unwrap();
        let faults: Vec<_> = validator(&asyncapi::headers(example.of)).iter_errors(&headers).map(|fault| fault.to_string()).collect();
        assert_eq!(faults, [""; 0], "{}: {headers}", example.of.name);
        let known = asyncapi::headers(example.of);
        let unknown: Vec<_> = example.headers().into_keys().filter(|name| known["properties"][*name].is_null()).collect();
        assert_eq!(unknown, [""; 0], "a header that the document does not know");
    }
}

/// Every value within the data, by its path.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (format!("{at}/{n}"), value)).collect(),
        _ => Vec::new(),
    };
    for (path, value) in below {
        pointers(value, &path, into);
        into.push(path);
    }
}

#[test]
fn a_schema_refuses_every_value_of_another_type() {
    for example in examples::all() {
        let validator = validator(&example.of.schema());
        let mut paths = Vec::new();
        pointers(&example.data(), "", &mut paths);
        for path in paths {
            let mut data = example.data();
            *data.pointer_mut(&path).unwrap() = Value::Null;
            assert!(!validator.is_valid(&data), "{}{path} may be null", example.of.name);
        }
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(jari_proto::FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn each_example_is_the_canonical_json_of_its_message() {
    let pool = pool();
    for example in examples::all() {
        let message = pool.get_message_by_name(example.of.event_type).unwrap();
        let mut reader = serde_json::Deserializer::from_slice(&example.message.data);
        let read = DynamicMessage::deserialize_with_options(message, &mut reader, &DeserializeOptions::new().deny_unknown_fields(true))
            .unwrap_or_else(|e| panic!("{}: {e}", example.of.name));
        let written = read.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new().skip_default_fields(false)).unwrap();
        assert_eq!(written, example.data(), "{}", example.of.name);
    }
}

#[test]
fn each_example_is_read_and_written_by_its_own_type() {
    for example in examples::all() {
        let again = (example.of.read_and_write)(&example.message.data).unwrap_or_else(|e| panic!("{}: {e}", example.of.name));
        assert_eq!(String::from_utf8(again), String::from_utf8(example.message.data), "{}", example.of.name);
    }
}

/// What has to be the same in a schema and in a message: the names, at every depth. Messages do not contain themselves: that bounds it.
fn same_names(at: &str, whole: &Value, schema: &Value, message: &MessageDescriptor) {
    let target = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let schema = target(schema);
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
    let fields: BTreeSet<_> = message.fields().map(|field| field.json_name().to_owned()).collect();
    assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), fields, "{at}: the schema and the message in proto/");
    for field in message.fields().filter(|field| !field.is_map()) {
        let Kind::Message(inner) = field.kind() else { continue };
        let property = target(&properties[field.json_name()]);
        let property = if field.is_list() { &property["items"] } else { &property };
        if !inner.full_name().starts_with("google.protobuf.") {
            same_names(&format!("{at}.{}", field.json_name()), whole, property, &inner);
        }
    }
}

#[test]
fn each_schema_names_what_its_message_names() {
    let pool = pool();
    for public in public_types() {
        let schema = public.schema();
        same_names(public.name, &schema, &schema, &pool.get_message_by_name(public.event_type).unwrap());
    }
}

#[test]
fn each_record_begins_with_the_id_that_is_its_key() {
    for Example { of, message, .. } in examples::all() {
        let id = asyncapi::key_property(of.topic);
        let begins = format!("{{\"{id}\":\"{}\"", message.key);
        let data = String::from_utf8(message.data).unwrap();
        assert!(data.starts_with(&begins), "{}: {data}", of.name);
        assert_eq!(message.attributes.partition_key.as_deref(), Some(&*message.key), "{}", of.name);
    }
}

#[test]
fn the_page_for_integrators_tells_each_topic_and_header_as_it_is() {
    let page = fs::read_to_string(folder("../../../docs/integrators.md")).unwrap();
    for topic in Topic::ALL {
        let Settings { partitions, retention_ms, compacted } = topic.settings();
        let kept = match retention_ms {
            _ if compacted => "compacted".to_owned(),
            -1 => "for ever".to_owned(),
            ms => format!("{} days", ms / 86_400_000),
        };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", topic.name()))).unwrap_or_else(|| panic!("{}", topic.name()));
        assert!(row.contains(&format!("| {partitions} |")) && row.contains(&kept), "{row}: {partitions} partitions, {kept}");
    }
    let examples = examples::all();
    let held = examples.iter().find(|example| example.of.name == "OrderHeld").unwrap();
    let shown = |text: &str| page.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").ends_with(text));
    for (name, value) in held.headers() {
        assert!(shown(&format!("{name} {value}")), "{name} is {value}");
    }
    assert!(shown(&format!("value {}", String::from_utf8_lossy(&held.message.data))));
}

/// The AsyncAPI project's own parser, another validator of JSON Schemas, and Buf's rules for what stands in `proto/`.
#[test]
#[ignore = "long: needs npm"]
fn the_parser_of_the_asyncapi_project_and_buf_find_no_fault() {
    let here = tempfile::tempdir().unwrap();
    let validate = folder("../validate");
    for name in [".npmrc", "package.json", "package-lock.json", "validate.mjs"] {
        fs::copy(validate.join(name), here.path().join(name)).unwrap();
    }
    let run = |program: &str, arguments: &[&str]| {
        let ran = Command::new(program).args(arguments).current_dir(here.path()).output();
        let ran = ran.unwrap_or_else(|e| panic!("{program} cannot be run ({e}): install Node.js 18 or newer with npm"));
        let told = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&told));
    };
    run("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    run("node", &["validate.mjs", folder("v1").to_str().unwrap()]);
    run("node_modules/.bin/buf", &["lint", folder("../../../proto").to_str().unwrap()]);
}
