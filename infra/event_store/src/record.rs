//! An event as it stands in the log.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jari_domain::{AnyEvent, DecodeError, Position, StreamId, registry};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::LogError;

/// A decision that is dated further ahead of its recording is no clock's: without this bound one wrong date would hold a stream's time for good.
const CLOCKS_DIFFER: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What an event takes in memory beside what is large in it: itself, its ids, and its metadata, which may be its own.
const EVENT_BYTES: usize = 768;

/// What an event carries beside its payload. Stored flat, text to text: stock cqrs-es reads it as a map of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The command that caused it (UUID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    /// The first command of the chain (UUID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Position of the event that caused the command, in decimal; absent when a caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// Who: a caller's name, or `engine/...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The time by which it was decided (RFC 3339). Another writer may have put anything here: what is no time is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "time_if_it_is_one")]
    pub decided_at: Option<Timestamp>,
    /// Whatever other writers put there.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Metadata {
    /// The causing event's position.
    #[must_use]
    pub fn causation_position(&self) -> Option<Position> {
        self.causation.as_deref()?.parse().ok()
    }
}

fn time_if_it_is_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

/// An event's content.
#[derive(Debug, Clone)]
pub enum Body {
    /// Read and lifted to today's shape.
    Known(AnyEvent),
    /// This program cannot read it: written by a newer one, or by somebody else.
    Unreadable {
        /// As stored.
        payload: Arc<str>,
        /// Why not.
        error: DecodeError,
    },
}

/// One event of the log.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// Its place in the one order.
    pub position: Position,
    /// As stored; `'static` when it is one of ours.
    pub aggregate_type: Cow<'static, str>,
    /// As stored.
    pub aggregate_id: Arc<str>,
    /// Its place in its stream, from 1.
    pub sequence: u64,
    /// As stored.
    pub event_type: Cow<'static, str>,
    /// As stored.
    pub event_version: Cow<'static, str>,
    /// What it says.
    pub body: Body,
    /// What it carries beside.
    pub metadata: Arc<Metadata>,
    /// The database's clock at the append, never before the event at the position before; microseconds.
    pub recorded_at: Timestamp,
}

impl RecordedEvent {
    /// The stream, when its aggregate is one of ours.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        let aggregate_type = registry::static_type(&self.aggregate_type)?;
        Some(StreamId { aggregate_type, aggregate_id: self.aggregate_id.clone() })
    }

    /// About how many bytes it takes in memory, its share of the metadata included.
    pub(crate) fn bytes(&self) -> usize {
        EVENT_BYTES
            + match &self.body {
                Body::Known(event) => event.bytes(),
                Body::Unreadable { payload, .. } => payload.len(),
            }
    }

    /// The typed event, when it could be read.
    #[must_use]
    pub fn event(&self) -> Option<&AnyEvent> {
        match &self.body {
            Body::Known(event) => Some(event),
            Body::Unreadable { .. } => None,
        }
    }

    /// The time by which it was decided; the time of its recording when its writer did not say.
    #[must_use]
    pub fn decided_at(&self) -> Timestamp {
        self.metadata.decided_at.unwrap_or(self.recorded_at)
    }

    /// The time that its stream has reached by it: when it was decided, or recorded where its writer said what no clock says.
    #[must_use]
    pub fn reaches(&self) -> Timestamp {
        let latest = self.recorded_at.saturating_add(CLOCKS_DIFFER).unwrap_or(Timestamp::MAX);
        Some(self.decided_at()).filter(|at| *at <= latest).unwrap_or(self.recorded_at)
    }

    /// Columns: position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text, recorded_at.
    pub(crate) fn from_row(row: &Row) -> Result<Self, LogError> {
        let aggregate_type: &str = row.try_get(1)?;
        let event_type: &str = row.try_get(4)?;
        let event_version: &str = row.try_get(5)?;
        let payload: &str = row.try_get(6)?;
        let metadata: &str = row.try_get(7)?;
        let body = match AnyEvent::decode(aggregate_type, event_type, event_version, payload) {
            Ok(event) => Body::Known(event),
            Err(error) => Body::Unreadable { payload: payload.into(), error },
        };
        let (event_type, event_version) = match &body {
            Body::Known(event) if event.event_type() == event_type && event.event_version() == event_version => {
                (Cow::Borrowed(event.event_type()), Cow::Borrowed(event.event_version()))
            }
            _ => (Cow::Owned(event_type.to_owned()), Cow::Owned(event_version.to_owned())),
        };
        Ok(Self {
            position: Position::from_i64(row.try_get(0)?),
            aggregate_type: registry::static_type(aggregate_type).map_or_else(|| Cow::Owned(aggregate_type.to_owned()), Cow::Borrowed),
            aggregate_id: row.try_get::<_, &str>(2)?.into(),
            sequence: unsigned(row.try_get(3)?),
            event_type,
            event_version,
            body,
            // another writer's metadata need not be an object of ours: what does not fit is as good as absent
            metadata: Arc::new(serde_json::from_str(metadata).unwrap_or_default()),
            recorded_at: timestamp(row.try_get(8)?),
        })
    }
}

/// PostgreSQL has no unsigned integers; sequences and counts are never negative there (checked by the schema).
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// To what a `bigint` column takes. Sequences and counts cannot reach 2^63.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A `timestamptz` is within what [`Timestamp`] holds, but for PostgreSQL's far ends, which are cut.
pub(crate) fn timestamp(at: std::time::SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::MAX)
}

/// At most so many bytes of a text, as the database can keep them: it knows no NUL, and what it or a reader refused may be quoted in what they say.
#[must_use]
pub fn recordable(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].replace('\0', "\u{fffd}")
}
