//! What can go wrong between this program and its log.

use jari_domain::DecodeError;

/// An error of the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database did not answer, or said no.
    #[error("database: {}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// No connection could be had.
    #[error("no database connection: {0}")]
    Pool(String),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(String),
    /// A stored event or snapshot that this program cannot read.
    #[error("stream {stream} sequence {sequence}: {source}")]
    Unreadable {
        /// Whose.
        stream: String,
        /// Which event of it.
        sequence: u64,
        /// Why.
        source: DecodeError,
    },
    /// The database's settings would lose acknowledged commands in a crash.
    #[error("the database runs with {setting} = {value}: an acknowledged booking could be lost in a crash")]
    NotDurable {
        /// `fsync`, `full_page_writes` or `synchronous_commit`.
        setting: String,
        /// As found.
        value: String,
    },
}

impl LogError {
    /// Whether the database is away rather than says no: the connection is gone, or the server stops, has no room, or only reads. What was
    /// under way may or may not have happened.
    #[must_use]
    pub fn is_connection_loss(&self) -> bool {
        match self {
            Self::Database(e) => e.is_closed() || e.as_db_error().is_none_or(|db| AWAY.iter().any(|class| db.code().code().starts_with(class))),
            Self::Pool(_) => true,
            Self::Migration(_) | Self::Unreadable { .. } | Self::NotDurable { .. } => false,
        }
    }

    /// Whether a unique key was hit: another writer was first.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(e) if e.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION))
    }
}

/// SQLSTATE classes that time mends: connection, read-only (a standby), rolled back for another's sake, resources, operator's intervention.
const AWAY: &[&str] = &["08", "25006", "40", "53", "57"];

/// tokio-postgres' own `Display` hides what the server said, and why it was not reached: that its certificate is another's, for one.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}
