//! The configuration: one commented default, a file over it, variables over both. Unknown keys are errors, secrets are redacted.

mod layers;
mod secret;
mod settings;
mod table;

use std::{fmt, net::SocketAddr, path::PathBuf};

pub use secret::Secret;
use serde::Deserialize;

/// Every key with its default and its meaning; the defaults of [`Config`] stand here and nowhere else.
pub const DEFAULT: &str = include_str!("default.toml");

/// All of it. What each key means stands in [`DEFAULT`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Config {
    pub node: Node,
    pub server: Server,
    pub database: Database,
    pub engine: Engine,
    pub settlement: Settlement,
    pub projections: Projections,
    pub kafka: Kafka,
    pub relay: Relay,
    pub intake: Intake,
    pub heads: Heads,
    pub keys: Keys,
    pub metrics: Metrics,
    pub log: Log,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Node {
    pub id: String,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Server {
    pub listen: SocketAddr,
    pub advertise: String,
    pub max_message_bytes: usize,
    pub max_streams: u32,
    pub keepalive_seconds: u64,
    pub drain_seconds: u64,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Database {
    pub url: Secret,
    pub owner_url: Secret,
    pub data_dir: PathBuf,
    pub pool_connections: usize,
    pub allow_unsafe_durability: bool,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Engine {
    pub places: usize,
    pub waiting: usize,
    pub waiting_ms: u64,
    pub answer_within_ms: u64,
    pub longest_wait_ms: u64,
    pub settlement_waiters: usize,
    pub cells: usize,
    pub cells_mb: usize,
    pub recent_outcomes: usize,
    pub attempts: u32,
    pub snapshot_every_events: u64,
    pub batch_groups: usize,
    pub batch_events: usize,
    pub batch_bytes: usize,
    pub retention_days: u32,
}

/// `[settlement]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Settlement {
    pub enabled: bool,
    pub lease_ms: u64,
}

/// `[projections]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Projections {
    pub enabled: bool,
    pub wait_ms: u64,
    pub lease_ms: u64,
    pub unhealthy_lag_events: u64,
}

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Kafka {
    pub brokers: String,
    pub topic_prefix: String,
    pub replication: i32,
    pub security_protocol: String,
    pub ca_file: String,
    pub certificate_file: String,
    pub key_file: String,
    pub sasl_mechanism: String,
    pub username: String,
    pub password: Secret,
    pub patience_ms: u64,
}

/// `[relay]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Relay {
    pub enabled: bool,
    pub batch_events: usize,
    pub lease_ms: u64,
}

/// `[intake]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Intake {
    pub enabled: bool,
    pub batch_commands: usize,
}

/// `[heads]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Heads {
    pub enabled: bool,
    pub every_seconds: u64,
    pub file: PathBuf,
    pub key_file: PathBuf,
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Keys {
    pub url: Secret,
    pub master: Secret,
    pub former_masters: Secret,
    pub master_file: PathBuf,
    pub erasure_list: PathBuf,
    pub allow_core_dumps: bool,
    pub pool_connections: usize,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Metrics {
    pub listen: String,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described once, where users read it")]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        toml::from_str(DEFAULT).expect("the default document has every key, each with a value of its type: a test reads it")
    }
}

/// A value out of bounds.
struct Bound {
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {} to {}, not {}", self.key, self.least, self.most, self.value)
    }
}

const DAY_MS: u64 = 86_400_000;

impl Config {
    /// The first value that is out of its bounds, in words.
    fn out_of_bounds(&self) -> Option<String> {
        let bound = |key, value, least, most| Bound { key, value, least, most };
        let size = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let (server, database, engine) = (&self.server, &self.database, &self.engine);
        let bounds = [
            bound("server.max_message_bytes", size(server.max_message_bytes), 1_024, 64 << 20),
            bound("server.max_streams", server.max_streams.into(), 1, 1_000_000),
            bound("server.keepalive_seconds", server.keepalive_seconds, 1, 86_400),
            bound("server.drain_seconds", server.drain_seconds, 0, 3_600),
            bound("database.pool_connections", size(database.pool_connections), 2, 1_000),
            bound("engine.places", size(engine.places), 1, 1_000_000),
            bound("engine.waiting", size(engine.waiting), 0, 1_000_000),
            bound("engine.waiting_ms", engine.waiting_ms, 0, 60_000),
            bound("engine.answer_within_ms", engine.answer_within_ms, 100, 600_000),
            bound("engine.longest_wait_ms", engine.longest_wait_ms, 100, 600_000),
            bound("engine.settlement_waiters", size(engine.settlement_waiters), 0, 1_000_000),
            bound("engine.cells", size(engine.cells), 1_000, 100_000_000),
            bound("engine.cells_mb", size(engine.cells_mb), 16, 1 << 20),
            bound("engine.recent_outcomes", size(engine.recent_outcomes), 0, 100_000_000),
            bound("engine.attempts", engine.attempts.into(), 1, 1_000),
            bound("engine.snapshot_every_events", engine.snapshot_every_events, 1, 1_000_000_000),
            bound("engine.batch_groups", size(engine.batch_groups), 1, 65_536),
            bound("engine.batch_events", size(engine.batch_events), 1, 1_000_000),
            bound("engine.batch_bytes", size(engine.batch_bytes), 1 << 20, 256 << 20),
            bound("engine.retention_days", engine.retention_days.into(), 1, 36_500),
            bound("settlement.lease_ms", self.settlement.lease_ms, 500, DAY_MS),
            bound("kafka.patience_ms", self.kafka.patience_ms, 1_000, 900_000),
            bound("relay.batch_events", size(self.relay.batch_events), 1, 100_000),
            bound("relay.lease_ms", self.relay.lease_ms, 500, DAY_MS),
            bound("intake.batch_commands", size(self.intake.batch_commands), 1, 10_000),
            bound("heads.every_seconds", self.heads.every_seconds, 1, 86_400),
            bound("keys.pool_connections", size(self.keys.pool_connections), 1, 1_000),
            bound("projections.wait_ms", self.projections.wait_ms, 0, 600_000),
            bound("projections.lease_ms", self.projections.lease_ms, 500, DAY_MS),
        ];
        bounds.iter().find(|b| !(b.least..=b.most).contains(&b.value)).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests;
