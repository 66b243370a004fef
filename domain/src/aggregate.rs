//! What every aggregate is: a state that decides and applies.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::refusal::Refuse;

/// A pure decision maker over one stream of events.
///
/// `Default` is the state of a stream without events. `apply` cannot fail: whatever `decide` let into the log is true.
pub trait Decider: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stored in `events.aggregate_type`; never changes once released.
    const TYPE: &'static str;
    /// Raised when the shape of the serialised state changes: older snapshots are then ignored and the stream is read anew.
    const SNAPSHOT_VERSION: u32;
    /// Imperative.
    type Command: Send + Sync;
    /// Past tense.
    type Event: EventFormat;
    /// Why not; each variant has a stable code.
    type Error: Refuse;

    /// What follows from `command` at `now`, in the order in which it is to be stored. Empty: nothing to do, and that is fine.
    ///
    /// # Errors
    /// The first refusal that applies, in the order which the aggregate's `decide.rs` numbers.
    fn decide(&self, command: &Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Self::Error>;

    /// What should be recorded before `command` is decided, so that the decision comes to few events: nothing, when it comes to few as it is. It is true
    /// whatever becomes of the command, and once it is recorded this is asked again. Whoever does not ask has it all in the decision.
    fn beforehand(&self, _command: &Self::Command, _few: Few, _now: Timestamp) -> Vec<Self::Event> {
        Vec::new()
    }

    /// Folds one event into the state.
    fn apply(&mut self, event: &Self::Event);

    /// How much the state holds beyond a fixed size, in entries. A snapshot is worth its bytes only after about as many events.
    fn weight(&self) -> usize {
        0
    }

    /// About how many bytes the state takes in memory beyond a fixed size, by what can be large in it. Asked after each event: a few additions, and for
    /// holds, which may be many, a multiplication.
    fn bytes(&self) -> usize;
}

/// How many events [`Decider::beforehand`] takes for few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Few {
    /// In the decision itself, of those that could as well be recorded before it.
    pub within: usize,
    /// Before it, at once: at least 1.
    pub before: usize,
}

/// How an event is named and versioned in storage. The payload is the externally tagged JSON of the enum, which stock cqrs-es reads too.
pub trait EventFormat: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Every event type with the version that is written today; each has a golden file.
    const CURRENT: &'static [(&'static str, &'static str)];
    /// The variant's name: stored in `events.event_type`.
    fn event_type(&self) -> &'static str;
    /// The version that is written today, like `1.0`: stored in `events.event_version`.
    fn event_version(&self) -> &'static str;
    /// Lifts the payload of an older version to today's shape. Called for every stored event before it is read.
    ///
    /// # Errors
    /// A version or type that this program does not know (written by a newer one).
    fn upcast(event_type: &str, event_version: &str, payload: serde_json::Value) -> Result<serde_json::Value, crate::DecodeError>;
    /// Whether a stored event of this type and version can be read as it stands, without [`EventFormat::upcast`]: the fast path.
    fn is_current(event_type: &str, event_version: &str) -> bool;
}

/// What an upcaster says to an event that it does not know.
pub(crate) fn unknown_event<A: Decider>(event_type: &str, event_version: &str) -> crate::DecodeError {
    crate::DecodeError::UnknownEvent { aggregate_type: A::TYPE, event_type: event_type.into(), event_version: event_version.into() }
}

/// Implements [`EventFormat`] from one table: a variant and the version that is written today. A variant that is missing here does
/// not compile. Older versions are lifted by the function named after `upcast`.
macro_rules! event_format {
    ($event:ident, upcast: $upcast:path, { $($variant:ident $version:literal),* $(,)? }) => {
        impl $crate::EventFormat for $event {
            const CURRENT: &'static [(&'static str, &'static str)] = &[$((stringify!($variant), $version)),*];
            fn event_type(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant),)* }
            }
            fn event_version(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $version,)* }
            }
            fn upcast(event_type: &str, event_version: &str, payload: serde_json::Value) -> Result<serde_json::Value, $crate::DecodeError> {
                if Self::is_current(event_type, event_version) {
                    return Ok(payload);
                }
                $upcast(event_type, event_version, payload)
            }
            fn is_current(event_type: &str, event_version: &str) -> bool {
                match event_type { $(stringify!($variant) => event_version == $version,)* _ => false }
            }
        }
    };
}
pub(crate) use event_format;
