//! A cluster: how it is reached, and the checkpoint that is kept there. All of it blocks: called on threads for that.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use crate::{KafkaSettings, RelayError, checkpoint, transaction::Pair};

/// Offsets read back from the end of the checkpoints' topic at first: markers of transactions have offsets, too. When none of ours is among them, all are read.
const LATEST_OFFSETS: i64 = 1_000;

/// What is being done there.
const READING: &str = "reading the checkpoint";

/// What a broker says of a partition that is not ready yet.
const NEW: [RDKafkaErrorCode; 3] =
    [RDKafkaErrorCode::NotLeaderForPartition, RDKafkaErrorCode::LeaderNotAvailable, RDKafkaErrorCode::UnknownTopicOrPartition];

/// A client that keeps what the library says to itself: what matters of it comes back from the call, once, and is told by the relay.
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

/// A cluster that answered.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) settings: KafkaSettings,
    patience: Duration,
    /// What was said of topics that are not as stated: said once. At most a few sentences a topic.
    said: Arc<Mutex<HashSet<String>>>,
}

impl Cluster {
    /// Takes how the cluster is reached; connects when first needed. `patience` bounds each call.
    #[must_use]
    pub fn new(settings: KafkaSettings, patience: Duration) -> Self {
        Self { settings, patience, said: Arc::default() }
    }

    /// What every client of it begins with.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        self.settings.client()
    }

    /// A topic's name in it.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        self.settings.topic(name)
    }

    /// The bound of each call.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The same cluster, with calls that are bounded by `most` when that is less.
    #[must_use]
    pub fn within(&self, most: Duration) -> Self {
        Self { patience: self.patience.min(most), ..self.clone() }
    }

    /// Notes that `sentence` is said; whether it was not before.
    pub(crate) fn is_new(&self, sentence: String) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(sentence)
    }

    /// Whether `sentence` was said.
    pub(crate) fn was_said(&self, sentence: &str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).contains(sentence)
    }

    /// Fences whoever relays to these topics, in whatever it is doing: as a node does that takes over. What was under way is aborted.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn fence(&self) -> Result<(), RelayError> {
        let cluster = self.clone();
        blocking(move || Pair::begin(&cluster).map(|_| ())).await
    }

    /// The newest committed record of the relay's key in the checkpoints' topic.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn newest_checkpoint(&self) -> Result<Option<Vec<u8>>, RelayError> {
        self.newest(None).await
    }

    /// The newest committed record of the relay's key before a barrier, which stands at `barrier` ([`Pair::barrier`]) and is waited for.
    ///
    /// # Errors
    /// [`RelayError::Kafka`]; also when the barrier is not told within patience.
    pub(crate) async fn newest_checkpoint_before(&self, barrier: i64) -> Result<Option<Vec<u8>>, RelayError> {
        self.newest(Some(barrier)).await
    }

    /// Looks among the latest offsets, and when nothing is there among all.
    async fn newest(&self, barrier: Option<i64>) -> Result<Option<Vec<u8>>, RelayError> {
        let cluster = self.clone();
        blocking(move || {
            let topic = cluster.topic(checkpoint::TOPIC);
            let consumer: BaseConsumer<Quiet> = cluster.reading_checkpoints().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
            let (low, high) = cluster.watermarks(&consumer, &topic, checkpoint::PARTITION).map_err(RelayError::kafka(READING))?;
            let newest_from = |from| match barrier {
                Some(barrier) => cluster.last_up_to(&consumer, &topic, (from, barrier)),
                None => cluster.last_of(&consumer, &topic, (from, high)),
            };
            let latest = (barrier.unwrap_or(high) - LATEST_OFFSETS).max(low);
            match newest_from(latest)? {
                None if latest > low => newest_from(low),
                newest => Ok(newest),
            }
        })
        .await
    }

    /// The last committed record of the relay's key from `from` to `end`, where something committed stands.
    fn last_up_to(&self, consumer: &BaseConsumer<Quiet>, topic: &str, (from, end): (i64, i64)) -> Result<Option<Vec<u8>>, RelayError> {
        let until = Instant::now() + self.patience;
        // ends when `end` is reached, or with patience
        loop {
            match self.last_between(consumer, topic, (from, end))? {
                (last, true) => return Ok(last),
                (_, false) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
                (_, false) => return Err(RelayError::Kafka { doing: READING, source: KafkaError::NoMessageReceived }),
            }
        }
    }

    fn reading_checkpoints(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", self.topic("jari-relay-checkpoint"))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            // a place that the broker does not know is an error, and not the place that it takes for the end
            .set("auto.offset.reset", "error");
        config
    }

    /// Where a partition begins and ends. One that was made a moment ago may have no leader yet: it is asked again, as long as a call may take.
    pub(crate) fn watermarks(&self, consumer: &BaseConsumer<Quiet>, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        let until = Instant::now() + self.patience;
        // ends with an answer, or with patience
        loop {
            match consumer.fetch_watermarks(topic, partition, self.patience) {
                Err(error) if error.rdkafka_error_code().is_some_and(|code| NEW.contains(&code)) && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                found => return found,
            }
        }
    }

    /// The last committed record of the relay's key at `from` or behind it; `end` is where the topic ended when this began.
    ///
    /// A broker that has just begun to lead may not know yet how far the topic is committed, and tells an end before it: what it gave may be an old
    /// checkpoint, behind which everything would be told again. So an end before `end` counts only when the broker is seen to know `end`: offsets that
    /// nobody can read may stand before it.
    fn last_of(&self, consumer: &BaseConsumer<Quiet>, topic: &str, (from, end): (i64, i64)) -> Result<Option<Vec<u8>>, RelayError> {
        let (last, reached) = self.last_between(consumer, topic, (from, end))?;
        if reached {
            return Ok(last);
        }
        place(consumer, topic, end)?;
        match consumer.poll(self.patience) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => self.last_between(consumer, topic, (from, end)).map(|(last, _)| last),
            Some(Err(error)) => Err(RelayError::kafka(READING)(error)),
            None => Err(RelayError::Kafka { doing: READING, source: KafkaError::NoMessageReceived }),
        }
    }

    /// As [`Self::last_of`], and whether `end` was reached before the end was told.
    fn last_between(&self, consumer: &BaseConsumer<Quiet>, topic: &str, (from, end): (i64, i64)) -> Result<(Option<Vec<u8>>, bool), RelayError> {
        place(consumer, topic, from)?;
        let mut last = None;
        // Ends with the end of what is committed, with what was written since, or with the first wait that is too long. The end alone would not do: a
        // client is told of it when there is nothing to be had, and a relay that commits without a pause always has something.
        loop {
            match consumer.poll(self.patience) {
                Some(Ok(record)) => {
                    if record.key() == Some(checkpoint::KEY.as_bytes()) {
                        last = record.payload().map(<[u8]>::to_vec);
                    }
                    if record.offset() >= end {
                        return Ok((last, true));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let position = consumer.position().map_err(RelayError::kafka(READING))?;
                    // behind the last record, or the last marker of a transaction; nowhere when there was neither
                    let passed = position.find_partition(topic, checkpoint::PARTITION).and_then(|place| place.offset().to_raw()).unwrap_or_default();
                    return Ok((last, passed.max(from) >= end));
                }
                Some(Err(error)) => return Err(RelayError::kafka(READING)(error)),
                None => return Err(RelayError::Kafka { doing: READING, source: KafkaError::NoMessageReceived }),
            }
        }
    }
}

/// Has the checkpoints' topic read from `offset` on.
fn place(consumer: &BaseConsumer<Quiet>, topic: &str, offset: i64) -> Result<(), RelayError> {
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, checkpoint::PARTITION, Offset::Offset(offset)).map_err(RelayError::kafka(READING))?;
    consumer.assign(&place).map_err(RelayError::kafka(READING))
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// Those of the work; [`RelayError::Broken`] when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RelayError> + Send + 'static) -> Result<T, RelayError> {
    // joined right here
    tokio::task::spawn_blocking(work).await.map_err(|e| RelayError::Broken(e.to_string()))?
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer},
    };

    use super::*;

    /// A broker that does not know yet what was committed: no real one stays so for as long as a test needs it.
    #[test]
    fn a_topic_that_ends_before_it_did_has_no_newest_checkpoint() {
        const TOPIC: &str = "checkpoints";
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, 1, 1).unwrap();
        let brokers = mock.bootstrap_servers();
        let settings = KafkaSettings { brokers, topic_prefix: String::new(), replication: 1, properties: Default::default() };
        let cluster = Cluster::new(settings, Duration::from_secs(10));
        let producer: BaseProducer = cluster.client().create().unwrap();
        for n in ["one", "two", "three"] {
            producer.send(BaseRecord::to(TOPIC).partition(checkpoint::PARTITION).key(checkpoint::KEY).payload(n)).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        let reading = |end| {
            let consumer: BaseConsumer<Quiet> = cluster.reading_checkpoints().create_with_context(Quiet).unwrap();
            cluster.last_of(&consumer, TOPIC, (0, end))
        };
        assert_eq!(reading(3).unwrap().as_deref(), Some(&b"three"[..]));
        assert_eq!(reading(2).unwrap().as_deref(), Some(&b"three"[..]), "what was written since is newer");
        let behind = reading(4);
        assert!(matches!(behind, Err(RelayError::Kafka { .. })), "the fourth is committed and would be told again: {behind:?}");
    }
}
