//! Streams, each folded into a state from its snapshot and its tail.

use jari_domain::{AnyState, DecodeError, StreamId};
use jiff::Timestamp;

use crate::{
    Body, LogError, Reader, RecordedEvent,
    pieces::Pieces,
    read::READ_STREAMS,
    record::{signed, timestamp, unsigned},
};

const READ_SNAPSHOTS: &str = include_str!("sql/read_snapshots.sql");

/// Streams are read in pages of so many events a query, so that a long one does not fill memory with rows.
const PAGE_EVENTS: i64 = 20_000;

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

impl Reader {
    /// Reads many streams at once, each from its snapshot (or the state that is known) and its tail.
    ///
    /// # Errors
    /// [`LogError::Database`]. A stream that cannot be read fails alone, in its place: also one on a damaged page, or whose id is no text to the
    /// database, for which one question about many would fail all of them. Such a question is asked again by halves.
    pub async fn load(&self, requests: &[LoadRequest]) -> Result<Vec<Result<LoadedStream, LogError>>, LogError> {
        let (mut pieces, mut loaded) = (Pieces::of(requests), Vec::with_capacity(requests.len()));
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
        let client = self.database().connection().await?;
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
}

impl LoadedStream {
    /// Only what follows: a decision on a stream that lacks an event could sell a unit twice.
    fn fold(&mut self, event: RecordedEvent) -> Result<(), LogError> {
        event.continues(self.version)?;
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
