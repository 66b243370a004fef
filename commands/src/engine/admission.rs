//! Who may come in: refused before anything was accepted, and before anything was decoded where the caller can be stopped that early.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::futures::TaskLocalFuture,
};

use super::unit::ExecuteError;

tokio::task_local! {
    /// The place of a call that came in by the door, until a command of it takes it.
    static PERMIT: Cell<Option<Permit>>;
}

/// A place in the engine. Dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held, not read: it is given back when it is dropped")] OwnedSemaphorePermit);

/// A call that carries its place.
pub type Carried<F> = TaskLocalFuture<Cell<Option<Permit>>, F>;

impl Permit {
    /// Gives the place to the first command that `call` executes.
    pub fn carry<F: Future>(self, call: F) -> Carried<F> {
        PERMIT.scope(Cell::new(Some(self)), call)
    }

    /// The place that the present call carries, when no command of it has taken it yet.
    pub(super) fn carried() -> Option<Self> {
        PERMIT.try_with(Cell::take).ok().flatten()
    }
}

/// Bounds of admission.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Commands in the engine at once, from acceptance to answer.
    pub places: usize,
    /// Callers that wait for a place.
    pub waiting: usize,
    /// How long they wait before they are sent away.
    pub wait: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { places: 1_024, waiting: 16_384, wait: Duration::from_secs(3) }
    }
}

/// The door.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    refused: AtomicU64,
    admitted: AtomicU64,
}

/// Counts one caller in the waiting room for as long as it lives, so that a caller who hangs up is not counted for ever.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// An open door.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.places));
        Self { limits, places, waiting: AtomicUsize::new(0), refused: AtomicU64::new(0), admitted: AtomicU64::new(0) }
    }

    /// A place, when one is free and nobody waits for it.
    pub fn admit_now(&self) -> Option<Permit> {
        self.places.clone().try_acquire_owned().ok().map(|permit| self.let_in(permit))
    }

    /// A place, at once or after a bounded wait in the order of arrival.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] with a delay that spreads those who come back.
    pub async fn admit(&self) -> Result<Permit, ExecuteError> {
        if let Some(permit) = self.admit_now() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if before >= self.limits.waiting {
            return Err(self.turn_away());
        }
        let permit = tokio::time::timeout(self.limits.wait, self.places.clone().acquire_owned()).await;
        drop(waiting);
        match permit {
            Ok(Ok(permit)) => Ok(self.let_in(permit)),
            Ok(Err(_)) => Err(ExecuteError::ShuttingDown),
            Err(_) => Err(self.turn_away()),
        }
    }

    fn let_in(&self, permit: OwnedSemaphorePermit) -> Permit {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        Permit(permit)
    }

    /// What somebody hears for whom there is no room: not before those who wait now are in or gone, and spread over as long again.
    fn turn_away(&self) -> ExecuteError {
        let spread = u32::try_from(self.refused.fetch_add(1, Ordering::Relaxed) % 16).unwrap_or(0);
        ExecuteError::Busy { retry_after: self.limits.wait + self.limits.wait * spread / 16 }
    }

    /// Callers that wait for a place now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Commands in the engine now.
    #[must_use]
    pub fn occupied(&self) -> usize {
        self.limits.places.saturating_sub(self.places.available_permits())
    }

    /// Callers that got a place since the start.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Callers sent away since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
