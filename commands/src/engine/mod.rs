//! The road of a command: admission, decision, the log, the answer.

mod admission;
mod beforehand;
mod cell;
mod core;
mod digest;
mod driver;
mod flight;
mod limits;
mod link;
mod lookups;
mod recent;
#[cfg(test)]
mod simulation;
mod streams;
#[cfg(test)]
mod tests;
mod unit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use self::{
    admission::{AdmissionLimits, Carried, Permit},
    digest::{Digester, Mark},
    limits::CoreLimits,
    unit::{Access, Changes, ExecuteError, Origin, Outcome, States, Touch, UnitOfWork},
};
use admission::Admission;
use driver::Driver;
use jari_event_store::{Appender, Clock, Database, LogError, LogTail, SnapshotWriter};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::core::Reply;

/// Days for which outcomes are kept beyond the age at which ids are refused: one for ids that are ahead, one for clocks that differ.
pub const OUTCOMES_KEPT_BEYOND_DAYS: u32 = 2;

/// Bounds and patience of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineSettings {
    /// Who may come in.
    pub admission: AdmissionLimits,
    /// What the loop keeps.
    pub limits: CoreLimits,
    /// How long a caller waits for its outcome before it is told to ask again.
    pub answer_within: Duration,
    /// An append, or a look-up of request ids, that takes longer is taken for a stalled database: new callers are told to come back.
    pub stalled_after: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            admission: AdmissionLimits::default(),
            limits: CoreLimits::default(),
            answer_within: Duration::from_secs(10),
            stalled_after: Duration::from_secs(3),
        }
    }
}

/// How the log answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// As it should.
    Serving,
    /// An append or a look-up has been under way for longer than it should.
    Stalled,
    /// The connection is gone and being made anew.
    Disconnected,
}

/// One submission on its way into the loop.
struct Submission {
    work: Arc<dyn UnitOfWork>,
    origin: Origin,
    reply: Reply,
}

/// What the loop tells those around it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    health: AtomicU8,
    units: AtomicUsize,
    cells: AtomicUsize,
    batches: AtomicU64,
    groups: AtomicU64,
    events: AtomicU64,
}

impl Shared {
    fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }
    fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Serving,
            1 => Health::Stalled,
            _ => Health::Disconnected,
        }
    }
    fn measure(&self, units: usize, cells: usize) {
        self.units.store(units, Ordering::Relaxed);
        self.cells.store(cells, Ordering::Relaxed);
    }
    fn count_batch(&self, groups: usize, events: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.groups.fetch_add(groups as u64, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }
}

/// Figures of a running engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineStatus {
    /// How the log answers.
    pub health: Health,
    /// Units of work under way.
    pub units: usize,
    /// Streams in memory.
    pub cells: usize,
    /// Callers that hold a place.
    pub occupied: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Callers sent away since the start.
    pub refused: u64,
    /// Batches sent since the start.
    pub batches: u64,
    /// Groups in them.
    pub groups: u64,
    /// Events in them; a batch that is sent again counts again.
    pub events: u64,
    /// Callers that got a place since the start.
    pub admitted: u64,
}

/// The engine of one node. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    submissions: mpsc::Sender<Submission>,
    admission: Arc<Admission>,
    shared: Arc<Shared>,
    clock: Clock,
    answer_within: Duration,
    stop: CancellationToken,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("work", &self.work).finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects and starts the loop. Join the task after cancelling `stop`: it ends when what was accepted is settled.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be reached.
    pub async fn start(
        database: Database,
        tail: LogTail,
        snapshots: SnapshotWriter,
        settings: EngineSettings,
        stop: CancellationToken,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), LogError> {
        let appender = Appender::connect(&database).await?;
        let clock = tail.clock().clone();
        let shared = Arc::new(Shared::default());
        // Every submission of a caller holds a place, and settlement has at most 4,096 orders and 512 ends of holds under way: the queue cannot be what
        // overflows.
        let (submissions, arrivals) = mpsc::channel(settings.admission.places + 8_192);
        let driver = Driver::new(settings, database, (tail, snapshots), appender, clock.clone(), shared.clone());
        // joined by whoever started the engine; it ends after `stop`, when what was accepted is settled
        let task = tokio::spawn(driver.run(arrivals, stop.clone()));
        let admission = Arc::new(Admission::new(settings.admission));
        Ok((Self { submissions, admission, shared, clock, answer_within: settings.answer_within, stop }, task))
    }

    /// The clock by which is decided: what is told of holds goes by the same.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Executes a caller's command: exactly once under `origin.key`.
    ///
    /// Dropping the future ends the waiting, never the work.
    ///
    /// # Errors
    /// See [`ExecuteError`]; a refusal is an outcome, not an error.
    pub async fn execute(&self, work: impl UnitOfWork, origin: Origin) -> Result<Outcome, ExecuteError> {
        self.check()?;
        let permit = match Permit::carried() {
            Some(permit) => permit,
            None => self.admission.admit().await?,
        };
        let answer = self.submit(Arc::new(work), origin, Some(permit)).await?;
        match tokio::time::timeout(self.answer_within, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(ExecuteError::OutcomePending { retry_after: Duration::from_secs(1) }),
        }
    }

    /// Puts work of the engine's own in line, which holds no caller's place, and returns what its answer will come by: submissions in order are decided
    /// in order.
    ///
    /// # Errors
    /// [`ExecuteError::ShuttingDown`].
    pub async fn submit_own(&self, work: impl UnitOfWork, origin: Origin) -> Result<oneshot::Receiver<Result<Outcome, ExecuteError>>, ExecuteError> {
        self.submit(Arc::new(work), origin, None).await
    }

    async fn submit(
        &self,
        work: Arc<dyn UnitOfWork>,
        origin: Origin,
        permit: Option<Permit>,
    ) -> Result<oneshot::Receiver<Result<Outcome, ExecuteError>>, ExecuteError> {
        let (to, answer) = oneshot::channel();
        let submission = Submission { work, origin, reply: Reply { to, permit } };
        self.submissions.send(submission).await.map_err(|_| ExecuteError::ShuttingDown)?;
        Ok(answer)
    }

    /// Whether commands are taken at all.
    fn check(&self) -> Result<(), ExecuteError> {
        if self.stop.is_cancelled() {
            return Err(ExecuteError::ShuttingDown);
        }
        match self.shared.health() {
            Health::Serving => Ok(()),
            Health::Stalled | Health::Disconnected => Err(ExecuteError::LogUnavailable { retry_after: Duration::from_secs(1) }),
        }
    }

    /// A place for a caller, when one is free and nobody waits for it: to be had before its request is read.
    #[must_use]
    pub fn enter_now(&self) -> Option<Permit> {
        self.admission.admit_now()
    }

    /// A place for a caller, in the order of arrival.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] when too many wait, or the wait was too long; at once when nothing is taken at present.
    pub async fn enter(&self) -> Result<Permit, ExecuteError> {
        self.check()?;
        self.admission.admit().await
    }

    /// Its figures.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            health: self.shared.health(),
            units: self.shared.units.load(Ordering::Relaxed),
            cells: self.shared.cells.load(Ordering::Relaxed),
            occupied: self.admission.occupied(),
            waiting: self.admission.waiting(),
            refused: self.admission.refused(),
            batches: self.shared.batches.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            events: self.shared.events.load(Ordering::Relaxed),
            admitted: self.admission.admitted(),
        }
    }
}
