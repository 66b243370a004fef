//! Who may come in: refused before anything was accepted, and before anything was decoded where the caller can be stopped that early.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::unit::ExecuteError;

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
        Self { places: 4_096, waiting: 8_192, wait: Duration::from_millis(500) }
    }
}

/// The door.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    refused: AtomicU64,
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
        Self { limits, places: Arc::new(Semaphore::new(limits.places)), waiting: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// A place, at once or after a bounded wait in the order of arrival.
    ///
    /// # Errors
    /// [`ExecuteError::Busy`] with a delay that spreads those who come back.
    pub async fn admit(&self) -> Result<OwnedSemaphorePermit, ExecuteError> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if before >= self.limits.waiting {
            return Err(self.turn_away());
        }
        let place = tokio::time::timeout(self.limits.wait, self.places.clone().acquire_owned()).await;
        drop(waiting);
        match place {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(ExecuteError::ShuttingDown),
            Err(_) => Err(self.turn_away()),
        }
    }

    /// What somebody hears for whom there is no room: a delay that spreads those who come back.
    pub fn turn_away(&self) -> ExecuteError {
        let spread = self.refused.fetch_add(1, Ordering::Relaxed) % 16;
        ExecuteError::Busy { retry_after: self.limits.wait + Duration::from_millis(50 * spread) }
    }

    /// Commands in the engine now.
    #[must_use]
    pub fn occupied(&self) -> usize {
        self.limits.places.saturating_sub(self.places.available_permits())
    }

    /// Callers sent away since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a caller would be sent away at once: known without looking at its request.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) >= self.limits.waiting
    }
}
