//! The relay's life: wait for the role, take over, relay, and begin again after whatever went wrong.

use std::sync::Arc;

use jari_contract::{LogHeadSigned, Publisher};
use jari_event_store::{Database, Lease, LeaseKeeper, LogTail, Position, Reader};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Checkpoint, Cluster, RelayError, RelaySettings, RelayState, RelayStatus,
    claim::Claim,
    cluster::blocking,
    filling::Filling,
    transaction::{Batch, Pair},
};

/// The lease: one node relays at a time. Kafka's fencing makes it right; the lease keeps two nodes from fencing each other for ever.
const LEASE: &str = "relay";

/// A node's relay.
#[derive(Debug, Clone)]
pub struct Relay {
    status: watch::Receiver<RelayStatus>,
    lease: LeaseKeeper,
}

impl Relay {
    /// Starts relaying the log to Kafka, whenever this node has the role, and the signed heads of `heads`, each behind the events that it stands for.
    /// Join the tasks after cancelling `stop`.
    #[must_use]
    pub fn start(
        database: Database,
        tail: LogTail,
        log_id: Uuid,
        node: (String, String),
        settings: RelaySettings,
        heads: watch::Receiver<Option<LogHeadSigned>>,
        stop: CancellationToken,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let (status, told) = watch::channel(RelayStatus::default());
        let release = stop.child_token();
        let (lease, keeping) = LeaseKeeper::start(database.clone(), LEASE, node, settings.lease, true, release.clone());
        let cluster = Cluster::new(settings.kafka.clone(), settings.patience);
        let claim = Claim::new(cluster.clone(), Reader::new(database), log_id);
        let worker = Worker { claim, tail, log_id, cluster, settings, heads, lease: lease.clone(), status };
        // both are joined by the caller; they end with `stop`
        let working = tokio::spawn(async move {
            // given back also when the worker breaks: kept on, the lease would keep every other node from relaying
            let _release = release.drop_guard();
            worker.run(stop).await;
        });
        (Self { status: told, lease }, vec![keeping, working])
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// Follows how it is.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }

    /// The node that relays; empty when none is known to.
    #[must_use]
    pub fn owner(&self, here: &str) -> String {
        match self.lease.current() {
            Lease::Mine(_) => here.to_owned(),
            Lease::Theirs(row) if row.live => row.holder.to_string(),
            Lease::Theirs(_) | Lease::Unknown => String::new(),
        }
    }
}

struct Worker {
    claim: Claim,
    tail: LogTail,
    log_id: Uuid,
    cluster: Cluster,
    settings: RelaySettings,
    heads: watch::Receiver<Option<LogHeadSigned>>,
    lease: LeaseKeeper,
    status: watch::Sender<RelayStatus>,
}

impl Worker {
    async fn run(self, stop: CancellationToken) {
        let (mut lease, mut alone) = (self.lease.watch(), None);
        // Ends with `stop`.
        while tokio::select! { mine = lease.wait_for(|lease| matches!(lease, Lease::Mine(_))) => mine.is_ok(), () = stop.cancelled() => false } {
            // The role may go while it is used: whoever has it then fences this one, so nothing goes wrong before it is noticed.
            let lost = async {
                let mut lease = self.lease.watch();
                let _ = lease.wait_for(|lease| !matches!(lease, Lease::Mine(_))).await;
            };
            let ended = tokio::select! {
                ended = self.relay(alone) => ended,
                () = lost => Ok(()),
                () = stop.cancelled() => Ok(()),
            };
            let Err(error) = ended else {
                self.tell(RelayState::Standby);
                continue;
            };
            self.fail(&error);
            alone = error.refused_at().or(alone);
            tokio::select! { () = tokio::time::sleep(self.settings.pause) => {}, () = stop.cancelled() => {} }
        }
    }

    fn fail(&self, error: &RelayError) {
        let (code, reason) = (error.code(), error.to_string());
        let state = match error.needs_somebody() {
            true => RelayState::Halted { code, reason },
            false => RelayState::Waiting { code, reason },
        };
        // said once, not at each try
        if self.status.borrow().state != state {
            match error.needs_somebody() {
                true => tracing::error!(code, %error, "the relay stands still"),
                false => tracing::warn!(code, %error, "the relay waits, and tries again"),
            }
        }
        self.tell(state);
    }

    fn tell(&self, state: RelayState) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.state, state.clone()) != state);
    }

    /// Takes over and relays until something goes wrong. The event at `alone` has a transaction of its own.
    async fn relay(&self, alone: Option<Position>) -> Result<(), RelayError> {
        // a relay that stands still goes on saying why until it knows better
        if !matches!(self.status.borrow().state, RelayState::Halted { .. } | RelayState::Waiting { .. }) {
            self.tell(RelayState::Starting);
        }
        self.cluster.make_topics().await?;
        // whose topics are not this log's disturbs nobody who relays to them
        self.claim.checkpoint().await?;
        let cluster = self.cluster.clone();
        let begin = move || {
            let transactions = Pair::begin(&cluster)?;
            transactions.barrier().map(|barrier| (Arc::new(transactions), barrier))
        };
        let (transactions, barrier) = blocking(begin).await?;
        // only now: what the one before had open is over
        let checkpoint = match self.claim.checkpoint_before(barrier).await? {
            Some(checkpoint) => checkpoint,
            None => claimed(transactions.clone(), self.log_id).await?,
        };
        self.status.send_modify(|status| status.position = Some(checkpoint.position));
        self.tell(RelayState::Running);
        tracing::info!(after = checkpoint.position.get(), "the relay goes on");
        // one batch is filled while one is on its way, and is handed over when it is wanted; the log is read no further before there is room
        let ((want, wanted), (batches, mut ready)) = (mpsc::channel(1), mpsc::channel(1));
        let publisher = Publisher::new(self.log_id);
        let bounds = (self.settings.batch_events, alone);
        let filling = Filling::new(self.tail.clone(), publisher, self.heads.clone(), bounds, checkpoint).run(wanted, batches);
        let committing = async {
            // Ends with an error, or with whoever fills.
            while want.send(()).await.is_ok()
                && let Some(batch) = ready.recv().await
            {
                let (transactions, position) = (transactions.clone(), batch.checkpoint.position);
                blocking(move || transactions.commit(&batch)).await?;
                self.status.send_modify(|status| {
                    status.position = Some(position);
                    status.transactions += 1;
                });
            }
            Ok(())
        };
        // the next batch is mapped and written while the one before is on its way
        tokio::try_join!(filling, committing).map(|_| ())
    }
}

/// Tells topics that nobody has claimed whose they are, before anything else is told there: another log then finds them taken.
async fn claimed(transactions: Arc<Pair>, log_id: Uuid) -> Result<Checkpoint, RelayError> {
    let batch = Batch { messages: Vec::new(), checkpoint: Checkpoint::begin(log_id), is_doubtful: false };
    blocking(move || transactions.commit(&batch).map(|()| batch.checkpoint)).await
}
