//! Reading streams, the log, and what became of commands.

use std::sync::Arc;

use jari_domain::{AnyState, DecodeError, Position, Refusal, StreamId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Body, Database, LogError, RecordedEvent,
    record::{signed, timestamp, unsigned},
};

const READ_STREAMS: &str = include_str!("sql/read_streams.sql");
const READ_SNAPSHOTS: &str = include_str!("sql/read_snapshots.sql");
pub(crate) const READ_LOG: &str = include_str!("sql/read_log.sql");
const COUNT_UNBROKEN: &str = include_str!("sql/count_unbroken.sql");
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

/// Streams are read in pages of so many events a query, so that a long one does not fill memory with rows.
const PAGE_EVENTS: i64 = 20_000;

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

/// A stream to read: from the start, or on from a state that is known.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// Which.
    pub stream: StreamId,
    /// A state to go on from, its version and the time of its last event.
    pub from: Option<(AnyState, u64, Timestamp)>,
}

/// A stream's state as it is in the log.
#[derive(Debug, Clone)]
pub struct LoadedStream {
    /// Which.
    pub stream: StreamId,
    /// Folded from all its events.
    pub state: AnyState,
    /// The sequence of its last event; 0 when it has none.
    pub version: u64,
    /// The decision time of its last event; the epoch when it has none.
    pub last_time: Timestamp,
    /// The sequence at which the snapshot stands that it was read from; 0 without one.
    pub snapshot_sequence: u64,
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

    /// The first position after `after` and up to `to` where no event stands, though positions are dense: whoever can write to the database took it
    /// away. `to` is not above the head. Reads the index of so many positions, and no event.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn first_missing(&self, after: Position, to: Position) -> Result<Option<Position>, LogError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(COUNT_UNBROKEN).await?;
        let unbroken: i64 = client.query_one(&statement, &[&after.to_i64(), &to.to_i64()]).await?.try_get(0)?;
        let last = after + u64::try_from(unbroken).unwrap_or(0);
        Ok(if last < to { Some(last.next()) } else { None })
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

    /// Reads many streams at once, each from its snapshot (or the state that is known) and its tail.
    ///
    /// # Errors
    /// [`LogError::Database`]. A stream that cannot be read fails alone, in its place: also one on a damaged page, or whose id is no text to the
    /// database, for which one question about many would fail all of them. Such a question is asked again by halves.
    pub async fn load(&self, requests: &[LoadRequest]) -> Result<Vec<Result<LoadedStream, LogError>>, LogError> {
        let (mut pieces, mut loaded) = (Pieces(vec![requests]), Vec::with_capacity(requests.len()));
        while let Some(piece) = pieces.next() {
            match self.load_together(piece, true).await {
                Ok(together) => loaded.extend(together),
                Err(error) if error.is_of_what_is_stored() && pieces.halve(piece) => {}
                // its snapshot may be what is damaged, and the stream has everything
                Err(error) if error.is_of_what_is_stored() => match self.load_together(piece, false).await {
                    Ok(alone) => loaded.extend(alone),
                    Err(error) if error.is_of_what_is_stored() => loaded.push(Err(error)),
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(loaded)
    }

    async fn load_together(&self, requests: &[LoadRequest], by_snapshots: bool) -> Result<Vec<Result<LoadedStream, LogError>>, LogError> {
        let client = self.database.connection().await?;
        let fresh: Vec<&StreamId> = requests.iter().filter(|r| by_snapshots && r.from.is_none()).map(|r| &r.stream).collect();
        let mut snapshots = rustc_hash::FxHashMap::default();
        if !fresh.is_empty() {
            let types: Vec<&str> = fresh.iter().map(|s| s.aggregate_type).collect();
            let ids: Vec<&str> = fresh.iter().map(|s| &*s.aggregate_id).collect();
            let statement = client.prepare_cached(READ_SNAPSHOTS).await?;
            for row in client.query(&statement, &[&types, &ids]).await? {
                let (kind, id, sequence, version): (&str, &str, i64, i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                let written_as = u32::try_from(version).unwrap_or(u32::MAX);
                let last_time = timestamp(row.try_get(5)?);
                // a snapshot of another version, or one that does not read, is as good as none: the stream has everything
                if let Some(state) = AnyState::from_snapshot(kind, row.try_get(4)?).ok().filter(|s| s.snapshot_version() == written_as)
                    && let Some(stream) = StreamId::parse(kind, id)
                {
                    snapshots.insert(stream, (state, unsigned(sequence), last_time));
                }
            }
        }
        let mut loaded: Vec<Result<LoadedStream, LogError>> = Vec::with_capacity(requests.len());
        for request in requests.iter().cloned() {
            let known = request.from.is_some();
            let from = request.from.or_else(|| snapshots.remove(&request.stream));
            let empty = AnyState::new(request.stream.aggregate_type).map(|state| (state, 0, Timestamp::UNIX_EPOCH));
            let Some((state, version, last_time)) = from.or(empty) else {
                let source = DecodeError::UnknownAggregate(request.stream.aggregate_type.into());
                loaded.push(Err(LogError::Unreadable { stream: request.stream.to_string(), sequence: 0, source }));
                continue;
            };
            let snapshot_sequence = if known { 0 } else { version };
            loaded.push(Ok(LoadedStream { stream: request.stream, state, version, last_time, snapshot_sequence }));
        }
        self.fold_tails(&client, &mut loaded).await?;
        Ok(loaded)
    }

    /// Brings every stream up to its last event, page by page.
    async fn fold_tails(&self, client: &deadpool_postgres::Object, loaded: &mut [Result<LoadedStream, LogError>]) -> Result<(), LogError> {
        let statement = client.prepare_cached(READ_STREAMS).await?;
        let mut open: Vec<usize> = (0..loaded.len()).filter(|i| loaded[*i].is_ok()).collect();
        while !open.is_empty() {
            let mut types = Vec::with_capacity(open.len());
            let mut ids: Vec<&str> = Vec::with_capacity(open.len());
            let mut after = Vec::with_capacity(open.len());
            for stream in open.iter().filter_map(|i| loaded[*i].as_ref().ok()) {
                types.push(stream.stream.aggregate_type);
                ids.push(&stream.stream.aggregate_id);
                after.push(signed(stream.version));
            }
            let rows = client.query(&statement, &[&types, &ids, &after, &PAGE_EVENTS]).await?;
            let full = rows.len() as i64 == PAGE_EVENTS;
            let mut last_touched = None;
            for row in &rows {
                let ordinal: i64 = row.try_get(9)?;
                let index = open[usize::try_from(ordinal - 1).expect("ordinality counts the streams that were asked for from 1")];
                last_touched = Some(index);
                let failed = match &mut loaded[index] {
                    Ok(stream) => RecordedEvent::from_row(row).and_then(|event| stream.fold(event)).err(),
                    Err(_) => None,
                };
                if let Some(error) = failed {
                    loaded[index] = Err(error);
                }
            }
            // rows come stream by stream: a full page ends within the last stream that it touched
            open = match last_touched {
                Some(last) if full => open.into_iter().filter(|i| *i >= last && loaded[*i].is_ok()).collect(),
                _ => Vec::new(),
            };
        }
        Ok(())
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
        let (mut pieces, mut found) = (Pieces(vec![keys]), Vec::with_capacity(keys.len()));
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

/// What is asked all at once, and where what is stored makes that fail, by halves until whose it is stands alone: a question about many must not fail
/// for the sake of one.
struct Pieces<'a, Q>(Vec<&'a [Q]>);

impl<'a, Q> Pieces<'a, Q> {
    /// The next to ask, in the order of the questions. It comes to its end: two pieces are put back only for one of more than one question.
    fn next(&mut self) -> Option<&'a [Q]> {
        self.0.pop()
    }

    /// Puts the halves of a piece back; `false` when it is one question alone.
    fn halve(&mut self, piece: &'a [Q]) -> bool {
        let (first, second) = piece.split_at(piece.len() / 2);
        if piece.len() > 1 {
            self.0.extend([second, first]);
        }
        piece.len() > 1
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

impl LoadedStream {
    /// Only what follows: a decision on a stream that lacks an event could sell a unit twice.
    fn fold(&mut self, event: RecordedEvent) -> Result<(), LogError> {
        let expected = self.version + 1;
        if event.sequence != expected {
            return Err(LogError::Gap { stream: self.stream.to_string(), expected, found: event.sequence });
        }
        match event.body {
            Body::Known(ref typed) => {
                self.state.apply(typed);
                self.version = event.sequence;
                self.last_time = self.last_time.max(event.reaches());
                Ok(())
            }
            Body::Unreadable { error, .. } => Err(LogError::Unreadable { stream: self.stream.to_string(), sequence: event.sequence, source: error }),
        }
    }
}
