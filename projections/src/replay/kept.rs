//! Replays that are kept for SQL, and those that were begun and not finished.

use jari_domain::Position;
use jari_event_store::Database;
use jiff::Timestamp;

use super::{error::ReplayError, lock_of, rows};
use crate::builds::{self, Build};

const LIST: &str = include_str!("../sql/list_replays.sql");

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReplay {
    /// By which it is dropped.
    pub number: i64,
    /// Of which view.
    pub view: String,
    /// Of which version.
    pub version: i32,
    /// As of which position.
    pub as_of: Position,
    /// How far it has come.
    pub position: Position,
    /// Whether it is whole; else it was begun and not finished, or somebody is at it now.
    pub whole: bool,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Its tables, by the names that SQL knows.
    pub tables: Vec<String>,
}

/// All of them, by number.
///
/// # Errors
/// [`ReplayError::Away`].
pub async fn replays(database: &Database) -> Result<Vec<KeptReplay>, ReplayError> {
    builds::prepare(database).await?;
    let client = database.connection().await?;
    let mut all = Vec::new();
    for row in client.query(LIST, &[]).await? {
        let (number, view, version): (i64, String, i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let created_at: std::time::SystemTime = row.try_get(6)?;
        let tables = rows::tables(&**client, &Build::new(&view, version, number)).await?.into_iter().map(|table| table.sql_name).collect();
        all.push(KeptReplay {
            number,
            view,
            version,
            as_of: Position::from_i64(row.try_get(3)?),
            position: Position::from_i64(row.try_get(4)?),
            whole: row.try_get(5)?,
            created_at: Timestamp::try_from(created_at).unwrap_or(Timestamp::MAX),
            tables,
        });
    }
    Ok(all)
}

/// Drops one of them.
///
/// # Errors
/// [`ReplayError::ReplayUnknown`], [`ReplayError::UnderWay`] when somebody is at it, [`ReplayError::Away`].
pub async fn drop_replay(database: &Database, number: i64) -> Result<(), ReplayError> {
    let kept = replays(database).await?.into_iter().find(|replay| replay.number == number).ok_or(ReplayError::ReplayUnknown(number))?;
    let under_way = || ReplayError::UnderWay { view: kept.view.clone(), position: kept.as_of };
    let lock = builds::try_lock(database, &lock_of(&kept.view, kept.as_of)).await?.ok_or_else(under_way)?;
    let mut client = database.connection().await?;
    builds::drop_build(&mut client, &Build::new(&kept.view, kept.version, number)).await?;
    builds::unlock(lock).await;
    Ok(())
}
