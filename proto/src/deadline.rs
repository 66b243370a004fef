//! Ends calls at the time that they gave themselves, with a code.
//!
//! tonic ends them by itself, too, but as `CANCELLED` and without details, which reads as if somebody had hung up; and only until the answer begins,
//! so that a stream goes on to nobody. A server wrapped in [`layer`] is a little earlier, and answers `DEADLINE_EXCEEDED` with the code of that name; a
//! stream that has begun ends with it.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::status::{DEADLINE_EXCEEDED, refusal_status};

/// The header in which a call says how long it waits.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// How long before a call's end it is answered: tonic's own timer, and the caller's, must not come first. Half of what a shorter call has.
const EARLY: Duration = Duration::from_millis(5);

/// How long the call waits, as gRPC's header says it; `None` when it does not, or not in a form that gRPC knows.
#[must_use]
pub fn of(call: &HeaderMap) -> Option<Duration> {
    let text = call.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// For `Server::builder().layer(...)`, outside of everything else.
#[must_use]
pub fn layer() -> DeadlineLayer {
    DeadlineLayer(())
}

/// See [`layer`].
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer(());

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;
    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline(inner)
    }
}

/// See [`layer`].
#[derive(Debug, Clone)]
pub struct Deadline<S>(S);

impl<S> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Timed>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let until = of(request.headers()).and_then(|left| Instant::now().checked_add(left - EARLY.min(left / 2)));
        Answering { answer: self.0.call(request), end: until.map(sleep_until), until }
    }
}

pin_project_lite::pin_project! {
    /// A call under way, and its end.
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        answer: F,
        #[pin]
        end: Option<Sleep>,
        until: Option<Instant>,
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Timed>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(context) {
            let end = this.until.map(End::At);
            return Poll::Ready(answer.map(|answer| answer.map(|body| Timed { body, end })));
        }
        let Some(end) = this.end.as_pin_mut() else { return Poll::Pending };
        ready!(end.poll(context));
        Poll::Ready(Ok(exceeded().into_http::<Body>().map(|body| Timed { body, end: None })))
    }
}

/// An answer that ends with its call.
#[derive(Debug)]
pub struct Timed {
    body: Body,
    /// `None`: none, or it has come.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    At(Instant),
    /// Somebody has to wait for more: a stream. An answer that is there as a whole needs no timer.
    Awaited(Pin<Box<Sleep>>),
}

impl http_body::Body for Timed {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let this = &mut *self;
        let is_over = match &this.end {
            None => false,
            Some(End::At(until)) => *until <= Instant::now(),
            Some(End::Awaited(sleep)) => sleep.is_elapsed(),
        };
        // looked at first: a stream that always has more would never end
        if !is_over {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
                return Poll::Ready(frame);
            }
            let Some(end) = &mut this.end else { return Poll::Pending };
            if let End::At(until) = end {
                *end = End::Awaited(Box::pin(sleep_until(*until)));
            }
            if let End::Awaited(sleep) = end {
                ready!(sleep.as_mut().poll(context));
            }
        }
        // what was still to come is nobody's any more
        (this.body, this.end) = (Body::empty(), None);
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(exceeded().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn exceeded() -> Status {
    let message = "the time that the call gave itself is over; what it asked for may be done all the same";
    refusal_status(DEADLINE_EXCEEDED, Code::DeadlineExceeded, message, BTreeMap::new(), None)
}
