//! What the node knows of its relay: off, and why, or how it stands.

use std::{collections::BTreeMap, time::Duration};

use jari_proto::operations::v1::{self as pb, RelayState as Told};
use jari_relay::{KafkaSettings, Relay, RelaySettings, RelayState};

use crate::{config::Config, desk::Desk};

/// Where the node's relay is told of.
pub type RelayDesk = Desk<Relay>;

impl Desk<Relay> {
    /// How it stands, for operators; `here` names this node, `head` is the log's.
    pub(crate) fn status(&self, here: &str, head: u64) -> pb::RelayStatus {
        let relay = match self.get() {
            Ok(relay) => relay,
            Err(reason) => return pb::RelayStatus { state: Told::Off.into(), message: reason, ..Default::default() },
        };
        let status = relay.status();
        let (state, code, message) = match status.state {
            RelayState::Standby => (Told::Standby, "", String::new()),
            RelayState::Starting => (Told::Starting, "", String::new()),
            RelayState::Running => (Told::Running, "", String::new()),
            RelayState::Waiting { code, reason } => (Told::Waiting, code, reason),
            RelayState::Halted { code, reason } => (Told::Halted, code, reason),
        };
        // of a relay that another node runs, this one knows no position
        let knows = !matches!(state, Told::Standby);
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        pb::RelayStatus {
            state: state.into(),
            code: code.to_owned(),
            message,
            position: if knows { count(status.position) } else { 0 },
            lag_events: if knows { count(head.saturating_sub(status.position)) } else { 0 },
            owner: relay.owner(here),
            transactions: count(status.transactions),
        }
    }
}

impl Config {
    /// Of the relay to the cluster that the configuration names, or that `brokers` names instead.
    #[must_use]
    pub fn relay_settings(&self, brokers: &str) -> RelaySettings {
        let kafka = &self.kafka;
        let mut properties: BTreeMap<String, String> = BTreeMap::new();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                properties.insert(name.to_owned(), value.to_owned());
            }
        };
        put("security.protocol", &kafka.security_protocol);
        put("ssl.ca.location", &kafka.ca_file);
        put("ssl.certificate.location", &kafka.certificate_file);
        put("ssl.key.location", &kafka.key_file);
        put("sasl.mechanism", &kafka.sasl_mechanism);
        put("sasl.username", &kafka.username);
        put("sasl.password", kafka.password.reveal());
        let settings =
            KafkaSettings { brokers: brokers.to_owned(), topic_prefix: kafka.topic_prefix.clone(), replication: kafka.replication, properties };
        RelaySettings {
            batch_events: self.relay.batch_events,
            lease: Duration::from_millis(self.relay.lease_ms),
            patience: Duration::from_millis(self.kafka.patience_ms),
            ..RelaySettings::new(settings)
        }
    }
}
