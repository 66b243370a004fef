//! What processes remember, and what they could not do.

use jari_domain::Position;
use jiff::Timestamp;

use crate::{
    Database, LogError,
    record::{signed, timestamp, unsigned},
};

const SAVE_CHECKPOINT: &str = include_str!("sql/save_process_checkpoint.sql");
const SAVE_MEMORY: &str = include_str!("sql/save_process_memory.sql");
const DROP_MEMORY: &str = "DELETE FROM process_memory WHERE process = $1 AND key = ANY ($2)";
const LOAD_CHECKPOINT: &str = "SELECT position FROM process_checkpoints WHERE process = $1";
const LOAD_MEMORY: &str = "SELECT key, state FROM process_memory WHERE process = $1 ORDER BY key";
const PARK: &str = include_str!("sql/park_work.sql");
const UNPARK: &str = "DELETE FROM parked_work WHERE process = $1 AND key = $2";
const FIND_PARKED: &str = "SELECT position FROM parked_work WHERE process = $1 AND key = $2";
const LIST_PARKED: &str = include_str!("sql/list_parked_work.sql");
const COUNT_PARKED: &str = "SELECT count(*) FROM parked_work WHERE process = $1";

/// The memory of one process. All of it is folded from the log, so losing the newest part only repeats work.
#[derive(Debug, Clone)]
pub struct ProcessStore {
    database: Database,
    process: &'static str,
}

/// What was remembered.
#[derive(Debug, Clone, Default)]
pub struct ProcessMemory {
    /// The log is folded up to here.
    pub position: Position,
    /// By key.
    pub entries: Vec<(String, String)>,
}

/// A piece of work that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedWork {
    /// Which: an order's id.
    pub key: String,
    /// The event that asks for it.
    pub position: Position,
    /// The stable code of what stood in its way.
    pub code: String,
    /// For people.
    pub message: String,
    /// Times that it was parked.
    pub attempts: u32,
    /// When, last.
    pub parked_at: Timestamp,
}

impl ProcessStore {
    /// The memory of `process`.
    #[must_use]
    pub fn new(database: Database, process: &'static str) -> Self {
        Self { database, process }
    }

    /// Where it is kept.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Everything that is remembered; empty, at [`Position::START`], before the first save.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn load(&self) -> Result<ProcessMemory, LogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).read_only(true).start().await?;
        let position = transaction.query_opt(LOAD_CHECKPOINT, &[&self.process]).await?.map(|row| row.try_get(0)).transpose()?;
        let rows = transaction.query(LOAD_MEMORY, &[&self.process]).await?;
        let entries = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, LogError>>()?;
        Ok(ProcessMemory { position: position.map_or(Position::START, Position::from_i64), entries })
    }

    /// Moves the checkpoint and the memory in one transaction. Says false when a newer owner has saved, or the log does not reach `position`: then
    /// nothing was written.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn save(&self, epoch: u64, position: Position, puts: &[(String, String)], drops: &[String]) -> Result<bool, LogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        // it can be folded again from the log: its last saves need not survive a crash
        transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
        if transaction.execute(SAVE_CHECKPOINT, &[&self.process, &position.to_i64(), &signed(epoch)]).await? == 0 {
            return Ok(false);
        }
        let (keys, states): (Vec<&str>, Vec<&str>) = puts.iter().map(|(k, s)| (k.as_str(), s.as_str())).unzip();
        transaction.execute(SAVE_MEMORY, &[&self.process, &keys, &states]).await?;
        transaction.execute(DROP_MEMORY, &[&self.process, &drops]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Puts a piece of work aside.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn park(&self, key: &str, position: Position, code: &str, message: &str) -> Result<(), LogError> {
        let client = self.database.connection().await?;
        client.execute(PARK, &[&self.process, &key, &position.to_i64(), &code, &message]).await?;
        Ok(())
    }

    /// Forgets a piece of work that was put aside: there is nothing left to do for it.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn unpark(&self, key: &str) -> Result<(), LogError> {
        let client = self.database.connection().await?;
        client.execute(UNPARK, &[&self.process, &key]).await?;
        Ok(())
    }

    /// The position of the event that asks for it, or `None` when it is not parked.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn find_parked(&self, key: &str) -> Result<Option<Position>, LogError> {
        let client = self.database.connection().await?;
        Ok(client.query_opt(FIND_PARKED, &[&self.process, &key]).await?.map(|row| row.try_get(0).map(Position::from_i64)).transpose()?)
    }

    /// What is parked, by position and key after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn parked(&self, after: (Position, &str), limit: u32) -> Result<Vec<ParkedWork>, LogError> {
        let client = self.database.connection().await?;
        let rows = client.query(LIST_PARKED, &[&self.process, &after.0.to_i64(), &after.1, &i64::from(limit)]).await?;
        rows.iter()
            .map(|row| {
                Ok(ParkedWork {
                    key: row.try_get(0)?,
                    position: Position::from_i64(row.try_get(1)?),
                    code: row.try_get(2)?,
                    message: row.try_get(3)?,
                    attempts: u32::try_from(row.try_get::<_, i32>(4)?).unwrap_or(0),
                    parked_at: timestamp(row.try_get(5)?),
                })
            })
            .collect()
    }

    /// How much is parked.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn parked_count(&self) -> Result<u64, LogError> {
        let client = self.database.connection().await?;
        Ok(unsigned(client.query_one(COUNT_PARKED, &[&self.process]).await?.try_get(0)?))
    }
}
