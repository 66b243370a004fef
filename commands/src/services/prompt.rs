//! A request that has begun must be there soon: its caller holds a place while it is read.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as _, Frame, SizeHint};
use jari_proto::status::too_slow;
use tokio::time::Sleep;
use tonic::{Status, body::Body};

/// How long the rest of a request may be on its way. Without a bound, whoever begins as many calls as there are places and finishes none keeps
/// everybody out.
pub(super) const WHOLE_WITHIN: Duration = Duration::from_secs(5);

/// A body that fails when its end is not there in time.
pub(super) struct Prompt {
    body: Body,
    /// Runs from the first wait: a request that is there already costs nothing.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Prompt {
    pub fn bound(body: Body) -> Body {
        if body.is_end_stream() { body } else { Body::new(Self { body, patience: None }) }
    }
}

impl http_body::Body for Prompt {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(WHOLE_WITHIN)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(too_slow(WHOLE_WITHIN)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
