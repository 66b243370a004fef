//! Who settles: follows the lease, and runs an owner while it is this node's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jari_domain::{Position, ids::OrderId};
use jari_event_store::{Database, Lease, LeaseKeeper, LogError, LogTail, ParkedWork, ProcessStore, Reader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    SETTLEMENT,
    owner::{Ended, Owner},
};
use crate::engine::Engine;

/// How long the owner may take to leave when the node stops. Its last saves only spare the next owner some reading: they are not waited for while the
/// database stands still.
const LAST_SAVE: Duration = Duration::from_secs(3);
/// Retries of parked orders that wait for the owner.
const RETRIES: usize = 256;

/// How settlement is kept.
#[derive(Debug, Clone)]
pub struct SettlementSettings {
    /// This node's id.
    pub node: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Whether this node may own settlement.
    pub enabled: bool,
    /// How long a lease lasts without being renewed.
    pub lease: Duration,
}

/// Counted by the owner.
#[derive(Debug, Default)]
pub(super) struct Figures {
    waiting: AtomicUsize,
    settled: AtomicU64,
}

impl Figures {
    pub fn waiting(&self, count: usize) {
        self.waiting.store(count, Ordering::Relaxed);
    }
    pub fn settled(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is known of settlement on this node.
#[derive(Debug, Clone)]
pub struct SettlementStatus {
    /// Who owns it.
    pub lease: Lease,
    /// Orders in line, when this node owns it.
    pub waiting: usize,
    /// Settled by this node since its start.
    pub settled: u64,
}

/// Settlement on this node. Clones share it.
#[derive(Clone, Debug)]
pub struct Settlement {
    lease: LeaseKeeper,
    store: ProcessStore,
    figures: Arc<Figures>,
    retries: mpsc::Sender<Parked>,
}

/// A parked order, and its place in line: the position that placed it.
pub(super) type Parked = (OrderId, Position);

/// Why a parked order is not tried again. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RetryParkedError {
    /// It is not parked, or was never placed.
    #[error("no such order is parked")]
    NotParked,
    /// Another node settles orders, or none.
    #[error("this node does not settle orders now")]
    NotOwner,
    /// So many wait to be tried again that one more is not taken.
    #[error("{RETRIES} orders wait to be tried again already")]
    Busy,
    /// The note could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Settlement {
    /// Starts following the lease. Join the tasks after cancelling `stop`: the lease is given back before they end.
    #[must_use]
    pub fn start(
        database: Database,
        engine: Engine,
        tail: LogTail,
        settings: SettlementSettings,
        stop: CancellationToken,
    ) -> (Self, Vec<tokio::task::JoinHandle<()>>) {
        // The lease outlives the owner's last save, so that nobody begins before it.
        let release = CancellationToken::new();
        let node = (settings.node, settings.address);
        let (lease, keeping) = LeaseKeeper::start(database.clone(), SETTLEMENT, node, settings.lease, settings.enabled, release.clone());
        let store = ProcessStore::new(database.clone(), SETTLEMENT);
        let figures = Arc::new(Figures::default());
        let (retries, waiting) = mpsc::channel(RETRIES);
        let this = Self { lease, store, figures, retries };
        let supervisor = this.clone().supervise(engine, tail, Reader::new(database), waiting, stop);
        // joined by whoever started settlement; it ends with `stop`
        let task = tokio::spawn(async move {
            // given back also when the supervisor breaks: kept on, the lease would keep every other node from settling
            let _release = release.drop_guard();
            supervisor.await;
        });
        (this, vec![task, keeping])
    }

    async fn supervise(self, engine: Engine, tail: LogTail, reader: Reader, mut retries: mpsc::Receiver<Parked>, stop: CancellationToken) {
        let mut lease = self.lease.watch();
        // Ends with `stop`; each round waits for a lease and works while it lasts.
        while !stop.is_cancelled() {
            let known = lease.borrow_and_update().clone();
            let Lease::Mine(epoch) = known else {
                self.figures.waiting(0);
                tokio::select! { _ = lease.changed() => continue, () = stop.cancelled() => return }
            };
            let lost = CancellationToken::new();
            // ends with the lease, or with the owner's work just below
            let watcher = tokio::spawn(tell_loss(self.lease.watch(), epoch, lost.clone()));
            let figures = self.figures.clone();
            let owner = Owner { engine: engine.clone(), tail: tail.clone(), reader: reader.clone(), store: self.store.clone(), epoch, figures };
            tracing::info!(epoch, "this node settles orders");
            let ended = tokio::select! {
                ended = owner.run(&mut retries, lost, stop.clone()) => ended,
                () = overdue(&stop) => {
                    tracing::warn!("settlement's memory was not saved: the database does not answer; the next owner folds it from the log");
                    Ended::Stopped
                }
            };
            watcher.abort();
            match ended {
                Ended::Stopped => return,
                Ended::LeaseLost => {
                    tracing::warn!(epoch, "settlement is another node's now");
                    // the keeper learns of it at its next round; do not begin again under the old epoch
                    tokio::select! { _ = lease.wait_for(|now| *now != Lease::Mine(epoch)) => {}, () = stop.cancelled() => return }
                }
                Ended::Log(error) => {
                    tracing::warn!(%error, "settlement waits for the log");
                    tokio::select! { () = tokio::time::sleep(Duration::from_millis(500)) => {}, () = stop.cancelled() => return }
                }
            }
        }
    }

    /// Follows who owns it.
    #[must_use]
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Lease> {
        self.lease.watch()
    }

    /// To be notified by whoever finds that the owner does not answer; see [`LeaseKeeper::doubt`].
    #[must_use]
    pub fn doubt(&self) -> Arc<tokio::sync::Notify> {
        self.lease.doubt()
    }

    /// Who owns it and how it goes.
    #[must_use]
    pub fn status(&self) -> SettlementStatus {
        SettlementStatus {
            lease: self.lease.current(),
            waiting: self.figures.waiting.load(Ordering::Relaxed),
            settled: self.figures.settled.load(Ordering::Relaxed),
        }
    }

    /// Orders that could not be settled, by their place in line (position, then id) after `after`.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn parked(&self, after: (Position, &str), limit: u32) -> Result<Vec<ParkedWork>, LogError> {
        self.store.database().in_time(self.store.parked(after, limit)).await
    }

    /// How many could not.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn parked_count(&self) -> Result<u64, LogError> {
        self.store.database().in_time(self.store.parked_count()).await
    }

    /// Tries a parked order again, on the owner. It stays parked until it has left the line: should the owner end before it comes to it, the note is
    /// still there.
    ///
    /// # Errors
    /// [`RetryParkedError`]: nothing was done.
    pub async fn retry(&self, order: OrderId) -> Result<(), RetryParkedError> {
        let parked = self.store.database().in_time(self.store.find_parked(order.as_str())).await?;
        let position = parked.ok_or(RetryParkedError::NotParked)?;
        if !matches!(self.lease.current(), Lease::Mine(_)) {
            return Err(RetryParkedError::NotOwner);
        }
        self.retries.try_send((order, position)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RetryParkedError::Busy,
            mpsc::error::TrySendError::Closed(_) => RetryParkedError::NotOwner,
        })
    }
}

/// Returns when the node has been stopping for longer than the last save may take.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_SAVE).await;
}

async fn tell_loss(mut lease: tokio::sync::watch::Receiver<Lease>, epoch: u64, lost: CancellationToken) {
    let _ = lease.wait_for(|now| *now != Lease::Mine(epoch)).await;
    lost.cancel();
}
