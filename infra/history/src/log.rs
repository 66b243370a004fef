//! `ReadLog`: the log from one moment on, pulled by its reader. Nothing is read ahead of what the caller takes, but for one page.

use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, stream};
use jari_domain::Position;
use jari_event_store::RecordedEvent;
use jari_proto::history::v1::{ReadLogRequest, ReadLogResponse};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::Status;

use crate::{
    chunk::{Chunk, told},
    context::HistoryContext,
    filter::Filter,
    moment,
    refusal::HistoryError,
};

struct Reading {
    context: HistoryContext,
    filter: Filter,
    /// Everything up to here has been looked at, and what was wanted is told or in `chunk`.
    after: Position,
    /// The last position of the reading; `None`: it goes on for ever.
    end: Option<Position>,
    page: VecDeque<Arc<RecordedEvent>>,
    chunk: Chunk,
    /// Told after what was found before it.
    failed: Option<HistoryError>,
    /// When something was last said.
    spoken: Instant,
    /// The head was reached, and that was said.
    is_level: bool,
    is_over: bool,
    /// One place among those who read; given back when the stream is dropped.
    _place: OwnedSemaphorePermit,
}

/// The stream of the events. What is wrong with the request is the call's own refusal.
///
/// # Errors
/// [`HistoryError`].
pub(crate) async fn read(
    context: HistoryContext,
    asked: &ReadLogRequest,
) -> Result<impl Stream<Item = Result<ReadLogResponse, Status>> + Send + use<>, HistoryError> {
    let place = context.permit()?;
    if asked.follow && asked.until.is_some() {
        return Err(HistoryError::moment("until", "must be absent when the log is followed, which has no end"));
    }
    let filter = Filter::parse(asked)?;
    let after = match &asked.after {
        Some(after) => moment::find(&context, "after", Some(after)).await?.position,
        None => Position::START,
    };
    let end = if asked.follow { None } else { Some(moment::find(&context, "until", asked.until.as_ref()).await?.position) };
    if asked.until.is_some() && end.is_some_and(|end| end < after) {
        return Err(HistoryError::moment("until", "lies before `after`"));
    }
    let reading = Reading {
        context,
        filter,
        after,
        end,
        page: VecDeque::new(),
        chunk: Chunk::default(),
        failed: None,
        spoken: Instant::now(),
        is_level: false,
        is_over: false,
        _place: place,
    };
    Ok(stream::unfold(reading, |mut reading| async move { reading.next().await.map(|answer| (answer, reading)) }))
}

impl Reading {
    async fn next(&mut self) -> Option<Result<ReadLogResponse, Status>> {
        // Ends with an answer, with the node, or with the reading; each round looks at a page or waits for one.
        while !self.is_over {
            self.look();
            if self.is_due() {
                return Some(Ok(self.answer()));
            }
            let failed = match self.failed.take() {
                Some(error) => Some(error),
                None => self.read_on().await.err(),
            };
            if let Some(error) = failed {
                self.is_over = true;
                return Some(Err(error.into()));
            }
        }
        None
    }

    /// Tells what is wanted of the page, until an answer is full.
    fn look(&mut self) {
        while !self.chunk.is_full()
            && self.failed.is_none()
            && !self.is_at_its_end()
            && let Some(event) = self.page.pop_front()
        {
            if let Err(error) = event.stands_behind(self.after) {
                self.failed = Some(error.into());
                return;
            }
            if self.filter.wants(&event) {
                match told(&self.context.publisher, &event, &self.filter.types) {
                    Ok(events) => self.chunk.take(events),
                    Err(error) => {
                        self.failed = Some(error);
                        return;
                    }
                }
            }
            self.after = event.position;
        }
    }

    fn is_at_its_end(&self) -> bool {
        self.end.is_some_and(|end| self.after >= end)
    }

    /// Whether there is something to say: events; the end; the head for the first time; or that nothing has been found for a while.
    fn is_due(&mut self) -> bool {
        if self.failed.is_some() {
            return !self.chunk.is_empty();
        }
        let is_level = self.page.is_empty() && self.after >= self.context.tail.head();
        let is_news = is_level && !self.is_level;
        self.is_level |= is_level;
        self.is_over = self.is_at_its_end();
        !self.chunk.is_empty() || self.is_over || is_news || self.spoken.elapsed() >= self.context.settings.heartbeat
    }

    fn answer(&mut self) -> ReadLogResponse {
        self.spoken = Instant::now();
        let head = self.context.tail.head().max(self.after);
        ReadLogResponse { events: self.chunk.close(), position: self.after.to_i64(), head_position: head.to_i64() }
    }

    /// The next page, once there is something in it; or the time to say that there is not.
    async fn read_on(&mut self) -> Result<(), HistoryError> {
        let silence = self.spoken + self.context.settings.heartbeat;
        let page = tokio::select! {
            biased;
            () = self.context.stop.cancelled() => return Err(HistoryError::ShuttingDown),
            page = self.context.news(self.after) => page?,
            // a read that is under way is not given up for it: on a slow database it would never end
            () = tokio::time::sleep_until(silence), if self.context.tail.head() <= self.after => return Ok(()),
        };
        self.page = page.into();
        Ok(())
    }
}
