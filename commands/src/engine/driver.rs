//! Carries the loop's wishes to the database and the answers back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use jari_domain::{StreamId, Timestamp};
use jari_event_store::{
    Appended, Appender, Clock, CommandKey, Database, LoadedStream, LogError, LogTail, Reader, RecordedCommand, RecordedEvent, SnapshotWriter,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    EngineSettings, Health, Shared, Submission,
    core::Core,
    flight::{AppendFailure, Departure},
    link::{self, Link},
};
use crate::names;

/// Submissions taken in one turn, so that answers from the log are not kept waiting.
const TURN: usize = 1_024;
/// Between two tries to reach the database.
const RETRY: Duration = Duration::from_millis(200);
/// How long the loop goes on after it was asked to stop, for what it has accepted.
const DRAIN: Duration = Duration::from_secs(20);
/// Events of the log looked at in one turn.
const TAIL_PAGE: usize = 4_096;

type Loaded = Vec<(StreamId, u64, Result<LoadedStream, String>)>;
type LookedUp = (Vec<CommandKey>, Vec<(CommandKey, Result<RecordedCommand, LogError>)>);

/// What the loop waits for besides callers and appends.
enum Answer {
    Loaded(Loaded),
    LookedUp(u64, LookedUp),
    Linked(Link),
    Followed(Result<Vec<Arc<RecordedEvent>>, LogError>),
}

pub(super) struct Driver {
    core: Core,
    database: Database,
    reader: Reader,
    tail: LogTail,
    snapshots: SnapshotWriter,
    shared: Arc<Shared>,
    appender: Appender,
    appends: FuturesOrdered<BoxFuture<'static, (u64, Result<Appended, AppendFailure>)>>,
    departed: VecDeque<tokio::time::Instant>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Look-ups of command ids that are under way, by their number, and since when. Bounded as the units are that wait for them.
    lookups: BTreeMap<u64, tokio::time::Instant>,
    last_lookup: u64,
    reconnecting: bool,
    /// A page of the log is being read that is no longer in memory.
    following: bool,
    /// Connections in a row that ended before anything landed by them.
    failures: u32,
    /// What is known here is not what the log holds: nothing more may be decided on it.
    is_void: bool,
    clock: Clock,
    stalled_after: Duration,
}

impl Driver {
    pub fn new(
        settings: EngineSettings,
        database: Database,
        (tail, snapshots): (LogTail, SnapshotWriter),
        appender: Appender,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> Self {
        tail.appended_by(&appender);
        let mut core = Core::new(settings.limits, clock.now());
        core.known = tail.head();
        Self {
            core,
            reader: Reader::new(database.clone()),
            database,
            tail,
            snapshots,
            shared,
            appender,
            appends: FuturesOrdered::new(),
            departed: VecDeque::new(),
            answers: FuturesUnordered::new(),
            lookups: BTreeMap::new(),
            last_lookup: 0,
            reconnecting: false,
            following: false,
            failures: 0,
            is_void: false,
            clock,
            stalled_after: settings.stalled_after,
        }
    }

    /// The loop. Ends after `stop`, when what was accepted is settled, or [`DRAIN`] later.
    pub async fn run(mut self, mut submissions: mpsc::Receiver<Submission>, stop: CancellationToken) {
        let mut arrivals = Vec::with_capacity(TURN);
        let mut head = self.tail.watch();
        let mut pulse = tokio::time::interval(Duration::from_millis(250));
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let drained = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::pin!(drained);
        let mut closed = false;
        // Ends as the method's comment says; each turn takes what has come and lets go what can go.
        loop {
            // one turn that brings nothing is enough to know
            let looks = !self.core.flight.is_lull && self.core.awaits_company();
            self.core.flight.is_lull = false;
            tokio::select! {
                biased;
                Some((number, result)) = self.appends.next(), if !self.appends.is_empty() => self.appended(number, result),
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answered(answer),
                taken = submissions.recv_many(&mut arrivals, TURN), if !closed => closed = taken == 0,
                () = std::future::ready(()), if closed && self.core.units.is_empty() => return,
                Ok(()) = head.changed() => self.follow(),
                _ = pulse.tick() => {
                    self.look_at_link();
                    self.look_at_health();
                }
                // comes back when everybody else has had a turn, and the sockets were looked at
                () = tokio::task::yield_now(), if looks => self.core.flight.is_lull = true,
                () = stop.cancelled(), if self.core.units.is_empty() => return,
                () = &mut drained => {
                    tracing::warn!(units = self.core.units.len(), "stopped with work under way; it is settled or found again under its ids");
                    return;
                }
            }
            if self.is_void {
                return;
            }
            let now = self.now();
            for Submission { work, origin, reply } in arrivals.drain(..) {
                self.core.submit(work, origin, reply, now);
            }
            self.carry_out(now);
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn appended(&mut self, number: u64, result: Result<Appended, AppendFailure>) {
        self.departed.pop_front();
        // at once: whoever is answered now may ask again before the next pulse
        self.look_at_health();
        if let Ok(appended) = &result
            && !appended.stale
        {
            self.failures = 0;
        }
        self.core.appended(number, result, self.now());
        if self.core.flight.disconnected {
            self.relink();
        }
    }

    /// Connects anew, unless that is under way.
    fn relink(&mut self) {
        if self.reconnecting {
            return;
        }
        self.reconnecting = true;
        self.shared.set_health(Health::Disconnected);
        tracing::warn!("the connection to the log is gone; nothing is accepted until it is back");
        self.failures = self.failures.saturating_add(1);
        let linking = link::make(self.appender.clone(), self.database.clone(), self.tail.clone(), self.failures);
        self.answers.push(linking.map(Answer::Linked).boxed());
    }

    /// A connection that goes while nothing is sent on it is noticed here: what answers at its address may be another log, which settlement and views
    /// would go on with.
    fn look_at_link(&mut self) {
        if self.appends.is_empty() && self.appender.is_closed() {
            self.core.flight.disconnected = true;
            self.relink();
        }
    }

    fn answered(&mut self, answer: Answer) {
        let now = self.now();
        match answer {
            Answer::Loaded(streams) => {
                for (stream, asked, result) in streams {
                    self.core.loaded(&stream, asked, result, now);
                }
            }
            Answer::LookedUp(number, (mut asked, looked_up)) => {
                self.lookups.remove(&number);
                self.look_at_health();
                let mut found = Vec::with_capacity(looked_up.len());
                for (key, record) in looked_up {
                    match record {
                        Ok(record) => found.push((key, record)),
                        Err(error) => {
                            asked.retain(|asked| *asked != key);
                            self.core.unreadable(&key, &error.to_string());
                        }
                    }
                }
                self.core.looked_up(&asked, found, now);
            }
            Answer::Followed(read) => {
                self.following = false;
                // none where one was told of: a database that is behind, which is looked at again when it tells of more
                if let Ok(events) = read
                    && !events.is_empty()
                {
                    self.seen(&events);
                    self.follow();
                }
            }
            Answer::Linked(Link::OtherHistory { known }) => {
                tracing::error!(
                    known = known.get(),
                    "the log does not hold what it held: it was restored, or another database answers. This process ends, to begin anew with what is there"
                );
                self.is_void = true;
            }
            Answer::Linked(Link::Made(appender)) => {
                self.tail.appended_by(&appender);
                self.appender = *appender;
                self.reconnecting = false;
                self.core.reconnected();
                self.shared.set_health(Health::Serving);
                tracing::info!("the connection to the log is back");
            }
        }
    }

    /// Looks at what the log has taken from others. What is no longer in memory is read beside the loop, which waits for nothing; a page that cannot be
    /// read is read at the next change of the head.
    fn follow(&mut self) {
        while !self.following && self.core.known < self.tail.head() {
            match self.tail.in_memory(self.core.known, TAIL_PAGE) {
                Some(events) if events.is_empty() => return,
                Some(events) => self.seen(&events),
                None => {
                    self.following = true;
                    let (tail, after) = (self.tail.clone(), self.core.known);
                    self.answers.push(async move { Answer::Followed(tail.read_now(after, TAIL_PAGE).await) }.boxed());
                }
            }
        }
    }

    fn seen(&mut self, events: &[Arc<RecordedEvent>]) {
        for event in events {
            if let Some(stream) = event.stream() {
                self.core.seen(&stream, event.sequence);
            }
            self.core.known = event.position;
        }
    }

    /// A database that stands still is seen at whatever waits for it longest: an append, or a look-up behind which all appends wait. Streams that are
    /// read do not count: a long one takes its time.
    fn look_at_health(&mut self) {
        let oldest = self.departed.front().into_iter().chain(self.lookups.values().next()).min();
        let waited = oldest.map(tokio::time::Instant::elapsed);
        let health = match waited {
            _ if self.reconnecting => Health::Disconnected,
            Some(waited) if waited > self.stalled_after => Health::Stalled,
            _ => Health::Serving,
        };
        self.shared.set_health(health);
    }

    /// Does what the loop's state asks for.
    fn carry_out(&mut self, now: Timestamp) {
        while let Some(departure) = self.core.depart(now) {
            self.send(departure);
        }
        let mut effects = std::mem::take(&mut self.core.effects);
        // What an ended connection has committed is read only when it is safe, which the new one waits for: a standby that takes over without it would take
        // back what was answered.
        if self.core.flight.disconnected {
            self.core.effects.lookups = std::mem::take(&mut effects.lookups);
        }
        self.tail.offer(effects.recorded);
        for snapshot in effects.snapshots {
            if !self.snapshots.offer(snapshot) {
                tracing::debug!("a snapshot was left out: others are being written");
            }
        }
        if !effects.loads.is_empty() {
            self.answers.push(load(self.reader.clone(), effects.loads).boxed());
        }
        if !effects.lookups.is_empty() {
            self.last_lookup += 1;
            self.lookups.insert(self.last_lookup, tokio::time::Instant::now());
            self.answers.push(look_up(self.reader.clone(), self.last_lookup, effects.lookups).boxed());
        }
        self.shared.measure(self.core.units.len(), self.core.cells.len());
    }

    fn send(&mut self, departure: Departure) {
        let Departure { number, after, careful, batch } = departure;
        self.shared.count_batch(batch.groups.len(), batch.groups.iter().map(|group| group.event_count()).sum());
        let appender = self.appender.clone();
        let span = tracing::debug_span!(names::APPEND, batch = number, groups = batch.groups.len());
        let mut append = async move {
            let result = appender.append(&batch, number, after, careful).await;
            // dropped before the answer is looked at, so that the loop owns the batch alone and can take it apart
            drop(batch);
            (number, result.map_err(failure))
        }
        .instrument(span)
        .boxed();
        // A batch is written to the connection when its future is first polled: here, so that batches leave in the order of their numbers.
        match append.as_mut().now_or_never() {
            Some(done) => self.appends.push_back(async move { done }.boxed()),
            None => self.appends.push_back(append),
        }
        self.departed.push_back(tokio::time::Instant::now());
    }
}

fn failure(error: LogError) -> AppendFailure {
    if error.is_unique_violation() {
        AppendFailure::UniqueKey
    } else if error.is_away() {
        AppendFailure::Disconnected
    } else {
        AppendFailure::Refused(error.to_string())
    }
}

/// Reads streams; tries for as long as the loop lives, since units wait for them and their callers' patience is bounded elsewhere.
async fn load(reader: Reader, loads: Vec<(jari_event_store::LoadRequest, u64)>) -> Answer {
    let (requests, asked): (Vec<_>, Vec<_>) = loads.into_iter().unzip();
    // Ends when the database answers.
    loop {
        match reader.load(&requests).await {
            Ok(results) => {
                let streams = requests.iter().zip(asked).zip(results);
                return Answer::Loaded(streams.map(|((r, asked), result)| (r.stream.clone(), asked, result.map_err(|e| e.to_string()))).collect());
            }
            Err(error) => tracing::debug!(%error, "streams could not be read yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Looks command ids up; as [`load`].
async fn look_up(reader: Reader, number: u64, keys: Vec<CommandKey>) -> Answer {
    // Ends when the database answers.
    loop {
        match reader.look_up(&keys).await {
            Ok(found) => return Answer::LookedUp(number, (keys, found)),
            Err(error) => tracing::debug!(%error, "command ids could not be looked up yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
