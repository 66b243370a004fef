//! Settlement: accepted orders are settled in the order of their positions, and holds that lapse are written down.
//!
//! One owner at a time, by a lease whose epoch each settlement carries into the append. The owner follows the log; what it must remember
//! (who waits, who holds until when) it folds from the log and saves now and then, so that the next owner begins near the end.

mod line;
mod owner;
mod saving;
mod supervisor;

pub use supervisor::{RetryParkedError, Settlement, SettlementSettings, SettlementStatus};

/// The lease's name, and the process' in the store.
pub const SETTLEMENT: &str = "settlement";

/// What the names begin with under which the engine itself acts. No caller may bear one: a hold that settlement took has no timer of its own, so
/// whoever passed for it would hold units for ever.
pub const ENGINE_ACTORS: &str = "engine/";

/// The actor in the metadata of what settlement does.
pub const SETTLEMENT_ACTOR: &str = "engine/settlement";

/// The same, of an order that had been parked: it let those behind it pass, and is not where its position says.
pub const RETRY_ACTOR: &str = "engine/settlement/retry";
