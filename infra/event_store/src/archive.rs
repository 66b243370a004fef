//! Old events move to the archive, a piece at a time, under a role of its own.

use crate::{
    Database, LogError,
    record::{signed, unsigned},
};

const ROLE: &str = "SET ROLE jari_archiver";
const RAISE: &str = "SELECT raise_archive_horizon($1)";
const MOVE: &str = "SELECT moved, reached, upto FROM archive_events($1)";
const READ_HORIZON: &str = "SELECT upto, moved_to FROM archive_horizon";

/// Rows that are looked at in one piece: some tens of milliseconds, in which nobody waits for it.
const PIECE: i32 = 2_000;

/// How far the archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveHorizon {
    /// Up to here events may be in the archive.
    pub upto: u64,
    /// Up to here they are, but for the ends of their streams.
    pub moved_to: u64,
}

/// What one piece came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// Events that moved.
    pub moved: u64,
    /// Everything up to here has been looked at.
    pub reached: u64,
    /// Where it ends.
    pub upto: u64,
}

/// Moves events. It may be stopped between any two pieces, and killed within one: another goes on.
#[derive(Debug)]
pub struct Archiver {
    client: tokio_postgres::Client,
}

impl Archiver {
    /// Connects as a role that may be `jari_archiver`, and becomes it.
    ///
    /// # Errors
    /// [`LogError::Database`]; also when it may not.
    pub async fn connect(database: &Database) -> Result<Self, LogError> {
        let client = database.dedicated().await?;
        client.batch_execute(ROLE).await?;
        Ok(Self { client })
    }

    /// From now on events before `before` may move. Never takes back what was said before, nor beyond the log's head. The position up to which they may.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn raise(&self, before: u64) -> Result<u64, LogError> {
        Ok(unsigned(self.client.query_one(RAISE, &[&signed(before)]).await?.try_get(0)?))
    }

    /// Moves the next piece. Done when it reached the end.
    ///
    /// # Errors
    /// [`LogError::Database`]; then nothing of the piece moved.
    pub async fn step(&self) -> Result<Archived, LogError> {
        let row = self.client.query_one(MOVE, &[&PIECE]).await?;
        let moved: i32 = row.try_get(0)?;
        Ok(Archived { moved: u64::try_from(moved).unwrap_or(0), reached: unsigned(row.try_get(1)?), upto: unsigned(row.try_get(2)?) })
    }
}

/// How far the archive is.
///
/// # Errors
/// [`LogError::Database`].
pub async fn archive_horizon(database: &Database) -> Result<ArchiveHorizon, LogError> {
    let row = database.connection().await?.query_one(READ_HORIZON, &[]).await?;
    Ok(ArchiveHorizon { upto: unsigned(row.try_get(0)?), moved_to: unsigned(row.try_get(1)?) })
}
