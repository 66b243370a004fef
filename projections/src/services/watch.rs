//! Following one order: as it stands, then after each change.

use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use jari_domain::{Position, StreamId, ids::OrderId};
use jari_event_store::{StreamWatch, StreamWatchers};
use jari_proto::order::v1::{Order, OrderState, PersonalData, WatchOrderResponse, WatchUntil};
use jari_sealing::Sealer;
use jiff::Timestamp;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::Status;

use super::orders::{OrderQueries, find};
use crate::{reading::Wanted, refusal::QueryError, runner::Views};

/// How long after the end of a hold the order is looked at: a clock that wakes a little early must not miss it.
const AFTER_EXPIRY: Duration = Duration::from_millis(2);

/// What is kept of an order that was sent, to tell the next state from it. Of personal data it is whether they can be read: what they say would stay here
/// after its erasure, for as long as somebody watches, and never differs in anything else.
#[derive(Debug, PartialEq)]
struct Sent(Order);

impl Sent {
    fn of(order: &Order) -> Self {
        let personal_data = order.personal_data.as_ref().map(|data| PersonalData { state: data.state, ..PersonalData::default() });
        Self(Order { personal_data, ..order.clone() })
    }
}

struct Follower {
    views: Views,
    watchers: StreamWatchers,
    sealer: Sealer,
    id: OrderId,
    until: WatchUntil,
    news: StreamWatch,
    sent: Sent,
    seen: Position,
    /// The view had read less than was handed out before the watcher had its place: there may be a change of which no news will come.
    is_behind: bool,
    is_over: bool,
    /// One place among those who watch; given back when the stream is dropped.
    _place: OwnedSemaphorePermit,
}

/// The stream of an order's states. The first answer is read here, so that a refusal is the call's own.
///
/// # Errors
/// [`QueryError`].
pub(super) async fn follow(
    queries: OrderQueries,
    id: OrderId,
    until: WatchUntil,
    wanted: Wanted,
) -> Result<impl Stream<Item = Result<WatchOrderResponse, Status>> + Send + 'static, QueryError> {
    let OrderQueries { views, watchers, sealer } = queries;
    let limit = views.inner.settings.watches;
    let place = views.inner.watches.clone().try_acquire_owned().map_err(|_| QueryError::WatchesExhausted { limit })?;
    // A place at the stream before the first look at the order: nothing is missed in between, but for what the view had still to read.
    let news = watchers.watch(StreamId::from(&id));
    let (order, seen) = find(&views, &sealer, &id, wanted).await?;
    let is_over = reached(&order, until);
    let sent = Sent::of(&order);
    let first = WatchOrderResponse { order: Some(order), position: seen.to_i64() };
    let (is_behind, seen) = (seen < news.after(), seen.max(news.after()));
    let follower = Follower { views, watchers, sealer, id, until, news, sent, seen, is_behind, is_over, _place: place };
    let rest = stream::unfold(follower, |mut follower| async move { follower.next().await.map(|answer| (answer, follower)) });
    Ok(stream::once(futures::future::ready(Ok(first))).chain(rest))
}

impl Follower {
    async fn next(&mut self) -> Option<Result<WatchOrderResponse, Status>> {
        if self.is_over {
            return None;
        }
        match self.change().await {
            Ok(answer) => Some(Ok(answer)),
            Err(error) => {
                self.is_over = true;
                Some(Err(error.into()))
            }
        }
    }

    /// The next state that differs from the last one sent.
    async fn change(&mut self) -> Result<WatchOrderResponse, QueryError> {
        // Ends with a change, with the node, or with an error.
        loop {
            if !std::mem::take(&mut self.is_behind) {
                self.wait().await?;
            }
            let (order, position) = self.look().await?;
            self.seen = self.seen.max(position);
            let found = Sent::of(&order);
            if self.sent != found {
                self.is_over = reached(&order, self.until);
                self.sent = found;
                return Ok(WatchOrderResponse { order: Some(order), position: position.to_i64() });
            }
        }
    }

    /// The order as the view has it once it has seen the last news. The view may follow more slowly than the log grows: the watcher is patient,
    /// and its call has its own deadline.
    async fn look(&self) -> Result<(Order, Position), QueryError> {
        // Ends with an answer or with the node; each round waits for the view as long as a query does.
        loop {
            let wanted = Wanted { position: self.seen, until: Instant::now() + self.views.inner.settings.wait };
            match find(&self.views, &self.sealer, &self.id, wanted).await {
                Err(QueryError::Behind { .. } | QueryError::NotReady { .. }) if !self.views.inner.watches_stop.is_cancelled() => {}
                done => return done,
            }
        }
    }

    /// Until there is news of the order, or the time comes at which its holds lapse.
    async fn wait(&mut self) -> Result<(), QueryError> {
        let Sent(order) = &self.sent;
        let lapse = order.hold_expires_at.filter(|_| order.state() == OrderState::Held);
        let lapse = lapse.map(|at| self.views.inner.clock.until(Timestamp::new(at.seconds, at.nanos).unwrap_or(Timestamp::MAX)));
        let lapsed = async {
            match lapse {
                Some(left) => tokio::time::sleep(left + AFTER_EXPIRY).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.views.inner.watches_stop.cancelled() => return Err(QueryError::ShuttingDown),
            event = self.news.next() => match event {
                Some(event) => {
                    self.seen = self.seen.max(event.position);
                    // changes in quick succession come as one
                    while let Some(Some(later)) = self.news.next().now_or_never() {
                        self.seen = self.seen.max(later.position);
                    }
                }
                // Too slow: a new place, and the order is read again. If the process is ending this would come at once, for ever.
                None => {
                    self.news = self.watchers.watch(StreamId::from(&self.id));
                    self.seen = self.seen.max(self.news.after());
                    tokio::time::sleep(self.views.inner.settings.poll).await;
                }
            },
            () = lapsed => {}
        }
        Ok(())
    }
}

fn reached(order: &Order, until: WatchUntil) -> bool {
    let state = order.state();
    let is_final = matches!(state, OrderState::Rejected | OrderState::Expired | OrderState::Cancelled);
    match until {
        WatchUntil::Unspecified | WatchUntil::Final => is_final,
        WatchUntil::Decided => is_final || state == OrderState::Confirmed,
        WatchUntil::Settled => state != OrderState::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use jari_proto::order::v1::{Contact, Guest, PersonalDataState};

    use super::*;

    #[test]
    fn a_watcher_keeps_no_person_in_the_clear_and_still_sees_an_erasure() {
        let order = |personal_data| Order { order_id: "order".into(), customer: "kim".into(), personal_data, ..Order::default() };
        let only = |state: PersonalDataState| PersonalData { state: state.into(), ..PersonalData::default() };
        let contact = Contact { name: "Kim Minji".into(), email: "minji@example.com".into(), phone: "010-1234-5678".into() };
        let guests = vec![Guest { line: 0, unit_id: "adult".into(), name: "Lee Jun".into() }];
        let readable = order(Some(PersonalData { contact: Some(contact), guests, ..only(PersonalDataState::Readable) }));
        let kept = Sent::of(&readable);
        assert_eq!(kept, Sent(order(Some(only(PersonalDataState::Readable)))), "nothing but that it could be read");
        assert_eq!(kept, Sent::of(&readable), "and the same order is sent once");
        for other in [Some(only(PersonalDataState::Erased)), Some(only(PersonalDataState::Unavailable)), None] {
            assert_ne!(kept, Sent::of(&order(other)));
        }
    }
}
