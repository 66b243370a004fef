//! Why the relay stands still.

use jari_contract::ContractError;
use jari_event_store::{LogError, Position};
use jiff::Timestamp;
use rdkafka::error::KafkaError;
use uuid::Uuid;

use crate::{topics::ANY_TIME, transaction::MOST_BYTES};

/// An error of the relay. Those that time does not mend say what to do.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Kafka did not answer, or said no.
    #[error("Kafka, while {doing}: {source}")]
    Kafka {
        /// What was being done.
        doing: &'static str,
        /// As it said.
        source: KafkaError,
    },
    /// Another producer has taken over this relay's transactional id.
    #[error("another relay has taken over")]
    Fenced,
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The topics belong to another log.
    #[error(
        "the topics hold the history of log {theirs}, and this is log {ours}. Either this node was started on the wrong database: start it on the right one. \
         Or the database was made anew: give the new log topics of its own with kafka.topic_prefix"
    )]
    OtherLog {
        /// This log.
        ours: Uuid,
        /// The checkpoint's.
        theirs: Uuid,
    },
    /// The log ends before what was relayed.
    #[error(
        "events up to position {relayed} were relayed, and the log ends at {head}: the database was probably restored from a backup. What integrators have seen is \
         lost to it. Restore a backup that reaches position {relayed}, or give this log topics of its own with kafka.topic_prefix and tell the integrators to begin anew"
    )]
    LogBehind {
        /// The checkpoint.
        relayed: Position,
        /// The log's last position.
        head: Position,
    },
    /// The log holds another event at the checkpoint.
    #[error(
        "the event at position {position} is another one than the one that was relayed: the database was restored from a backup and went on differently. Restore the \
         history that was relayed, or give this log topics of its own with kafka.topic_prefix and tell the integrators to begin anew"
    )]
    LogDiffers {
        /// The checkpoint.
        position: Position,
    },
    /// Events were told in the topics, and nothing says of which log and how far.
    #[error(
        "{topic} has held records, and no checkpoint says of which log they are and how far it was relayed: going on would tell everything again. Put the topic of \
         checkpoints back as it was, or give this log topics of its own with kafka.topic_prefix and tell the integrators to begin anew"
    )]
    CheckpointMissing {
        /// One that has.
        topic: String,
    },
    /// The topic of checkpoints would lose them.
    #[error(
        "{topic} has {partitions} partitions and cleanup.policy={policy}, and must have one partition and cleanup.policy=compact: a checkpoint that is not found again \
         has every event told again. Make it anew before anything is relayed, or let the program make it"
    )]
    CheckpointTopic {
        /// Its name.
        topic: String,
        /// As found.
        partitions: i32,
        /// As found.
        policy: String,
    },
    /// Nobody relays to the topics yet.
    #[error("no log is relayed to these topics yet: who acts on them waits for the relay (relay.enabled)")]
    Unclaimed,
    /// An event that cannot be published.
    #[error("the event at position {position} cannot be published: {source}. It is not skipped; a newer version of this program may know it")]
    Unpublishable {
        /// Where.
        position: Position,
        /// Why.
        source: ContractError,
    },
    /// A record that its topic does not take.
    #[error(
        "{what} has {bytes} bytes, and {topic} takes no record of that size. It is not skipped. Raise the topic's max.message.bytes above that, and see that its \
         consumers fetch as much; none of more than {MOST_BYTES} bytes is sent"
    )]
    TooLarge {
        /// The event, or whatever else it is of.
        what: String,
        /// The event's, if it is of one.
        position: Option<Position>,
        /// Where to.
        topic: String,
        /// As it was sent, before it was packed.
        bytes: usize,
    },
    /// A record that its topic does not take for its time.
    #[error(
        "{what} is dated {dated}, and {topic} takes no record that is so far from the broker's clock. It is not skipped. Set the topic's \
         message.timestamp.after.max.ms and message.timestamp.before.max.ms to {ANY_TIME}, and set right the clock that is wrong: the database's, which dates \
         events, this machine's, or the broker's"
    )]
    Dated {
        /// The event, or whatever else it is of.
        what: String,
        /// The event's, if it is of one.
        position: Option<Position>,
        /// Where to.
        topic: String,
        /// The record's time, RFC 3339.
        dated: String,
    },
    /// A checkpoint that this program cannot read.
    #[error("the relay's checkpoint cannot be read: {0}. A newer version of this program may know it")]
    Checkpoint(String),
    /// A mistake in this program.
    #[error("the relay's work ended by itself: {0}")]
    Broken(String),
}

impl RelayError {
    /// What Kafka said, while `doing`.
    pub fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| match source.rdkafka_error_code() {
            Some(rdkafka::types::RDKafkaErrorCode::Fenced | rdkafka::types::RDKafkaErrorCode::ProducerFenced) => Self::Fenced,
            _ => Self::Kafka { doing, source },
        }
    }

    /// Of the record with this `ce_id`.
    pub(crate) fn too_large(id: &str, topic: String, bytes: usize) -> Self {
        let (what, position) = of(id);
        Self::TooLarge { what, position, topic, bytes }
    }

    /// Of the record with this `ce_id`, and its time in milliseconds since 1970.
    pub(crate) fn dated(id: &str, topic: String, time_ms: i64) -> Self {
        let (what, position) = of(id);
        // a time beyond the year 9999 has no date
        let dated = Timestamp::from_millisecond(time_ms).map_or_else(|_| format!("{time_ms} ms after 1970"), |time| time.to_string());
        Self::Dated { what, position, topic, dated }
    }

    /// The event that its topic does not take, if that is what stands in the way.
    pub(crate) fn refused_at(&self) -> Option<Position> {
        match self {
            Self::TooLarge { position, .. } | Self::Dated { position, .. } => *position,
            _ => None,
        }
    }

    /// Every code that [`RelayError::code`] can give.
    pub const CODES: &'static [&'static str] = &[
        "KAFKA_UNAVAILABLE",
        "RELAY_FENCED",
        "LOG_UNAVAILABLE",
        "RELAY_OTHER_LOG",
        "RELAY_LOG_BEHIND",
        "RELAY_LOG_DIFFERS",
        "RELAY_CHECKPOINT_MISSING",
        "RELAY_CHECKPOINT_TOPIC",
        "RELAY_NOT_BEGUN",
        "RELAY_EVENT_UNREADABLE",
        "KAFKA_RECORD_TOO_LARGE",
        "KAFKA_TIMESTAMP_REFUSED",
        "RELAY_CHECKPOINT_UNREADABLE",
        "RELAY_BROKEN",
    ];

    /// The stable code, for logs and `jari status`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kafka { .. } => "KAFKA_UNAVAILABLE",
            Self::Fenced => "RELAY_FENCED",
            Self::Log(_) => "LOG_UNAVAILABLE",
            Self::OtherLog { .. } => "RELAY_OTHER_LOG",
            Self::LogBehind { .. } => "RELAY_LOG_BEHIND",
            Self::LogDiffers { .. } => "RELAY_LOG_DIFFERS",
            Self::CheckpointMissing { .. } => "RELAY_CHECKPOINT_MISSING",
            Self::CheckpointTopic { .. } => "RELAY_CHECKPOINT_TOPIC",
            Self::Unclaimed => "RELAY_NOT_BEGUN",
            Self::Unpublishable { .. } => "RELAY_EVENT_UNREADABLE",
            Self::TooLarge { .. } => "KAFKA_RECORD_TOO_LARGE",
            Self::Dated { .. } => "KAFKA_TIMESTAMP_REFUSED",
            Self::Checkpoint(_) => "RELAY_CHECKPOINT_UNREADABLE",
            Self::Broken(_) => "RELAY_BROKEN",
        }
    }

    /// Whether somebody has to do something: time alone does not mend it.
    #[must_use]
    pub fn needs_somebody(&self) -> bool {
        match self {
            Self::OtherLog { .. }
            | Self::LogBehind { .. }
            | Self::LogDiffers { .. }
            | Self::CheckpointMissing { .. }
            | Self::CheckpointTopic { .. }
            | Self::Unpublishable { .. }
            | Self::TooLarge { .. }
            | Self::Dated { .. }
            | Self::Checkpoint(_) => true,
            Self::Kafka { .. } | Self::Fenced | Self::Log(_) | Self::Unclaimed | Self::Broken(_) => false,
        }
    }
}

/// The position of the event that the record with this `ce_id` is of.
pub(crate) fn position_of(id: &str) -> Option<Position> {
    id.split('.').next().and_then(|position| position.parse().ok())
}

/// What the record with this `ce_id` is of, and that position.
fn of(id: &str) -> (String, Option<Position>) {
    let position = position_of(id);
    let what = match position {
        Some(position) if id.ends_with(".head") => format!("the signed head of position {position}"),
        Some(position) => format!("the event at position {position}"),
        // it is no CloudEvent
        None if id.is_empty() => "the relay's checkpoint".to_owned(),
        None => format!("the record {id}"),
    };
    (what, position)
}
