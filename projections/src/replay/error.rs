//! Why a view was not replayed.

use jari_domain::Position;
use jari_event_store::LogError;
use jiff::Timestamp;

use crate::rebuild::view_names;

const VIEW_UNKNOWN: &str = "VIEW_UNKNOWN";
const POSITION_AHEAD: &str = "POSITION_AHEAD";
const TIME_AHEAD: &str = "TIME_AHEAD";
const REPLAY_UNDER_WAY: &str = "REPLAY_UNDER_WAY";
const REPLAYS_EXHAUSTED: &str = "REPLAYS_EXHAUSTED";
const REPLAY_UNKNOWN: &str = "REPLAY_UNKNOWN";
const HISTORY_UNREADABLE: &str = "HISTORY_UNREADABLE";

/// The codes that a replay may end with.
pub const REPLAY_CODES: &[&str] = CODES;

const CODES: &[&str] = &[VIEW_UNKNOWN, POSITION_AHEAD, TIME_AHEAD, REPLAY_UNDER_WAY, REPLAYS_EXHAUSTED, REPLAY_UNKNOWN, HISTORY_UNREADABLE];

/// Why a view was not replayed. What was made so far stays, and the next call for the same view and position goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No view has that name.
    #[error("no view is called {name:?}; there are {}", view_names().join(", "))]
    ViewUnknown {
        /// As asked.
        name: String,
    },
    /// Nothing stands there yet.
    #[error("the log ends at position {head}: nothing stands at {position} yet")]
    PositionAhead {
        /// As asked.
        position: Position,
        /// Of the log.
        head: Position,
    },
    /// Nobody knows what will have been recorded by then.
    #[error("{time} is still to come")]
    TimeAhead {
        /// As asked.
        time: Timestamp,
    },
    /// Somebody else is at it.
    #[error("view {view:?} is being replayed as of position {position} already, or that replay is being dropped")]
    UnderWay {
        /// Which.
        view: String,
        /// As of.
        position: Position,
    },
    /// Too many are kept.
    #[error(
        "{} replays are kept, or were begun and not finished: drop one first (`jari replay list`, `jari replay drop NUMBER`)",
        super::MOST_REPLAYS
    )]
    Exhausted,
    /// No replay has that number.
    #[error("no replay has the number {0}")]
    ReplayUnknown(i64),
    /// The caller stopped it.
    #[error("stopped; the next replay of the same view and position goes on from here")]
    Stopped,
    /// See the message.
    #[error("{0}")]
    Halted(String),
    /// A file could not be written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The database.
    #[error("{0}")]
    Away(#[from] LogError),
}

impl ReplayError {
    /// The stable code of a refusal; `None` of what is none.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::ViewUnknown { .. } => Some(VIEW_UNKNOWN),
            Self::PositionAhead { .. } => Some(POSITION_AHEAD),
            Self::TimeAhead { .. } => Some(TIME_AHEAD),
            Self::UnderWay { .. } => Some(REPLAY_UNDER_WAY),
            Self::Exhausted => Some(REPLAYS_EXHAUSTED),
            Self::ReplayUnknown(_) => Some(REPLAY_UNKNOWN),
            Self::Away(LogError::Missing { .. }) => Some(HISTORY_UNREADABLE),
            Self::Stopped | Self::Halted(_) | Self::File { .. } | Self::Away(_) => None,
        }
    }
}

impl From<tokio_postgres::Error> for ReplayError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Away(error.into())
    }
}
