//! Why an event of the log cannot be told.

use jari_domain::Position;

/// Nothing is guessed and nothing is skipped: whoever publishes stops here, and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// An event of one of our aggregates that this program cannot read: a newer one wrote it, or somebody else did.
    #[error("the event at position {position} ({aggregate_type}/{event_type} {event_version}) cannot be read: {reason}")]
    Unreadable {
        /// Where it stands.
        position: Position,
        /// As stored.
        aggregate_type: String,
        /// As stored.
        event_type: String,
        /// As stored.
        event_version: String,
        /// What the reader said.
        reason: String,
    },
    /// A value that the contract has no room for. Our program never writes one; another writer may.
    #[error("the event at position {position} has a value that the contract cannot carry: {what}")]
    OutOfRange {
        /// Where it stands.
        position: Position,
        /// Which value, and what it must be.
        what: &'static str,
    },
}

/// A value that the contract has no room for: which, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit(pub(crate) &'static str);
