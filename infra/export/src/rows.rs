//! Rows of a table before they are written: for each column its values, and the levels by which Parquet knows what is absent and what is repeated
//! (S. Melnik and others, "Dremel", 2010).

use jari_contract::Attributes;
use jari_event_store::{Position, RecordedEvent};
use jiff::Timestamp;
use parquet::data_type::ByteArray;
use serde_json::Value;

use crate::columns::{EVERY, Field, Item, Leaf, Shape};

/// What a column costs beside its text, a value.
const BESIDE: usize = 48;

/// The values of a column, without those that are absent.
#[derive(Debug)]
pub(crate) enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Text(Vec<ByteArray>),
    Flag(Vec<bool>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Int32(all) => all.len(),
            Self::Int64(all) => all.len(),
            Self::Text(all) => all.len(),
            Self::Flag(all) => all.len(),
        }
    }
}

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    leaf: Leaf,
    pub values: Values,
    /// How much of the way to the value is there.
    pub defined: Vec<i16>,
    /// At which list it repeats; 0 begins a row.
    pub repeated: Vec<i16>,
    /// Levels and values of all whole rows.
    whole: (usize, usize),
}

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// In the log.
    pub position: Position,
    /// In its stream.
    pub version: u64,
    /// When it was recorded.
    pub time: Timestamp,
}

impl From<&RecordedEvent> for Place {
    fn from(event: &RecordedEvent) -> Self {
        Self { position: event.position, version: event.sequence, time: event.recorded_at }
    }
}

/// Rows that wait to be written.
#[derive(Debug)]
pub(crate) struct Rows {
    pub columns: Vec<Column>,
    pub count: usize,
    /// About what they take of memory.
    pub bytes: usize,
}

/// Where the levels stand.
#[derive(Clone, Copy)]
struct Level {
    defined: i16,
    repeated: i16,
    /// Lists around it.
    depth: i16,
}

impl Rows {
    pub fn new(data: &[Field]) -> Self {
        let leaves = EVERY.iter().map(|(_, leaf, _)| *leaf).chain(data.iter().flat_map(|field| field.shape.leaves()));
        Self { columns: leaves.map(Column::new).collect(), count: 0, bytes: 0 }
    }

    /// Adds an event, whole or not at all.
    ///
    /// # Errors
    /// Which field is not as its schema says.
    pub fn take(&mut self, place: Place, attributes: &Attributes, fields: &[Field], data: &Value) -> Result<(), String> {
        self.every(place, attributes);
        let mut at = EVERY.len();
        let level = Level { defined: 0, repeated: 0, depth: 0 };
        let taken = fields.iter().try_for_each(|field| self.field(field, data, level, &mut at));
        match taken {
            Ok(()) => self.columns.iter_mut().for_each(Column::keep),
            Err(_) => self.columns.iter_mut().for_each(Column::forget),
        }
        self.count += usize::from(taken.is_ok());
        taken
    }

    /// The columns that every table has.
    fn every(&mut self, place: Place, attributes: &Attributes) {
        let causation = attributes.causation_id.as_deref().and_then(|id| id.parse::<i64>().ok());
        let text = |text: Option<&str>| text.map(|text| ByteArray::from(text.as_bytes().to_vec()));
        let every: [Option<One>; EVERY.len()] = [
            Some(One::Int64(place.position.to_i64())),
            Some(One::Int64(micros(place.time))),
            text(attributes.subject.as_deref()).map(One::Text),
            Some(One::Int64(i64::try_from(place.version).unwrap_or(i64::MAX))),
            text(attributes.correlation_id.as_deref()).map(One::Text),
            causation.map(One::Int64),
            text(attributes.trace_parent.as_deref()).map(One::Text),
        ];
        for (at, (one, (_, _, is_optional))) in every.into_iter().zip(EVERY).enumerate() {
            let defined = i16::from(*is_optional && one.is_some());
            self.bytes += BESIDE;
            self.columns[at].put(one, Level { defined, repeated: 0, depth: 0 });
        }
    }

    fn field(&mut self, field: &Field, object: &Value, level: Level, at: &mut usize) -> Result<(), String> {
        let value = field.path.iter().try_fold(object, |within, name| within.get(name));
        let Some(value) = value else {
            if !field.is_optional && matches!(field.shape, Shape::Leaf(Leaf::Flag)) {
                return self.leaf(Leaf::Flag, &Value::Bool(false), level, at).ok_or_else(|| format!("{} is no flag", field.path.join(".")));
            }
            if !field.is_optional {
                return Err(format!("{} is absent", field.path.join(".")));
            }
            self.absent(field.shape.leaves().len(), level, at);
            return Ok(());
        };
        let level = Level { defined: level.defined + i16::from(field.is_optional), ..level };
        let wrong = || format!("{} is {value}", field.path.join("."));
        match &field.shape {
            Shape::Leaf(leaf) => self.leaf(*leaf, value, level, at).ok_or_else(wrong),
            Shape::List(item) => {
                let elements = value.as_array().ok_or_else(wrong)?;
                self.each(elements.len(), field, level, at, |rows, n, level, at| match item {
                    Item::Leaf(leaf) => rows.leaf(*leaf, &elements[n], level, at).ok_or_else(wrong),
                    Item::Group(fields) => fields.iter().try_for_each(|field| rows.field(field, &elements[n], level, at)),
                })
            }
            Shape::Map => {
                let entries: Vec<(&String, &Value)> = value.as_object().ok_or_else(wrong)?.iter().collect();
                self.each(entries.len(), field, level, at, |rows, n, level, at| {
                    let (name, value) = entries[n];
                    let name = One::Text(ByteArray::from(name.as_bytes().to_vec()));
                    rows.put(Some(name), level, at);
                    rows.leaf(Leaf::Text, value, level, at).ok_or_else(wrong)
                })
            }
        }
    }

    /// The elements of a list or map, one after the other, over the same columns.
    fn each(
        &mut self,
        count: usize,
        field: &Field,
        level: Level,
        at: &mut usize,
        one: impl Fn(&mut Self, usize, Level, &mut usize) -> Result<(), String>,
    ) -> Result<(), String> {
        if count == 0 {
            self.absent(field.shape.leaves().len(), level, at);
            return Ok(());
        }
        let (first, depth) = (*at, level.depth + 1);
        for n in 0..count {
            *at = first;
            let repeated = if n == 0 { level.repeated } else { depth };
            one(self, n, Level { defined: level.defined + 1, repeated, depth }, at)?;
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: Leaf, value: &Value, level: Level, at: &mut usize) -> Option<()> {
        let one = match leaf {
            Leaf::Int32 => One::Int32(i32::try_from(value.as_i64()?).ok()?),
            Leaf::Int64 => One::Int64(value.as_str()?.parse().ok()?),
            Leaf::Time => One::Int64(micros(value.as_str()?.parse().ok()?)),
            Leaf::Text => One::Text(ByteArray::from(value.as_str()?.as_bytes().to_vec())),
            Leaf::Flag => One::Flag(value.as_bool()?),
        };
        self.put(Some(one), level, at);
        Some(())
    }

    fn absent(&mut self, columns: usize, level: Level, at: &mut usize) {
        for _ in 0..columns {
            self.put(None, level, at);
        }
    }

    fn put(&mut self, one: Option<One>, level: Level, at: &mut usize) {
        self.bytes += BESIDE + if let Some(One::Text(text)) = &one { text.len() } else { 0 };
        self.columns[*at].put(one, level);
        *at += 1;
    }
}

/// One value.
enum One {
    Int32(i32),
    Int64(i64),
    Text(ByteArray),
    Flag(bool),
}

impl Column {
    fn new(leaf: Leaf) -> Self {
        let values = match leaf {
            Leaf::Int32 => Values::Int32(Vec::new()),
            Leaf::Int64 | Leaf::Time => Values::Int64(Vec::new()),
            Leaf::Text => Values::Text(Vec::new()),
            Leaf::Flag => Values::Flag(Vec::new()),
        };
        Self { leaf, values, defined: Vec::new(), repeated: Vec::new(), whole: (0, 0) }
    }

    /// The row is whole.
    fn keep(&mut self) {
        self.whole = (self.defined.len(), self.values.len());
    }

    /// Takes back what there is of a row that is not whole.
    fn forget(&mut self) {
        let (levels, values) = self.whole;
        self.defined.truncate(levels);
        self.repeated.truncate(levels);
        match &mut self.values {
            Values::Int32(all) => all.truncate(values),
            Values::Int64(all) => all.truncate(values),
            Values::Text(all) => all.truncate(values),
            Values::Flag(all) => all.truncate(values),
        }
    }

    fn put(&mut self, one: Option<One>, level: Level) {
        self.defined.push(level.defined);
        self.repeated.push(level.repeated);
        match (&mut self.values, one) {
            (_, None) => {}
            (Values::Int32(values), Some(One::Int32(one))) => values.push(one),
            (Values::Int64(values), Some(One::Int64(one))) => values.push(one),
            (Values::Text(values), Some(One::Text(one))) => values.push(one),
            (Values::Flag(values), Some(One::Flag(one))) => values.push(one),
            (_, Some(_)) => unreachable!("a value of {:?} was made for its column", self.leaf),
        }
    }
}

/// Microseconds since 1970; what is finer is cut.
fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond().div_euclid(1_000)).expect("the calendar has less than 2^63 microseconds")
}
