//! `ReadStream`: the history of one product, slot or order.

use std::collections::VecDeque;

use futures::{FutureExt, Stream, stream};
use jari_domain::Position;
use jari_event_store::{RecordedEvent, StreamWatch};
use jari_proto::history::v1::{ReadStreamRequest, ReadStreamResponse};
use jari_wire::signed;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant},
};
use tonic::Status;

use crate::{
    chunk::{Chunk, told},
    context::HistoryContext,
    filter::Types,
    moment,
    refusal::HistoryError,
    state::Subject,
};

/// How long after losing its place among the watchers a follower asks again: it is lost at once, for ever, while a node is ending.
const ASK_AGAIN: Duration = Duration::from_millis(20);

struct Reading {
    context: HistoryContext,
    subject: Subject,
    types: Types,
    /// So many of its events have been looked at.
    version: u64,
    /// The last position of the reading.
    end: Position,
    /// Present when it goes on for ever.
    watch: Option<StreamWatch>,
    page: VecDeque<RecordedEvent>,
    /// The last page was full, so that there may be more; or there is news.
    is_more: bool,
    chunk: Chunk,
    failed: Option<HistoryError>,
    spoken: Instant,
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
    asked: &ReadStreamRequest,
) -> Result<impl Stream<Item = Result<ReadStreamResponse, Status>> + Send + use<>, HistoryError> {
    let place = context.permit()?;
    if asked.follow && asked.until.is_some() {
        return Err(HistoryError::moment("until", "must be absent when a history is followed, which has no end"));
    }
    let subject = Subject::parse(asked.aggregate.as_ref())?;
    let version = u64::try_from(asked.after_version).map_err(|_| HistoryError::moment("after_version", "a version is not negative"))?;
    // A place among the watchers before the first look: nothing is missed in between.
    let watch = asked.follow.then(|| context.watchers.watch(subject.stream()));
    let end = if asked.follow { Position::MAX } else { moment::find(&context, "until", asked.until.as_ref()).await?.position };
    let mut reading = Reading {
        context,
        subject,
        types: Types::usual(),
        version,
        end,
        watch,
        page: VecDeque::new(),
        is_more: true,
        chunk: Chunk::default(),
        failed: None,
        spoken: Instant::now(),
        is_over: false,
        _place: place,
    };
    reading.read_page().await?;
    let is_none = reading.page.front().is_none_or(|first| first.position > reading.end);
    if is_none && reading.watch.is_none() && version == 0 {
        // what is missing before the first one behind the end may have been there at the end
        reading.page.front().map_or(Ok(()), |first| first.continues(version))?;
        return Err(reading.subject.not_found());
    }
    Ok(stream::unfold(reading, |mut reading| async move { reading.next().await.map(|answer| (answer, reading)) }))
}

impl Reading {
    async fn next(&mut self) -> Option<Result<ReadStreamResponse, Status>> {
        // Ends with an answer, with the node, or with the reading; each round looks at a page or waits for one.
        while !self.is_over {
            self.look();
            let is_read = self.page.is_empty() && !self.is_more && self.failed.is_none();
            self.is_over = is_read && self.watch.is_none();
            let is_silent = self.failed.is_none() && self.spoken.elapsed() >= self.context.settings.heartbeat;
            if !self.chunk.is_empty() || self.is_over || is_silent {
                self.spoken = Instant::now();
                return Some(Ok(ReadStreamResponse { events: self.chunk.close(), version: signed(self.version) }));
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

    fn look(&mut self) {
        while !self.chunk.is_full()
            && self.failed.is_none()
            && let Some(event) = self.page.pop_front()
        {
            let there = event.continues(self.version).map_err(HistoryError::from);
            // only then: what is missing before the first one behind the end may have been there at the end
            if there.is_ok() && event.position > self.end {
                self.page.clear();
                return;
            }
            match there.and_then(|()| told(&self.context.publisher, &event, &self.types)) {
                Ok(events) => self.chunk.take(events),
                Err(error) => {
                    self.failed = Some(error);
                    return;
                }
            }
            self.version = event.sequence;
        }
    }

    async fn read_on(&mut self) -> Result<(), HistoryError> {
        if !self.is_more {
            self.wait().await?;
        }
        if self.is_more { self.read_page().await } else { Ok(()) }
    }

    async fn read_page(&mut self) -> Result<(), HistoryError> {
        let stream = self.subject.stream();
        let page = tokio::select! {
            biased;
            () = self.context.stop.cancelled() => return Err(HistoryError::ShuttingDown),
            page = self.context.stream_as_it_is(&stream, self.version) => page?,
        };
        self.is_more = page.len() == self.context.settings.page && page.last().is_none_or(|last| last.position <= self.end);
        self.page = page.into();
        Ok(())
    }

    /// Until there is news, or nothing has been said for a while. News only say that there is more: what it is is read by version, so that nothing
    /// comes twice.
    async fn wait(&mut self) -> Result<(), HistoryError> {
        let silence = self.spoken + self.context.settings.heartbeat;
        let Some(watch) = &mut self.watch else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.context.stop.cancelled() => return Err(HistoryError::ShuttingDown),
            news = watch.next() => {
                self.is_more = true;
                match news {
                    // what came meanwhile is read with it
                    Some(_) => while let Some(Some(_)) = watch.next().now_or_never() {},
                    None => {
                        tokio::time::sleep(ASK_AGAIN).await;
                        self.watch = Some(self.context.watchers.watch(self.subject.stream()));
                    }
                }
            }
            () = tokio::time::sleep_until(silence) => {}
        }
        Ok(())
    }
}
