//! Every public event through Parquet and back.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use jari_contract::{Attributes, PublicMessage, PublicType, public_events};
use jari_domain::{AnyEvent, Position, order::OrderEvent};
use jari_event_store::{Body, RecordedEvent};
use jiff::Timestamp;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    columns::{self, EVERY},
    error::ExportError,
    folder::Folder,
    manifest::Format,
    rows::Place,
    step::Step,
    table::Table,
};

const TIME: &str = "2026-12-24T09:00:00.250000Z";

/// The published example of a type, as a message.
fn example(of: &'static PublicType) -> (PublicMessage, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../contract/published/v1/examples/{}.json", of.event_type));
    let example: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let header = |name: &str| example["headers"][name].as_str().map(str::to_owned);
    let attributes = Attributes {
        id: header("ce_id").unwrap(),
        source: header("ce_source").unwrap().into(),
        event_type: of.event_type,
        subject: header("ce_subject"),
        time: header("ce_time").unwrap(),
        data_schema: of.data_schema,
        partition_key: None,
        sequence: header("ce_sequence"),
        stream_version: header("ce_streamversion"),
        correlation_id: header("ce_correlationid"),
        causation_id: header("ce_causationid"),
        trace_parent: header("ce_traceparent"),
    };
    let data = example["value"].clone();
    (PublicMessage { topic: of.topic, key: "".into(), attributes, data: serde_json::to_vec(&data).unwrap() }, data)
}

/// Writes messages to a file, at positions from 1, and reads it.
fn through(of: &'static PublicType, messages: &[PublicMessage]) -> (Vec<Row>, Vec<ExportError>) {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("table");
    let fields: Arc<[columns::Field]> = columns::of_data(of).unwrap().into();
    let mut table = Table::create(&path, of, fields, "urn:uuid:01980000-0000-7000-8000-000000000001").unwrap();
    let mut errors = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        errors.extend(table.take(Place { position: Position::new(n as u64 + 1), version: 3, time: TIME.parse().unwrap() }, message, &path).err());
        if n % 2 == 1 {
            table.write_group(&path).unwrap();
        }
    }
    table.finish(&path).unwrap();
    let file = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let about = file.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(about.iter().any(|one| one.key == "jari.data_schema" && one.value.as_deref() == Some(of.data_schema)));
    (file.get_row_iter(None).unwrap().map(Result::unwrap).collect(), errors)
}

/// A value of Parquet as the contract writes it in JSON.
fn told(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => json!(flag),
        Field::Int(number) => json!(number),
        // 64 bits are text there
        Field::Long(number) => json!(number.to_string()),
        Field::Str(text) => json!(text),
        Field::TimestampMicros(micros) => json!(Timestamp::from_microsecond(*micros).unwrap().to_string()),
        Field::Group(row) => group(row),
        Field::ListInternal(list) => list.elements().iter().map(told).collect(),
        Field::MapInternal(map) => {
            Value::Object(map.entries().iter().map(|(key, value)| (told(key).as_str().unwrap().to_owned(), told(value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn group(row: &Row) -> Value {
    Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), told(field))).filter(|(_, value)| !value.is_null()).collect())
}

/// An object of the contract as its columns should be: by what the documents say, not by how the program does it.
fn flat(object: &Map<String, Value>, before: &str, into: &mut Map<String, Value>) {
    for (name, value) in object {
        let mut column = before.to_owned();
        name.chars().for_each(|c| if c.is_uppercase() { column.extend(['_', c.to_ascii_lowercase()]) } else { column.push(c) });
        let value = match value {
            Value::Object(object) if name != "details" => {
                flat(object, &format!("{column}_"), into);
                continue;
            }
            Value::Array(elements) => elements.iter().map(|element| element.as_object().map_or_else(|| element.clone(), flat_element)).collect(),
            // an instant is as fine as a microsecond
            Value::String(text) => text.parse::<Timestamp>().map_or_else(|_| value.clone(), |at| json!(at.to_string())),
            plain => plain.clone(),
        };
        into.insert(column, value);
    }
}

fn flat_element(object: &Map<String, Value>) -> Value {
    let mut columns = Map::new();
    flat(object, "", &mut columns);
    Value::Object(columns)
}

#[test]
fn every_public_event_comes_back_from_parquet_as_it_was_told() {
    for of in public_events() {
        let (message, data) = example(of);
        let (rows, errors) = through(of, &[message.clone(), message.clone(), message.clone()]);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(rows.len(), 3, "{}", of.event_type);
        for (n, row) in rows.iter().enumerate() {
            let mut expected = Map::new();
            expected.insert("position".into(), json!((n + 1).to_string()));
            expected.insert("time".into(), json!(TIME.parse::<Timestamp>().unwrap().to_string()));
            let told = &message.attributes;
            expected.insert("stream_version".into(), json!("3"));
            let others = [
                ("subject", &told.subject),
                ("correlation_id", &told.correlation_id),
                ("causation_id", &told.causation_id),
                ("trace_parent", &told.trace_parent),
            ];
            expected.extend(others.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))));
            if of.name != "AvailabilityChanged" {
                flat(data.as_object().unwrap(), "", &mut expected);
                assert_eq!(group(row), Value::Object(expected), "{}", of.event_type);
            }
        }
    }
}

#[test]
fn no_column_of_an_event_has_the_name_of_another() {
    for of in public_events().filter(|of| of.name != "AvailabilityChanged") {
        let data = columns::of_data(of).unwrap();
        let mut names = BTreeMap::new();
        for name in EVERY.iter().map(|(name, ..)| *name).chain(data.iter().map(|field| field.name.as_str())) {
            assert_eq!(names.insert(name, ()), None, "{}: {name} is there twice", of.event_type);
        }
        columns::parquet(&data).unwrap();
    }
}

#[test]
fn lists_within_lists_and_what_is_absent_keep_their_places() {
    let of = public_events().find(|of| of.name == "OrderPlaced").unwrap();
    let (message, data) = example(of);
    let with = |lines: Value| {
        let mut data = data.clone();
        data["lines"] = lines;
        PublicMessage { data: serde_json::to_vec(&data).unwrap(), ..message.clone() }
    };
    let mut line = data["lines"][0].clone();
    let unit = line["units"][0].clone();
    line["units"] = json!([unit.clone(), unit.clone(), unit]);
    line["draws"] = json!([]);
    let mut stock = line.clone();
    stock.as_object_mut().unwrap().remove("startsAt");
    stock["units"] = json!([]);
    let lines = [json!([line, stock, line]), json!([]), json!([stock])];
    let (rows, errors) = through(of, &lines.clone().map(with));
    assert!(errors.is_empty(), "{errors:?}");
    for (row, lines) in rows.iter().zip(&lines) {
        let expected: Value = lines.as_array().unwrap().iter().map(|line| flat_element(line.as_object().unwrap())).collect();
        assert_eq!(group(row)["lines"], expected);
    }
}

#[test]
fn an_event_that_does_not_fit_leaves_no_trace_in_its_table() {
    let of = public_events().find(|of| of.name == "OrderPlaced").unwrap();
    let (message, data) = example(of);
    let mut wrong = data.clone();
    wrong["lines"][0]["units"][0]["price"]["minorUnits"] = json!("lots");
    let wrong = PublicMessage { data: serde_json::to_vec(&wrong).unwrap(), ..message.clone() };
    let (rows, errors) = through(of, &[message.clone(), wrong, message]);
    assert_eq!(rows.iter().map(|row| group(row)["position"].clone()).collect::<Vec<_>>(), ["1", "3"]);
    let [ExportError::Event { position, fault }] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(*position, Position::new(2));
    assert!(fault.to_string().contains("minorUnits is \"lots\""), "{fault}");
    assert_eq!(group(&rows[0])["lines"], group(&rows[1])["lines"]);
}

#[test]
fn a_folder_stays_in_the_format_of_its_first_run_however_that_ended() {
    let here = tempfile::tempdir().unwrap();
    let take = |asked| Folder::take(here.path(), asked).map(|(_, format, last)| (format, last.is_none())).map_err(|error| error.code());
    // nothing was finished: a run that was killed leaves as much
    assert_eq!(take(Some(Format::Jsonl)), Ok((Format::Jsonl, true)));
    assert_eq!(take(None), Ok((Format::Jsonl, true)));
    assert_eq!(take(Some(Format::Parquet)), Err("EXPORT_FOLDER_INVALID"));
}

/// The event with this number in a log, recorded at this time.
fn recorded(number: u64, at: &str, said: OrderEvent) -> RecordedEvent {
    let event = AnyEvent::Order(said);
    RecordedEvent {
        position: Position::new(number),
        aggregate_type: "Order".into(),
        aggregate_id: "o-1".into(),
        sequence: number,
        event_type: event.event_type().into(),
        event_version: event.event_version().into(),
        body: Body::Known(event),
        metadata: Arc::default(),
        recorded_at: at.parse().unwrap(),
    }
}

/// The positions in a file, by what stands in it, as numbers.
fn positions(path: &Path, format: Format) -> Vec<u64> {
    match format {
        Format::Parquet => {
            let table = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
            let of = |row: Row| told(row.get_column_iter().next().unwrap().1).as_str().unwrap().parse().unwrap();
            table.get_row_iter(None).unwrap().map(|row| of(row.unwrap())).collect()
        }
        Format::Jsonl => {
            let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["position"].as_u64().unwrap();
            fs::read_to_string(path).unwrap().lines().map(of).collect()
        }
    }
}

#[test]
fn a_step_over_midnight_has_each_event_once_in_the_folder_of_its_day() {
    let (confirmed, lapsed) = (OrderEvent::OrderConfirmed {}, OrderEvent::OrderExpired { expired_at: TIME.parse().unwrap() });
    let events = [
        recorded(1, "2026-12-24T23:59:00Z", confirmed.clone()),
        recorded(2, "2026-12-24T23:59:59.999999Z", lapsed.clone()),
        recorded(3, "2026-12-25T00:00:00Z", confirmed.clone()),
        recorded(4, "2026-12-25T00:01:00Z", lapsed),
        recorded(5, "2026-12-25T00:01:00Z", confirmed),
    ];
    for format in [Format::Parquet, Format::Jsonl] {
        let here = tempfile::tempdir().unwrap();
        let (folder, ..) = Folder::take(here.path(), Some(format)).unwrap();
        let mut step = Step::after(Arc::new(folder), Uuid::nil(), format, None);
        for event in &events {
            step.take(event).unwrap();
        }
        step.mark(&events[4]);
        let (manifest, _) = step.keep(None).unwrap().unwrap();
        let mut days = BTreeMap::<&str, Vec<u64>>::new();
        for file in &manifest.files {
            let found = positions(&here.path().join(&file.path), format);
            let told = (file.rows, file.first_position.get(), file.last_position.get());
            assert_eq!(told, (found.len() as u64, found[0], found[found.len() - 1]), "{}", file.path);
            days.entry(file.path.split('/').next().unwrap()).or_default().extend(found);
        }
        days.values_mut().for_each(|day| day.sort_unstable());
        assert_eq!(days, BTreeMap::from([("day=2026-12-24", vec![1, 2]), ("day=2026-12-25", vec![3, 4, 5])]), "{}", format.name());
        assert_eq!((manifest.after, manifest.position, manifest.rows), (Position::START, Position::new(5), 5));
    }
}
