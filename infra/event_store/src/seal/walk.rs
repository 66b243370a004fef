//! The walk along the chain: page by page, around what is damaged, and through batches of any size.

use std::{collections::VecDeque, time::SystemTime};

use jari_domain::Position;
use sha2::{Digest, Sha256};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Broken, Head, HeadAt, Seal, StoredEvent, event_digest, head_of, postgres_micros, read_seal};
use crate::{
    Database, LogError,
    record::{signed, unsigned},
};

const READ_BATCHES: &str = include_str!("../sql/read_batches.sql");
const READ_BATCHES_BETWEEN: &str = include_str!("../sql/read_batches_between.sql");
const READ_STORED: &str = include_str!("../sql/read_stored.sql");
const READ_HEAD: &str = include_str!("../sql/read_head.sql");
const READ_LAST_BATCH: &str = "SELECT coalesce((SELECT b.first_position FROM batches b ORDER BY b.first_position DESC LIMIT 1), 0)";
const READ_NEXT_EVENT: &str = "SELECT e.position FROM log_events e WHERE e.position > $1 ORDER BY e.position LIMIT 1";
/// A look at one row must not pass through the others: a small table would be read as a whole, and what is damaged in it be met by every look.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off";

/// Batches that are walked at once, unless they have about as many events before that.
const PAGE: u64 = 10_000;
/// Events that are read at once. A batch may have any number of them, and a row that lies need not fill memory to be found out.
const EVENTS: u64 = 20_000;

/// Walks the chain from its beginning, a page at a time, each in short transactions of its own.
#[derive(Debug)]
pub struct ChainWalk {
    database: Database,
    log_id: Uuid,
    seal: Seal,
    sealed: bool,
    at: HeadAt,
    /// First position of the last batch that was walked; the seal's before the first.
    walked: Position,
}

struct BatchRow {
    first: Position,
    count: u64,
    at: SystemTime,
    chained: Head,
}

impl BatchRow {
    fn of(row: &Row) -> Result<Self, LogError> {
        let count: i32 = row.try_get(1)?;
        let (first, at, chained) = (Position::from_i64(row.try_get(0)?), row.try_get(2)?, head_of(row.try_get(3)?));
        Ok(Self { first, count: u64::try_from(count).unwrap_or(0), at, chained })
    }

    fn last(&self) -> Position {
        (self.first + self.count).previous()
    }
}

/// Batches that follow on each other, as far as they can be read.
#[derive(Default)]
struct BatchPage {
    rows: Vec<BatchRow>,
    /// Where the batch behind them begins, if that was seen.
    next: Option<Position>,
    /// Positions at which batches begin that cannot be read.
    lost: Vec<Position>,
    /// What the database says of those.
    why: String,
    /// With `lost`: where the log ends.
    end: Position,
}

impl BatchPage {
    /// The last position of a batch. A count that lies takes no events from the batches behind it.
    fn last_of(&self, n: usize) -> Position {
        let next = self.rows.get(n + 1).map(|next| next.first).or(self.next);
        self.rows.get(n).map_or(Position::START, |batch| next.map_or(batch.last(), |next| batch.last().min(next.previous())))
    }

    /// What is broken before a batch that begins at `first` where one should at `due`, `walked` being where the one before it does.
    fn before(&self, walked: Position, due: Position, first: Position) -> Option<Broken> {
        match self.lost.iter().find(|lost| (walked.next()..first).contains(*lost)) {
            Some(lost) => Some(Broken::Unreadable { first: if due < first { due } else { *lost }, last: first.previous(), why: self.why.clone() }),
            None => (first != due).then_some(Broken::Uncovered { due, found: first }),
        }
    }
}

struct DigestAt {
    position: Position,
    digest: Head,
    at: SystemTime,
}

/// The events of a page of batches, read on as they are taken.
struct Events {
    ready: VecDeque<DigestAt>,
    /// Everything up to here was read, and is in `ready` or was taken.
    read: Position,
    /// The page's last position.
    end: Position,
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
        Ok(Self { database, log_id, seal, sealed: false, at: HeadAt { position: Position::START, head }, walked: seal.position })
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
    /// was changed does not accuse those after it, nor does one that cannot be read.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn step(&mut self) -> Result<Option<Vec<Broken>>, LogError> {
        if !self.sealed {
            return self.step_before().await.map(Some);
        }
        let page = self.batches().await?;
        let Some(first) = page.rows.first() else { return Ok(self.step_over_the_end(page)) };
        let mut events = Events { ready: VecDeque::new(), read: first.first.previous(), end: page.last_of(page.rows.len().saturating_sub(1)) };
        let mut broken = Vec::new();
        for (n, batch) in page.rows.iter().enumerate() {
            let last = page.last_of(n);
            let before = page.before(self.walked, self.at.position.next(), batch.first);
            let head = self.digest_of(batch, last, &mut events).await?;
            // behind batches that cannot be read nobody knows what this one was chained to
            let is_known = !matches!(before, Some(Broken::Unreadable { .. }));
            broken.extend(before);
            if is_known && head != batch.chained {
                broken.push(Broken::Batch { first: batch.first, last });
            }
            self.at = HeadAt { position: last, head: batch.chained };
            self.walked = batch.first;
        }
        Ok(Some(broken))
    }

    /// The log's last batches may be those that cannot be read.
    fn step_over_the_end(&mut self, page: BatchPage) -> Option<Vec<Broken>> {
        let lost = *page.lost.first()?;
        let broken = Broken::Unreadable { first: self.at.position.next().min(lost), last: page.end, why: page.why };
        self.at.position = page.end;
        self.walked = page.end;
        Some(vec![broken])
    }

    /// What was there before the chain: one digest over all of it.
    async fn step_before(&mut self) -> Result<Vec<Broken>, LogError> {
        let upto = self.seal.position.min(self.at.position + PAGE);
        for event in self.digests(self.at.position, upto).await? {
            let mut hash = Sha256::new_with_prefix(self.at.head);
            hash.update(event.position.to_i64().to_be_bytes());
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

    /// The head after a batch, by its events up to `last`.
    async fn digest_of(&self, batch: &BatchRow, last: Position, events: &mut Events) -> Result<Head, LogError> {
        let mut hash = Sha256::new_with_prefix(self.at.head);
        hash.update(batch.first.to_i64().to_be_bytes());
        hash.update(u32::try_from(batch.count).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(postgres_micros(batch.at).to_be_bytes());
        // Ends with the batch, or with the log: each round takes what was read, and reads on.
        loop {
            while events.ready.front().is_some_and(|event| event.position <= last)
                && let Some(event) = events.ready.pop_front()
            {
                // the batch's time is that of each of its events: one that says another was changed
                if event.position >= batch.first && event.at == batch.at {
                    hash.update(event.digest);
                }
            }
            if !events.ready.is_empty() || events.read >= last {
                return Ok(hash.finalize().into());
            }
            self.read_on(events).await?;
        }
    }

    async fn read_on(&self, events: &mut Events) -> Result<(), LogError> {
        let upto = events.end.min(events.read + EVENTS);
        events.ready = self.digests(events.read, upto).await?.into();
        events.read = upto;
        if events.ready.is_empty() && upto < events.end {
            // a count that lies is not followed to where nothing stands
            events.read = self.event_after(upto).await?.map_or(events.end, |next| next.previous().min(events.end));
        }
        Ok(())
    }

    /// Where the next event stands; one that cannot be read may stand right there.
    async fn event_after(&self, position: Position) -> Result<Option<Position>, LogError> {
        match self.by_index(READ_NEXT_EVENT, &[&position.to_i64()]).await {
            Ok(rows) => rows.first().map(|row| Ok(Position::from_i64(row.try_get(0)?))).transpose(),
            Err(error) if error.is_damage() => Ok(Some(position.next())),
            Err(error) => Err(error),
        }
    }

    async fn batches(&self) -> Result<BatchPage, LogError> {
        match self.next_batches().await {
            Err(error) if error.is_damage() => self.batches_around(&error).await,
            read => read,
        }
    }

    async fn next_batches(&self) -> Result<BatchPage, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_BATCHES).await?;
        let (mut page, mut events) = (BatchPage::default(), 0);
        for row in client.query(&statement, &[&self.walked.to_i64(), &signed(PAGE)]).await? {
            let batch = BatchRow::of(&row)?;
            if events >= PAGE {
                page.next = Some(batch.first);
                break;
            }
            events += batch.count;
            page.rows.push(batch);
        }
        Ok(page)
    }

    /// The next batches that can be read, and the positions of those that cannot.
    async fn batches_around(&self, damage: &LogError) -> Result<BatchPage, LogError> {
        let mut page = BatchPage { why: damage.to_string(), end: self.end().await?, ..BatchPage::default() };
        let mut after = self.walked;
        // Ends with batches that can be read, or with the log: each round looks at what stands behind the one before.
        while page.rows.is_empty() && after < page.end {
            let upto = page.end.min(after + PAGE);
            let mut ranges = vec![(after, upto)];
            // ends: each range that is put back is half of one that was taken out
            while let Some((after, upto)) = ranges.pop() {
                match self.by_index(READ_BATCHES_BETWEEN, &[&after.to_i64(), &upto.to_i64()]).await {
                    Ok(rows) => rows.iter().try_for_each(|row| BatchRow::of(row).map(|batch| page.rows.push(batch)))?,
                    Err(error) if error.is_damage() => match halves(after, upto) {
                        Some(halves) => ranges.extend(halves),
                        None => page.lost.push(upto),
                    },
                    Err(error) => return Err(error),
                }
            }
            after = upto;
        }
        Ok(page)
    }

    /// Where the log ends, by its events and by its batches, as far as either can be read.
    async fn end(&self) -> Result<Position, LogError> {
        let mut end = None;
        for (n, statement) in [READ_HEAD, READ_LAST_BATCH].into_iter().enumerate() {
            match self.by_index(statement, &[]).await {
                Ok(rows) => {
                    let position = rows.first().map(|row| row.try_get(0)).transpose()?.map_or(Position::START, Position::from_i64);
                    end = end.max(Some(position));
                }
                Err(error) if error.is_damage() && (n == 0 || end.is_some()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(end.unwrap_or_default())
    }

    /// The digests of a range. What is damaged has none, so that its batch does not fit; it is narrowed down to, for the sake of what stands
    /// around it.
    async fn digests(&self, after: Position, upto: Position) -> Result<Vec<DigestAt>, LogError> {
        match self.stored(after, upto).await {
            Err(error) if error.is_damage() => {}
            read => return read,
        }
        let (mut found, mut ranges) = (Vec::new(), vec![(after, upto)]);
        // ends: each range that is put back is half of one that was taken out
        while let Some((after, upto)) = ranges.pop() {
            match self.by_index(READ_STORED, &[&after.to_i64(), &upto.to_i64()]).await.and_then(|rows| digests_of(&rows)) {
                Ok(digests) => found.extend(digests),
                Err(error) if error.is_damage() => ranges.extend(halves(after, upto).into_iter().flatten()),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn stored(&self, after: Position, upto: Position) -> Result<Vec<DigestAt>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(READ_STORED).await?;
        digests_of(&client.query(&statement, &[&after.to_i64(), &upto.to_i64()]).await?)
    }

    /// Reads around what is damaged.
    async fn by_index(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(BY_INDEX).await?;
        let rows = transaction.query(statement, values).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}

/// Two ranges, the first one last; `None`: there is one position in it.
fn halves(after: Position, upto: Position) -> Option<[(Position, Position); 2]> {
    let middle = after + upto.since(after) / 2;
    (middle > after).then_some([(middle, upto), (after, middle)])
}

fn digests_of(rows: &[Row]) -> Result<Vec<DigestAt>, LogError> {
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
            Ok(DigestAt { position: Position::from_i64(row.try_get(0)?), digest, at: row.try_get(8)? })
        })
        .collect()
}
