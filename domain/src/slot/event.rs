//! What happened to an inventory slot. Every event that moves units carries the counts after it, so that readers need no state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Counts, Window};
use crate::ids::{HoldId, PoolId};

/// Past tense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SlotEvent {
    /// The slot opened.
    SlotOpened {
        /// Whose capacity.
        pool_id: PoolId,
        /// None for stock.
        window: Option<Window>,
        /// After the event.
        counts: Counts,
    },
    /// Units were taken for a while.
    UnitsHeld {
        /// By whom.
        hold_id: HoldId,
        /// Units.
        quantity: u32,
        /// The hold is good before this instant.
        expires_at: Timestamp,
        /// After the event.
        counts: Counts,
    },
    /// A hold's end moved.
    HoldExtended {
        /// Which.
        hold_id: HoldId,
        /// The new end.
        expires_at: Timestamp,
    },
    /// Held units were sold.
    HoldConfirmed {
        /// Which.
        hold_id: HoldId,
        /// Units.
        quantity: u32,
        /// After the event.
        counts: Counts,
    },
    /// Held units were given back.
    HoldReleased {
        /// Which.
        hold_id: HoldId,
        /// Units.
        quantity: u32,
        /// After the event.
        counts: Counts,
    },
    /// A hold lapsed.
    HoldExpired {
        /// Which.
        hold_id: HoldId,
        /// Units.
        quantity: u32,
        /// When it lapsed, which may be before the event was recorded.
        expired_at: Timestamp,
        /// After the event.
        counts: Counts,
    },
    /// Sold units came back.
    UnitsCancelled {
        /// Under which hold they were sold.
        hold_id: HoldId,
        /// Units.
        quantity: u32,
        /// After the event.
        counts: Counts,
    },
    /// The capacity changed.
    CapacityAdjusted {
        /// After the event.
        counts: Counts,
    },
    /// New holds are refused from now on.
    SlotSuspended {
        /// For operators.
        reason: String,
    },
    /// New holds are taken again.
    SlotResumed {},
    /// The sale ended.
    SlotClosed {},
}
