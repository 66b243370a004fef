//! Keeps the views up with the log: on each node a runner a view, of which one at a time writes.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;

use jari_domain::{Position, StreamId, Timestamp};
use jari_event_store::{Clock, Database, Lease, LeaseKeeper, LogError, LogTail, RecordedEvent};
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    build_connection::Fault,
    builds,
    projection::Projection,
    quarantine::{self, QuarantinePage, QuarantinedStream, RetryError},
    rebuild::{self, RebuildError},
    standing::ViewState,
    status::{self, ProjectionStatus, ViewHealth},
    views::VIEWS,
    writer::Writer,
};

/// Bounds of the runners and the queries.
#[derive(Debug, Clone, Copy)]
pub struct ViewSettings {
    /// Most events of a transaction.
    pub batch_events: usize,
    /// How long a node that is gone keeps the others from writing.
    pub lease: Duration,
    /// How long a query waits for a position that the view has not reached.
    pub wait: Duration,
    /// How often a node that does not write looks how far the view is while a query waits.
    pub poll: Duration,
    /// Orders watched at once on this node.
    pub watches: usize,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self { batch_events: 2_000, lease: Duration::from_secs(5), wait: Duration::from_secs(2), poll: Duration::from_millis(20), watches: 10_000 }
    }
}

/// How often a runner looks whether its view was switched or taken over, and how far it is while nobody asks.
const LOOK: Duration = Duration::from_secs(1);
/// A view pauses when the database has not answered for so long: it is asked at each look.
const SILENCE: Duration = Duration::from_secs(3);
/// From one transaction of a view that is up with the log to the next, while nobody waits for it: what happens to a row meanwhile is one write, not two.
const BREATH: Duration = Duration::from_millis(50);
/// What a view is writing when the node stops may be written to its end, for so long. What is left in the middle was not written: the next owner goes on
/// from the checkpoint.
const LAST_BATCH: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The views of one node. Cloning shares them.
#[derive(Clone)]
pub struct Views {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub database: Database,
    /// For queries alone: however many come, views are kept up.
    pub reads: Database,
    pub tail: LogTail,
    /// Whether a hold has lapsed is told by it.
    pub clock: Clock,
    pub settings: ViewSettings,
    pub stop: CancellationToken,
    /// Ends those who watch, with `stop` or before it.
    pub watches_stop: CancellationToken,
    pub watches: Arc<Semaphore>,
    states: Vec<Arc<ViewState>>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Views {
    /// Creates missing views and starts to keep all of them up with the log, by the connections of `database`; queries use those of `reads`. `node` is this node's id and where it serves. Join the tasks
    /// after cancelling `stop`.
    ///
    /// # Errors
    /// [`LogError::Database`] when the views cannot be created.
    pub async fn start(
        database: Database,
        reads: Database,
        (tail, clock): (LogTail, Clock),
        node: (String, String),
        settings: ViewSettings,
        stop: CancellationToken,
    ) -> Result<(Self, Vec<JoinHandle<()>>), LogError> {
        builds::prepare(&database).await?;
        let mut states = Vec::new();
        for view in VIEWS.iter().copied() {
            builds::provide(&database, view).await?;
            let state = Arc::new(ViewState::new(view));
            state.refresh(&database).await?;
            states.push(state);
        }
        let watches = Arc::new(Semaphore::new(settings.watches));
        let watches_stop = stop.child_token();
        let inner = Arc::new(Inner { database, reads, tail, clock, settings, stop, watches_stop, watches, states });
        // Joined by the caller, who gets the handles; ended by `stop`.
        let tasks = inner.states.iter().map(|state| tokio::spawn(Runner::keep(inner.clone(), state.clone(), node.clone()))).collect();
        Ok((Self { inner }, tasks))
    }

    /// The time by which holds have lapsed or not: that of the decisions.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// How every view stands.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn status(&self) -> Result<Vec<ProjectionStatus>, LogError> {
        let mut all = self.inner.database.in_time(status::read(&self.inner.database, &self.inner.tail)).await?;
        for (status, state) in all.iter_mut().zip(&self.inner.states) {
            status.trouble = state.trouble();
        }
        Ok(all)
    }

    /// How every view is, as far as this node knows: asks nobody, and is at most a second old.
    #[must_use]
    pub fn health(&self) -> Vec<ViewHealth> {
        let head = self.inner.tail.head();
        let health = |state: &Arc<ViewState>| {
            let standing = state.standing();
            let lag = head.since(standing.position);
            ViewHealth {
                view: state.view.name(),
                ready: standing.build.is_some(),
                lag,
                pauses: state.trouble().is_some() || state.silence() > SILENCE,
            }
        };
        self.inner.states.iter().map(health).collect()
    }

    /// Waits until every view has read up to `position`, at most for `wait`; says whether they have.
    pub async fn reach(&self, position: Position, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        for state in &self.inner.states {
            let standing = state.reach(position, until).await;
            if standing.build.is_none() || standing.position < position {
                return false;
            }
        }
        true
    }

    /// Streams that the live views have set aside, by view, type and id.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn quarantined(&self, page: &QuarantinePage) -> Result<Vec<QuarantinedStream>, LogError> {
        self.inner.database.in_time(quarantine::list(&self.inner.database, page)).await
    }

    /// Ends every stream of those who watch, with `SHUTTING_DOWN`; everything else goes on. For a server that takes no more calls.
    pub fn end_watches(&self) {
        self.inner.watches_stop.cancel();
    }

    /// Lets a view read a quarantined stream again, from where it stopped; gives the view's position.
    ///
    /// # Errors
    /// [`RetryError`].
    pub async fn retry_quarantined(&self, view: &str, stream: &StreamId) -> Result<Position, RetryError> {
        let state = self.inner.states.iter().find(|state| state.view.name() == view).ok_or_else(|| RetryError::ViewUnknown(view.into()))?;
        self.inner.database.in_time(state.refresh(&self.inner.database)).await?;
        let build = state.standing().build.ok_or(RetryError::Switched)?;
        quarantine::retry(&self.inner.database, state.view, build, stream).await
    }

    pub(crate) fn state(&self, view: &'static dyn Projection) -> &ViewState {
        let found = self.inner.states.iter().find(|state| state.view.name() == view.name());
        found.expect("every view that a query names stands in VIEWS, from which the states are made")
    }
}

struct Runner {
    inner: Arc<Inner>,
    state: Arc<ViewState>,
    node: (String, String),
}

impl Runner {
    fn new(inner: &Arc<Inner>, state: &Arc<ViewState>, node: &(String, String)) -> Self {
        Self { inner: inner.clone(), state: state.clone(), node: node.clone() }
    }

    /// Runs until the node stops. A view whose writer breaks is in trouble and begins anew: the other views, and bookings, go on.
    async fn keep(inner: Arc<Inner>, state: Arc<ViewState>, node: (String, String)) {
        // Ends with `stop`.
        while AssertUnwindSafe(Self::new(&inner, &state, &node).run()).catch_unwind().await.is_err() {
            // what broke has been said where it broke
            tracing::error!(view = state.view.name(), "the writer of a view broke; it begins anew");
            state.note(Some("its writer broke; the log says where".to_owned()));
            tokio::select! { () = inner.stop.cancelled() => return, () = tokio::time::sleep(PAUSES.1) => {} }
        }
    }

    async fn run(self) {
        let stop = &self.inner.stop;
        let view = self.state.view;
        let database = self.inner.database.clone();
        let release = stop.child_token();
        let (lease, keeper) = LeaseKeeper::start(database, view.lease(), self.node.clone(), self.inner.settings.lease, true, release.clone());
        // given back also when the runner breaks: kept on, the lease would keep every other node from writing the view
        let _release = release.drop_guard();
        let mut pause = PAUSES.0;
        // Ends with `stop`.
        while !stop.is_cancelled() {
            let began = Instant::now();
            let turned = tokio::select! {
                turned = self.turn(&lease) => turned,
                () = self.overdue() => {
                    tracing::warn!(view = view.name(), "a view was left in the middle of what it wrote: the database does not answer, and the node stops");
                    break;
                }
            };
            match turned {
                Ok(()) | Err(Fault::Moved) => {
                    self.state.note(None);
                    pause = PAUSES.0;
                }
                Err(fault) => {
                    // The database is away, or the view has halted: neither is a reason to skip anything.
                    tracing::warn!(view = view.name(), error = %fault, "a view pauses");
                    self.state.note(Some(fault.to_string()));
                    // one that went well for a while begins with the shortest pause again
                    if began.elapsed() > PAUSES.1 {
                        pause = PAUSES.0;
                    }
                    tokio::select! { () = stop.cancelled() => {} () = tokio::time::sleep(pause) => {} }
                    pause = PAUSES.1.min(pause * 2);
                }
            }
        }
        if let Err(error) = keeper.await {
            tracing::error!(view = view.name(), %error, "the keeper of a view's lease failed");
        }
    }

    /// Returns when the node has been stopping for longer than a batch may take to be written.
    async fn overdue(&self) {
        self.inner.stop.cancelled().await;
        tokio::time::sleep(LAST_BATCH).await;
    }

    /// Leads or follows until something changes.
    async fn turn(&self, lease: &LeaseKeeper) -> Result<(), Fault> {
        self.state.refresh(&self.inner.database).await?;
        let Some(build) = self.state.standing().build else { return self.replace().await };
        match lease.current() {
            Lease::Mine(epoch) => {
                let Some(writer) = Writer::open(&self.inner.database, self.state.view, build, epoch, "live").await? else { return Ok(()) };
                // beside it: whoever reads the old tables still must not keep the view from going on
                futures::join!(self.lead(writer, lease, epoch), self.tidy()).0
            }
            Lease::Theirs(_) | Lease::Unknown => self.follow(lease).await,
        }
    }

    /// Drops what a killed rebuild left behind, which else would keep its room until the next one.
    async fn tidy(&self) {
        if let Err(error) = builds::drop_retired(&self.inner.database, self.state.view).await {
            tracing::warn!(view = self.state.view.name(), %error, "an old build was not dropped; whoever writes the view next does it");
        }
    }

    /// Writes until the lease or the build is another's.
    async fn lead(&self, mut writer: Writer, lease: &LeaseKeeper, epoch: u64) -> Result<(), Fault> {
        let mut news = lease.watch();
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rested = Instant::now();
        // One read at a time, kept from look to look: begun anew at each look, a page that takes longer than that would never be had.
        let mut reading = self.read(writer.position(), rested).boxed();
        // Ends with `stop`, the lease, or the build.
        loop {
            self.state.tell(Some(writer.build().clone()), writer.position());
            if *news.borrow_and_update() != Lease::Mine(epoch) {
                return Ok(());
            }
            let events = tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return Ok(()),
                changed = news.changed() => match changed { Ok(()) => continue, Err(_) => return Ok(()) },
                _ = look.tick() => if writer.is_current().await? { self.goes_well(); continue } else { return Err(Fault::Moved) },
                events = &mut reading => events?,
            };
            if events.is_empty() {
                // the tail has ended: the process is ending
                self.inner.stop.cancelled().await;
                return Ok(());
            }
            let is_behind = events.len() == self.inner.settings.batch_events;
            writer.take(&events).await?;
            self.goes_well();
            rested = if is_behind { Instant::now() } else { Instant::now() + BREATH };
            reading = self.read(writer.position(), rested).boxed();
        }
    }

    /// The next events, not before `rested` unless somebody waits for them.
    async fn read(&self, after: Position, rested: Instant) -> Result<Vec<Arc<RecordedEvent>>, LogError> {
        if !self.state.is_awaited() {
            tokio::select! { () = self.state.asked() => {} () = tokio::time::sleep_until(rested) => {} }
        }
        self.inner.tail.read(after, self.inner.settings.batch_events).await
    }

    /// Looks how far the one who writes has come, often while somebody here waits for it.
    async fn follow(&self, lease: &LeaseKeeper) -> Result<(), Fault> {
        let mut news = lease.watch();
        // Ends with `stop`, or when the lease changes hands.
        loop {
            let rest = if self.state.is_awaited() { self.inner.settings.poll } else { LOOK };
            tokio::select! {
                () = self.inner.stop.cancelled() => return Ok(()),
                _ = news.changed() => return Ok(()),
                // A breath, so that many who ask one after the other are answered by one look.
                () = self.state.asked() => tokio::time::sleep(self.inner.settings.poll / 4).await,
                () = tokio::time::sleep(rest) => {}
            }
            self.state.refresh(&self.inner.database).await?;
            if self.state.standing().build.is_none() {
                return Ok(());
            }
            self.goes_well();
        }
    }

    /// Whatever kept this node from going on is over. Said at each good look: leading and following end only when something changes, and until then
    /// trouble that is long past would stand, and keep callers away.
    fn goes_well(&self) {
        self.state.answers();
        self.state.note(None);
    }

    /// Builds this program's version beside the live one of an older program, or waits while a newer program's is live.
    async fn replace(&self) -> Result<(), Fault> {
        let view = self.state.view;
        let live = builds::live(&**self.inner.database.connection().await?, view).await?;
        match live {
            None => return Ok(builds::provide(&self.inner.database, view).await?),
            Some((build, _)) if build.version > view.version() => {
                self.state.note(Some(format!(
                    "version {} is live, made by a newer program; this one reads version {}",
                    build.version,
                    view.version()
                )));
                return self.rest().await;
            }
            Some(_) => {}
        }
        let name = view.name();
        let mut told = Instant::now();
        let progress = |p: &rebuild::RebuildProgress| {
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                tracing::info!(
                    view = name,
                    position = p.position.get(),
                    head = p.head.get(),
                    per_second = p.events_per_second,
                    "a view is made in a new version"
                );
            }
        };
        match rebuild::rebuild(&self.inner.database, name, progress, &self.inner.stop).await {
            Ok(_) => Ok(()),
            // Another node does it.
            Err(RebuildError::UnderWay(_)) => self.rest().await,
            Err(RebuildError::Stopped | RebuildError::ViewUnknown { .. }) => Ok(()),
            Err(RebuildError::Halted(why)) => Err(Fault::Halted(why)),
            Err(RebuildError::Away(error)) => Err(Fault::Away(error)),
        }
    }

    async fn rest(&self) -> Result<(), Fault> {
        tokio::select! { () = self.inner.stop.cancelled() => {} () = tokio::time::sleep(LOOK) => {} }
        Ok(())
    }
}
