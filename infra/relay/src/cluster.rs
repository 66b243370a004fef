//! A cluster: its topics, and the clients that the relay needs. All of it blocks: called on threads for that.

use std::{collections::HashMap, time::Duration};

use jari_contract::Topic;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use uuid::Uuid;

use crate::{KafkaSettings, RelayError, checkpoint, transaction::Pair};

/// Offsets read back from the end of the checkpoints' topic at first: markers of transactions have offsets, too. When none of ours is among them, all are read.
const LATEST_OFFSETS: i64 = 1_000;

/// How a topic is made.
struct Wanted {
    name: String,
    partitions: i32,
    retention: String,
    compacted: bool,
    /// Whether others write to it.
    arrives: bool,
    /// Bytes of a segment: only closed ones are compacted, or deleted.
    segment: &'static str,
    /// Milliseconds after which it is closed; the cluster's own when absent.
    segment_ms: Option<&'static str>,
}

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
    settings: KafkaSettings,
    patience: Duration,
}

impl Cluster {
    /// Takes how the cluster is reached; connects when first needed. `patience` bounds each call.
    #[must_use]
    pub fn new(settings: KafkaSettings, patience: Duration) -> Self {
        Self { settings, patience }
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
        Self { settings: self.settings.clone(), patience: self.patience.min(most) }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let public = Topic::ALL.iter().map(|topic| {
            let settings = topic.settings();
            Wanted {
                name: self.topic(topic.name()),
                partitions: settings.partitions,
                retention: settings.retention_ms.to_string(),
                compacted: settings.compacted,
                arrives: topic.is_inbound(),
                segment: if settings.compacted { "16777216" } else { "134217728" },
                // what is kept is counted in whole segments: without this, commands would outlast their retention by a week
                segment_ms: if settings.compacted || matches!(topic, Topic::OrderCommand | Topic::RefusedOrderCommand) {
                    Some("3600000")
                } else {
                    None
                },
            }
        });
        let checkpoints = Wanted {
            name: self.topic(checkpoint::TOPIC),
            partitions: 1,
            retention: "-1".into(),
            compacted: true,
            arrives: false,
            segment: "4194304",
            segment_ms: Some("3600000"),
        };
        public.chain([checkpoints]).collect()
    }

    /// Makes the topics that are missing. One that somebody made otherwise is left as it is, and said.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn make_topics(&self) -> Result<(), RelayError> {
        let admin: AdminClient<Quiet> = self.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
        let found = self.partitions().await?;
        let wanted = self.wanted();
        for topic in &wanted {
            if let Some(partitions) = found.get(&topic.name).filter(|partitions| **partitions != topic.partitions) {
                tracing::warn!(topic = topic.name, partitions, stated = topic.partitions, "a topic has another number of partitions than stated");
            }
        }
        let missing: Vec<NewTopic<'_>> = wanted
            .iter()
            .filter(|topic| !found.contains_key(&topic.name))
            .map(|topic| {
                let made = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(self.settings.replication));
                let made = made.set("retention.ms", &topic.retention).set("segment.bytes", topic.segment);
                let made = match topic.segment_ms {
                    Some(segment) => made.set("segment.ms", segment),
                    None => made,
                };
                // what is told has the time of its event; a command that of its arrival, which no sender can set
                let made = if topic.arrives { made.set("message.timestamp.type", "LogAppendTime") } else { made };
                match topic.compacted {
                    true => made.set("cleanup.policy", "compact").set("min.cleanable.dirty.ratio", "0.1"),
                    false => made.set("cleanup.policy", "delete"),
                }
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let options = AdminOptions::new().request_timeout(Some(self.patience)).operation_timeout(Some(self.patience));
        let results = admin.create_topics(&missing, &options).await.map_err(RelayError::kafka("making topics"))?;
        for result in results {
            match result {
                Ok(topic) => tracing::info!(topic, "a topic was made"),
                // another relay was first
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    tracing::warn!(topic, %code, "a topic was not made");
                    return Err(RelayError::Kafka { doing: "making topics", source: KafkaError::AdminOp(code) });
                }
            }
        }
        Ok(())
    }

    /// The topics that there are, and how many partitions each has.
    async fn partitions(&self) -> Result<HashMap<String, i32>, RelayError> {
        let cluster = self.clone();
        blocking(move || {
            let consumer: BaseConsumer<Quiet> = cluster.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
            let metadata = consumer.fetch_metadata(None, cluster.patience).map_err(RelayError::kafka("asking for the topics"))?;
            let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
        })
        .await
    }

    /// Fences the relay of the log with this id, in whatever it is doing: as a node does that takes over. What was under way is aborted.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn fence(&self, log_id: Uuid) -> Result<(), RelayError> {
        let cluster = self.clone();
        blocking(move || Pair::begin(&cluster, log_id).map(|_| ())).await
    }

    /// The newest committed record of the relay's key in the checkpoints' topic.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn newest_checkpoint(&self) -> Result<Option<Vec<u8>>, RelayError> {
        let cluster = self.clone();
        blocking(move || {
            let topic = cluster.topic(checkpoint::TOPIC);
            let consumer: BaseConsumer<Quiet> = cluster
                .client()
                .set("group.id", "jari-relay-checkpoint")
                .set("enable.auto.commit", "false")
                .set("isolation.level", "read_committed")
                .set("enable.partition.eof", "true")
                .create_with_context(Quiet)
                .map_err(RelayError::kafka("connecting"))?;
            let (low, high) = consumer.fetch_watermarks(&topic, 0, cluster.patience).map_err(RelayError::kafka("reading the checkpoint"))?;
            let recent = cluster.last_of(&consumer, &topic, (high - LATEST_OFFSETS).max(low))?;
            if recent.is_some() || high - LATEST_OFFSETS <= low { Ok(recent) } else { cluster.last_of(&consumer, &topic, low) }
        })
        .await
    }

    fn last_of(&self, consumer: &BaseConsumer<Quiet>, topic: &str, from: i64) -> Result<Option<Vec<u8>>, RelayError> {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, 0, Offset::Offset(from)).map_err(RelayError::kafka("reading the checkpoint"))?;
        consumer.assign(&place).map_err(RelayError::kafka("reading the checkpoint"))?;
        let mut last = None;
        // Ends with the end of what is committed, or with the first wait that is too long.
        loop {
            match consumer.poll(self.patience) {
                Some(Ok(record)) if record.key() == Some(checkpoint::KEY.as_bytes()) => last = record.payload().map(<[u8]>::to_vec),
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                Some(Err(error)) => return Err(RelayError::kafka("reading the checkpoint")(error)),
                None => return Err(RelayError::Kafka { doing: "reading the checkpoint", source: KafkaError::NoMessageReceived }),
            }
        }
    }
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// Those of the work; [`RelayError::Broken`] when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RelayError> + Send + 'static) -> Result<T, RelayError> {
    // joined right here
    tokio::task::spawn_blocking(work).await.map_err(|e| RelayError::Broken(e.to_string()))?
}
