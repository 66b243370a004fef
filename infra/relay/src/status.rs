//! How the relay is.

use jari_event_store::Position;

/// What it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayState {
    /// Another node relays, or nobody is known to.
    Standby,
    /// It is taking over: fencing whoever was before, and finding its place.
    Starting,
    /// It relays.
    Running,
    /// It stands still, and tries again by itself.
    Waiting {
        /// Stable code.
        code: &'static str,
        /// One sentence.
        reason: String,
    },
    /// It stands still until somebody does something.
    Halted {
        /// Stable code.
        code: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// How the relay of this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// What it is doing.
    pub state: RelayState,
    /// The last position that is in Kafka, as far as this node knows; `None` before it has read the checkpoint.
    pub position: Option<Position>,
    /// Transactions committed since the start.
    pub transactions: u64,
}

impl Default for RelayStatus {
    fn default() -> Self {
        Self { state: RelayState::Standby, position: None, transactions: 0 }
    }
}
