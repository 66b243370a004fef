//! The owner at work: follows the log, settles who is in line, ends what has lapsed, saves what it remembers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jari_domain::{
    AnyEvent, Position, StreamId, Timestamp,
    ids::OrderId,
    order::{Order, OrderEvent, OrderStatus, draws_of},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::{LeaseStamp, LoadRequest, LoadedStream, LogError, LogTail, ProcessStore, Reader, RecordedEvent, recordable};
use rustc_hash::FxHashSet;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    RETRY_ACTOR, SETTLEMENT, SETTLEMENT_ACTOR,
    line::{Key, Line},
    saving::Saving,
    supervisor::{Figures, Parked},
};
use crate::{
    booking::{ExpireOrder, OneStream, SettleOrder},
    engine::{Engine, ExecuteError, Origin, Outcome},
};

/// Orders being settled in the engine at once; the line itself waits in the log.
const WINDOW: usize = 4_096;
/// Ends of holds being recorded at once. A window of their own: when thousands of holds lapse together, nobody in line waits for their records.
const ENDS: usize = 512;
/// Events read in one turn.
const PAGE: usize = 2_048;
/// Orders of the line looked up at once when an owner begins: there may be as many as came while nobody settled.
const LOOKS: usize = 8;
/// Notes on parked orders read at once.
const NOTES: u32 = 1_000;
/// Changes after which the memory is saved at once rather than at the next beat. While so many wait for a save that is under way, nothing more is read.
const SAVE_AT: usize = 50_000;
/// Between two saves.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// When an end that could not be recorded is tried again. Meanwhile the hold has lapsed all the same: time decides, not the record.
const END_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
/// The same where the stream cannot be read, which time alone does not mend: a slot may have many thousand holds, and each end reads it again.
const END_UNREADABLE: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Bytes of why an order was parked: enough to see what was wrong.
const MOST_MESSAGE_BYTES: usize = 2_000;

/// Why the owner stopped.
#[derive(Debug)]
pub(super) enum Ended {
    /// The lease is another's.
    LeaseLost,
    /// The node stops.
    Stopped,
    /// The log cannot be read now.
    Log(LogError),
}

/// What an owner works with.
pub(super) struct Owner {
    pub engine: Engine,
    pub tail: LogTail,
    pub reader: Reader,
    pub store: ProcessStore,
    pub epoch: u64,
    pub figures: Arc<Figures>,
}

/// An order of the line as the database has it.
struct Found {
    order: Option<Result<LoadedStream, LogError>>,
    placed: Option<RecordedEvent>,
}

type Answer = (Task, Result<Outcome, ExecuteError>);

/// Why an order was parked.
struct Note {
    position: Position,
    code: String,
    message: String,
}

/// What was put in line.
enum Task {
    Settle(OrderId, Position),
    End(Key),
}

struct Work {
    line: Line,
    /// Those of the line that are parked: each is noted in the store, too, or is among the `unnoted`.
    parked: FxHashSet<OrderId>,
    /// Notes that the database has not taken yet, at most one for each that is parked.
    unnoted: BTreeMap<OrderId, Note>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Of them ends of holds; the others settle orders.
    ends: usize,
    saving: Saving,
    /// Ends that were not recorded since the last save, and why the last of them was not.
    unrecorded: (usize, String),
    lease: Arc<LeaseStamp>,
}

impl Work {
    fn has_room(&self) -> bool {
        self.answers.len() - self.ends < WINDOW
    }

    /// Whether what more is read can be remembered.
    fn can_remember(&self) -> bool {
        !self.saving.is_under_way() || self.line.changed_count() < SAVE_AT
    }
}

impl Owner {
    /// Works until the lease is lost or the node stops. `retries` brings parked orders that are to be tried again.
    pub async fn run(&self, retries: &mut mpsc::Receiver<Parked>, lost: CancellationToken, stop: CancellationToken) -> Ended {
        match self.work(retries, lost, stop).await {
            Ok(ended) => ended,
            Err(error) => Ended::Log(error),
        }
    }

    async fn work(&self, retries: &mut mpsc::Receiver<Parked>, lost: CancellationToken, stop: CancellationToken) -> Result<Ended, LogError> {
        let lease = Arc::new(LeaseStamp { name: SETTLEMENT.into(), epoch: self.epoch });
        let (line, parked) = (Line::restore(self.store.load().await?), self.parked().await?);
        let (unnoted, answers, unrecorded) = (BTreeMap::new(), FuturesUnordered::new(), (0, String::new()));
        let mut work = Work { line, parked, unnoted, answers, ends: 0, saving: Saving::default(), unrecorded, lease };
        // first those who were in line before: nobody behind them is looked at until they are in
        let waiting: Vec<(Position, OrderId)> = work.line.waiting().map(|(position, order)| (position, order.clone())).collect();
        let looks = waiting.into_iter().map(|(position, order)| async move { (position, self.look(&order).await, order) });
        let mut found = futures::stream::iter(looks).buffered(LOOKS);
        while let Some((position, found, order)) = found.next().await {
            self.resume(&mut work, order, position, found?).await?;
            self.make_room(&mut work).await;
            if stop.is_cancelled() {
                return Ok(self.leave(&mut work).await);
            }
            if lost.is_cancelled() {
                return Ok(Ended::LeaseLost);
            }
        }
        drop(found);
        let mut save = tokio::time::interval(SAVE_EVERY);
        save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One read at a time, kept from turn to turn: begun anew at each turn, a read of the database would never come to its end under load.
        let mut reading = self.tail.read(work.line.position, PAGE).boxed();
        // Ends with the lease or the node; each turn does one thing and looks at the ends of holds.
        loop {
            let next_end = work
                .line
                .next_end()
                .filter(|_| work.ends < ENDS)
                .map_or(Duration::from_secs(1), |at| self.engine.clock().until(at).min(Duration::from_secs(1)));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(self.leave(&mut work).await),
                () = lost.cancelled() => return Ok(Ended::LeaseLost),
                Some(answer) = work.answers.next(), if !work.answers.is_empty() => {
                    if let Some(ended) = self.answered(&mut work, answer).await { return Ok(ended); }
                }
                Some((order, position)) = retries.recv() => {
                    // another owner may have noted it after this one read the notes
                    work.parked.insert(order.clone());
                    let found = self.look(&order).await?;
                    self.resume(&mut work, order, position, found).await?;
                }
                is_ours = work.saving.ended() => if !is_ours? { return Ok(Ended::LeaseLost); },
                page = &mut reading, if work.has_room() && work.can_remember() => {
                    for event in page? {
                        if let Some(order) = work.line.fold(&event) {
                            self.settle(&mut work, order, &event).await?;
                        } else if !work.parked.is_empty() {
                            self.unpark(&mut work, &event.aggregate_id).await?;
                        }
                    }
                    if work.line.changed_count() >= SAVE_AT { work.saving.begin(&self.store, self.epoch, &mut work.line); }
                    reading = self.tail.read(work.line.position, PAGE).boxed();
                }
                _ = save.tick() => {
                    self.note(&mut work).await;
                    tell_unrecorded(&mut work);
                    if work.saving.is_under_way() {
                        tracing::warn!("settlement's memory is still being saved; it goes on meanwhile, for a while");
                    }
                    work.saving.begin(&self.store, self.epoch, &mut work.line);
                }
                () = tokio::time::sleep(next_end) => {}
            }
            self.end_lapsed(&mut work).await;
            self.figures.waiting(work.line.waiting_count().saturating_sub(work.parked.len()));
        }
    }

    /// Settles an order from the event that placed it. When that cannot be read here, the order is parked by the reading of its stream.
    async fn settle(&self, work: &mut Work, order_id: OrderId, placed: &RecordedEvent) -> Result<(), LogError> {
        let Some(AnyEvent::Order(OrderEvent::OrderPlaced { lines, .. })) = placed.event() else {
            let found = self.look(&order_id).await?;
            return self.resume(work, order_id, placed.position, found).await;
        };
        let unit = SettleOrder { order_id: order_id.clone(), draws: draws_of(lines), lease: Some(work.lease.clone()) };
        let origin = Origin { causation: Some(placed.position), trace: placed.metadata.trace.clone(), ..own(placed.metadata.correlation_id.clone()) };
        self.submit(work, Task::Settle(order_id, placed.position), unit, origin).await;
        Ok(())
    }

    /// What the database tells of an order that was placed before.
    async fn look(&self, order_id: &OrderId) -> Result<Found, LogError> {
        let stream = StreamId::from(order_id);
        let order = self.reader.load(&[LoadRequest { stream: stream.clone(), from: None }]).await?.pop();
        let placed = match self.reader.stream_after(&stream, 0, 1).await {
            Ok(mut first) => first.pop(),
            // the reading of the stream has said so, too
            Err(error) if error.is_of_what_is_stored() => None,
            Err(error) => return Err(error),
        };
        Ok(Found { order, placed })
    }

    /// Settles an order that was in line when this owner began, or that was parked.
    async fn resume(&self, work: &mut Work, order_id: OrderId, position: Position, found: Found) -> Result<(), LogError> {
        let draws = match found.order {
            Some(Ok(loaded)) => match Order::of(&loaded.state) {
                Some(order) if order.status() == OrderStatus::Placed => order.draws(),
                _ => return self.forget(work, &order_id).await,
            },
            Some(Err(error)) => {
                self.park(work, &order_id, position, "STREAM_UNREADABLE", &error.to_string()).await;
                return Ok(());
            }
            None => return Ok(()),
        };
        let unit = SettleOrder { order_id: order_id.clone(), draws, lease: Some(work.lease.clone()) };
        let actor = if work.parked.contains(&order_id) { RETRY_ACTOR } else { SETTLEMENT_ACTOR };
        // what comes of it belongs to the call that placed it, however long that is ago
        let (causation, metadata) = found.placed.map(|event| (event.position, event.metadata)).unzip();
        let metadata = metadata.unwrap_or_default();
        let origin = Origin { causation, trace: metadata.trace.clone(), actor: Some(actor.into()), ..own(metadata.correlation_id.clone()) };
        self.submit(work, Task::Settle(order_id, position), unit, origin).await;
        Ok(())
    }

    async fn submit(&self, work: &mut Work, task: Task, unit: impl crate::engine::UnitOfWork, origin: Origin) {
        let answer: Result<oneshot::Receiver<_>, _> = self.engine.submit_own(unit, origin).await;
        work.answers.push(
            async move {
                let result = match answer {
                    Ok(answer) => answer.await.unwrap_or(Err(ExecuteError::ShuttingDown)),
                    Err(error) => Err(error),
                };
                (task, result)
            }
            .boxed(),
        );
    }

    async fn make_room(&self, work: &mut Work) {
        while !work.has_room() {
            if let Some(answer) = work.answers.next().await {
                // a lost lease shows itself again at the next answer
                let _ = self.answered(work, answer).await;
            }
        }
    }

    async fn answered(&self, work: &mut Work, (task, result): Answer) -> Option<Ended> {
        if let Task::End(_) = task {
            work.ends -= 1;
        }
        let is_unreadable = matches!(result, Err(ExecuteError::StreamUnreadable { .. }));
        let (code, message) = match result {
            Ok(Outcome { refusal: None, events, .. }) => {
                match task {
                    Task::Settle(..) if !events.is_empty() => self.figures.settled(),
                    // it had not come yet, or came before: which of the two is seen when the log is read
                    Task::End(key) if events.is_empty() => work.line.look_again(key, self.later(END_AGAIN)),
                    Task::Settle(..) | Task::End(_) => {}
                }
                return None;
            }
            Ok(Outcome { refusal: Some(refusal), .. }) => (refusal.code, refusal.message),
            Err(ExecuteError::LeaseLost) => return Some(Ended::LeaseLost),
            Err(ExecuteError::ShuttingDown) => return Some(Ended::Stopped),
            Err(error) => (error.code().to_owned(), error.to_string()),
        };
        match task {
            Task::Settle(order, position) => {
                // whoever has left the line meanwhile needs nothing more
                if work.parked.contains(&order) || work.line.waiting_since(&order).is_some() {
                    self.park(work, &order, position, &code, &message).await;
                }
            }
            Task::End(key) => {
                let pause = if is_unreadable { END_UNREADABLE } else { END_AGAIN };
                work.unrecorded = (work.unrecorded.0 + 1, message);
                work.line.look_again(key, self.later(pause));
            }
        }
        None
    }

    /// Puts an order aside; the line goes on.
    async fn park(&self, work: &mut Work, order: &OrderId, position: Position, code: &str, message: &str) {
        tracing::error!(%order, position = position.get(), code, message, "an order could not be settled; it is parked");
        work.parked.insert(order.clone());
        work.unnoted.insert(order.clone(), Note { position, code: code.to_owned(), message: recordable(message, MOST_MESSAGE_BYTES) });
        self.note(work).await;
    }

    /// Writes down who is parked. What the database does not take now is tried again at each save: without its note nobody is shown the order or
    /// can have it tried again, though it is in the log and goes on when the next owner begins.
    async fn note(&self, work: &mut Work) {
        while let Some((order, note)) = work.unnoted.first_key_value() {
            let taken = self.store.park(order.as_str(), note.position, &note.code, &note.message).await;
            if let Err(error) = &taken {
                tracing::error!(%order, %error, waiting = work.unnoted.len(), "the note on a parked order was not taken");
            }
            // one that is never taken is in nobody's way
            if taken.is_err_and(|error| !error.is_of_what_is_stored()) {
                return;
            }
            work.unnoted.pop_first();
        }
    }

    /// Everybody who is noted as parked.
    async fn parked(&self) -> Result<FxHashSet<OrderId>, LogError> {
        let mut parked = FxHashSet::default();
        let mut last = (Position::START, String::new());
        // Ends with the notes: each round goes on after the last one.
        loop {
            let page = self.store.parked((last.0, &last.1), NOTES).await?;
            let Some(end) = page.last() else { return Ok(parked) };
            last = (end.position, end.key.clone());
            parked.extend(page.iter().filter_map(|note| OrderId::parse(&note.key).ok()));
        }
    }

    /// Takes the note off an order that has left the line, settled or given up.
    async fn unpark(&self, work: &mut Work, aggregate_id: &str) -> Result<(), LogError> {
        match OrderId::parse(aggregate_id) {
            Ok(order) if work.line.waiting_since(&order).is_none() => self.forget(work, &order).await,
            _ => Ok(()),
        }
    }

    async fn forget(&self, work: &mut Work, order: &OrderId) -> Result<(), LogError> {
        if work.parked.contains(order) {
            self.store.unpark(order.as_str()).await?;
            work.unnoted.remove(order);
            work.parked.remove(order);
        }
        Ok(())
    }

    async fn end_lapsed(&self, work: &mut Work) {
        let now = self.engine.clock().now();
        while work.ends < ENDS
            && let Some((key, cause)) = work.line.take_ended(now)
        {
            work.ends += 1;
            let task = Task::End(key.clone());
            let (causation, correlation_id) = cause.map(|cause| (cause.position, cause.correlation_id)).unzip();
            let origin = Origin { causation, ..own(correlation_id.flatten().map(String::from)) };
            match key {
                Key::Order(order_id) => self.submit(work, task, ExpireOrder { order_id }, origin).await,
                Key::Hold(slot, hold_id) => {
                    let expire = OneStream::<InventorySlot>::on("expire_hold", &slot, SlotCommand::ExpireHold { hold_id });
                    self.submit(work, task, expire, origin).await;
                }
            }
        }
    }

    fn later(&self, pause: jiff::SignedDuration) -> Timestamp {
        self.engine.clock().now().saturating_add(pause).unwrap_or(Timestamp::MAX)
    }

    async fn leave(&self, work: &mut Work) -> Ended {
        if let Err(error) = work.saving.finish(&self.store, self.epoch, &mut work.line).await {
            tracing::debug!(%error, "settlement's memory was not saved; the next owner folds it from the log");
        }
        Ended::Stopped
    }
}

/// Once for all of them: thousands may lapse together, of a slot that cannot be read.
fn tell_unrecorded(work: &mut Work) {
    let (ends, error) = std::mem::take(&mut work.unrecorded);
    if ends > 0 {
        tracing::warn!(ends, error, "ends of holds were not recorded; they are tried again");
    }
}

fn own(correlation_id: Option<String>) -> Origin {
    Origin { actor: Some(SETTLEMENT_ACTOR.into()), correlation_id, ..Origin::default() }
}
