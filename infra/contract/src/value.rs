//! What several public events are made of, in proto3 JSON: names in lowerCamelCase, 64-bit numbers as text, times in RFC 3339 with `Z`.

use std::{borrow::Cow, fmt};

use jari_domain::{Position, Quantity};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::error::Unfit;

/// A number of units, seconds or lines: 0 to 2,147,483,647, since the messages in `proto/` have 32 bits with a sign for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(i32);

impl Count {
    pub(crate) fn new(number: u32, what: &'static str) -> Result<Self, Unfit> {
        i32::try_from(number).map(Self).map_err(|_| Unfit(what))
    }

    /// The number, or the largest that there is room for.
    #[must_use]
    pub fn at_most(number: u32) -> Self {
        Self(i32::try_from(number).unwrap_or(i32::MAX))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.unsigned_abs()
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "format": "int32", "minimum": 0 })
    }
}

/// A number that needs 64 bits. Text in JSON, since many readers keep numbers as doubles, which are exact to 2^53 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int64(i64);

impl Int64 {
    pub(crate) fn new(number: u64, what: &'static str) -> Result<Self, Unfit> {
        i64::try_from(number).map(Self).map_err(|_| Unfit(what))
    }

    /// A position of a log.
    #[must_use]
    pub fn position(position: Position) -> Self {
        Self(i64::try_from(position.get()).expect("positions have at most 63 bits: the database numbers them so"))
    }

    /// An offset of a topic's partition.
    #[must_use]
    pub fn offset(offset: u64) -> Self {
        Self(i64::try_from(offset).expect("offsets have at most 63 bits: Kafka numbers them so"))
    }

    /// The position that it is.
    #[must_use]
    pub fn to_position(self) -> Position {
        Position::new(self.get())
    }

    /// The number: never negative.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.unsigned_abs()
    }
}

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse::<i64>().ok().filter(|number| *number >= 0).map(Self).ok_or_else(|| D::Error::custom("no whole number of at most 63 bits"))
    }
}

impl JsonSchema for Int64 {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Int64".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$" })
    }
}

/// An instant, as proto3 JSON writes it: in UTC with `Z`, and with 0, 3, 6 or 9 digits of a second, as many as are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Time(Timestamp);

impl Time {
    /// The instant.
    #[must_use]
    pub fn get(self) -> Timestamp {
        self.0
    }

    /// Digits of a second that the canonical text has.
    fn digits(self) -> usize {
        match self.0.subsec_nanosecond().unsigned_abs() {
            0 => 0,
            nanos if nanos % 1_000_000 == 0 => 3,
            nanos if nanos % 1_000 == 0 => 6,
            _ => 9,
        }
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.*}", self.digits(), self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// An amount of money. Never a float, never negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// ISO 4217 code, three capital letters: "KRW".
    pub currency: String,
    /// Minor units of the currency (won, cents).
    pub minor_units: Int64,
}

impl TryFrom<jari_domain::Money> for Money {
    type Error = Unfit;
    fn try_from(money: jari_domain::Money) -> Result<Self, Unfit> {
        Ok(Self { currency: money.currency.to_string(), minor_units: Int64::new(money.minor, "an amount has at most 63 bits")? })
    }
}

/// A stretch of time, its end not included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The first instant.
    pub starts_at: Time,
    /// The first instant after it.
    pub ends_at: Time,
}

impl From<jari_domain::slot::Window> for Window {
    fn from(window: jari_domain::slot::Window) -> Self {
        Self { starts_at: window.starts_at.into(), ends_at: window.ends_at.into() }
    }
}

/// What a slot has, and what is taken of it, in units of capacity, as the log has it: a hold that has lapsed is counted as held until its end is
/// recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Units in all.
    pub capacity: Count,
    /// Units under holds.
    pub held: Count,
    /// Units sold.
    pub confirmed: Count,
    /// Units that may be held now: capacity less held less confirmed, and 0 while more is taken than there is.
    pub available: Count,
}

impl TryFrom<jari_domain::slot::Counts> for Counts {
    type Error = Unfit;
    fn try_from(counts: jari_domain::slot::Counts) -> Result<Self, Unfit> {
        let count = |units: Quantity| Count::new(units.get(), "counts have at most 31 bits");
        Ok(Self {
            capacity: count(counts.capacity)?,
            held: count(counts.held)?,
            confirmed: count(counts.confirmed)?,
            available: count(counts.available())?,
        })
    }
}
