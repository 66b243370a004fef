//! What the owner remembers, on its way to the database.

use jari_event_store::{LogError, ProcessStore};
use tokio_util::task::AbortOnDropHandle;

use super::line::Line;

/// One save at a time, beside the owner's work: tens of thousands of entries take the database half a second, in which nobody in line may have to wait.
#[derive(Default)]
pub(super) struct Saving(Option<AbortOnDropHandle<Result<bool, LogError>>>);

impl Saving {
    pub fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what changed since the last save. While one is under way nothing is sent: what changed since then stands on it, and waits for its end.
    pub fn begin(&mut self, store: &ProcessStore, epoch: u64, line: &mut Line) {
        if self.is_under_way() {
            return;
        }
        let (store, position, (puts, drops)) = (store.clone(), line.position, line.take_changes());
        // a task of its own: it goes on while the owner waits for something else, and ends with it
        let save = tokio::spawn(async move { store.save(epoch, position, &puts, &drops).await });
        self.0 = Some(AbortOnDropHandle::new(save));
    }

    /// Saves all of it: what changed since a save that is under way stands on that one, and where it is not taken, neither is the rest.
    pub async fn finish(&mut self, store: &ProcessStore, epoch: u64, line: &mut Line) -> Result<bool, LogError> {
        if self.is_under_way() && !self.ended().await? {
            return Ok(false);
        }
        self.begin(store, epoch, line);
        self.ended().await
    }

    /// The end of the save that is under way, as [`ProcessStore::save`] says it; never, when none is. May be dropped and asked again.
    pub async fn ended(&mut self) -> Result<bool, LogError> {
        let Some(save) = &mut self.0 else { return std::future::pending().await };
        let ended = save.await;
        self.0 = None;
        match ended {
            Ok(saved) => saved,
            Err(broken) => match broken.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // the runtime ends, and with it whoever asks
                Err(_) => std::future::pending().await,
            },
        }
    }
}
