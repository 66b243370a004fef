//! Whose topics these are: those of the log that the checkpoint among them tells of.

use jari_event_store::{Position, Reader};
use uuid::Uuid;

use crate::{Checkpoint, Cluster, RelayError};

/// A log's claim on the topics of a cluster. Who writes to them, or acts on what stands there, has it proved first.
#[derive(Debug, Clone)]
pub struct Claim {
    cluster: Cluster,
    reader: Reader,
    log_id: Uuid,
}

impl Claim {
    /// Of this log on the topics of `cluster`.
    #[must_use]
    pub fn new(cluster: Cluster, reader: Reader, log_id: Uuid) -> Self {
        Self { cluster, reader, log_id }
    }

    /// Where the relay of this log stands in these topics. `None` when no log has claimed them, and nothing was ever told there.
    ///
    /// # Errors
    /// [`RelayError::OtherLog`], [`RelayError::LogBehind`], [`RelayError::LogDiffers`]: they are another log's, or this one was restored.
    /// [`RelayError::CheckpointMissing`], [`RelayError::CheckpointTopic`], [`RelayError::Checkpoint`]: nobody can tell.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, RelayError> {
        self.cluster.must_keep_checkpoints().await?;
        self.read(self.cluster.newest_checkpoint().await?).await
    }

    /// As [`Claim::checkpoint`], for who has fenced everybody else and set a barrier: nothing that was committed before it is missed.
    ///
    /// # Errors
    /// Those.
    pub(crate) async fn checkpoint_before(&self, barrier: i64) -> Result<Option<Checkpoint>, RelayError> {
        self.cluster.must_keep_checkpoints().await?;
        self.read(self.cluster.newest_checkpoint_before(barrier).await?).await
    }

    async fn read(&self, newest: Option<Vec<u8>>) -> Result<Option<Checkpoint>, RelayError> {
        let Some(record) = newest else {
            return match self.cluster.told_topic().await? {
                Some(topic) => Err(RelayError::CheckpointMissing { topic }),
                None => Ok(None),
            };
        };
        let mut checkpoint: Checkpoint = serde_json::from_slice(&record).map_err(|e| RelayError::Checkpoint(e.to_string()))?;
        if checkpoint.log_id != self.log_id {
            return Err(RelayError::OtherLog { ours: self.log_id, theirs: checkpoint.log_id });
        }
        let position = checkpoint.position;
        let head = self.reader.head().await?;
        if head < position {
            return Err(RelayError::LogBehind { relayed: position, head });
        }
        if position > Position::START {
            let there = self.reader.log_after(position.previous(), 1).await?;
            let event = there.first().filter(|event| checkpoint.is_after(event)).ok_or(RelayError::LogDiffers { position })?;
            checkpoint.pass(event);
        }
        Ok(Some(checkpoint))
    }

    /// As [`Claim::checkpoint`], for who does not claim topics.
    ///
    /// # Errors
    /// Those, and [`RelayError::Unclaimed`] when no log has claimed them.
    pub async fn must_be_ours(&self) -> Result<(), RelayError> {
        self.checkpoint().await?.map(|_| ()).ok_or(RelayError::Unclaimed)
    }
}
