//! How far the relay is: a record that moves in the same Kafka transaction as the events.

use jari_event_store::{Position, RecordedEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The topic of the checkpoints, without the prefix. Compacted; one partition.
pub(crate) const TOPIC: &str = "reservation.relay-checkpoint.v1";
/// The one partition.
pub(crate) const PARTITION: i32 = 0;
/// Their key.
pub(crate) const KEY: &str = "relay";
/// The key of what says nothing but where it stands: see [`crate::transaction::Pair::barrier`].
pub(crate) const BARRIER: &str = "barrier";

/// The last position that is in the topics, and which event that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Of which log.
    pub log_id: Uuid,
    /// Everything up to here is in the topics.
    pub position: Position,
    /// Names the event at `position`: SHA-256 of its place and time, in hexadecimal.
    pub event: String,
    /// The position of the last signed head that is in its topic; [`Position::START`]: none.
    #[serde(default)]
    pub head: Position,
    /// When that event was recorded, in milliseconds since 1970: what is told behind it has its time. Not kept: the log says it.
    #[serde(skip)]
    pub(crate) recorded_ms: i64,
}

impl Checkpoint {
    /// Before the first event of a log.
    #[must_use]
    pub fn begin(log_id: Uuid) -> Self {
        Self { log_id, position: Position::START, event: String::new(), head: Position::START, recorded_ms: 0 }
    }

    /// Moves right behind an event.
    pub(crate) fn pass(&mut self, event: &RecordedEvent) {
        (self.position, self.event) = (event.position, name(event));
        self.recorded_ms = event.recorded_at.as_millisecond();
    }

    /// Whether this is the event at the checkpoint.
    #[must_use]
    pub fn is_after(&self, event: &RecordedEvent) -> bool {
        self.position == event.position && self.event == name(event)
    }
}

/// What two histories that parted do not share: which stream, which of its events, and the microsecond of its recording.
fn name(event: &RecordedEvent) -> String {
    let said = format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        event.position,
        event.aggregate_type,
        event.aggregate_id,
        event.sequence,
        event.event_type,
        event.recorded_at.as_microsecond()
    );
    Sha256::digest(said.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
