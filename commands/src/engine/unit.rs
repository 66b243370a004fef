//! A unit of work: what a command is to the engine.

use std::{fmt::Debug, sync::Arc};

use jari_domain::{AnyEvent, AnyState, Position, Refusal, StreamId, Timestamp, registry::AsAggregate};
use jari_event_store::{CommandKey, LeaseStamp, RecordedEvent};

/// How a unit of work uses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its state is needed.
    Existing,
    /// It is taken to be new, without asking the database; if it is not, the append finds out and the unit is decided again.
    PresumedNew,
}

/// One stream of a unit of work.
#[derive(Debug, Clone)]
pub struct Touch {
    /// Which.
    pub stream: StreamId,
    /// See [`Access`].
    pub access: Access,
    /// Keep this unit's turn at the stream even when it adds nothing to it: settlement does, so that orders stay in line.
    pub claims: bool,
}

impl Touch {
    /// A stream that is read, and perhaps written.
    #[must_use]
    pub fn existing(stream: impl Into<StreamId>) -> Self {
        Self { stream: stream.into(), access: Access::Existing, claims: false }
    }
    /// A stream that should not exist yet.
    #[must_use]
    pub fn presumed_new(stream: impl Into<StreamId>) -> Self {
        Self { stream: stream.into(), access: Access::PresumedNew, claims: false }
    }
    /// A stream at which the unit keeps its turn.
    #[must_use]
    pub fn in_turn(stream: impl Into<StreamId>) -> Self {
        Self { stream: stream.into(), access: Access::Existing, claims: true }
    }
}

/// The states of a unit's streams, in the order of its touches, events on their way to disk included.
#[derive(Debug)]
pub struct States<'a>(pub(super) Vec<&'a AnyState>);

impl States<'_> {
    /// The state of the touch at `index`.
    ///
    /// # Panics
    /// When the unit asks for a touch that it did not name, or as another aggregate: a mistake in the unit, found by its first test.
    #[must_use]
    pub fn at<A: AsAggregate>(&self, index: usize) -> &A {
        A::of(self.0[index]).expect("a unit asks for the aggregates that its own touches name")
    }
    /// How many streams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Events by the index of their touch. Each index at most once.
pub type Changes = Vec<(usize, Vec<AnyEvent>)>;

/// Something to be decided over a few streams, whole or not at all.
///
/// Every method is pure and may be called again: after a conflict the unit is decided anew.
pub trait UnitOfWork: Debug + Send + Sync + 'static {
    /// For spans and metrics: `place_order`.
    fn name(&self) -> &'static str;
    /// The streams that are known beforehand; each once.
    fn touches(&self) -> Vec<Touch>;
    /// Streams that only the state of the first ones names, such as the slots of an order.
    fn discover(&self, _states: &States<'_>) -> Vec<Touch> {
        Vec::new()
    }
    /// What must be in the log first, so that the decision's own group stays of a bounded size: at most `most` events. It is recorded in a group of its
    /// own, while the unit keeps its turn; then this is asked again, until it is nothing. Whatever becomes of the unit, what was recorded stays and is true.
    fn beforehand(&self, _states: &States<'_>, _most: usize, _now: Timestamp) -> Changes {
        Changes::new()
    }
    /// What follows.
    ///
    /// # Errors
    /// The refusal, which is recorded under the command's id.
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal>;
    /// The lease under which it stands.
    fn lease(&self) -> Option<LeaseStamp> {
        None
    }
}

/// Where a unit comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Present for callers' commands: makes it exactly-once. The engine's own units are harmless to repeat and bring none.
    pub key: Option<CommandKey>,
    /// Keyed digest of the typed command.
    pub digest: [u8; 16],
    /// Whether the digest has a mark of personal data ([`super::Digester::with_mark`]).
    pub is_marked: bool,
    /// Who, for the record.
    pub actor: Option<Arc<str>>,
    /// The first command of the chain.
    pub correlation_id: Option<String>,
    /// Position of the event that caused it.
    pub causation: Option<Position>,
    /// W3C `traceparent`.
    pub trace: Option<String>,
}

/// What became of a unit of work, durably.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The log's head when it was settled: a view that has seen it has seen the outcome.
    pub position: Position,
    /// Present when it was refused.
    pub refusal: Option<Refusal>,
    /// What was recorded of it just now. Empty when it was refused; and for a repeat, which is told from the record: its streams may have gone on.
    pub events: Vec<Arc<RecordedEvent>>,
}

/// A repeat has the same outcome, though nothing is recorded by it.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        (self.position, &self.refusal) == (other.position, &other.refusal)
    }
}

impl Eq for Outcome {}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// Nothing was accepted: too much is waiting.
    #[error("the engine has as much work as it can hold; nothing was accepted")]
    Busy {
        /// When to come back.
        retry_after: std::time::Duration,
    },
    /// Nothing was accepted: the log is away.
    #[error("the log is not available; nothing was accepted")]
    LogUnavailable {
        /// When to come back.
        retry_after: std::time::Duration,
    },
    /// Accepted, but not known to be settled within the bound: the same command id will tell.
    #[error("the outcome is not known yet; ask again with the same request id")]
    OutcomePending {
        /// When to come back.
        retry_after: std::time::Duration,
    },
    /// The id was used for another command.
    #[error("this request id was used for another command")]
    CommandIdReused,
    /// The id is older than what is remembered.
    #[error("this request id is older than the {retention_days} days for which ids are remembered; it was not executed")]
    CommandIdExpired {
        /// Days.
        retention_days: u32,
    },
    /// The id's own time lies too far ahead.
    #[error("this request id says that it was made at {made}, which is more than a day ahead; it was not executed")]
    CommandIdAhead {
        /// By the id.
        made: Timestamp,
    },
    /// Other writers were first too many times.
    #[error("other writers changed the same streams {attempts} times in a row; nothing was done")]
    Contention {
        /// Times.
        attempts: u32,
    },
    /// A stream that this program cannot read.
    #[error("stream {stream} cannot be read: {reason}")]
    StreamUnreadable {
        /// Which.
        stream: String,
        /// Why.
        reason: String,
    },
    /// The lease is another's now.
    #[error("the lease under which this was decided is another node's now")]
    LeaseLost,
    /// The database refuses this group, alone.
    #[error("the log refused the events: {reason}")]
    LogRefused {
        /// As the database said.
        reason: String,
    },
    /// The decision itself broke: a mistake in this program.
    #[error("{name} could not be decided: a mistake in this program; nothing was done")]
    DecisionFailed {
        /// The unit of work.
        name: &'static str,
    },
    /// This node is going down.
    #[error("this node is shutting down; nothing was accepted")]
    ShuttingDown,
}

impl ExecuteError {
    /// Every code that [`ExecuteError::code`] can give.
    pub const CODES: &'static [&'static str] = &[
        "ENGINE_BUSY",
        "LOG_UNAVAILABLE",
        "OUTCOME_PENDING",
        "COMMAND_ID_REUSED",
        "COMMAND_ID_EXPIRED",
        "COMMAND_ID_AHEAD",
        "CONTENTION",
        "STREAM_UNREADABLE",
        "LEASE_LOST",
        "LOG_REFUSED",
        "DECISION_FAILED",
        "SHUTTING_DOWN",
    ];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "ENGINE_BUSY",
            Self::LogUnavailable { .. } => "LOG_UNAVAILABLE",
            Self::OutcomePending { .. } => "OUTCOME_PENDING",
            Self::CommandIdReused => "COMMAND_ID_REUSED",
            Self::CommandIdExpired { .. } => "COMMAND_ID_EXPIRED",
            Self::CommandIdAhead { .. } => "COMMAND_ID_AHEAD",
            Self::Contention { .. } => "CONTENTION",
            Self::StreamUnreadable { .. } => "STREAM_UNREADABLE",
            Self::LeaseLost => "LEASE_LOST",
            Self::LogRefused { .. } => "LOG_REFUSED",
            Self::DecisionFailed { .. } => "DECISION_FAILED",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }
}
