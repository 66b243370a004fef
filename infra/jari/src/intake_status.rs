//! What the node knows of its intake of commands: off, and why, or how it stands; and what is asked of refused commands.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use jari_contract::OrderCommandRefused;
use jari_intake::{DeadLetter, DeadLetters, Intake, IntakeSettings, IntakeState, RedriveError};
use jari_proto::{
    operations::v1::{self as pb, IntakeState as Told},
    order::v1 as order,
    status::refusal_status,
};
use jari_relay::{Cluster, RelayError};
use jari_wire::{signed, timestamp};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{config::Config, optional_part::OptionalPart};

/// The intake, and the topic of what it refused.
#[derive(Debug, Clone)]
pub struct Taking {
    pub(crate) intake: Intake,
    pub(crate) refused: DeadLetters,
}

/// Where the node's intake is told of.
pub type IntakePart = OptionalPart<Taking>;

const HOUR: Duration = Duration::from_secs(3_600);

impl OptionalPart<Taking> {
    /// How it stands, for operators.
    pub(crate) fn status(&self) -> pb::IntakeStatus {
        let status = match self.get() {
            Ok(taking) => taking.intake.status(),
            Err(reason) => return pb::IntakeStatus { state: Told::Off.into(), message: reason, ..Default::default() },
        };
        let (state, code, message) = match status.state {
            IntakeState::Starting => (Told::Starting, "", String::new()),
            IntakeState::Running => (Told::Running, "", String::new()),
            IntakeState::Waiting(code, reason) => (Told::Waiting, code, reason),
            IntakeState::Halted(code, reason) => (Told::Halted, code, reason),
        };
        pb::IntakeStatus { state: state.into(), code: code.to_owned(), message, executed: signed(status.executed), refused: signed(status.refused) }
    }

    /// Refused commands from `offset` on, and where the next page begins.
    pub(crate) async fn list(&self, offset: i64, most: usize) -> Result<(Vec<pb::RefusedCommand>, Option<i64>), Status> {
        let page = self.letters()?.list(offset, most).await.map_err(|error| away(&error))?;
        Ok((page.letters.into_iter().map(told).collect(), page.next))
    }

    /// Sends a refused command again.
    pub(crate) async fn redrive(&self, offset: i64) -> Result<Uuid, Status> {
        self.letters()?.redrive(offset).await.map_err(|error| {
            let kind = match &error {
                RedriveError::Kafka(error) => return away(error),
                RedriveError::Unknown(_) => Code::NotFound,
                RedriveError::NothingToSend => Code::FailedPrecondition,
            };
            refusal_status(error.code(), kind, &error.to_string(), BTreeMap::new(), None)
        })
    }

    fn letters(&self) -> Result<DeadLetters, Status> {
        let off = |reason: String| refusal_status("INTAKE_OFF", Code::FailedPrecondition, &reason, BTreeMap::new(), None);
        self.get().map(|taking| taking.refused).map_err(off)
    }
}

fn away(error: &RelayError) -> Status {
    tracing::warn!(%error, "refused commands were not read");
    refusal_status("KAFKA_UNAVAILABLE", Code::Unavailable, "Kafka does not answer", BTreeMap::new(), Some(Duration::from_secs(2)))
}

fn told(letter: DeadLetter) -> pb::RefusedCommand {
    let command_id_again = letter.id_again().to_string();
    let DeadLetter { offset, id, refused } = letter;
    let OrderCommandRefused { order_id, code, message, details, retryable, command_id, command_source, command_type, command, .. } = refused;
    let refused_at = refused.refused_at.get();
    let refused = order::OrderCommandRefused {
        order_id,
        code,
        message,
        details,
        retryable,
        command_id,
        command_source,
        command_type,
        command,
        partition: i32::try_from(refused.partition.get()).unwrap_or(i32::MAX),
        offset: signed(refused.offset.get()),
        refused_at: Some(timestamp(refused_at)),
    };
    pb::RefusedCommand { offset, id: id.to_string(), refused: Some(refused), command_id_again }
}

impl Config {
    /// Of the intake from the cluster that answers at `brokers`, executed by the node that serves at `address`.
    #[must_use]
    pub fn intake_settings(&self, brokers: &str, address: SocketAddr, log_id: Uuid) -> IntakeSettings {
        let relay = self.relay_settings(brokers);
        // a server that listens everywhere is reached on this machine
        let mut here = address;
        if here.ip().is_unspecified() {
            here.set_ip(if here.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        let remembered = HOUR * 24 * self.engine.retention_days;
        IntakeSettings {
            batch_commands: self.intake.batch_commands,
            patience: relay.patience,
            ..IntakeSettings::new(relay.kafka, format!("http://{here}"), log_id, remembered)
        }
    }
}

impl Taking {
    /// The intake that has begun, and where its refusals stand.
    pub(crate) fn new(intake: Intake, settings: &IntakeSettings) -> Self {
        Self { intake, refused: DeadLetters::new(Cluster::new(settings.kafka.clone(), settings.patience)) }
    }
}
