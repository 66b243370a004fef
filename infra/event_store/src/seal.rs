//! The log's seal: a digest of each event's stored bytes, chained batch by batch, so that a change of what stands there shows.
//!
//! What it proves, and against whom, is in `docs/model/tamper-evidence.md`. The same digests are made by `event_digest` in the migrations, for
//! writers that know nothing of this; a test holds the two equal.

use std::time::{Duration, SystemTime};

use jari_domain::Position;
use sha2::{Digest, Sha256};

pub use self::walk::ChainWalk;
use crate::{Database, LogError, record::signed};

mod walk;

/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// A digest, or a head of the chain.
pub type Head = [u8; DIGEST_BYTES];

const READ_SEAL: &str = "SELECT position, head FROM log_seal";
const READ_HEAD_AT: &str = include_str!("sql/read_head_at.sql");
const READ_STRAY: &str = include_str!("sql/read_stray.sql");
const READ_NEWEST: &str = "SELECT first_position + event_count - 1, chained_hash FROM batches ORDER BY first_position DESC LIMIT 1";

/// Rows that are looked at at once.
const PAGE: usize = 10_000;

/// Seconds from the Unix epoch to that of PostgreSQL's times.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// One event as its writer stored it.
pub(crate) struct StoredEvent<'a> {
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub sequence: u64,
    pub event_type: &'a str,
    pub event_version: &'a str,
    pub payload: &'a str,
    pub metadata: &'a str,
}

/// SHA-256 over the columns, each text behind its length (4 bytes, big-endian), so that no two events read alike.
pub(crate) fn event_digest(event: &StoredEvent<'_>) -> Head {
    let mut hash = Sha256::new();
    chain_text(&mut hash, event.aggregate_type);
    chain_text(&mut hash, event.aggregate_id);
    hash.update(event.sequence.to_be_bytes());
    for text in [event.event_type, event.event_version, event.payload, event.metadata] {
        chain_text(&mut hash, text);
    }
    hash.finalize().into()
}

fn chain_text(hash: &mut Sha256, text: &str) {
    hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(text);
}

/// Microseconds since 2000, as PostgreSQL sends a time.
fn postgres_micros(at: SystemTime) -> i64 {
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(POSTGRES_EPOCH);
    match at.duration_since(epoch) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// Where the chain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Events up to here were there before the log was chained: one digest stands for all of them. [`Position::START`] for a log that was chained
    /// from its first event.
    pub position: Position,
    /// The chain's first head.
    pub head: Head,
}

/// A head of the chain, and the position of the last event that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadAt {
    /// Of the last event.
    pub position: Position,
    /// After it.
    pub head: Head,
}

/// A batch whose row says something else than its events, or a place where none stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What was there before the log was chained is not what was sealed.
    #[error("positions 1 to {last}: not the events that were sealed when the log was chained")]
    Before {
        /// The last position of the seal.
        last: Position,
    },
    /// An event of the batch, or its row, was changed after it was written.
    #[error("batch of positions {first} to {last}: its events are not those that were chained")]
    Batch {
        /// Its first position.
        first: Position,
        /// Its last.
        last: Position,
    },
    /// Events that no batch covers, or a batch that begins where it should not.
    #[error("position {due}: no batch begins here; the next begins at {found}")]
    Uncovered {
        /// Where one should begin.
        due: Position,
        /// Where the next does.
        found: Position,
    },
    /// Rows of batches that are there and cannot be had. What is behind them goes on from a head that nobody knows.
    #[error("positions {first} to {last}: their batches cannot be read, and nothing proves the batch behind them: {why}")]
    Unreadable {
        /// The first position that is not proved.
        first: Position,
        /// The last one before a batch that can be read; at the end of the log its last.
        last: Position,
        /// What the database says.
        why: String,
    },
}

/// Events that stand where no walk comes by, and every reader of a stream takes them for its own. As sources and numbers, since none is a
/// position; at most a page.
///
/// # Errors
/// [`LogError`].
pub async fn stray_events(database: &Database) -> Result<Vec<(String, i64)>, LogError> {
    let rows = database.connection().await?.query(READ_STRAY, &[&signed(PAGE as u64)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// A stored digest; one of another length is no digest, and equals none.
fn head_of(stored: Option<&[u8]>) -> Head {
    stored.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

async fn read_seal(client: &deadpool_postgres::Object) -> Result<Seal, LogError> {
    let row = client.query_one(READ_SEAL, &[]).await?;
    Ok(Seal { position: Position::from_i64(row.try_get(0)?), head: head_of(row.try_get(1)?) })
}

/// The newest head.
///
/// # Errors
/// [`LogError`].
pub async fn newest_head(database: &Database) -> Result<HeadAt, LogError> {
    let client = database.connection().await?;
    let newest = client.query_opt(READ_NEWEST, &[]).await?;
    let seal = read_seal(&client).await?;
    let sealed = HeadAt { position: seal.position, head: seal.head };
    let Some(row) = newest else { return Ok(sealed) };
    let position = Position::from_i64(row.try_get(0)?);
    if position > seal.position { Ok(HeadAt { position, head: head_of(row.try_get(1)?) }) } else { Ok(sealed) }
}

/// The head after the event at `position`, when a batch ends there.
///
/// # Errors
/// [`LogError`].
pub async fn head_at(database: &Database, position: Position) -> Result<Option<Head>, LogError> {
    let client = database.connection().await?;
    let seal = read_seal(&client).await?;
    if position == seal.position {
        return Ok(Some(seal.head));
    }
    let statement = client.prepare_cached(READ_HEAD_AT).await?;
    match client.query_opt(&statement, &[&position.to_i64()]).await? {
        Some(row) => Ok(Some(head_of(row.try_get(0)?))),
        None => Ok(None),
    }
}
