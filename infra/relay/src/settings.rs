//! Where Kafka is, and the relay's bounds.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;

/// How a cluster is reached.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Before the name of each topic; empty for none. Another prefix is another set of topics, which begins at the log's first event.
    pub topic_prefix: String,
    /// Copies of each partition of a topic that is made here; `-1` leaves it to the cluster.
    pub replication: i32,
    /// What else librdkafka is to be told: `security.protocol`, `ssl.ca.location`, `sasl.username` and so on. Never logged: some are secrets.
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        f.debug_struct("KafkaSettings").field("brokers", &self.brokers).field("topic_prefix", &self.topic_prefix).field("properties", &names).finish()
    }
}

impl KafkaSettings {
    /// What every client begins with. The settings' own properties come last, so that they win.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "jari").set("socket.keepalive.enable", "true");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// A topic's name in this cluster.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }
}

/// The relay's bounds.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// Where to.
    pub kafka: KafkaSettings,
    /// Events of a transaction, at most.
    pub batch_events: usize,
    /// How long a node that has fallen silent stays the one that relays.
    pub lease: Duration,
    /// How long a call to Kafka may take before it is taken for failed.
    pub patience: Duration,
    /// How long it waits after a failure.
    pub pause: Duration,
}

impl RelaySettings {
    /// The usual bounds, for a cluster.
    #[must_use]
    pub fn new(kafka: KafkaSettings) -> Self {
        Self { kafka, batch_events: 2_000, lease: Duration::from_secs(5), patience: Duration::from_secs(20), pause: Duration::from_secs(2) }
    }
}
