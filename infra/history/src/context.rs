//! What every call of the service stands on, and the bounds that they share.

use std::{sync::Arc, time::Duration};

use jari_contract::Publisher;
use jari_domain::{Position, StreamId};
use jari_event_store::{Clock, Database, LogTail, Reader, RecordedEvent, StreamWatchers, within};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::refusal::HistoryError;

/// How long one read may take: a page of an old log from a slow disk takes its time; a database that stands still would take for ever, and with it the
/// few turns at it.
const READ: Duration = Duration::from_secs(30);

/// Bounds of the service on one node.
#[derive(Debug, Clone, Copy)]
pub struct HistorySettings {
    /// Calls at once.
    pub places: usize,
    /// Reads of the database at once, of all calls together. The pool of connections is shared with the loading of streams that commands wait for:
    /// without this, a few analysts could take all of it.
    pub reads: usize,
    /// Events a read.
    pub page: usize,
    /// How long a stream is silent at most: then it says how far it is.
    pub heartbeat: Duration,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { places: 256, reads: 4, page: 2_000, heartbeat: Duration::from_secs(5) }
    }
}

/// What calls stand on; shared by all of them.
#[derive(Clone)]
pub struct HistoryContext {
    pub(crate) tail: LogTail,
    /// By which it is decided and by which the queries answer: by another one, an order would have expired here that they say is held.
    pub(crate) clock: Clock,
    pub(crate) watchers: StreamWatchers,
    pub(crate) publisher: Publisher,
    pub(crate) settings: HistorySettings,
    pub(crate) stop: CancellationToken,
    reader: Reader,
    places: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl std::fmt::Debug for HistoryContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryContext").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl HistoryContext {
    /// Reads the log with this id from `database`, and what is new of it from `tail`. What is now, the engine's clock says.
    #[must_use]
    pub fn new(database: Database, (tail, clock): (LogTail, Clock), watchers: StreamWatchers, log_id: Uuid, settings: HistorySettings) -> Self {
        Self {
            reader: Reader::new(database),
            tail,
            clock,
            watchers,
            publisher: Publisher::new(log_id),
            settings,
            stop: CancellationToken::new(),
            places: Arc::new(Semaphore::new(settings.places)),
            reads: Arc::new(Semaphore::new(settings.reads)),
        }
    }

    /// Ends every stream, and asks its caller to come back. For a node that stops: a stream that follows the log would hold it up for ever.
    pub fn end_streams(&self) {
        self.stop.cancel();
    }

    /// A place for one call, given back when it is dropped.
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, HistoryError> {
        let limit = self.settings.places;
        self.places.clone().try_acquire_owned().map_err(|_| HistoryError::Busy { limit })
    }

    /// The log's head, as committed.
    pub(crate) async fn head(&self) -> Result<Position, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.head()).await?)
    }

    /// The last position that was recorded at or before `time`; [`Position::START`] when there is none.
    pub(crate) async fn last_recorded_by(&self, time: Timestamp) -> Result<Position, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.last_recorded_by(time)).await?)
    }

    /// Up to `limit` events after `after` that are there now.
    pub(crate) async fn log(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.log_after(after, limit)).await?)
    }

    /// As [`HistoryContext::log`]; waits until there is one, and takes what is in memory from there.
    pub(crate) async fn news(&self, after: Position) -> Result<Vec<Arc<RecordedEvent>>, HistoryError> {
        // the sender is gone when the node ends
        self.tail.watch().wait_for(|head| *head > after).await.map_err(|_| HistoryError::ShuttingDown)?;
        let _turn = self.turn().await?;
        Ok(within(READ, self.tail.read_now(after, self.settings.page)).await?)
    }

    /// Up to a page of the events of one stream after version `after`, of which none may be missing: see [`RecordedEvent::continues`].
    pub(crate) async fn stream(&self, stream: &StreamId, after: u64) -> Result<Vec<RecordedEvent>, HistoryError> {
        let page = self.stream_as_it_is(stream, after).await?;
        (after..).zip(&page).try_for_each(|(version, event)| event.continues(version))?;
        Ok(page)
    }

    /// The same, for who looks by himself whether one is missing.
    pub(crate) async fn stream_as_it_is(&self, stream: &StreamId, after: u64) -> Result<Vec<RecordedEvent>, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.stream_after(stream, after, self.settings.page)).await?)
    }

    /// The event at a position; none at [`Position::START`], and where the log ends before it.
    pub(crate) async fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>, HistoryError> {
        if position == Position::START {
            return Ok(None);
        }
        let event = self.log(position.previous(), 1).await?.pop();
        if let Some(event) = &event {
            event.stands_behind(position.previous())?;
        }
        Ok(event)
    }

    /// The event that made this version of a stream.
    pub(crate) async fn event_of(&self, stream: &StreamId, version: u64) -> Result<Option<RecordedEvent>, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.stream_after(stream, version.saturating_sub(1), 1)).await?.pop())
    }

    /// Where the log stood when commands of this id were done.
    pub(crate) async fn settled_at(&self, command_id: Uuid) -> Result<Vec<Position>, HistoryError> {
        let _turn = self.turn().await?;
        Ok(within(READ, self.reader.settled_at(command_id)).await?)
    }

    /// A turn at the database. Waits in order of arrival, as long as the reads before it take.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, HistoryError> {
        self.reads.clone().acquire_owned().await.map_err(|_| HistoryError::ShuttingDown)
    }
}
