//! What the node knows of its relay: off, and why, or how it stands.

use std::{collections::BTreeMap, time::Duration};

use jari_domain::Position;
use jari_proto::operations::v1::{self as pb, RelayState as Told};
use jari_relay::{KafkaSettings, Relay, RelaySettings, RelayState};
use jari_wire::signed;

use crate::{config::Config, optional_part::OptionalPart};

/// Where the node's relay is told of.
pub type RelayPart = OptionalPart<Relay>;

impl OptionalPart<Relay> {
    /// Whether this node knows how far it is.
    pub(crate) fn is_placed(&self) -> bool {
        self.get().is_ok_and(|relay| relay.status().position.is_some())
    }

    /// How it stands, for operators; `here` names this node, `head` is the log's.
    pub(crate) fn status(&self, here: &str, head: Position) -> pb::RelayStatus {
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
        let position = status.position.filter(|_| state != Told::Standby);
        pb::RelayStatus {
            state: state.into(),
            code: code.to_owned(),
            message,
            position: position.map_or(0, Position::to_i64),
            lag_events: position.map_or(0, |position| signed(head.since(position))),
            owner: relay.owner(here),
            transactions: signed(status.transactions),
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
        // The OpenSSL that the client is built with looks where the machine it was built for keeps its authorities, which need not be where this one
        // does: only when asked to does the client try the usual places.
        let is_tls = kafka.security_protocol.to_ascii_lowercase().ends_with("ssl");
        put("ssl.ca.location", if kafka.ca_file.is_empty() && is_tls { "probe" } else { &kafka.ca_file });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_of_authorities_the_client_looks_for_the_systems() {
        let told = |protocol: &str, ca_file: &str| {
            let mut config = Config::default();
            (config.kafka.security_protocol, config.kafka.ca_file) = (protocol.into(), ca_file.into());
            config.relay_settings("127.0.0.1:9092").kafka.properties.get("ssl.ca.location").cloned()
        };
        for protocol in ["ssl", "sasl_ssl"] {
            assert_eq!(told(protocol, "").as_deref(), Some("probe"), "{protocol}");
            assert_eq!(told(protocol, "/etc/kafka/ca.pem").as_deref(), Some("/etc/kafka/ca.pem"), "{protocol}");
        }
        assert_eq!((told("", ""), told("sasl_plaintext", "")), (None, None), "without TLS there is nothing to look for");
    }
}
