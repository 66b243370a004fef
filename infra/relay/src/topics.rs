//! The topics of a cluster: made when they are missing, and whether those that are there are as stated.

use std::{collections::HashMap, time::Duration};

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

/// A broker may not know yet how a topic is kept that was made a moment ago: asked again after this, once.
const LEARNS: Duration = Duration::from_secs(1);

/// As whoever wrote them packed them: a broker that packs records anew may do it in a way that a reader cannot undo.
const COMPRESSION: &str = "producer";
/// Bytes of a partition: records go by their time alone, as integrators are told, and never because there are many.
const BYTES: &str = "-1";

/// A record has the time of what it tells, which the database's clock says, or that of its arrival, which the broker's does.
const TOLD: &str = "CreateTime";
const ARRIVED: &str = "LogAppendTime";
/// How far a record of [`TOLD`] may be from the broker's clock, in milliseconds: as far as can be said. Events are told as they were recorded, and one that is
/// refused for its time stops all behind it. By default Kafka 4 takes none that is more than an hour ahead.
pub(crate) const ANY_TIME: &str = "9223372036854775807";
/// The settings that say so, ahead and behind, and what a bound hurts. A cluster from before Kafka 3.6 knows neither, and by default bounds nothing.
const TIMES: [(&str, &str); 2] = [
    ("message.timestamp.after.max.ms", "an event that is further ahead of the broker's clock is refused, and stops the relay"),
    ("message.timestamp.before.max.ms", "an event that is further behind the broker's clock is refused, and stops the relay"),
];

/// How a topic is made. What a cluster has defaults for is stated all the same: they are somebody else's to change.
struct Wanted {
    name: String,
    partitions: i32,
    retention: String,
    compacted: bool,
    /// Whether others write to it.
    arrives: bool,
    /// Whose time its records have.
    times: &'static str,
    /// Bytes of a segment: only closed ones are compacted, or deleted.
    segment: &'static str,
    /// Milliseconds after which it is closed; the cluster's own when absent.
    segment_ms: Option<&'static str>,
}

impl Wanted {
    fn cleanup(&self) -> &'static str {
        if self.compacted { "compact" } else { "delete" }
    }

    /// `times_known` is whether the cluster knows [`TIMES`].
    fn settings(&self, replication: i32, times_known: bool) -> NewTopic<'_> {
        let made = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(replication));
        let made = made.set("cleanup.policy", self.cleanup()).set("retention.ms", &self.retention).set("segment.bytes", self.segment);
        let made = made.set("retention.bytes", BYTES).set("compression.type", COMPRESSION).set("message.timestamp.type", self.times);
        let bounds = TIMES.iter().filter(|_| times_known && self.times == TOLD);
        let made = bounds.fold(made, |made, (setting, _)| made.set(setting, ANY_TIME));
        let made = if self.compacted { made.set("min.cleanable.dirty.ratio", "0.1") } else { made };
        match self.segment_ms {
            Some(segment) => made.set("segment.ms", segment),
            None => made,
        }
    }

    /// What of a topic that somebody made is otherwise, and hurts.
    fn differences(&self, partitions: i32, value: impl Fn(&str) -> String) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |what: &str, is: &str, stated: &str, hurts: &str| found.push(format!("its {what} is {is} and not {stated}: {hurts}"));
        if partitions != self.partitions {
            say("number of partitions", &partitions.to_string(), &self.partitions.to_string(), "integrators rely on what is stated");
        }
        let (cleanup, retention) = (value("cleanup.policy"), value("retention.ms"));
        if cleanup != self.cleanup() {
            say("cleanup.policy", &cleanup, self.cleanup(), "records go that should stay, or stay that should go");
        } else if !self.compacted && !self.arrives && kept(&retention) < kept(&self.retention) {
            say("retention.ms", &retention, &self.retention, "records go earlier than integrators are told");
        }
        let bytes = value("retention.bytes");
        if !self.compacted && kept(&bytes) != u64::MAX {
            say("retention.bytes", &bytes, BYTES, "records go when there are many, before their time is over");
        }
        let compression = value("compression.type");
        if compression != COMPRESSION {
            say("compression.type", &compression, COMPRESSION, "records are packed anew, in a way that a reader may not know");
        }
        let times = value("message.timestamp.type");
        if times != self.times {
            let hurts = match (self.arrives, self.times) {
                (true, _) => "senders date their own commands",
                (_, ARRIVED) => "records have the time of the node that tells them, and are refused when its clock is too far ahead of the broker's",
                _ => "records have the time at which they were told, not that of their event",
            };
            say("message.timestamp.type", &times, self.times, hurts);
        } else if self.times == TOLD {
            for (setting, hurts) in TIMES {
                // without a value where the cluster does not know it
                let most = value(setting);
                if !most.is_empty() && most != ANY_TIME {
                    say(setting, &most, ANY_TIME, hurts);
                }
            }
        }
        found
    }
}

/// Milliseconds or bytes; -1 is without end.
fn kept(retention: &str) -> u64 {
    retention.parse().unwrap_or(u64::MAX)
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
                // A command has the time of its arrival, which no sender can set. So has a refusal: nobody looks it up by its own, and the clock of the node that
                // tells it is no better than the broker's.
                times: if matches!(topic, Topic::OrderCommand | Topic::RefusedOrderCommand) { ARRIVED } else { TOLD },
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
            times: TOLD,
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
            let Some(config) = config else { continue };
            let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
            for difference in topic.differences(found[&topic.name], value) {
                if self.is_new(format!("{} {difference}", topic.name)) {
                    tracing::warn!(topic = topic.name, "a topic is not as it is stated: {difference}");
                }
            }
        }
        Ok(())
    }

    /// A cluster that does not know [`TIMES`] refuses a topic for them. Which one does is not asked before: that takes a right that many give to nobody.
    async fn make(&self, missing: &[Wanted]) -> Result<(), RelayError> {
        let refused = self.create(&missing.iter().collect::<Vec<_>>(), true).await?;
        let still = if refused.is_empty() { Vec::new() } else { self.create(&refused, false).await? };
        let Some(topic) = still.first() else { return Ok(()) };
        tracing::warn!(topic = topic.name, "a topic was not made: the cluster does not take one of its settings");
        Err(RelayError::Kafka { doing: "making topics", source: KafkaError::AdminOp(RDKafkaErrorCode::InvalidConfig) })
    }

    /// Gives back those that were not made for one of their settings.
    async fn create<'a>(&self, missing: &[&'a Wanted], times_known: bool) -> Result<Vec<&'a Wanted>, RelayError> {
        let admin: AdminClient<Quiet> = self.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
        let topics: Vec<NewTopic<'_>> = missing.iter().map(|topic| topic.settings(self.settings.replication, times_known)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.patience())).operation_timeout(Some(self.patience()));
        let results = admin.create_topics(&topics, &options).await.map_err(RelayError::kafka("making topics"))?;
        let mut refused = Vec::new();
        for result in results {
            match result {
                Ok(topic) => tracing::info!(topic, "a topic was made"),
                // another relay was first
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, RDKafkaErrorCode::InvalidConfig)) => {
                    refused.extend(missing.iter().copied().filter(|topic| topic.name == name));
                }
                Err((topic, code)) => {
                    tracing::warn!(topic, %code, "a topic was not made");
                    return Err(RelayError::Kafka { doing: "making topics", source: KafkaError::AdminOp(code) });
                }
            }
        }
        Ok(refused)
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

    /// How topics are kept, as the cluster says; by the names, in their order. `None` of one that this user may not ask about, which is said once: the
    /// right to ask is one that many clusters give to nobody, and without it everything works but the comparison.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn configs(&self, topics: &[String]) -> Result<Vec<Option<ConfigResource>>, RelayError> {
        let unseen = |found: &[Option<ConfigResource>]| {
            let topics = topics.iter().zip(found).filter(|(_, config)| config.is_none()).map(|(topic, _)| topic);
            topics.filter(|topic| !self.was_said(&format!("{topic} unseen"))).cloned().collect::<Vec<_>>()
        };
        let mut found = self.describe(topics).await?;
        if !unseen(&found).is_empty() {
            tokio::time::sleep(LEARNS).await;
            found = self.describe(topics).await?;
        }
        for topic in unseen(&found) {
            tracing::warn!(topic, "nobody compares how this topic is kept with what is stated: the right to ask (DESCRIBE_CONFIGS) is missing");
            self.is_new(format!("{topic} unseen"));
        }
        Ok(found)
    }

    async fn describe(&self, topics: &[String]) -> Result<Vec<Option<ConfigResource>>, RelayError> {
        const DOING: &str = "asking how topics are kept";
        let admin: AdminClient<Quiet> = self.client().create_with_context(Quiet).map_err(RelayError::kafka("connecting"))?;
        let named: Vec<ResourceSpecifier<'_>> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.patience()));
        let found = admin.describe_configs(&named, &options).await.map_err(RelayError::kafka(DOING))?;
        let known = |config: ConfigResource| Some(config).filter(|config| !config.entries.is_empty());
        // the client keeps a broker's refusal to itself: what comes back is a topic without a single setting
        found
            .into_iter()
            .map(|found| found.map(known).map_err(|code| RelayError::Kafka { doing: DOING, source: KafkaError::AdminOp(code) }))
            .collect()
    }

    /// A checkpoint in another partition than the one that is read, or deleted when it is old, would have everything told again.
    pub(crate) async fn must_keep_checkpoints(&self) -> Result<(), RelayError> {
        let topic = self.topic(checkpoint::TOPIC);
        let unknown =
            || RelayError::Kafka { doing: "looking for the topic of checkpoints", source: KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopic) };
        let partitions = self.partitions().await?.get(&topic).copied().ok_or_else(unknown)?;
        let config = self.configs(std::slice::from_ref(&topic)).await?.into_iter().flatten().next();
        // what nobody lets us see is what whoever made the topic answers for, who was told of it
        let policy = config
            .map_or_else(|| "compact".to_owned(), |config| config.get("cleanup.policy").and_then(|entry| entry.value.clone()).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KafkaSettings;

    fn cluster() -> Cluster {
        let settings = KafkaSettings { brokers: "127.0.0.1:1".into(), topic_prefix: String::new(), replication: 1, properties: Default::default() };
        Cluster::new(settings, Duration::from_secs(1))
    }

    /// What is said of the topics when `of` is `is` in each, and all else as stated.
    fn said(of: &str, is: &str) -> Vec<(String, Vec<String>)> {
        let topics = cluster().wanted();
        let value = |topic: &Wanted, key: &str| match key {
            key if key == of => is.to_owned(),
            "cleanup.policy" => topic.cleanup().to_owned(),
            "retention.ms" => topic.retention.clone(),
            "retention.bytes" => BYTES.to_owned(),
            "compression.type" => COMPRESSION.to_owned(),
            "message.timestamp.type" => topic.times.to_owned(),
            "message.timestamp.after.max.ms" | "message.timestamp.before.max.ms" => "9223372036854775807".to_owned(),
            key => panic!("{key} is compared and not stated"),
        };
        let said = |topic: Wanted| (topic.name.clone(), topic.differences(topic.partitions, |key| value(&topic, key)));
        topics.into_iter().map(said).filter(|(_, differences)| !differences.is_empty()).collect()
    }

    #[test]
    fn a_topic_that_is_kept_otherwise_than_stated_is_said_with_what_that_hurts() {
        assert_eq!(said("", ""), []);
        let names = |said: Vec<(String, Vec<String>)>| said.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(said("compression.type", "zstd")).len(), 8, "all of them");
        let commands = [Topic::OrderCommand.name(), Topic::RefusedOrderCommand.name()].map(str::to_owned);
        let dated = names(said("message.timestamp.type", "LogAppendTime"));
        assert!(dated.len() == 6 && !dated.iter().any(|topic| commands.contains(topic)), "{dated:?}: these have the time of their arrival");
        assert_eq!(names(said("message.timestamp.type", "CreateTime")), commands);
        let many = said("retention.bytes", "1048576");
        assert_eq!(many.len(), 6, "of a compacted topic nothing goes by its bytes: {many:?}");
        assert!(many[0].1[0].starts_with("its retention.bytes is 1048576 and not -1"), "{many:?}");
    }

    #[test]
    fn a_bound_on_the_time_of_events_is_said_and_a_cluster_that_knows_none_has_none() {
        for bound in ["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"] {
            let bounded = said(bound, "3600000");
            assert_eq!(bounded.len(), 6, "events, heads and checkpoints, and nothing that has the broker's own time: {bounded:?}");
            let expected = format!("its {bound} is 3600000 and not 9223372036854775807: an event that is further");
            assert!(bounded.iter().all(|(_, said)| said.len() == 1 && said[0].starts_with(&expected)), "{bounded:?}");
            assert_eq!(said(bound, ""), [], "Kafka before 3.6");
        }
    }
}
