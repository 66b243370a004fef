//! Takes events into a build, batch by batch, and finds the streams that stand in the way.

use std::{borrow::Borrow, collections::HashSet};

use jari_domain::{AnyEvent, Position, order::OrderEvent};
use jari_event_store::{Body, Database, Reader, RecordedEvent};

use crate::{
    build_connection::{BuildConnection, Checkpoint, Fault, Form, Step, hold_back, write_again},
    builds::Build,
    projection::Projection,
    quarantine::{EVENT_UNREADABLE, HeldBack, MOST_STREAMS, VIEW_ROW_REFUSED},
};

const LOCK_LIVE: &str = "SELECT position FROM views.builds WHERE view = $1 AND state = 'live' FOR UPDATE";
const RETIRE: &str = "UPDATE views.builds SET state = 'retired' WHERE view = $1 AND state = 'live'";
const GO_LIVE: &str = "UPDATE views.builds SET state = 'live', position = $3 WHERE build = $1 AND state = 'building' AND position = $2";

/// Lines of orders in one transaction: some ten megabytes of rows.
const MOST_LINES: usize = 20_000;

/// Writes one build from its checkpoint on.
pub(crate) struct Writer {
    view: &'static dyn Projection,
    connection: BuildConnection,
    at: Checkpoint,
    /// Type and id of the streams whose events wait; at most [`MOST_STREAMS`].
    waiting: HashSet<(String, String)>,
    epoch: u64,
    state: &'static str,
}

/// Events of one batch that may be folded, and streams that may not.
struct Sorted<'a> {
    kept: Vec<&'a RecordedEvent>,
    held_back: Vec<HeldBack>,
}

impl Writer {
    /// A writer at the build's checkpoint; `None` when the build is not `state` any more.
    pub async fn open(
        database: &Database,
        view: &'static dyn Projection,
        build: Build,
        epoch: u64,
        state: &'static str,
    ) -> Result<Option<Self>, Fault> {
        let connection = BuildConnection::connect(database, build).await?;
        // The checkpoint before the quarantine: what changes in between is found out by the first step.
        let Some(at) = connection.checkpoint(state).await? else { return Ok(None) };
        let waiting = connection.quarantined().await?;
        Ok(Some(Self { view, connection, at, waiting, epoch, state }))
    }

    pub fn position(&self) -> Position {
        self.at.position
    }

    pub fn build(&self) -> &Build {
        self.connection.build()
    }

    /// Whether the events of any stream wait.
    pub fn holds_back(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the build still stands where this writer believes.
    pub async fn is_current(&self) -> Result<bool, Fault> {
        Ok(self.connection.checkpoint(self.state).await?.as_ref() == Some(&self.at))
    }

    /// Takes `events`, which follow on the checkpoint without a gap: in one transaction, or in several when they are heavy.
    ///
    /// # Errors
    /// [`Fault::Away`] and [`Fault::Moved`]: open a new writer. [`Fault::Halted`]: somebody has to look.
    pub async fn take<E: Borrow<RecordedEvent>>(&mut self, events: &[E]) -> Result<(), Fault> {
        let Some(last) = events.last() else { return Ok(()) };
        self.take_to(events, last.borrow().position).await
    }

    /// The same for `events` that are all of the view's own up to `to`: what lies between them is nothing to it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_to<E: Borrow<RecordedEvent>>(&mut self, mut events: &[E], to: Position) -> Result<(), Fault> {
        // Ends with the last of them: each round takes at least one, or is the only one.
        loop {
            let (now, later) = events.split_at(load(events));
            let until = if later.is_empty() { to } else { now.last().map_or(to, |event| event.borrow().position) };
            self.take_load(now, until).await?;
            if later.is_empty() {
                return Ok(());
            }
            events = later;
        }
    }

    async fn take_load<E: Borrow<RecordedEvent>>(&mut self, events: &[E], to: Position) -> Result<(), Fault> {
        let mut sorted = sort(self.view, &self.waiting, events);
        let mut form = Form::First;
        // Ends: each round after the second holds at least one more stream of the batch back.
        loop {
            let writes = self.view.fold(&sorted.kept);
            if self.waiting.len() + sorted.held_back.len() > MOST_STREAMS {
                return Err(Fault::Halted(format!("more than {MOST_STREAMS} streams would be held back: the view stops instead")));
            }
            let step = Step { from: &self.at, to, epoch: self.epoch, state: self.state, writes: &writes, held_back: &sorted.held_back, form };
            match self.connection.advance(&step).await {
                Ok(()) => break,
                // Perhaps only because a row was there already, which the other form takes.
                Err(Fault::Refused(_)) if form == Form::First => form = Form::Again,
                Err(Fault::Refused(error)) => {
                    drop(writes);
                    self.split(&mut sorted, &error).await?;
                }
                Err(other) => return Err(other),
            }
        }
        self.at.position = to;
        self.at.quarantine_changes += i64::from(!sorted.held_back.is_empty());
        for stream in sorted.held_back {
            let (view, position) = (self.view.name(), stream.position.get());
            tracing::error!(view, position, stream = %format!("{}/{}", stream.aggregate_type, stream.aggregate_id), error = %stream.error, "a stream was held back");
            self.waiting.insert((stream.aggregate_type, stream.aggregate_id));
        }
        Ok(())
    }

    /// Makes this build live in the place of the one that is, in one step; gives the position. Before that it takes what the live one has read
    /// and this one has not, at most `most` events, under the lock that keeps the live one where it is: so no reader ever sees the view go back.
    ///
    /// # Errors
    /// [`Fault::Moved`] when the live build is further ahead, or this one is not being built any more.
    pub async fn go_live(&mut self, reader: &Reader, most: u64) -> Result<Position, Fault> {
        let number = self.build().number;
        // Ends: the second round has no row that the database refuses, for it was set aside.
        loop {
            let build = self.connection.build().clone();
            let transaction = self.connection.begin().await?;
            let row = transaction.query_opt(LOCK_LIVE, &[&self.view.name()]).await?;
            let live = row.map(|row| row.try_get(0)).transpose()?.map_or(Position::START, Position::from_i64);
            let missing = live.since(self.at.position);
            if missing > most {
                return Err(Fault::Moved);
            }
            let events = reader.log_after(self.at.position, usize::try_from(missing).unwrap_or(usize::MAX)).await?;
            let sorted = sort(self.view, &self.waiting, &events);
            match write_again(&transaction, &build, &self.view.fold(&sorted.kept)).await {
                Ok(()) => {}
                Err(Fault::Refused(_)) => {
                    transaction.rollback().await?;
                    self.take(&events).await?;
                    continue;
                }
                Err(other) => return Err(other),
            }
            hold_back(&transaction, number, &sorted.held_back).await?;
            transaction.execute(RETIRE, &[&self.view.name()]).await?;
            let position = live.max(self.at.position);
            if transaction.execute(GO_LIVE, &[&number, &self.at.position.to_i64(), &position.to_i64()]).await? == 0 {
                return Err(Fault::Moved);
            }
            transaction.commit().await?;
            return Ok(position);
        }
    }

    /// Finds the streams whose rows the database refuses, each with its first refused event, by halving the batch.
    async fn split(&mut self, sorted: &mut Sorted<'_>, error: &str) -> Result<(), Fault> {
        let streams = by_stream(&sorted.kept);
        let mut found = Vec::new();
        let mut suspects = vec![(0, streams.len())];
        // Ends: each round halves a range, or is done with it.
        while let Some((start, end)) = suspects.pop() {
            let mut events: Vec<&RecordedEvent> = streams[start..end].iter().flatten().copied().collect();
            events.sort_unstable_by_key(|event| event.position);
            match self.connection.rehearse(&self.view.fold(&events)).await {
                Ok(()) => {}
                Err(Fault::Refused(error)) if end - start == 1 => found.push(self.first_refused(&streams[start], error).await?),
                Err(Fault::Refused(_)) => {
                    let middle = start + (end - start) / 2;
                    suspects.extend([(start, middle), (middle, end)]);
                }
                Err(other) => return Err(other),
            }
        }
        if found.is_empty() {
            // Each stream passes alone and together they do not. No view of ours has rows of two streams; the newest waits, so that the
            // others go on.
            let newest = sorted.kept.last().ok_or_else(|| Fault::Refused(error.to_owned()))?;
            let first = sorted.kept.iter().find(|event| is_same_stream(event, newest)).unwrap_or(newest);
            found.push(HeldBack::new(first, VIEW_ROW_REFUSED, error));
        }
        sorted.kept.retain(|event| !found.iter().any(|stream| stream.is_of(event) && event.position >= stream.position));
        sorted.held_back.append(&mut found);
        Ok(())
    }

    /// The first event of a stream that the database does not take after those before it.
    async fn first_refused(&mut self, events: &[&RecordedEvent], mut error: String) -> Result<HeldBack, Fault> {
        let (mut good, mut bad) = (0, events.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.connection.rehearse(&self.view.fold(&events[..middle])).await {
                Ok(()) => good = middle,
                Err(Fault::Refused(earlier)) => (bad, error) = (middle, earlier),
                Err(other) => return Err(other),
            }
        }
        Ok(HeldBack::new(events[bad - 1], VIEW_ROW_REFUSED, &error))
    }
}

/// How many of the events, at least one when there is one, make a transaction of bounded size: an order may have a hundred lines.
fn load<E: Borrow<RecordedEvent>>(events: &[E]) -> usize {
    let mut lines = 0;
    let fits = events.iter().take_while(|event| {
        if let Some(AnyEvent::Order(OrderEvent::OrderPlaced { lines: more, .. })) = Borrow::<RecordedEvent>::borrow(*event).event() {
            lines += more.len();
        }
        lines <= MOST_LINES
    });
    fits.count().max(1).min(events.len())
}

/// Sets aside what cannot be read, and what waits behind it.
fn sort<'a, E: Borrow<RecordedEvent>>(view: &dyn Projection, waiting: &HashSet<(String, String)>, events: &'a [E]) -> Sorted<'a> {
    let mut sorted = Sorted { kept: Vec::with_capacity(events.len()), held_back: Vec::new() };
    for event in events.iter().map(Borrow::borrow).filter(|event| view.reads().contains(&&*event.aggregate_type)) {
        let waits = !waiting.is_empty() && waiting.contains(&(event.aggregate_type.to_string(), event.aggregate_id.to_string()));
        if waits || sorted.held_back.iter().any(|stream: &HeldBack| stream.is_of(event)) {
            continue;
        }
        match &event.body {
            Body::Known(_) => sorted.kept.push(event),
            Body::Unreadable { error, .. } => sorted.held_back.push(HeldBack::new(event, EVENT_UNREADABLE, &error.to_string())),
        }
    }
    sorted
}

fn is_same_stream(one: &RecordedEvent, other: &RecordedEvent) -> bool {
    one.aggregate_type == other.aggregate_type && one.aggregate_id == other.aggregate_id
}

fn by_stream<'a>(events: &[&'a RecordedEvent]) -> Vec<Vec<&'a RecordedEvent>> {
    let mut streams: Vec<Vec<&'a RecordedEvent>> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for event in events {
        let at = *index.entry((&*event.aggregate_type, &*event.aggregate_id)).or_insert_with(|| {
            streams.push(Vec::new());
            streams.len() - 1
        });
        streams[at].push(event);
    }
    streams
}
