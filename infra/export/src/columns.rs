//! The columns of a public event's table, made of the JSON Schema that its type has: nothing is said twice, and a new property is a new column.
//!
//! Names are those of the fields in `proto/`. An object within an object becomes its fields, with its name before theirs (`counts.available` is
//! `counts_available`); a list stays a list, and what it holds becomes a group. What is needed is required, what may be absent is optional.

use std::sync::Arc;

use jari_contract::PublicType;
use parquet::{
    basic::{LogicalType, Repetition, TimeUnit, Type as Physical},
    errors::ParquetError,
    schema::types::{Type, TypePtr},
};
use serde_json::Value;

/// How values of one column are written in JSON, and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A number of 32 bits.
    Int32,
    /// A number of 64 bits, which JSON has as text.
    Int64,
    /// An instant: microseconds since 1970 in UTC, cut to the microsecond before.
    Time,
    /// UTF-8.
    Text,
    /// `true` or `false`.
    Flag,
}

/// What stands in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Leaf(Leaf),
    List(Item),
    /// Text by name.
    Map,
}

/// What a list holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Leaf(Leaf),
    Group(Vec<Field>),
}

/// A field of a table, or of a group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Of the column.
    pub name: String,
    /// Where it stands in the JSON object: names of properties.
    pub path: Vec<String>,
    pub is_optional: bool,
    pub shape: Shape,
}

impl Shape {
    /// Columns of Parquet that it takes.
    pub fn leaves(&self) -> Vec<Leaf> {
        match self {
            Self::Leaf(leaf) | Self::List(Item::Leaf(leaf)) => vec![*leaf],
            Self::List(Item::Group(fields)) => fields.iter().flat_map(|field| field.shape.leaves()).collect(),
            Self::Map => vec![Leaf::Text, Leaf::Text],
        }
    }
}

/// The columns of an event's data, in the order of its type.
///
/// # Errors
/// What no column can be made of, in words.
pub(crate) fn of_data(of: &PublicType) -> Result<Vec<Field>, String> {
    let schema = of.schema();
    let reader = Reader { schema: &schema };
    let mut fields = Vec::new();
    reader.object(&schema, &mut Vec::new(), false, &mut fields).map_err(|what| format!("{}: {what}", of.event_type))?;
    Ok(fields)
}

/// Columns that every table has before those of the data: name, what is in it, and whether it may be absent.
pub(crate) const EVERY: &[(&str, Leaf, bool)] = &[
    ("position", Leaf::Int64, false),
    ("time", Leaf::Time, false),
    ("subject", Leaf::Text, true),
    ("stream_version", Leaf::Int64, false),
    ("correlation_id", Leaf::Text, true),
    ("causation_id", Leaf::Int64, true),
    ("trace_parent", Leaf::Text, true),
];

/// The schema of a table's file.
///
/// # Errors
/// When Parquet refuses it: never, for the columns of a public type (tested).
pub(crate) fn parquet(data: &[Field]) -> Result<TypePtr, ParquetError> {
    let every = EVERY.iter().map(|(name, leaf, is_optional)| primitive(name, *leaf, *is_optional));
    let fields = every.chain(data.iter().map(field)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("event").with_fields(fields).build()?))
}

fn field(of: &Field) -> Result<TypePtr, ParquetError> {
    let repetition = if of.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let (repeated, is) = match &of.shape {
        Shape::Leaf(leaf) => return primitive(&of.name, *leaf, of.is_optional),
        Shape::List(item) => {
            let element = match item {
                Item::Leaf(leaf) => primitive("element", *leaf, false)?,
                Item::Group(fields) => {
                    let fields = fields.iter().map(field).collect::<Result<Vec<_>, _>>()?;
                    Arc::new(Type::group_type_builder("element").with_repetition(Repetition::REQUIRED).with_fields(fields).build()?)
                }
            };
            (Type::group_type_builder("list").with_fields(vec![element]), LogicalType::List)
        }
        Shape::Map => {
            let fields = vec![primitive("key", Leaf::Text, false)?, primitive("value", Leaf::Text, false)?];
            (Type::group_type_builder("key_value").with_fields(fields), LogicalType::Map)
        }
    };
    let repeated = Arc::new(repeated.with_repetition(Repetition::REPEATED).build()?);
    let whole = Type::group_type_builder(&of.name).with_repetition(repetition).with_logical_type(Some(is)).with_fields(vec![repeated]);
    Ok(Arc::new(whole.build()?))
}

fn primitive(name: &str, leaf: Leaf, is_optional: bool) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match leaf {
        Leaf::Int32 => (Physical::INT32, None),
        Leaf::Int64 => (Physical::INT64, None),
        Leaf::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Leaf::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Leaf::Flag => (Physical::BOOLEAN, None),
    };
    let repetition = if is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    Ok(Arc::new(Type::primitive_type_builder(name, physical).with_repetition(repetition).with_logical_type(logical).build()?))
}

/// Reads a JSON Schema as our contract makes it: objects, lists, maps of text, texts, numbers, flags, choices of words.
struct Reader<'a> {
    schema: &'a Value,
}

impl Reader<'_> {
    /// The fields of an object that stands at `path`. What is needed comes first, in the order of the type; JSON has no order of its own.
    fn object(&self, object: &Value, path: &mut Vec<String>, is_optional: bool, into: &mut Vec<Field>) -> Result<(), String> {
        let properties = object["properties"].as_object().ok_or_else(|| format!("{}: an object without properties", path.join(".")))?;
        let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut others: Vec<&str> = properties.keys().map(String::as_str).filter(|name| !required.contains(name)).collect();
        others.sort_unstable();
        for name in required.iter().chain(&others) {
            path.push((*name).to_owned());
            self.property(&properties[*name], path, (is_optional, others.contains(name)), into)?;
            path.pop();
        }
        Ok(())
    }

    fn property(
        &self,
        property: &Value,
        path: &mut Vec<String>,
        (is_within_optional, is_left_out): (bool, bool),
        into: &mut Vec<Field>,
    ) -> Result<(), String> {
        let is_optional = is_within_optional || is_left_out;
        let property = self.found(property)?;
        let shape = match property["type"].as_str() {
            Some("object") if property["properties"].is_object() => return self.object(property, path, is_optional, into),
            Some("object") if self.leaf(&property["additionalProperties"])? == Some(Leaf::Text) => Shape::Map,
            Some("array") => Shape::List(self.item(&property["items"])?),
            _ => Shape::Leaf(self.leaf(property)?.ok_or_else(|| format!("{}: no column can be made of {property}", path.join(".")))?),
        };
        let name = path.iter().map(|part| snake_case(part)).collect::<Vec<_>>().join("_");
        // JSON leaves out a flag that is not set: it is known all the same
        let is_optional = is_within_optional || is_left_out && !matches!(shape, Shape::Leaf(Leaf::Flag));
        into.push(Field { name, path: path.clone(), is_optional, shape });
        Ok(())
    }

    fn item(&self, item: &Value) -> Result<Item, String> {
        let item = self.found(item)?;
        if let Some(leaf) = self.leaf(item)? {
            return Ok(Item::Leaf(leaf));
        }
        let mut fields = Vec::new();
        self.object(item, &mut Vec::new(), false, &mut fields)?;
        Ok(Item::Group(fields))
    }

    fn leaf(&self, value: &Value) -> Result<Option<Leaf>, String> {
        let value = self.found(value)?;
        let is_choice = value["oneOf"].as_array().is_some_and(|all| all.iter().all(|one| one["const"].is_string()));
        Ok(match (value["type"].as_str(), value["format"].as_str()) {
            (Some("string"), Some("date-time")) => Some(Leaf::Time),
            (Some("string"), None) if value["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^(0|[1-9]")) => Some(Leaf::Int64),
            (Some("string"), None) => Some(Leaf::Text),
            (Some("integer"), Some("int32")) => Some(Leaf::Int32),
            (Some("boolean"), None) => Some(Leaf::Flag),
            (None, None) if is_choice => Some(Leaf::Text),
            _ => None,
        })
    }

    /// What a reference refers to.
    fn found<'v>(&'v self, value: &'v Value) -> Result<&'v Value, String> {
        let Some(reference) = value["$ref"].as_str() else { return Ok(value) };
        let found = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
        found.ok_or_else(|| format!("{reference} refers to nothing"))
    }
}

/// `minorUnits` as proto has it, `minor_units`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
