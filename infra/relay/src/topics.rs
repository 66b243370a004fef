//! The topics of a cluster: made when they are missing, and whether those that are there are as stated.

use std::{collections::HashMap, sync::PoisonError};

use jari_contract::Topic;
use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use crate::{
    RelayError, checkpoint,
    cluster::{Cluster, Quiet, blocking},
};

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

impl Wanted {
    fn cleanup(&self) -> &'static str {
        if self.compacted { "compact" } else { "delete" }
    }

    fn settings(&self, replication: i32) -> NewTopic<'_> {
        let made = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(replication));
        let made = made.set("cleanup.policy", self.cleanup()).set("retention.ms", &self.retention).set("segment.bytes", self.segment);
        let made = if self.compacted { made.set("min.cleanable.dirty.ratio", "0.1") } else { made };
        let made = match self.segment_ms {
            Some(segment) => made.set("segment.ms", segment),
            None => made,
        };
        // what is told has the time of its event; a command that of its arrival, which no sender can set
        if self.arrives { made.set("message.timestamp.type", "LogAppendTime") } else { made }
    }

    /// What of a topic that somebody made is otherwise, and hurts.
    fn differences(&self, partitions: i32, config: &ConfigResource) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |what: &str, is: &str, stated: &str, hurts: &str| found.push(format!("its {what} is {is} and not {stated}: {hurts}"));
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        if partitions != self.partitions {
            say("number of partitions", &partitions.to_string(), &self.partitions.to_string(), "integrators rely on what is stated");
        }
        let (cleanup, retention) = (value("cleanup.policy"), value("retention.ms"));
        if cleanup != self.cleanup() {
            say("cleanup.policy", &cleanup, self.cleanup(), "records go that should stay, or stay that should go");
        } else if !self.compacted && !self.arrives && kept(&retention) < kept(&self.retention) {
            say("retention.ms", &retention, &self.retention, "records go earlier than integrators are told");
        }
        let times = value("message.timestamp.type");
        if self.arrives && times != "LogAppendTime" {
            say("message.timestamp.type", &times, "LogAppendTime", "senders date their own commands");
        }
        found
    }
}

/// Milliseconds; -1 is for ever.
fn kept(retention_ms: &str) -> u64 {
    retention_ms.parse().unwrap_or(u64::MAX)
}

impl Cluster {
    fn wanted(&self) -> Vec<Wanted> {
        let public = Topic::ALL.iter().map(|topic| {
            let settings = topic.settings();
            let closes = settings.compacted || matches!(topic, Topic::OrderCommand | Topic::RefusedOrderCommand);
            Wanted {
                name: self.topic(topic.name()),
                partitions: settings.partitions,
                retention: settings.retention_ms.to_string(),
                compacted: settings.compacted,
                arrives: topic.is_inbound(),
                segment: if settings.compacted { "16777216" } else { "134217728" },
                // what is kept is counted in whole segments: without this, commands would outlast their retention by a week
                segment_ms: closes.then_some("3600000"),
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

    /// Makes the topics that are missing. One that somebody made otherwise is left as it is, and said, once.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn make_topics(&self) -> Result<(), RelayError> {
        let found = self.partitions().await?;
        let (there, missing): (Vec<Wanted>, Vec<Wanted>) = self.wanted().into_iter().partition(|topic| found.contains_key(&topic.name));
        if !missing.is_empty() {
            self.make(&missing).await?;
        }
        let names: Vec<String> = there.iter().map(|topic| topic.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        for (topic, config) in there.iter().zip(self.configs(&names).await?) {
            for difference in topic.differences(found[&topic.name], &config) {
                let is_new = self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{} {difference}", topic.name));
                if is_new {
                    tracing::warn!(topic = topic.name, "a topic is not as it is stated: {difference}");
                }
            }
        }
        Ok(())
    }

    async fn make(&self, missing: &[Wanted]) -> Result<(), RelayError> {
        let admin: AdminClient<Quiet> = self.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
        let missing: Vec<NewTopic<'_>> = missing.iter().map(|topic| topic.settings(self.settings.replication)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.patience())).operation_timeout(Some(self.patience()));
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
            let metadata = consumer.fetch_metadata(None, cluster.patience()).map_err(RelayError::kafka("asking for the topics"))?;
            let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect())
        })
        .await
    }

    /// How topics are kept, as the cluster says; by the names, in their order.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn configs(&self, topics: &[String]) -> Result<Vec<ConfigResource>, RelayError> {
        const DOING: &str = "asking how topics are kept";
        let admin: AdminClient<Quiet> = self.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
        let named: Vec<ResourceSpecifier<'_>> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.patience()));
        let found = admin.describe_configs(&named, &options).await.map_err(RelayError::kafka(DOING))?;
        found.into_iter().map(|found| found.map_err(|code| RelayError::Kafka { doing: DOING, source: KafkaError::AdminOp(code) })).collect()
    }

    /// A checkpoint in another partition than the one that is read, or deleted when it is old, would have everything told again.
    pub(crate) async fn must_keep_checkpoints(&self) -> Result<(), RelayError> {
        let topic = self.topic(checkpoint::TOPIC);
        let unknown =
            || RelayError::Kafka { doing: "looking for the topic of checkpoints", source: KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopic) };
        let partitions = self.partitions().await?.get(&topic).copied().ok_or_else(unknown)?;
        let configs = self.configs(std::slice::from_ref(&topic)).await?;
        let policy = configs.first().and_then(|config| config.get("cleanup.policy")?.value.clone()).unwrap_or_default();
        if partitions == 1 && policy == "compact" { Ok(()) } else { Err(RelayError::CheckpointTopic { topic, partitions, policy }) }
    }

    /// A topic of events in which something was told, at any time.
    pub(crate) async fn told_topic(&self) -> Result<Option<String>, RelayError> {
        let (cluster, found) = (self.clone(), self.partitions().await?);
        blocking(move || {
            let consumer: BaseConsumer<Quiet> = cluster.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
            for name in Topic::OF_EVENTS.map(|topic| cluster.topic(topic.name())) {
                for partition in 0..found.get(&name).copied().unwrap_or_default() {
                    let (_, end) = cluster.watermarks(&consumer, &name, partition).map_err(RelayError::kafka("looking for records"))?;
                    if end > 0 {
                        return Ok(Some(name));
                    }
                }
            }
            Ok(None)
        })
        .await
    }
}
