//! What a node has only where Kafka is: it runs, or is off for a reason.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the node, which starts the thing, and whoever tells of it or asks it. The lock is held for as long as it takes to read or set a pointer.
#[derive(Debug)]
pub struct OptionalPart<T>(Arc<Mutex<Result<T, String>>>);

impl<T> Clone for OptionalPart<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> OptionalPart<T> {
    /// Off, because of `reason`.
    #[must_use]
    pub fn off(reason: &str) -> Self {
        Self(Arc::new(Mutex::new(Err(reason.to_owned()))))
    }

    /// It runs.
    pub(crate) fn runs(&self, thing: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Ok(thing);
    }

    /// It is off, because of `reason`.
    pub fn is_off(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Err(reason.to_owned());
    }

    /// The thing, or why there is none.
    pub(crate) fn get(&self) -> Result<T, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
