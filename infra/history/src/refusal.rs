//! What history says when it has no answer.

use std::{collections::BTreeMap, time::Duration};

use jari_contract::ContractError;
use jari_domain::{Position, Refusal, RefusalKind, Refuse, ids::IdError};
use jari_event_store::LogError;
use jari_proto::status::{invalid, refusal_status};
use tonic::{Code, Status};

/// Every code that this crate gives by itself; each has its page in `docs/errors/`.
pub const CODES: &[&str] = &[
    MOMENT_INVALID,
    POSITION_AHEAD,
    TIME_AHEAD,
    EVENT_TYPE_UNKNOWN,
    AGGREGATE_REQUIRED,
    CAUSES_UNKNOWN,
    HISTORY_BUSY,
    HISTORY_UNREADABLE,
    ENUM_INVALID,
    PAGE_SIZE_INVALID,
    PAGE_TOKEN_INVALID,
    DATABASE_UNAVAILABLE,
    SHUTTING_DOWN,
];

pub(crate) const MOMENT_INVALID: &str = "MOMENT_INVALID";
pub(crate) const POSITION_AHEAD: &str = "POSITION_AHEAD";
pub(crate) const TIME_AHEAD: &str = "TIME_AHEAD";
pub(crate) const EVENT_TYPE_UNKNOWN: &str = "EVENT_TYPE_UNKNOWN";
pub(crate) const AGGREGATE_REQUIRED: &str = "AGGREGATE_REQUIRED";
pub(crate) const CAUSES_UNKNOWN: &str = "CAUSES_UNKNOWN";
pub(crate) const HISTORY_BUSY: &str = "HISTORY_BUSY";
pub(crate) const HISTORY_UNREADABLE: &str = "HISTORY_UNREADABLE";
pub(crate) const ENUM_INVALID: &str = "ENUM_INVALID";
pub(crate) const PAGE_SIZE_INVALID: &str = "PAGE_SIZE_INVALID";
pub(crate) const PAGE_TOKEN_INVALID: &str = "PAGE_TOKEN_INVALID";
pub(crate) const DATABASE_UNAVAILABLE: &str = "DATABASE_UNAVAILABLE";
pub(crate) const SHUTTING_DOWN: &str = "SHUTTING_DOWN";

/// When to try again what needs a place, the database, or another node.
const LATER: Duration = Duration::from_secs(2);

/// Why history has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A field that cannot be used.
    #[error("{field}: {what}")]
    Field {
        /// Its path.
        field: &'static str,
        /// Stable.
        code: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The log does not reach so far.
    #[error("{field}: position {position} lies ahead of the log, which ends at {head}")]
    PositionAhead {
        /// Its path.
        field: &'static str,
        /// As asked.
        position: Position,
        /// As it is.
        head: Position,
    },
    /// The time has not come.
    #[error("{field}: {time} is still to come by this server's clock")]
    TimeAhead {
        /// Its path.
        field: &'static str,
        /// As asked.
        time: jiff::Timestamp,
    },
    /// No event of the chain is known.
    #[error("no event of the log bears the correlation id {correlation_id}, or the command's outcome is no longer kept")]
    CausesUnknown {
        /// As asked.
        correlation_id: uuid::Uuid,
    },
    /// What the domain says, as when something does not exist.
    #[error("{}", .0.message)]
    Domain(Box<Refusal>),
    /// An event that cannot be told.
    #[error("{0}")]
    Untellable(#[from] ContractError),
    /// A stream that cannot be folded.
    #[error("the history of {stream} cannot be read at its event {version}, position {position}")]
    Unreadable {
        /// Type and id.
        stream: String,
        /// Which event of it.
        version: u64,
        /// Where that stands.
        position: Position,
    },
    /// An event that is not there.
    #[error("the log holds no event at position {position}, though it has been that far")]
    Missing {
        /// Where it should stand.
        position: Position,
    },
    /// The same, of a stream.
    #[error("the history of {stream} lacks its event {version}: the next that is there stands at position {position}")]
    MissingOf {
        /// Type and id.
        stream: String,
        /// Which event of it.
        version: u64,
        /// Of the one after it.
        position: Position,
    },
    /// Too many calls at once.
    #[error("{limit} calls read the history on this node already")]
    Busy {
        /// The bound.
        limit: usize,
    },
    /// The database.
    #[error("the log cannot be read now")]
    Away(#[source] LogError),
    /// The node ends.
    #[error("the server is shutting down; ask again, and another one answers")]
    ShuttingDown,
}

impl HistoryError {
    /// An id that is not one.
    pub(crate) fn id(field: &'static str, error: &IdError) -> Self {
        Self::Field { field, code: error.code(), what: error.to_string() }
    }

    /// A moment that makes no sense.
    pub(crate) fn moment(field: &'static str, what: &str) -> Self {
        Self::Field { field, code: MOMENT_INVALID, what: what.to_owned() }
    }

    /// Something that does not exist.
    pub(crate) fn domain(refusal: &impl Refuse) -> Self {
        Self::Domain(Box::new(refusal.to_refusal()))
    }

    /// Whether it is that something had not begun.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Domain(refusal) if refusal.kind == RefusalKind::NotFound)
    }

    fn code(&self) -> &str {
        match self {
            Self::Field { code, .. } => code,
            Self::PositionAhead { .. } => POSITION_AHEAD,
            Self::TimeAhead { .. } => TIME_AHEAD,
            Self::CausesUnknown { .. } => CAUSES_UNKNOWN,
            Self::Domain(refusal) => &refusal.code,
            Self::Untellable(_) | Self::Unreadable { .. } | Self::Missing { .. } | Self::MissingOf { .. } => HISTORY_UNREADABLE,
            Self::Busy { .. } => HISTORY_BUSY,
            Self::Away(_) => DATABASE_UNAVAILABLE,
            Self::ShuttingDown => SHUTTING_DOWN,
        }
    }

    fn details(&self) -> BTreeMap<String, String> {
        let facts: Vec<(&str, String)> = match self {
            Self::PositionAhead { position, head, .. } => vec![("position", position.to_string()), ("head_position", head.to_string())],
            Self::TimeAhead { time, .. } => vec![("time", time.to_string())],
            Self::CausesUnknown { correlation_id } => vec![("correlation_id", correlation_id.to_string())],
            Self::Untellable(ContractError::Unreadable { position, .. } | ContractError::OutOfRange { position, .. }) => {
                vec![("position", position.to_string())]
            }
            Self::Missing { position } => vec![("position", position.to_string())],
            Self::Unreadable { stream, position, .. } | Self::MissingOf { stream, position, .. } => {
                vec![("stream", stream.clone()), ("position", position.to_string())]
            }
            Self::Busy { limit } => vec![("limit", limit.to_string())],
            Self::Domain(refusal) => return refusal.details.clone(),
            Self::Field { .. } | Self::Away(_) | Self::ShuttingDown => Vec::new(),
        };
        facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
    }
}

impl From<LogError> for HistoryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Missing { position } => Self::Missing { position },
            LogError::Gap { stream, expected, position, .. } => Self::MissingOf { stream, version: expected, position },
            other => Self::Away(other),
        }
    }
}

impl From<HistoryError> for Status {
    fn from(error: HistoryError) -> Self {
        let (kind, retry_after) = match &error {
            HistoryError::Field { field, code, what } => return invalid(vec![(*field, what)], code),
            HistoryError::PositionAhead { .. } | HistoryError::TimeAhead { .. } => (Code::OutOfRange, None),
            HistoryError::CausesUnknown { .. } => (Code::NotFound, None),
            HistoryError::Domain(refusal) => (jari_wire::code(refusal.kind), None),
            HistoryError::Untellable(_) | HistoryError::Unreadable { .. } | HistoryError::Missing { .. } | HistoryError::MissingOf { .. } => {
                tracing::error!(%error, "history could not be told");
                (Code::DataLoss, None)
            }
            HistoryError::Busy { .. } => (Code::ResourceExhausted, Some(LATER)),
            HistoryError::Away(inner) => {
                tracing::warn!(error = %inner, "history could not be read");
                (Code::Unavailable, Some(LATER))
            }
            HistoryError::ShuttingDown => (Code::Unavailable, Some(LATER)),
        };
        refusal_status(error.code(), kind, &error.to_string(), error.details(), retry_after)
    }
}
