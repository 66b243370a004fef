//! The intake's life: read, execute, note, and begin again after whatever went wrong.

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use jari_relay::{Claim, Cluster, Message, RelayError};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    IntakeError, IntakeSettings,
    command::{self, Refusal},
    dead_letter,
    executor::Executor,
    line::{self, Joined},
    record::Record,
};

/// How often it is seen whether new topics were claimed, and after how many times that is said to be missing.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 30;

/// What it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntakeState {
    /// It finds its place.
    Starting,
    /// It takes commands in.
    Running,
    /// It stands still, and tries again by itself: the stable code, and one sentence.
    Waiting(&'static str, String),
    /// It stands still until somebody does something: the stable code, and what to do.
    Halted(&'static str, String),
}

/// How the intake of this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeStatus {
    /// What it is doing.
    pub state: IntakeState,
    /// Commands executed since the start, repeats among them.
    pub executed: u64,
    /// Commands refused since the start.
    pub refused: u64,
}

/// A node's intake.
#[derive(Debug, Clone)]
pub struct Intake(watch::Receiver<IntakeStatus>);

impl Intake {
    /// Starts taking commands in, while `claim` says that the topics are those of this log. Join the task after cancelling `stop`.
    #[must_use]
    pub fn start(settings: IntakeSettings, claim: Claim, stop: CancellationToken) -> (Self, JoinHandle<()>) {
        let (status, told) = watch::channel(IntakeStatus { state: IntakeState::Starting, executed: 0, refused: 0 });
        let cluster = Cluster::new(settings.kafka.clone(), settings.patience);
        // joined by the caller; it ends with `stop`
        let working = tokio::spawn(Worker { node: Uuid::now_v7(), settings, cluster, claim, status }.run(stop));
        (Self(told), working)
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> IntakeStatus {
        self.0.borrow().clone()
    }
}

struct Worker {
    /// This process: one transactional id, however often it begins again.
    node: Uuid,
    settings: IntakeSettings,
    cluster: Cluster,
    claim: Claim,
    status: watch::Sender<IntakeStatus>,
}

impl Worker {
    async fn run(self, stop: CancellationToken) {
        // Ends with `stop`.
        while !stop.is_cancelled() {
            let ended = tokio::select! { ended = self.take_in() => ended, () = stop.cancelled() => return };
            if let Err(error) = ended {
                self.fail(&error);
            }
            tokio::select! { () = tokio::time::sleep(self.settings.pause) => {}, () = stop.cancelled() => {} }
        }
    }

    fn fail(&self, error: &IntakeError) {
        let (code, reason) = (error.code(), error.to_string());
        let state = if error.needs_somebody() { IntakeState::Halted(code, reason) } else { IntakeState::Waiting(code, reason) };
        // said once, not at each try
        if self.status.borrow().state != state {
            match error.needs_somebody() {
                true => tracing::error!(code, %error, "commands are not taken from Kafka"),
                false => tracing::warn!(code, %error, "commands from Kafka wait; it is tried again"),
            }
        }
        self.tell(state);
    }

    fn tell(&self, state: IntakeState) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.state, state.clone()) != state);
    }

    /// Takes commands in until something goes wrong.
    async fn take_in(&self) -> Result<(), IntakeError> {
        self.cluster.make_topics().await?;
        self.wait_until_ours().await?;
        line::check_retention(&self.cluster, &self.settings).await?;
        let executor = Executor::new(&self.settings.server, self.settings.try_for)
            .map_err(|error| IntakeError::NotTaken { seconds: 0, reason: format!("{}: {error}", self.settings.server) })?;
        let line = line::join(&self.cluster, self.settings.log_id, self.node).await?;
        self.tell(IntakeState::Running);
        // Ends with an error. A stop drops what is under way: what is not noted is read again.
        loop {
            let most = self.settings.batch_commands;
            let records = line.with(move |line| line.next(most)).await?;
            if !records.is_empty() {
                self.work(&line, &executor, records).await?;
            }
        }
    }

    /// What was sent to another log, or to this one before it was restored, is not executed here. New topics are claimed by the relay a moment after
    /// they were made: that is waited for without a word.
    async fn wait_until_ours(&self) -> Result<(), RelayError> {
        for _ in 0..LOOKS {
            match self.claim.must_be_ours().await {
                Err(RelayError::Unclaimed) => tokio::time::sleep(LOOK).await,
                known => return known,
            }
        }
        self.claim.must_be_ours().await
    }

    async fn work(&self, line: &Joined, executor: &Executor, records: Vec<Record>) -> Result<(), IntakeError> {
        let refused = self.execute(executor, &records).await?;
        let (executed, refusals) = ((records.len() - refused.len()) as u64, refused.len() as u64);
        line.with(move |line| line.done(&records, &refused)).await?;
        self.status.send_modify(|status| {
            status.executed += executed;
            status.refused += refusals;
        });
        Ok(())
    }

    /// Executes records, those of one key one after the other, and tells what was refused, in the order of the records.
    async fn execute(&self, executor: &Executor, records: &[Record]) -> Result<Vec<Message>, IntakeError> {
        let mut by_key: HashMap<(i32, &[u8]), Vec<usize>> = HashMap::new();
        for (n, record) in records.iter().enumerate() {
            by_key.entry((record.partition, record.key.as_slice())).or_default().push(n);
        }
        let each = by_key.into_values().map(|chain| async move {
            let (mut refused, mut patience) = (Vec::new(), executor.patience());
            for n in chain {
                if let Some(refusal) = self.execute_one(executor, &records[n], &mut patience).await? {
                    refused.push((n, refusal));
                }
            }
            Ok::<_, IntakeError>(refused)
        });
        let refused: Vec<Vec<(usize, Refusal)>> = stream::iter(each).buffer_unordered(self.settings.at_once).try_collect().await?;
        let mut refused: Vec<(usize, Refusal)> = refused.into_iter().flatten().collect();
        refused.sort_unstable_by_key(|(n, _)| *n);
        let at = Timestamp::now();
        Ok(refused.into_iter().map(|(n, refusal)| dead_letter::of(&records[n], refusal, self.settings.log_id, at)).collect())
    }

    async fn execute_one(&self, executor: &Executor, record: &Record, patience: &mut Duration) -> Result<Option<Refusal>, IntakeError> {
        let remembered = SignedDuration::try_from(self.settings.remembered).unwrap_or(SignedDuration::MAX);
        let done = match command::read(record, Timestamp::now(), remembered) {
            Ok(known) => executor.execute(&known, patience).await?,
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = &done {
            tracing::info!(code = refusal.code, partition = record.partition, offset = record.offset, "a command from Kafka was refused");
        }
        Ok(done)
    }
}
