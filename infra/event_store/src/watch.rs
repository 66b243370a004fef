//! Who waits for news of one stream.

use std::sync::{Arc, Mutex};

use jari_domain::{Position, StreamId};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{LogTail, RecordedEvent};

/// News that wait for one watcher. One that is slower loses its place: its channel closes, and it reads the stream again.
const NEWS: usize = 64;
/// Events looked at in one turn.
const PAGE: usize = 4_096;

type Subscribers = FxHashMap<StreamId, Vec<(u64, mpsc::Sender<Arc<RecordedEvent>>)>>;

#[derive(Default)]
struct Registry {
    subscribers: Subscribers,
    next: u64,
    /// The last position that was handed out.
    handed_out: Position,
}

/// Hands events of the tail to those who watch their streams.
#[derive(Clone, Default)]
pub struct StreamWatchers {
    registry: Arc<Mutex<Registry>>,
}

impl std::fmt::Debug for StreamWatchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamWatchers")
    }
}

/// A place at one stream: gives its later events, each once, in order. Dropping it gives the place up.
#[derive(Debug)]
pub struct StreamWatch {
    stream: StreamId,
    number: u64,
    after: Position,
    news: mpsc::Receiver<Arc<RecordedEvent>>,
    watchers: StreamWatchers,
}

impl StreamWatchers {
    /// Starts handing out from the tail's head. Join the task after cancelling `stop`.
    #[must_use]
    pub fn start(tail: LogTail, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let watchers = Self::default();
        let start = tail.head();
        watchers.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner).handed_out = start;
        let shared = watchers.clone();
        // joined by the caller; it ends with `stop`
        let task = tokio::spawn(async move {
            let mut seen = start;
            // Ends with `stop`.
            while let Some(page) = tokio::select! { page = tail.read(seen, PAGE) => Some(page), () = stop.cancelled() => None } {
                match page {
                    Ok(events) if events.is_empty() => return,
                    Ok(events) => {
                        seen = events.last().map_or(seen, |e| e.position);
                        shared.hand_out(&events);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "watchers wait: the log cannot be read");
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                }
            }
        });
        (watchers, task)
    }

    /// A place at `stream`. Take it before reading the stream's state, and nothing is missed.
    #[must_use]
    pub fn watch(&self, stream: StreamId) -> StreamWatch {
        let (sender, news) = mpsc::channel(NEWS);
        let mut registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        registry.next += 1;
        let (number, after) = (registry.next, registry.handed_out);
        registry.subscribers.entry(stream.clone()).or_default().push((number, sender));
        StreamWatch { stream, number, after, news, watchers: self.clone() }
    }

    /// How many watch.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner).subscribers.values().map(Vec::len).sum()
    }

    fn hand_out(&self, events: &[Arc<RecordedEvent>]) {
        let mut registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        registry.handed_out = events.last().map_or(registry.handed_out, |event| event.position);
        if registry.subscribers.is_empty() {
            return;
        }
        for event in events {
            if let Some(stream) = event.stream()
                && let Some(subscribers) = registry.subscribers.get_mut(&stream)
            {
                subscribers.retain(|(_, sender)| sender.try_send(event.clone()).is_ok());
            }
        }
    }
}

impl StreamWatch {
    /// It hears of what comes after this position. A view that has read less than this may lack events that it will never hear of.
    #[must_use]
    pub fn after(&self) -> Position {
        self.after
    }

    /// The next event; `None` when the watcher was too slow or the process is ending: read the stream again.
    pub async fn next(&mut self) -> Option<Arc<RecordedEvent>> {
        self.news.recv().await
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        let mut registry = self.watchers.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(subscribers) = registry.subscribers.get_mut(&self.stream) {
            subscribers.retain(|(number, _)| *number != self.number);
            if subscribers.is_empty() {
                registry.subscribers.remove(&self.stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId { aggregate_type: "Order", aggregate_id: id.into() }
    }

    #[test]
    fn a_watch_that_is_dropped_leaves_nothing_behind_and_its_neighbours_in_place() {
        let watchers = StreamWatchers::default();
        let (one, other, beside) = (watchers.watch(stream("a")), watchers.watch(stream("a")), watchers.watch(stream("b")));
        assert_eq!(watchers.count(), 3);
        drop(one);
        assert_eq!(watchers.count(), 2, "whoever watches the same stream stays");
        drop((other, beside));
        assert_eq!(watchers.count(), 0);
        assert!(watchers.registry.lock().unwrap().subscribers.is_empty(), "a stream that nobody watches takes no memory");
    }
}
