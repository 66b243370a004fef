//! The log's seal: a digest of each event's stored bytes, chained batch by batch, so that a change of what stands there shows.
//!
//! What it proves, and against whom, is in `docs/model/tamper-evidence.md`. The same digests are made by `event_digest` in the migrations, for
//! writers that know nothing of this; a test holds the two equal.

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    Database, LogError,
    record::{signed, unsigned},
};

/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// A digest, or a head of the chain.
pub type Head = [u8; DIGEST_BYTES];

const READ_SEAL: &str = "SELECT position, head FROM log_seal";
const READ_BATCHES: &str = include_str!("sql/read_batches.sql");
const READ_STORED: &str = include_str!("sql/read_stored.sql");
const READ_HEAD_AT: &str = "SELECT chained_hash FROM batches WHERE first_position <= $1 AND first_position + event_count - 1 = $1 AND chained_hash IS NOT NULL ORDER BY first_position DESC LIMIT 1";
const READ_STRAY: &str = include_str!("sql/read_stray.sql");
const READ_NEWEST: &str = "SELECT first_position + event_count - 1, chained_hash FROM batches ORDER BY first_position DESC LIMIT 1";

/// Batches, and about as many events, that are walked at once.
const PAGE: usize = 10_000;
/// Events that are read at once even if a batch claims to have more: no append has, and a row that lies need not fill memory to be found out.
const MOST_EVENTS: u64 = 100_000;

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
    /// Events up to here were there before the log was chained: one digest stands for all of them. 0 for a log that was chained from its first event.
    pub position: u64,
    /// The chain's first head.
    pub head: Head,
}

/// A head of the chain, and the position of the last event that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadAt {
    /// Of the last event.
    pub position: u64,
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
        last: u64,
    },
    /// An event of the batch, or its row, was changed after it was written.
    #[error("batch of positions {first} to {last}: its events are not those that were chained")]
    Batch {
        /// Its first position.
        first: u64,
        /// Its last.
        last: u64,
    },
    /// Events that no batch covers, or a batch that begins where it should not.
    #[error("position {due}: no batch begins here; the next begins at {found}")]
    Uncovered {
        /// Where one should begin.
        due: u64,
        /// Where the next does.
        found: u64,
    },
}

/// Walks the chain from its beginning, a page at a time, each in a short transaction of its own.
#[derive(Debug)]
pub struct ChainWalk {
    database: Database,
    log_id: Uuid,
    seal: Seal,
    sealed: bool,
    at: HeadAt,
    /// First position of the last batch that was walked; the seal's before the first.
    walked: u64,
}

struct BatchRow {
    first: u64,
    count: u64,
    at: SystemTime,
    chained: Head,
}

impl BatchRow {
    fn last(&self) -> u64 {
        (self.first + self.count).saturating_sub(1)
    }
}

impl ChainWalk {
    /// Begins before the first event.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn begin(database: Database) -> Result<Self, LogError> {
        let client = database.connection().await?;
        let log_id: Uuid = client.query_one("SELECT log_id FROM log_identity", &[]).await?.try_get(0)?;
        let seal = read_seal(&client).await?;
        drop(client);
        let head = Sha256::new_with_prefix("jari log ").chain_update(log_id.as_bytes()).finalize().into();
        Ok(Self { database, log_id, seal, sealed: false, at: HeadAt { position: 0, head }, walked: seal.position })
    }

    /// The log that is walked.
    #[must_use]
    pub fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// How far it has come.
    #[must_use]
    pub fn at(&self) -> HeadAt {
        self.at
    }

    /// Where the chain begins.
    #[must_use]
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// Walks the next page. `None` at the end. What is broken is told, and the walk goes on from the head that stands there: a batch that
    /// was changed does not accuse those after it.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn step(&mut self) -> Result<Option<Vec<Broken>>, LogError> {
        if !self.sealed {
            return self.step_before().await.map(Some);
        }
        let batches = self.batches().await?;
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(None) };
        let before = first.first.saturating_sub(1);
        let events = self.digests(before, last.last().min(before + MOST_EVENTS)).await?;
        let mut events = events.into_iter().peekable();
        let mut broken = Vec::new();
        let mut batches = batches.into_iter().peekable();
        while let Some(batch) = batches.next() {
            let due = self.at.position + 1;
            if batch.first != due {
                broken.push(Broken::Uncovered { due, found: batch.first });
            }
            // a count that lies takes no events from the batches behind it
            let last = batches.peek().map_or(batch.last(), |next| batch.last().min(next.first.saturating_sub(1)));
            let mut hash = Sha256::new_with_prefix(self.at.head);
            hash.update(signed(batch.first).to_be_bytes());
            hash.update(u32::try_from(batch.count).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(postgres_micros(batch.at).to_be_bytes());
            while let Some(event) = events.next_if(|event| event.position <= last) {
                // the batch's time is that of each of its events: one that says another was changed
                if event.position >= batch.first && event.at == batch.at {
                    hash.update(event.digest);
                }
            }
            if Head::from(hash.finalize()) != batch.chained {
                broken.push(Broken::Batch { first: batch.first, last });
            }
            self.at = HeadAt { position: last, head: batch.chained };
            self.walked = batch.first;
        }
        Ok(Some(broken))
    }

    /// What was there before the chain: one digest over all of it.
    async fn step_before(&mut self) -> Result<Vec<Broken>, LogError> {
        let upto = self.seal.position.min(self.at.position + PAGE as u64);
        for event in self.digests(self.at.position, upto).await? {
            let mut hash = Sha256::new_with_prefix(self.at.head);
            hash.update(signed(event.position).to_be_bytes());
            hash.update(postgres_micros(event.at).to_be_bytes());
            hash.update(event.digest);
            self.at.head = hash.finalize().into();
        }
        self.at.position = upto;
        self.sealed = upto == self.seal.position;
        let as_sealed = !self.sealed || self.at.head == self.seal.head;
        if self.sealed {
            self.at.head = self.seal.head;
        }
        Ok(if as_sealed { Vec::new() } else { vec![Broken::Before { last: self.seal.position }] })
    }

    async fn batches(&self) -> Result<Vec<BatchRow>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_BATCHES).await?;
        let mut events = 0;
        let mut batches = Vec::new();
        for row in client.query(&statement, &[&signed(self.walked), &signed(PAGE as u64)]).await? {
            let count: i32 = row.try_get(1)?;
            let batch = BatchRow {
                first: unsigned(row.try_get(0)?),
                count: u64::try_from(count).unwrap_or(0),
                at: row.try_get(2)?,
                chained: head_of(row.try_get(3)?),
            };
            events += batch.count;
            batches.push(batch);
            if events >= PAGE as u64 {
                break;
            }
        }
        Ok(batches)
    }

    /// The digests of a range. What is damaged has none, so that its batch does not fit; it is narrowed down to, for the sake of what stands
    /// around it.
    async fn digests(&self, after: u64, upto: u64) -> Result<Vec<DigestAt>, LogError> {
        let (mut found, mut ranges) = (Vec::new(), vec![(after, upto)]);
        // ends: each range that is put back is half of one that was taken out
        while let Some((after, upto)) = ranges.pop() {
            match self.stored(after, upto).await {
                Ok(digests) => found.extend(digests),
                Err(error) if error.is_damage() => {
                    let middle = after + upto.saturating_sub(after) / 2;
                    if middle > after {
                        ranges.extend([(middle, upto), (after, middle)]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn stored(&self, after: u64, upto: u64) -> Result<Vec<DigestAt>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_STORED).await?;
        let rows = client.query(&statement, &[&signed(after), &signed(upto)]).await?;
        rows.iter()
            .map(|row| {
                let digest = event_digest(&StoredEvent {
                    aggregate_type: row.try_get(1)?,
                    aggregate_id: row.try_get(2)?,
                    sequence: unsigned(row.try_get(3)?),
                    event_type: row.try_get(4)?,
                    event_version: row.try_get(5)?,
                    payload: row.try_get(6)?,
                    metadata: row.try_get(7)?,
                });
                Ok(DigestAt { position: unsigned(row.try_get(0)?), digest, at: row.try_get(8)? })
            })
            .collect()
    }
}

/// Events that stand where no walk comes by, and every reader of a stream takes them for its own. As sources and positions, at most a page.
///
/// # Errors
/// [`LogError`].
pub async fn stray_events(database: &Database) -> Result<Vec<(String, i64)>, LogError> {
    let rows = database.connection().await?.query(READ_STRAY, &[&signed(PAGE as u64)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

struct DigestAt {
    position: u64,
    digest: Head,
    at: SystemTime,
}

/// A stored digest; one of another length is no digest, and equals none.
fn head_of(stored: Option<&[u8]>) -> Head {
    stored.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

async fn read_seal(client: &deadpool_postgres::Object) -> Result<Seal, LogError> {
    let row = client.query_one(READ_SEAL, &[]).await?;
    Ok(Seal { position: unsigned(row.try_get(0)?), head: head_of(row.try_get(1)?) })
}

/// The newest head.
///
/// # Errors
/// [`LogError`].
pub async fn newest_head(database: &Database) -> Result<HeadAt, LogError> {
    let client = database.connection().await?;
    let newest = client.query_opt(READ_NEWEST, &[]).await?;
    let seal = read_seal(&client).await?;
    match newest {
        Some(row) if unsigned(row.try_get(0)?) > seal.position => Ok(HeadAt { position: unsigned(row.try_get(0)?), head: head_of(row.try_get(1)?) }),
        _ => Ok(HeadAt { position: seal.position, head: seal.head }),
    }
}

/// The head after the event at `position`, when a batch ends there.
///
/// # Errors
/// [`LogError`].
pub async fn head_at(database: &Database, position: u64) -> Result<Option<Head>, LogError> {
    let client = database.connection().await?;
    let seal = read_seal(&client).await?;
    if position == seal.position {
        return Ok(Some(seal.head));
    }
    let statement = client.prepare_cached(READ_HEAD_AT).await?;
    match client.query_opt(&statement, &[&signed(position)]).await? {
        Some(row) => Ok(Some(head_of(row.try_get(0)?))),
        None => Ok(None),
    }
}
