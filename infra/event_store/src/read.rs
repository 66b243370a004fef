//! Reading streams, the log, and what became of commands.

use std::sync::Arc;

use jari_domain::{Position, Refusal, StreamId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Database, LogError, RecordedEvent,
    pieces::Pieces,
    record::{signed, timestamp},
};

pub(crate) const READ_STREAMS: &str = include_str!("sql/read_streams.sql");
pub(crate) const READ_LOG: &str = include_str!("sql/read_log.sql");
const READ_RANGE: &str = include_str!("sql/read_range.sql");
const RECORDED_AT: &str = include_str!("sql/recorded_at.sql");
const READ_HEAD: &str = include_str!("sql/read_head.sql");
const SETTLED_AT: &str = include_str!("sql/settled_at.sql");
const LOOK_UP_COMMANDS: &str = include_str!("sql/look_up_commands.sql");

/// A recorded refusal that this program cannot read.
const COMMAND_REFUSED: &str = "COMMAND_REFUSED";
/// The codes that the log gives by itself.
pub const CODES: &[&str] = &[COMMAND_REFUSED];

/// Callers of which one command id is looked at. It is random: that two have the same is an intention.
const MOST_CALLERS: i64 = 16;

/// A command id in its caller's scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandKey {
    /// Who.
    pub caller: Arc<str>,
    /// Their id for it.
    pub id: Uuid,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCommand {
    /// Keyed digest of the typed command.
    pub digest: [u8; 16],
    /// The log's head when it was settled: a view that has seen it has seen the outcome.
    pub position: Position,
    /// Present when it was refused.
    pub refusal: Option<Refusal>,
}

/// What the log is: made once.
#[derive(Debug, Clone)]
pub struct LogIdentity {
    /// Names this history; a restored copy has the same.
    pub log_id: Uuid,
    /// Keys the digests of commands; 32 bytes.
    pub digest_key: [u8; 32],
}

/// Reads through a bounded pool.
#[derive(Debug, Clone)]
pub struct Reader {
    database: Database,
}

impl Reader {
    /// Reads from `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Where it reads.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The log's identity.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn identity(&self) -> Result<LogIdentity, LogError> {
        let row = self.database.connection().await?.query_one("SELECT log_id, digest_key FROM log_identity", &[]).await?;
        let digest_key = exactly(row.try_get(1)?, "log_identity")?;
        Ok(LogIdentity { log_id: row.try_get(0)?, digest_key })
    }

    /// The time by the database's clock.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn clock(&self) -> Result<Timestamp, LogError> {
        Ok(timestamp(self.database.connection().await?.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?))
    }

    /// The greatest position; [`Position::START`] for an empty log.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn head(&self) -> Result<Position, LogError> {
        Ok(Position::from_i64(self.database.connection().await?.query_one(READ_HEAD, &[]).await?.try_get(0)?))
    }

    /// Up to `limit` events after `after`, in order. Dense: whoever gets fewer has reached the head.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn log_after(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_LOG).await?;
        let rows = client.query(&statement, &[&after.to_i64(), &signed(limit as u64)]).await?;
        rows.iter().map(RecordedEvent::from_row).collect()
    }

    /// The events after `after` and up to `to` whose aggregate is one of `types`, in order. All others are not even sent: who folds a view reads a log
    /// of which it needs a part. `to` is not above the head.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn log_between(&self, after: Position, to: Position, types: &[&str]) -> Result<Vec<RecordedEvent>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_RANGE).await?;
        let rows = client.query(&statement, &[&after.to_i64(), &to.to_i64(), &types]).await?;
        rows.iter().map(RecordedEvent::from_row).collect()
    }

    /// The last position that was recorded at or before `time`; [`Position::START`] when there is none. Times of recording never fall from one position
    /// to the next, so that halving finds it: at most one read by position for each bit of the head, and no index on times, which every append would
    /// have to write.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn last_recorded_by(&self, time: Timestamp) -> Result<Position, LogError> {
        let head = self.head().await?;
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(RECORDED_AT).await?;
        // everything up to `by` was recorded by then; what stands at `later` was not
        let (mut by, mut later) = (Position::START, head.next());
        // Ends when the two meet: each round halves what is between them.
        while later.since(by) > 1 {
            let middle = by + later.since(by) / 2;
            match client.query_opt(&statement, &[&middle.to_i64()]).await? {
                Some(row) if timestamp(row.try_get(0)?) <= time => by = middle,
                _ => later = middle,
            }
        }
        Ok(by)
    }

    /// Up to `limit` events of one stream after version `after`, in order.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn stream_after(&self, stream: &StreamId, after: u64, limit: usize) -> Result<Vec<RecordedEvent>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_STREAMS).await?;
        let limit = signed(limit as u64);
        let rows = client.query(&statement, &[&vec![stream.aggregate_type], &vec![&*stream.aggregate_id], &vec![signed(after)], &limit]).await?;
        rows.iter().map(RecordedEvent::from_row).collect()
    }

    /// Where the log stood after the commands with this id, whoever called: the position of the last event of each, for those that had events. At
    /// most 16, and none when its outcome is no longer kept.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn settled_at(&self, command_id: Uuid) -> Result<Vec<Position>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(SETTLED_AT).await?;
        let rows = client.query(&statement, &[&command_id, &MOST_CALLERS]).await?;
        rows.iter().map(|row| Ok(Position::from_i64(row.try_get(0)?))).collect()
    }

    /// What became of these commands; one that is not recorded has no entry.
    ///
    /// # Errors
    /// [`LogError::Database`]. A record that cannot be read fails alone, in its place.
    pub async fn look_up(&self, keys: &[CommandKey]) -> Result<Vec<(CommandKey, Result<RecordedCommand, LogError>)>, LogError> {
        let (mut pieces, mut found) = (Pieces::of(keys), Vec::with_capacity(keys.len()));
        while let Some(piece) = pieces.next() {
            match self.look_up_together(piece).await {
                Ok(together) => found.extend(together),
                Err(error) if error.is_of_what_is_stored() && pieces.halve(piece) => {}
                Err(error) if error.is_of_what_is_stored() => found.extend(piece.first().map(|key| (key.clone(), Err(error)))),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn look_up_together(&self, keys: &[CommandKey]) -> Result<Vec<(CommandKey, Result<RecordedCommand, LogError>)>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(LOOK_UP_COMMANDS).await?;
        let ids: Vec<Uuid> = keys.iter().map(|k| k.id).collect();
        let callers: Vec<&str> = keys.iter().map(|k| &*k.caller).collect();
        let rows = client.query(&statement, &[&ids, &callers]).await?;
        rows.iter()
            .map(|row| {
                let refusal: Option<&str> = row.try_get(4)?;
                let refusal = refusal.map(|text| serde_json::from_str(text).unwrap_or_else(|_| unreadable_refusal()));
                let key = CommandKey { id: row.try_get(0)?, caller: row.try_get::<_, &str>(1)?.into() };
                let digest = exactly(row.try_get(2)?, "the digest of a command")?;
                Ok((key, Ok(RecordedCommand { digest, position: Position::from_i64(row.try_get(3)?), refusal })))
            })
            .collect()
    }
}

/// Bytes that were stored as so many; others are none of ours.
fn exactly<const N: usize>(stored: &[u8], what: &'static str) -> Result<[u8; N], LogError> {
    stored.try_into().map_err(|_| LogError::Damaged { what })
}

/// A refusal that a newer program recorded in a shape that this one does not know.
fn unreadable_refusal() -> Refusal {
    Refusal {
        code: COMMAND_REFUSED.into(),
        kind: jari_domain::RefusalKind::FailedPrecondition,
        message: "the command was refused; the reason was recorded by a newer version of this program".into(),
        details: Default::default(),
        retryable: false,
    }
}
