//! What can go wrong between this program and its log.

use std::time::Duration;

use jari_domain::{DecodeError, Position};

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
    /// A state that JSON cannot tell: no snapshot of it is made, and its stream is read whole.
    #[error("no snapshot of stream {stream}: {source}")]
    Snapshot {
        /// Whose.
        stream: String,
        /// Why.
        source: serde_json::Error,
    },
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
    /// What is stored is not what was written.
    #[error("{what} is damaged")]
    Damaged {
        /// Where.
        what: &'static str,
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
        /// Where that stands.
        position: Position,
    },
    /// The log lacks an event.
    #[error("the log holds no event at position {position}, though it has been that far: somebody took it away")]
    Missing {
        /// Where it should stand.
        position: Position,
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
    /// Whether the database is away rather than says no: the connection is gone, or the server stops, has no room, no disk that takes anything, or only
    /// reads. What was under way may or may not have happened.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Database(e) => e.is_closed() || e.as_db_error().is_none_or(|db| is_of_away(db.code().code(), db.routine())),
            Self::Pool(_) | Self::Silent(_) => true,
            Self::Migration(_)
            | Self::Snapshot { .. }
            | Self::Unreadable { .. }
            | Self::Damaged { .. }
            | Self::Gap { .. }
            | Self::Missing { .. }
            | Self::NotDurable { .. } => false,
        }
    }

    /// Whether the database cannot take a value for what it should be: a text that is none to it, a time or a number out of its bounds. The same again
    /// is refused again.
    #[must_use]
    pub fn is_bad_value(&self) -> bool {
        matches!(self, Self::Database(e) if e.code().is_some_and(|code| code.code().starts_with(BAD_VALUE)))
    }

    /// Whether it is about what is stored or was asked for, and would be said again whenever it is asked: [`LogError::is_bad_value`] or
    /// [`LogError::is_damage`]. To be asked before [`LogError::is_away`], which takes whatever the server has not said itself for its being away.
    #[must_use]
    pub fn is_of_what_is_stored(&self) -> bool {
        self.is_bad_value() || self.is_damage()
    }

    /// Whether what is stored is there and cannot be read: a page that is damaged or that the disk does not give back, or bytes that are no text.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let e = match self {
            Self::Database(e) => e,
            other => return matches!(other, Self::Damaged { .. }),
        };
        match e.as_db_error() {
            Some(db) => is_of_damage(db.code().code(), db.routine()),
            None => std::error::Error::source(e).is_some_and(|cause| cause.is::<std::str::Utf8Error>()),
        }
    }

    /// Whether a unique key was hit: another writer was first.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(e) if e.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION))
    }
}

/// SQLSTATE classes that time mends: connection, read-only (a standby), rolled back for another's sake, resources, operator's intervention, and a disk that
/// fails: it may be gone for a while, as one that is reached by a network, or has to be replaced. Nothing can be written meanwhile, whoever asks.
const AWAY: &[&str] = &["08", "25006", "40", "53", "57", DISK];

/// Whether the code is of a class in [`AWAY`], and not [`is_of_damage`].
fn is_of_away(code: &str, routine: Option<&str>) -> bool {
    AWAY.iter().any(|class| code.starts_with(class)) && !is_of_damage(code, routine)
}

/// Whether the code is one of [`DAMAGED`], or that of a disk which does not give back what it was given. If that were taken for a database that is
/// away, one block of one stream or index would hold up all appends for good, each with the others of its batch.
fn is_of_damage(code: &str, routine: Option<&str>) -> bool {
    let cannot_be_read = code == DISK && routine.is_some_and(|routine| READING.contains(&routine));
    cannot_be_read || DAMAGED.iter().any(|class| code.starts_with(class))
}

/// The SQLSTATE of errors of the disk.
const DISK: &str = "58030";

/// The functions of the server that tell of blocks which cannot be read, up to 16, in 17, and since 18. What it says of them is translated.
const READING: &[&str] = &["mdread", "mdreadv", "md_readv_report"];

/// The SQLSTATE class of data exceptions.
const BAD_VALUE: &str = "22";

/// SQLSTATEs of what is damaged: the class of internal errors, damaged pages and indexes among them, and bytes that are no text.
const DAMAGED: &[&str] = &["XX", "22021"];

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
            ("58030", "the disk takes nothing"),
        ] {
            assert!(
                is_of_away(code, Some("mdzeroextend")) && is_of_away(code, None),
                "{code}: {what}. Settlement would park every order, for nothing"
            );
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
            assert!(!is_of_away(code, None), "{code}: {what}. It would be tried again for ever");
        }
    }

    #[test]
    fn a_block_that_the_disk_does_not_give_back_is_damage_and_holds_up_nobody_else() {
        for routine in ["mdread", "mdreadv", "md_readv_report"] {
            assert!(is_of_damage("58030", Some(routine)) && !is_of_away("58030", Some(routine)), "{routine}");
            assert!(!is_of_damage("53100", Some(routine)), "what is said there of anything else");
        }
        assert!(!is_of_damage("58030", Some("mdwritev")) && !is_of_damage("58030", None));
        for code in ["XX001", "XX002", "22021"] {
            assert!(is_of_damage(code, None), "{code}");
        }
    }
}
