//! What happened to an inventory slot. Every event that moves units carries the counts after it, so that readers need no state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Counts, Holder, Window};
use crate::{
    DecodeError, Quantity,
    aggregate::{event_format, unknown_event},
    ids::{HoldId, PoolId},
};

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
        quantity: Quantity,
        /// The hold is good before this instant.
        expires_at: Timestamp,
        /// For whom; stored for orders only. Not a new version: a program that does not know the field reads the event without it.
        #[serde(default, skip_serializing_if = "Holder::is_caller")]
        holder: Holder,
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
        quantity: Quantity,
        /// After the event.
        counts: Counts,
    },
    /// Held units were given back.
    HoldReleased {
        /// Which.
        hold_id: HoldId,
        /// Units.
        quantity: Quantity,
        /// After the event.
        counts: Counts,
    },
    /// A hold lapsed.
    HoldExpired {
        /// Which.
        hold_id: HoldId,
        /// Units.
        quantity: Quantity,
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
        quantity: Quantity,
        /// To whom they had been sold; stored for orders only, as in `UnitsHeld`.
        #[serde(default, skip_serializing_if = "Holder::is_caller")]
        holder: Holder,
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
        /// After the event; `None` in an event from before it carried them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<Counts>,
    },
    /// New holds are taken again.
    SlotResumed {
        /// After the event; `None` in an event from before it carried them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<Counts>,
    },
    /// The sale ended.
    SlotClosed {
        /// After the event; `None` in an event from before it carried them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<Counts>,
    },
}

impl SlotEvent {
    /// The slot's counts after the event. `None`: the event changed none (an extended hold), or is from before it carried them.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        match self {
            Self::SlotOpened { counts, .. }
            | Self::UnitsHeld { counts, .. }
            | Self::HoldConfirmed { counts, .. }
            | Self::HoldReleased { counts, .. }
            | Self::HoldExpired { counts, .. }
            | Self::UnitsCancelled { counts, .. }
            | Self::CapacityAdjusted { counts } => Some(*counts),
            Self::SlotSuspended { counts, .. } | Self::SlotResumed { counts } | Self::SlotClosed { counts } => *counts,
            Self::HoldExtended { .. } => None,
        }
    }

    /// See [`crate::AnyEvent::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        if let Self::SlotSuspended { reason, .. } = self { reason.len() } else { 0 }
    }

    /// The hold that the event is of. `None`: it is of the slot alone.
    #[must_use]
    pub fn hold_id(&self) -> Option<&HoldId> {
        match self {
            Self::UnitsHeld { hold_id, .. }
            | Self::HoldExtended { hold_id, .. }
            | Self::HoldConfirmed { hold_id, .. }
            | Self::HoldReleased { hold_id, .. }
            | Self::HoldExpired { hold_id, .. }
            | Self::UnitsCancelled { hold_id, .. } => Some(hold_id),
            Self::SlotOpened { .. }
            | Self::CapacityAdjusted { .. }
            | Self::SlotSuspended { .. }
            | Self::SlotResumed { .. }
            | Self::SlotClosed { .. } => None,
        }
    }
}

event_format! { SlotEvent, upcast: upcast, {
    SlotOpened "1.0",
    UnitsHeld "1.0",
    HoldExtended "1.0",
    HoldConfirmed "1.0",
    HoldReleased "1.0",
    HoldExpired "1.0",
    UnitsCancelled "1.0",
    CapacityAdjusted "1.0",
    SlotSuspended "1.1",
    SlotResumed "1.1",
    SlotClosed "1.1",
}}

/// `SlotSuspended`, `SlotResumed` and `SlotClosed` 1.0 carried no counts: what they were cannot be known from the event alone, and is not made up.
fn upcast(event_type: &str, event_version: &str, payload: serde_json::Value) -> Result<serde_json::Value, DecodeError> {
    match (event_type, event_version) {
        ("SlotSuspended" | "SlotResumed" | "SlotClosed", "1.0") => Ok(payload),
        _ => Err(unknown_event::<super::InventorySlot>(event_type, event_version)),
    }
}
