//! Finds Kafka: the configured cluster, the private one that runs, or a private one of our own.

use std::time::{Duration, Instant};

use jari_kafka::{DataFolder, KafkaError, PrivateKafka, Settings, Standing, VERSION};

use crate::{config::Config, database};

/// How long another process that owns the private Kafka may take to have it ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where Kafka is and, when this process started it, the server.
pub struct Broker {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Stopped after the node.
    pub private: Option<PrivateKafka>,
}

/// Where the private Kafka lives: beside the private PostgreSQL.
#[must_use]
pub fn folder(config: &Config) -> DataFolder {
    DataFolder::new(database::folder(config).root())
}

/// Kafka for `serve`: starts the private one when nobody else runs it.
///
/// # Errors
/// [`KafkaError`]; the node serves without it, and says what is off.
pub async fn open(config: &Config) -> Result<Broker, KafkaError> {
    if !config.kafka.brokers.is_empty() {
        return Ok(Broker { brokers: config.kafka.brokers.clone(), private: None });
    }
    if !config.database.url.is_empty() {
        tracing::warn!("this node uses a private Kafka for a database that other nodes may use: name one cluster for all of them in kafka.brokers");
    }
    let (folder, began) = (folder(config), Instant::now());
    // Ends with a Kafka, with an error, or after PATIENCE.
    loop {
        if let Some(brokers) = folder.find() {
            return Ok(Broker { brokers, private: None });
        }
        match PrivateKafka::start(Settings::new(folder.clone(), jari_postgres::DataFolder::default_root().join("programs"))).await {
            Ok(private) => return Ok(Broker { brokers: private.brokers(), private: Some(private) }),
            // its owner is about to start or to stop it
            Err(KafkaError::Owned { .. }) if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => return Err(error),
        }
    }
}

/// How Kafka stands, for `jari status`.
#[must_use]
pub fn line(config: &Config) -> String {
    if !config.kafka.brokers.is_empty() {
        return format!("Kafka        your own, {}\n", config.kafka.brokers);
    }
    let Standing { brokers, is_owned, log } = folder(config).standing();
    match brokers {
        Some(brokers) => format!("Kafka        private, {VERSION}, at {brokers}\n             log   {}\n", log.display()),
        None if is_owned => format!("Kafka        private, {VERSION}, starting or stopping; see {}\n", log.display()),
        None => format!("Kafka        private, {VERSION}, not running\n"),
    }
}
