//! States written down, so that a long stream need not be read from its start. Never on the path of a command.

use jari_domain::{AnyState, StreamId};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Database, LogError, record::signed};

const WRITE_SNAPSHOT: &str = include_str!("sql/write_snapshot.sql");

/// Snapshots that wait to be written. When it is full the next one is left out: it would only save time.
const WAITING: usize = 64;

/// A durable state to be written down.
#[derive(Debug, Clone)]
pub struct StateSnapshot {
    /// Whose.
    pub stream: StreamId,
    /// Folded from durable events only.
    pub state: AnyState,
    /// The sequence of the last of them.
    pub version: u64,
    /// Its decision time.
    pub last_time: Timestamp,
}

/// Writes snapshots in the background.
#[derive(Debug, Clone)]
pub struct SnapshotWriter {
    queue: mpsc::Sender<StateSnapshot>,
}

impl SnapshotWriter {
    /// Starts the writer; the task ends when `stop` is cancelled. Join it to be sure that it has.
    pub fn start(database: Database, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, mut waiting) = mpsc::channel::<StateSnapshot>(WAITING);
        // joined by the caller; it ends with `stop`
        let task = tokio::spawn(async move {
            // Ends with `stop`; each round writes one snapshot.
            while let Some(snapshot) = tokio::select! { s = waiting.recv() => s, () = stop.cancelled() => None } {
                let written = tokio::select! { written = write(&database, &snapshot) => written, () = stop.cancelled() => return };
                if let Err(error) = written {
                    tracing::warn!(stream = %snapshot.stream, %error, "a snapshot was not written; the stream is read from further back next time");
                }
            }
        });
        (Self { queue }, task)
    }

    /// Takes a snapshot to be written; says whether there was room for it.
    #[must_use]
    pub fn offer(&self, snapshot: StateSnapshot) -> bool {
        self.queue.try_send(snapshot).is_ok()
    }
}

async fn write(database: &Database, snapshot: &StateSnapshot) -> Result<(), LogError> {
    let state = snapshot.state.to_snapshot().map_err(|source| LogError::Snapshot { stream: snapshot.stream.to_string(), source })?;
    let version = i32::try_from(snapshot.state.snapshot_version()).unwrap_or(i32::MAX);
    let last_time = std::time::SystemTime::try_from(snapshot.last_time).unwrap_or(std::time::SystemTime::UNIX_EPOCH);
    let client = database.connection().await?;
    let statement = client.prepare_cached(WRITE_SNAPSHOT).await?;
    let StateSnapshot { stream, version: sequence, .. } = snapshot;
    client.execute(&statement, &[&stream.aggregate_type, &&*stream.aggregate_id, &signed(*sequence), &version, &state, &last_time]).await?;
    Ok(())
}
