//! Signs the newest head at intervals, writes it to the file, and hands it to whoever carries it further.

use std::{path::PathBuf, time::Duration};

use jari_contract::LogHeadSigned;
use jari_event_store::{Database, Position, newest_head};
use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{HeadsError, SigningKey, file::HeadsFile, newest_in};

/// What a signer needs to know.
#[derive(Debug, Clone)]
pub struct SignerSettings {
    /// Where heads are kept.
    pub file: PathBuf,
    /// The signing key; made when it is not there.
    pub key_file: PathBuf,
    /// Between two heads, while the log grows. One that stands still is not signed again.
    pub every: Duration,
}

/// A node's signer.
#[derive(Debug)]
pub struct HeadSigner {
    database: Database,
    log_id: Uuid,
    settings: SignerSettings,
    told: watch::Sender<Option<LogHeadSigned>>,
    file: Option<(SigningKey, HeadsFile)>,
    /// The last failure, so that it is said once.
    failed: String,
}

impl HeadSigner {
    /// Signs until `stop`, and once more then. Join the task after cancelling it.
    #[must_use]
    pub fn start(
        database: Database,
        log_id: Uuid,
        settings: SignerSettings,
        told: watch::Sender<Option<LogHeadSigned>>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let signer = Self { database, log_id, settings, told, file: None, failed: String::new() };
        // joined by the caller; it ends with `stop`
        tokio::spawn(signer.run(stop))
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut due = tokio::time::interval(self.settings.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Ends with `stop`.
        loop {
            let stopping = tokio::select! { _ = due.tick() => false, () = stop.cancelled() => true };
            match self.sign().await {
                Ok(()) => self.failed.clear(),
                Err(error) if self.failed != error.to_string() => {
                    self.failed = error.to_string();
                    match error {
                        HeadsError::Taken { .. } => tracing::info!(%error, "heads of the log are signed there"),
                        _ => tracing::warn!(%error, "the head of the log was not signed; it is tried again"),
                    }
                }
                Err(_) => {}
            }
            if stopping {
                return;
            }
        }
    }

    /// Signs the newest head, unless it was signed before.
    async fn sign(&mut self) -> Result<(), HeadsError> {
        if self.file.is_none() {
            let file = match HeadsFile::open(&self.settings.file) {
                Err(taken @ HeadsError::Taken { .. }) => {
                    self.tell_newest()?;
                    return Err(taken);
                }
                opened => opened?,
            };
            self.tell_newest()?;
            self.file = Some((SigningKey::open(&self.settings.key_file)?, file));
        }
        let Some((key, file)) = &mut self.file else { return Ok(()) };
        let at = self.database.in_time(newest_head(&self.database)).await?;
        let signed = self.told.borrow().as_ref().map_or(Position::START, |last| last.position.to_position());
        if at.position <= signed {
            return Ok(());
        }
        let head = key.sign(self.log_id, at, Timestamp::now());
        // a few hundred bytes, once a minute: no thread of its own for that
        file.append(&head)?;
        self.told.send_replace(Some(head));
        Ok(())
    }

    /// Hands on the newest head of the file. A relay that was away when it was signed carries it now; and where another node of this machine keeps the
    /// file, and signs, the relay of this one carries that node's heads: each is signed once, whichever of them relays.
    fn tell_newest(&self) -> Result<(), HeadsError> {
        let newest = newest_in(&self.settings.file)?.filter(|newest| newest.log_id == self.log_id.to_string());
        self.told.send_if_modified(|told| {
            let is_news = *told != newest;
            *told = newest;
            is_news
        });
        Ok(())
    }
}
