//! Old events move to the archive, a piece at a time, under a role of its own.

use jari_domain::Position;

use crate::{Database, LogError};

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
    pub upto: Position,
    /// Up to here they are, but for the ends of their streams.
    pub moved_to: Position,
}

/// What one piece came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// Events that moved.
    pub moved: u64,
    /// Everything up to here has been looked at.
    pub reached: Position,
    /// Where it ends.
    pub upto: Position,
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
    pub async fn raise(&self, before: Position) -> Result<Position, LogError> {
        Ok(Position::from_i64(self.client.query_one(RAISE, &[&before.to_i64()]).await?.try_get(0)?))
    }

    /// Moves the next piece. Done when it reached the end.
    ///
    /// # Errors
    /// [`LogError::Database`]; then nothing of the piece moved.
    pub async fn step(&self) -> Result<Archived, LogError> {
        let row = self.client.query_one(MOVE, &[&PIECE]).await?;
        let moved: i32 = row.try_get(0)?;
        let (reached, upto) = (Position::from_i64(row.try_get(1)?), Position::from_i64(row.try_get(2)?));
        Ok(Archived { moved: u64::try_from(moved).unwrap_or(0), reached, upto })
    }
}

/// How far the archive is.
///
/// # Errors
/// [`LogError::Database`].
pub async fn archive_horizon(database: &Database) -> Result<ArchiveHorizon, LogError> {
    let row = database.connection().await?.query_one(READ_HORIZON, &[]).await?;
    Ok(ArchiveHorizon { upto: Position::from_i64(row.try_get(0)?), moved_to: Position::from_i64(row.try_get(1)?) })
}
