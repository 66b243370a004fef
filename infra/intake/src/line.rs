//! The line of commands: a member of the group that reads the topic, and the producer that notes what was refused. Blocks: called on threads for
//! that, one call at a time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jari_contract::Topic;
use jari_relay::{Cluster, Message, Quiet, RelayError, Transactions, blocking};
use jiff::SignedDuration;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::ConfigEntry,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::Producer,
};
use uuid::Uuid;

use crate::{IntakeError, IntakeSettings, record::Record};

/// How long the first record of a batch is waited for, and the others behind it.
const FIRST: Duration = Duration::from_millis(500);
const NEXT: Duration = Duration::from_millis(5);
/// A node that has fallen silent leaves its commands to the others after so long.
const SESSION_MS: &str = "6000";
/// A transaction that a killed node left open keeps others from its partitions for so long.
const TRANSACTION: Duration = Duration::from_secs(6);
/// Notes of a place that may fail in a row.
const MISSES: u32 = 3;
/// The group's name, before the log's id.
const GROUP: &str = "jari-intake-";

/// See the module.
pub(crate) struct Line {
    /// Times in a row that the place could not be noted.
    missed: AtomicU32,
    consumer: BaseConsumer<Quiet>,
    refusals: Transactions,
    topic: String,
    patience: Duration,
}

impl Line {
    /// Joins the group. `node` is this process's own: it is whose unfinished work Kafka aborts.
    pub fn join(cluster: &Cluster, log_id: Uuid, node: Uuid) -> Result<Self, RelayError> {
        let refusals = Transactions::begin(&cluster.within(TRANSACTION), &format!("{GROUP}{log_id}-{node}"))?;
        let consumer: BaseConsumer<Quiet> = cluster
            .client()
            .set("group.id", cluster.topic(&format!("{GROUP}{log_id}")))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("session.timeout.ms", SESSION_MS)
            .create_with_context(Quiet)
            .map_err(RelayError::kafka("connecting"))?;
        let topic = cluster.topic(Topic::OrderCommand.name());
        consumer.subscribe(&[&topic]).map_err(RelayError::kafka("joining the group of intakes"))?;
        Ok(Self { missed: AtomicU32::new(0), consumer, refusals, topic, patience: cluster.patience() })
    }

    /// Up to `most` records; none when none came for a moment.
    pub fn next(&self, most: usize) -> Result<Vec<Record>, RelayError> {
        let mut records = Vec::new();
        // Ends when enough came, or none for a moment.
        while records.len() < most {
            match self.consumer.poll(if records.is_empty() { FIRST } else { NEXT }) {
                None => break,
                Some(Ok(record)) => records.push(Record::from(&record)),
                Some(Err(error)) => return Err(RelayError::kafka("reading commands")(error)),
            }
        }
        Ok(records)
    }

    /// Notes that `records` were executed, and what of them was refused, whole or not at all.
    ///
    /// When another node has got the records meanwhile, or it is not known what became of the note, they are read again and their ids are known. A
    /// group that is dividing its partitions anew refuses the note of a place for a moment: whoever left the group for that would make it divide again.
    pub fn done(&self, records: &[Record], refused: &[Message]) -> Result<(), RelayError> {
        let (mut behind, mut before) = (TopicPartitionList::new(), BTreeMap::new());
        for record in records {
            before.entry(record.partition).or_insert((record.offset, record.offset)).1 = record.offset;
        }
        for (partition, (_, last)) in &before {
            behind.add_partition_offset(&self.topic, *partition, Offset::Offset(last + 1)).map_err(RelayError::kafka("noting the place"))?;
        }
        if !refused.is_empty() {
            return self.note(&behind, refused);
        }
        let Err(error) = self.consumer.commit(&behind, CommitMode::Sync) else {
            self.missed.store(0, Ordering::Relaxed);
            return Ok(());
        };
        if self.missed.fetch_add(1, Ordering::Relaxed) >= MISSES {
            return Err(RelayError::kafka("noting the place")(error));
        }
        tracing::debug!(%error, "the place among the commands was not noted; they are read again");
        for (partition, (first, _)) in before {
            // a partition that is no longer ours cannot be turned back, and need not: its new reader begins where we did
            let _ = self.consumer.seek(&self.topic, partition, Offset::Offset(first), self.patience);
        }
        Ok(())
    }

    fn note(&self, behind: &TopicPartitionList, refused: &[Message]) -> Result<(), RelayError> {
        let group = self.consumer.group_metadata().ok_or_else(|| RelayError::Broken("a reader without a group".into()))?;
        self.refusals.transact(refused, |producer| {
            producer.send_offsets_to_transaction(behind, &group, self.patience).map_err(RelayError::kafka("noting the place"))
        })
    }
}

/// Sees that a command which is read again is known again: its topic keeps it for less long than ids are remembered; so for the refused ones, which
/// may be sent again.
pub(crate) async fn check_retention(cluster: &Cluster, settings: &IntakeSettings) -> Result<(), IntakeError> {
    let names = [Topic::OrderCommand, Topic::RefusedOrderCommand].map(|topic| cluster.topic(topic.name()));
    let found = cluster.configs(&names).await?;
    for (topic, found) in names.into_iter().zip(found) {
        // of a topic that this user may not ask about, whoever made it answers for how it is kept; records have their age looked at all the same
        let Some(found) = found else { continue };
        let value = |key: &str| found.get(key).and_then(|entry: &ConfigEntry| entry.value.clone()).unwrap_or_default();
        kept(topic, &value("cleanup.policy"), &value("retention.ms"), &value("segment.ms"), settings.remembered)?;
    }
    Ok(())
}

/// Records go in whole segments: the last of one is as old as the segment is open, and those of a compacted topic stay.
fn kept(topic: String, policy: &str, retention_ms: &str, segment_ms: &str, remembered: Duration) -> Result<(), IntakeError> {
    let told = |duration: Duration| {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        format!("{} h", duration.as_hours())
    };
    let too_long = |kept: String, key| Err(IntakeError::KeptTooLong { topic: topic.clone(), kept, remembered: told(remembered), key });
    if policy.split(',').any(|policy| policy.trim() == "compact") {
        return too_long("as long as they are the last of their key".into(), "cleanup.policy to delete, and its retention.ms");
    }
    let (Ok(retention), Ok(segment)) = (retention_ms.parse::<u64>(), segment_ms.parse::<u64>()) else {
        return too_long("ever".into(), "retention.ms");
    };
    let kept = Duration::from_millis(retention.saturating_add(segment));
    if kept < remembered { Ok(()) } else { too_long(told(kept), "retention.ms and segment.ms together") }
}

/// The line, joined on a thread for that.
pub(crate) async fn join(cluster: &Cluster, log_id: Uuid, node: Uuid) -> Result<Joined, RelayError> {
    let (cluster, began) = (cluster.clone(), Instant::now());
    let line = blocking(move || Line::join(&cluster, log_id, node)).await?;
    tracing::debug!(ms = began.elapsed().as_millis(), "the intake has joined its group");
    Ok(Joined(Some(Arc::new(line))))
}

/// A line that is left on a thread for what blocks: leaving a group waits for its broker.
pub(crate) struct Joined(Option<Arc<Line>>);

impl Joined {
    /// Runs what blocks on a thread for that.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&Line) -> Result<T, RelayError> + Send + 'static) -> Result<T, RelayError> {
        let line = self.0.clone();
        blocking(move || line.as_deref().map_or_else(|| Err(RelayError::Broken("a line that was left".into())), work)).await
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let (line, runtime) = (self.0.take(), tokio::runtime::Handle::try_current());
        if let Ok(runtime) = runtime {
            // nobody waits for it: what it leaves undone, the broker ends when the session is over
            runtime.spawn_blocking(move || drop(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_keeps_commands_beyond_their_ids_is_refused() {
        const DAY: u64 = 86_400_000;
        let month = Duration::from_millis(30 * DAY);
        let check = |policy, retention: String, segment: u64| kept("t".into(), policy, &retention, &segment.to_string(), month).map_err(|e| e.code());
        assert_eq!(check("delete", (7 * DAY).to_string(), DAY), Ok(()));
        let refused = Err("COMMANDS_KEPT_TOO_LONG");
        assert_eq!(check("delete", (30 * DAY).to_string(), 0), refused, "as long is not shorter");
        assert_eq!(check("delete", (25 * DAY).to_string(), 7 * DAY), refused, "a segment that is still open keeps its first record");
        assert_eq!(check("delete", "-1".into(), DAY), refused, "for ever");
        assert_eq!(check("compact", (7 * DAY).to_string(), DAY), refused);
        assert_eq!(check("compact, delete", (7 * DAY).to_string(), DAY), refused, "what is compacted away is no matter, what is kept may be old");
    }
}
