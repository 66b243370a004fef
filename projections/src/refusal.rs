//! What a query says when it has no answer.

use std::{collections::BTreeMap, time::Duration};

use jari_domain::{Position, Refusal, Refuse, ids::IdError};
use jari_event_store::LogError;
use jari_proto::status::{invalid, refusal_status};
use tonic::{Code, Status};

use crate::quarantine::{EVENT_UNREADABLE, VIEW_ROW_REFUSED};

/// Every code that this crate gives by itself; each has its page in `docs/errors/`.
pub const CODES: &[&str] = &[
    VIEW_BEHIND,
    VIEW_NOT_READY,
    VIEW_STREAM_QUARANTINED,
    DATABASE_UNAVAILABLE,
    VIEW_ROW_UNREADABLE,
    PAGE_TOKEN_INVALID,
    PAGE_SIZE_INVALID,
    MIN_POSITION_INVALID,
    DATE_RANGE_INVALID,
    REQUEST_INVALID,
    TIME_ZONE_UNKNOWN,
    ENUM_INVALID,
    WATCHES_EXHAUSTED,
    SHUTTING_DOWN,
    EVENT_UNREADABLE,
    VIEW_ROW_REFUSED,
];

pub(crate) const VIEW_BEHIND: &str = "VIEW_BEHIND";
pub(crate) const VIEW_NOT_READY: &str = "VIEW_NOT_READY";
pub(crate) const VIEW_STREAM_QUARANTINED: &str = "VIEW_STREAM_QUARANTINED";
pub(crate) const DATABASE_UNAVAILABLE: &str = "DATABASE_UNAVAILABLE";
pub(crate) const VIEW_ROW_UNREADABLE: &str = "VIEW_ROW_UNREADABLE";
pub(crate) const PAGE_TOKEN_INVALID: &str = "PAGE_TOKEN_INVALID";
pub(crate) const PAGE_SIZE_INVALID: &str = "PAGE_SIZE_INVALID";
pub(crate) const MIN_POSITION_INVALID: &str = "MIN_POSITION_INVALID";
pub(crate) const DATE_RANGE_INVALID: &str = "DATE_RANGE_INVALID";
pub(crate) const REQUEST_INVALID: &str = "REQUEST_INVALID";
pub(crate) const TIME_ZONE_UNKNOWN: &str = "TIME_ZONE_UNKNOWN";
pub(crate) const ENUM_INVALID: &str = "ENUM_INVALID";
pub(crate) const WATCHES_EXHAUSTED: &str = "WATCHES_EXHAUSTED";
pub(crate) const SHUTTING_DOWN: &str = "SHUTTING_DOWN";

/// When to try again what only needs a moment.
const SOON: Duration = Duration::from_millis(250);
/// When to try again what needs somebody's hand, or a restart elsewhere.
const LATER: Duration = Duration::from_secs(2);

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The view has not read so far.
    #[error("view {view} has read up to {position}, not yet up to {min_position}")]
    Behind {
        /// Which.
        view: &'static str,
        /// As asked.
        min_position: Position,
        /// As it is.
        position: Position,
    },
    /// The view is being made.
    #[error("view {view} is being made in the version that this program reads")]
    NotReady {
        /// Which.
        view: &'static str,
    },
    /// The answer needs a stream that the view could not read on.
    #[error("view {view} could not read {stream} to its end; an answer would be old")]
    Quarantined {
        /// Which.
        view: &'static str,
        /// Type and id.
        stream: String,
    },
    /// The database.
    #[error("the views cannot be read now")]
    Away(#[source] LogError),
    /// A value of the request that the database cannot take. Each field is looked at before; this is for what was forgotten there.
    #[error("a value of the request is none that can be looked for")]
    ValueRefused(#[source] LogError),
    /// A row of ours that this program cannot read.
    #[error("view {view} has a row that this program cannot read: {reason}")]
    RowUnreadable {
        /// Which.
        view: &'static str,
        /// Why not.
        reason: String,
    },
    /// A product's zone that this program's calendar does not have.
    #[error("the product counts its days in {time_zone:?}, which this server's calendar does not know")]
    TimeZoneUnknown {
        /// As drafted.
        time_zone: String,
    },
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
    /// What the domain says, as when something does not exist.
    #[error("{}", .0.message)]
    Domain(Box<Refusal>),
    /// Too many watch at once.
    #[error("{limit} orders are watched on this node already")]
    WatchesExhausted {
        /// The bound.
        limit: usize,
    },
    /// The node ends.
    #[error("the server is shutting down; ask again, and another one answers")]
    ShuttingDown,
}

impl From<LogError> for QueryError {
    fn from(error: LogError) -> Self {
        if error.is_bad_value() { Self::ValueRefused(error) } else { Self::Away(error) }
    }
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        LogError::from(error).into()
    }
}

impl QueryError {
    /// An id that is not one.
    pub(crate) fn id(field: &'static str, error: &IdError) -> Self {
        Self::Field { field, code: error.code(), what: error.to_string() }
    }

    /// Something that does not exist.
    pub(crate) fn domain(refusal: &impl Refuse) -> Self {
        Self::Domain(Box::new(refusal.to_refusal()))
    }

    fn code(&self) -> &str {
        match self {
            Self::Behind { .. } => VIEW_BEHIND,
            Self::NotReady { .. } => VIEW_NOT_READY,
            Self::Quarantined { .. } => VIEW_STREAM_QUARANTINED,
            Self::Away(_) => DATABASE_UNAVAILABLE,
            Self::ValueRefused(_) => REQUEST_INVALID,
            Self::RowUnreadable { .. } => VIEW_ROW_UNREADABLE,
            Self::TimeZoneUnknown { .. } => TIME_ZONE_UNKNOWN,
            Self::Field { code, .. } => code,
            Self::Domain(refusal) => &refusal.code,
            Self::WatchesExhausted { .. } => WATCHES_EXHAUSTED,
            Self::ShuttingDown => SHUTTING_DOWN,
        }
    }

    fn details(&self) -> BTreeMap<String, String> {
        let facts: Vec<(&str, String)> = match self {
            Self::Behind { view, min_position, position } => {
                vec![("view", (*view).to_owned()), ("min_position", min_position.to_string()), ("position", position.to_string())]
            }
            Self::NotReady { view } | Self::RowUnreadable { view, .. } => vec![("view", (*view).to_owned())],
            Self::Quarantined { view, stream } => vec![("view", (*view).to_owned()), ("stream", stream.clone())],
            Self::TimeZoneUnknown { time_zone } => vec![("time_zone", time_zone.clone())],
            Self::WatchesExhausted { limit } => vec![("limit", limit.to_string())],
            Self::Domain(refusal) => return refusal.details.clone(),
            Self::Away(_) | Self::ValueRefused(_) | Self::Field { .. } | Self::ShuttingDown => Vec::new(),
        };
        facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let (kind, retry_after) = match &error {
            QueryError::Field { field, code, what } => return invalid(vec![(*field, what)], code),
            QueryError::Behind { .. } => (Code::Unavailable, Some(SOON)),
            QueryError::NotReady { .. } | QueryError::ShuttingDown => (Code::Unavailable, Some(LATER)),
            QueryError::Away(inner) => {
                tracing::warn!(error = %inner, "a query failed");
                (Code::Unavailable, Some(LATER))
            }
            QueryError::ValueRefused(inner) => {
                tracing::error!(error = %inner, "a query let a value through to the database that this cannot take");
                (Code::InvalidArgument, None)
            }
            QueryError::Quarantined { .. } | QueryError::TimeZoneUnknown { .. } => (Code::FailedPrecondition, None),
            QueryError::RowUnreadable { .. } => {
                tracing::error!(%error, "a query failed");
                (Code::DataLoss, None)
            }
            QueryError::Domain(refusal) => (jari_wire::code(refusal.kind), None),
            QueryError::WatchesExhausted { .. } => (Code::ResourceExhausted, Some(LATER)),
        };
        refusal_status(error.code(), kind, &error.to_string(), error.details(), retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_query_has_its_page() {
        for code in CODES {
            let path = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}. Write a page for the code, like its neighbours"));
            assert!(page.starts_with(&format!("# {code}\n")), "{path} must begin with the title `# {code}`");
        }
    }

    #[test]
    fn a_delay_is_told_exactly_when_a_moment_may_help() {
        let told = |error: QueryError| jari_proto::status::retry_after(&Status::from(error)).is_some();
        assert!(told(QueryError::Behind { view: "orders", min_position: Position::new(7), position: Position::new(3) }));
        assert!(told(QueryError::NotReady { view: "orders" }));
        assert!(told(QueryError::ShuttingDown));
        assert!(told(QueryError::WatchesExhausted { limit: 1 }));
        assert!(told(QueryError::Away(LogError::Pool("no connection".into()))));
        assert!(!told(QueryError::Quarantined { view: "orders", stream: "Order/x".into() }));
        assert!(!told(QueryError::RowUnreadable { view: "orders", reason: "?".into() }));
    }
}
