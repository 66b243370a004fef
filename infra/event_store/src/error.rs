//! What can go wrong between this program and its log.

use std::time::Duration;

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
    /// A question was given up after so long.
    #[error("the database said nothing for {} s", .0.as_secs())]
    Silent(Duration),
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
    /// A stream of which an event is missing: what is left of it says something that never was.
    #[error("stream {stream}: sequence {found} stands where {expected} should, an event is missing")]
    Gap {
        /// Whose.
        stream: String,
        /// The sequence after the last one that was read.
        expected: u64,
        /// What came.
        found: u64,
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
            Self::Database(e) => e.is_closed() || e.as_db_error().is_none_or(|db| is_away(db.code().code())),
            Self::Pool(_) | Self::Silent(_) => true,
            Self::Migration(_) | Self::Unreadable { .. } | Self::Gap { .. } | Self::NotDurable { .. } => false,
        }
    }

    /// Whether the database cannot take a value for what it should be: a text that is none to it, a time or a number out of its bounds. The same again
    /// is refused again.
    #[must_use]
    pub fn is_bad_value(&self) -> bool {
        matches!(self, Self::Database(e) if e.code().is_some_and(|code| code.code().starts_with(BAD_VALUE)))
    }

    /// Whether what is stored is there and cannot be read: a page that is damaged, or bytes that are no text.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let Self::Database(e) = self else { return false };
        match e.code() {
            Some(code) => code.code().starts_with(DAMAGED) || *code == tokio_postgres::error::SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            None => std::error::Error::source(e).is_some_and(|cause| cause.is::<std::str::Utf8Error>()),
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

/// Whether the code is of a class in [`AWAY`].
fn is_away(code: &str) -> bool {
    AWAY.iter().any(|class| code.starts_with(class))
}

/// The SQLSTATE class of data exceptions.
const BAD_VALUE: &str = "22";

/// The SQLSTATE class of internal errors, damaged pages and indexes among them.
const DAMAGED: &str = "XX";

/// tokio-postgres' own `Display` hides what the server said, and why it was not reached: that its certificate is another's, for one.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_mends_is_taken_for_a_database_that_is_away_and_not_for_a_refusal() {
        for (code, what) in [
            ("08006", "the connection failed"),
            ("25006", "it only reads: a standby"),
            ("40001", "it fell for another transaction's sake"),
            ("40P01", "a deadlock"),
            ("53100", "the disk is full"),
            ("53200", "out of memory"),
            ("53300", "too many connections"),
            ("57P01", "it shuts down"),
            ("57P03", "it starts"),
            ("57014", "the statement was cancelled"),
        ] {
            assert!(is_away(code), "{code}: {what}. Settlement would park every order, for nothing");
        }
        for (code, what) in [
            ("22021", "a text that is none"),
            ("23505", "a key was hit"),
            ("25001", "a transaction is under way"),
            ("42501", "no right to it"),
            ("42P01", "no such table: the schema is older"),
            ("54000", "beyond a limit of the server"),
            ("P0001", "a trigger said no"),
            ("XX001", "a page is damaged"),
        ] {
            assert!(!is_away(code), "{code}: {what}. It would be tried again for ever");
        }
    }
}
