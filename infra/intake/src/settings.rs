//! Where commands come from, who executes them, and the intake's bounds.

use std::time::Duration;

use jari_relay::KafkaSettings;
use uuid::Uuid;

/// The intake's bounds.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Where from.
    pub kafka: KafkaSettings,
    /// Who executes: `http://127.0.0.1:50051`.
    pub server: String,
    /// The log that the commands are for.
    pub log_id: Uuid,
    /// How long the engine remembers the ids of commands.
    pub remembered: Duration,
    /// Commands that are read before the place in the topic is noted.
    pub batch_commands: usize,
    /// Orders that are worked on at once.
    pub at_once: usize,
    /// How long a call to Kafka may take before it is taken for failed.
    pub patience: Duration,
    /// How long one command is tried before all that were read with it are read again later; when its stream cannot be read, before it is refused.
    pub try_for: Duration,
    /// How long it waits after a failure.
    pub pause: Duration,
}

impl IntakeSettings {
    /// The usual bounds.
    #[must_use]
    pub fn new(kafka: KafkaSettings, server: String, log_id: Uuid, remembered: Duration) -> Self {
        Self {
            kafka,
            server,
            log_id,
            remembered,
            batch_commands: 500,
            at_once: 128,
            patience: Duration::from_secs(20),
            try_for: Duration::from_secs(60),
            pause: Duration::from_secs(2),
        }
    }
}
