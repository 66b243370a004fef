//! The log as it grows: one tail a process, from which projections, processes and watchers read, each at its own pace.

use std::{
    collections::VecDeque,
    sync::{
        Arc, RwLock,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use jari_domain::Position;
use tokio::sync::{mpsc, watch};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::{Appender, Clock, Database, LogError, Reader, RecordedEvent};

/// Bounds of the tail.
#[derive(Debug, Clone, Copy)]
pub struct TailSettings {
    /// Events kept in memory; who is further behind reads from the database.
    pub keep: usize,
    /// What they take together, in bytes, about. Fewer are kept where they are large: an order of many lines takes hundreds of kilobytes.
    pub keep_bytes: usize,
    /// Events a read.
    pub page: usize,
    /// How often the database is asked in case a notice was missed; other writers send none.
    pub poll: Duration,
}

impl Default for TailSettings {
    fn default() -> Self {
        Self { keep: 16_384, keep_bytes: 64 << 20, page: 2_000, poll: Duration::from_secs(1) }
    }
}

/// Runs of events in order, without a gap between them.
#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<RecordedEvent>>,
    /// What they take: the sum of their [`RecordedEvent::bytes`].
    bytes: usize,
    head: Position,
}

impl Ring {
    fn push(&mut self, event: Arc<RecordedEvent>) {
        self.head = event.position;
        self.bytes += event.bytes();
        self.events.push_back(event);
    }

    /// Lets go of the oldest beyond the bounds.
    fn shorten(&mut self, settings: &TailSettings) {
        while self.events.len() > settings.keep || self.bytes > settings.keep_bytes {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

/// The newest events of the log, in order, shared by every reader in the process.
#[derive(Clone)]
pub struct LogTail {
    ring: Arc<RwLock<Ring>>,
    head: watch::Receiver<Position>,
    offers: mpsc::Sender<Vec<Arc<RecordedEvent>>>,
    woken: mpsc::Sender<()>,
    own: Arc<AtomicI32>,
    reader: Reader,
    clock: Clock,
    settings: TailSettings,
}

impl std::fmt::Debug for LogTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTail").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

/// Offers that wait; an offer that finds no room is left out and read from the database instead.
const OFFERS: usize = 256;

impl LogTail {
    /// Starts following the log from its present head, and the database's clock. Join the task after cancelling `stop`.
    ///
    /// # Errors
    /// [`LogError::Database`] when the head or the clock cannot be read.
    pub async fn start(database: Database, settings: TailSettings, stop: CancellationToken) -> Result<(Self, tokio::task::JoinHandle<()>), LogError> {
        let reader = Reader::new(database.clone());
        let start = reader.head().await?;
        let clock = Clock::new(reader.clock().await?);
        let ring = Arc::new(RwLock::new(Ring { head: start, ..Ring::default() }));
        let (told, head) = watch::channel(start);
        let (offers, offered) = mpsc::channel(OFFERS);
        // one waiting notice stands for any number of them: more are dropped
        let (woken, wake) = mpsc::channel(1);
        let own = Arc::new(AtomicI32::new(0));
        let tail =
            Self { ring: ring.clone(), head, offers, woken: woken.clone(), own: own.clone(), reader: reader.clone(), clock: clock.clone(), settings };
        // both ended by the follower below when it ends itself
        let listener = tokio::spawn(listen(database, woken, own, stop.clone()));
        let asker = tokio::spawn(clock.keep(reader.clone()));
        let follower = Follower { ring, told, reader, settings };
        // joined by the caller; it ends with `stop`
        let task = tokio::spawn(async move {
            follower.run(offered, wake, stop).await;
            listener.abort();
            asker.abort();
        });
        Ok((tail, task))
    }

    /// The greatest position that can be read here.
    #[must_use]
    pub fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// The clock by which this process goes.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The head, and the event there when it came since the start and not long ago.
    #[must_use]
    pub fn newest(&self) -> (Position, Option<Arc<RecordedEvent>>) {
        let ring = self.ring.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (ring.head, ring.events.back().cloned())
    }

    /// Follows [`LogTail::head`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Hands over events that this process has just appended, so that nobody reads them from the database again.
    pub fn offer(&self, events: Vec<Arc<RecordedEvent>>) {
        if !events.is_empty() && self.offers.try_send(events).is_err() {
            // no room: the follower reads them from the log
            self.look();
        }
    }

    /// Names the connection by which this process appends. Its notices are not followed by a read, since what it appends is offered here.
    ///
    /// What the connection before it had under way may have landed unheard, and is looked for.
    pub fn appended_by(&self, appender: &Appender) {
        self.own.store(appender.process_id(), Ordering::Relaxed);
        self.look();
    }

    fn look(&self) {
        // full: the follower is about to look anyway
        let _ = self.woken.try_send(());
    }

    /// Up to `limit` events after `after`, in order; waits until there is one.
    ///
    /// # Errors
    /// [`LogError::Database`] when `after` lies behind what is kept in memory and the database does not answer.
    pub async fn read(&self, after: Position, limit: usize) -> Result<Vec<Arc<RecordedEvent>>, LogError> {
        let mut head = self.head.clone();
        // The sender lives as long as the follower; when it is gone the process is ending, and the last read says what is there.
        let _ = head.wait_for(|head| *head > after).await;
        self.read_now(after, limit).await
    }

    /// Up to `limit` events after `after` that are there now. What could not be read when it came is read again: the log may have been mended since.
    ///
    /// # Errors
    /// As [`LogTail::read`].
    pub async fn read_now(&self, after: Position, limit: usize) -> Result<Vec<Arc<RecordedEvent>>, LogError> {
        let is_readable = |event: &Arc<RecordedEvent>| event.event().is_some() || event.stream().is_none();
        match self.in_memory(after, limit) {
            Some(events) if events.iter().all(is_readable) => Ok(events),
            _ => Ok(self.reader.log_after(after, limit.min(self.settings.page)).await?.into_iter().map(Arc::new).collect()),
        }
    }
}

impl LogTail {
    /// Up to `limit` events after `after`, as they were read when they came; `None` when they are no longer in memory. For who needs to know which
    /// streams have moved, readable or not, and may not wait.
    #[must_use]
    pub fn in_memory(&self, after: Position, limit: usize) -> Option<Vec<Arc<RecordedEvent>>> {
        let ring = self.ring.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kept = ring.events.len() as u64;
        let behind = ring.head.since(after);
        if behind == 0 {
            Some(Vec::new())
        } else if behind <= kept {
            let skip = usize::try_from(kept - behind).unwrap_or(usize::MAX);
            Some(ring.events.iter().skip(skip).take(limit).cloned().collect())
        } else {
            None
        }
    }
}

struct Follower {
    ring: Arc<RwLock<Ring>>,
    told: watch::Sender<Position>,
    reader: Reader,
    settings: TailSettings,
}

impl Follower {
    async fn run(self, mut offered: mpsc::Receiver<Vec<Arc<RecordedEvent>>>, mut wake: mpsc::Receiver<()>, stop: CancellationToken) {
        let mut poll = tokio::time::interval(self.settings.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Ends with `stop`.
        loop {
            let complete = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(events) = offered.recv() => self.take(events),
                Some(()) = wake.recv() => false,
                _ = poll.tick() => false,
            };
            if complete {
                continue;
            }
            // a database that stands still does not hold up the end
            let read = tokio::select! { read = self.catch_up(&mut offered) => read, () = stop.cancelled() => return };
            if let Err(error) = read {
                tracing::debug!(%error, "the log could not be read; it is tried again at the next notice or poll");
            }
        }
    }

    /// Takes events that follow on what is there; says whether nothing is missing before them.
    fn take(&self, events: Vec<Arc<RecordedEvent>>) -> bool {
        let mut ring = self.ring.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for event in events {
            if event.position == ring.head.next() {
                ring.push(event);
            } else if event.position > ring.head {
                return false;
            }
        }
        ring.shorten(&self.settings);
        let head = ring.head;
        drop(ring);
        self.told.send_if_modified(|told| std::mem::replace(told, head) < head);
        true
    }

    /// Reads what is missing, until nothing is.
    async fn catch_up(&self, offered: &mut mpsc::Receiver<Vec<Arc<RecordedEvent>>>) -> Result<(), LogError> {
        // Ends at the log's head: each round reads a page or stops.
        loop {
            // what has been offered meanwhile may be just what is missing
            while let Ok(events) = offered.try_recv() {
                self.take(events);
            }
            let after = *self.told.borrow();
            let page = self.reader.log_after(after, self.settings.page).await?;
            let full = page.len() == self.settings.page;
            self.take(page.into_iter().map(Arc::new).collect());
            if !full {
                return Ok(());
            }
        }
    }
}

/// Passes on the database's notices; connects again when the connection ends. One wake-up stands for any number of notices.
async fn listen(database: Database, woken: mpsc::Sender<()>, own: Arc<AtomicI32>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = listen_once(&database, &woken, &own).await {
            tracing::debug!(%error, "no notices for now; the log is polled meanwhile");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(Duration::from_millis(500)) => {} }
    }
}

async fn listen_once(database: &Database, woken: &mpsc::Sender<()>, own: &AtomicI32) -> Result<(), LogError> {
    let (client, mut connection) = database.connect().await?;
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    let listening = client.batch_execute("LISTEN jari_log");
    tokio::pin!(listening);
    let mut ready = false;
    // Ends with the connection.
    loop {
        tokio::select! {
            done = &mut listening, if !ready => { done?; ready = true; }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(notice))) if notice.process_id() != own.load(Ordering::Relaxed) => { let _ = woken.try_send(()); }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jari_domain::DecodeError;

    use super::*;
    use crate::Body;

    /// An event of so many bytes that this program cannot read.
    fn event(number: u64, bytes: usize) -> Arc<RecordedEvent> {
        let body = Body::Unreadable { payload: "x".repeat(bytes).into(), error: DecodeError::UnknownAggregate("Session".into()) };
        Arc::new(RecordedEvent {
            position: Position::new(number),
            aggregate_type: "Session".into(),
            aggregate_id: "one".into(),
            sequence: number,
            event_type: "SessionBegan".into(),
            event_version: "1.0".into(),
            body,
            metadata: Arc::default(),
            recorded_at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn what_is_kept_in_memory_is_bounded_in_events_and_in_bytes() {
        let mut ring = Ring::default();
        let settings = TailSettings { keep: 5, keep_bytes: 100_000, ..TailSettings::default() };
        let mut kept = |number, bytes| {
            ring.push(event(number, bytes));
            ring.shorten(&settings);
            assert_eq!((ring.head.get(), ring.bytes), (number, ring.events.iter().map(|event| event.bytes()).sum()));
            ring.events.iter().map(|event| event.position.get()).collect::<Vec<_>>()
        };
        for number in 1..=5 {
            assert_eq!(kept(number, 10), Vec::from_iter(1..=number));
        }
        assert_eq!(kept(6, 10), [2, 3, 4, 5, 6], "so many");
        assert_eq!(kept(7, 90_000), [3, 4, 5, 6, 7]);
        assert_eq!(kept(8, 90_000), [8], "and so large");
        assert_eq!(kept(9, 10), [8, 9]);
        assert_eq!(kept(10, 200_000), [0; 0], "what is larger than all of it is read from the database");
    }
}
