//! Why commands are not taken in, and why one is refused before anybody decides it.

use jari_relay::RelayError;

/// The codes that the intake gives to commands by itself; all others are those of `OrderService`.
pub const CODES: &[&str] =
    &[COMMAND_HEADERS_INVALID, COMMAND_TYPE_UNKNOWN, COMMAND_UNREADABLE, COMMAND_KEY_INVALID, COMMAND_PERSONAL_DATA, COMMAND_TOO_OLD, COMMAND_FAILED];
pub(crate) const COMMAND_HEADERS_INVALID: &str = "COMMAND_HEADERS_INVALID";
pub(crate) const COMMAND_TYPE_UNKNOWN: &str = "COMMAND_TYPE_UNKNOWN";
pub(crate) const COMMAND_UNREADABLE: &str = "COMMAND_UNREADABLE";
pub(crate) const COMMAND_KEY_INVALID: &str = "COMMAND_KEY_INVALID";
pub(crate) const COMMAND_PERSONAL_DATA: &str = "COMMAND_PERSONAL_DATA";
pub(crate) const COMMAND_TOO_OLD: &str = "COMMAND_TOO_OLD";
pub(crate) const COMMAND_FAILED: &str = "COMMAND_FAILED";

/// Why commands are not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Kafka did not do what was asked.
    #[error(transparent)]
    Kafka(#[from] RelayError),
    /// The engine did not take a command for too long.
    #[error("a command was tried for {seconds} s and not taken: {reason}. It is read again, and tried on")]
    NotTaken {
        /// How long.
        seconds: u64,
        /// What the last answer said.
        reason: String,
    },
    /// What is read again might not be known again.
    #[error(
        "{topic} keeps records for {kept}, and ids of commands are remembered for {remembered} (engine.retention_days): one that is read again after that would be \
         executed again. Set the topic's {key} to less than that, or raise engine.retention_days"
    )]
    KeptTooLong {
        /// Which topic.
        topic: String,
        /// As the topic is set.
        kept: String,
        /// As the engine is.
        remembered: String,
        /// What to set.
        key: &'static str,
    },
}

impl IntakeError {
    /// Every code that [`IntakeError::code`] can give, but for those of the relay.
    pub const CODES: &'static [&'static str] = &["COMMANDS_NOT_TAKEN", "COMMANDS_KEPT_TOO_LONG"];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kafka(error) => error.code(),
            Self::NotTaken { .. } => "COMMANDS_NOT_TAKEN",
            Self::KeptTooLong { .. } => "COMMANDS_KEPT_TOO_LONG",
        }
    }

    /// Whether somebody has to do something: time alone does not mend it.
    #[must_use]
    pub fn needs_somebody(&self) -> bool {
        match self {
            Self::Kafka(error) => error.needs_somebody(),
            Self::KeptTooLong { .. } => true,
            Self::NotTaken { .. } => false,
        }
    }
}

/// Why a refused command is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Kafka did not do what was asked.
    #[error(transparent)]
    Kafka(#[from] RelayError),
    /// There is none.
    #[error("no refused command stands at offset {0}: it never did, or its time there is over")]
    Unknown(i64),
    /// It could not be read, is too long, or names no order or no customer.
    #[error(
        "the command could not be read when it came, was too long to be kept, or names no order or customer that can be one: send a right one instead"
    )]
    NothingToSend,
}

impl RedriveError {
    /// Every code that [`RedriveError::code`] can give.
    pub const CODES: &'static [&'static str] = &["KAFKA_UNAVAILABLE", "REFUSED_COMMAND_UNKNOWN", "COMMAND_NOT_KEPT"];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "KAFKA_UNAVAILABLE",
            Self::Unknown(_) => "REFUSED_COMMAND_UNKNOWN",
            Self::NothingToSend => "COMMAND_NOT_KEPT",
        }
    }
}
