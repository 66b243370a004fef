//! What happened to slots, as integrators see it.

use std::sync::Arc;

use jari_domain::{Quantity, slot::SlotEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Told, events_of, tell},
    error::Unfit,
    value::{Count, Counts, Time, Window},
};

events_of! { "reservation.inventory.v1" on Slot {
    SlotOpened "1.0",
    UnitsHeld "1.0",
    HoldExtended "1.0",
    HoldConfirmed "1.0",
    HoldReleased "1.0",
    HoldExpired "1.0",
    UnitsCancelled "1.0",
    CapacityAdjusted "1.0",
    SlotSuspended "1.0",
    SlotResumed "1.0",
    SlotClosed "1.0",
}}

/// The slot was opened for sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotOpened {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Whose capacity.
    pub pool_id: Arc<str>,
    /// When; absent for stock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Window")]
    pub window: Option<Window>,
    /// After the event.
    pub counts: Counts,
}

/// Units were taken for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitsHeld {
    /// The slot.
    pub slot_id: Arc<str>,
    /// By which hold. The holds of an order bear the order's id.
    pub hold_id: Arc<str>,
    /// Units.
    pub quantity: Count,
    /// The hold is good before this instant.
    pub expires_at: Time,
    /// After the event.
    pub counts: Counts,
}

/// A hold's end moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldExtended {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Which hold.
    pub hold_id: Arc<str>,
    /// The new end: later or sooner than the old one.
    pub expires_at: Time,
}

/// Held units were sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldConfirmed {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Which hold; it is there no more.
    pub hold_id: Arc<str>,
    /// Units.
    pub quantity: Count,
    /// After the event.
    pub counts: Counts,
}

/// Held units were given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldReleased {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Which hold; it is there no more.
    pub hold_id: Arc<str>,
    /// Units.
    pub quantity: Count,
    /// After the event.
    pub counts: Counts,
}

/// A hold lapsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldExpired {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Which hold; it is there no more.
    pub hold_id: Arc<str>,
    /// Units.
    pub quantity: Count,
    /// When it lapsed, which may be before the event was recorded.
    pub expired_at: Time,
    /// After the event.
    pub counts: Counts,
}

/// Sold units came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitsCancelled {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Under which hold they were sold.
    pub hold_id: Arc<str>,
    /// Units.
    pub quantity: Count,
    /// After the event.
    pub counts: Counts,
}

/// The capacity changed. It may be below what is taken: nothing is held then until enough has come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityAdjusted {
    /// The slot.
    pub slot_id: Arc<str>,
    /// After the event.
    pub counts: Counts,
}

/// New holds are refused from now on; what is held may still be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotSuspended {
    /// The slot.
    pub slot_id: Arc<str>,
    /// The operator's words.
    pub reason: String,
}

/// New holds are taken again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotResumed {
    /// The slot.
    pub slot_id: Arc<str>,
}

/// The sale ended for good; what is held may still be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotClosed {
    /// The slot.
    pub slot_id: Arc<str>,
}

/// What integrators are told of an event of the slot `id`.
pub(crate) fn told(id: &Arc<str>, event: &SlotEvent) -> Result<Told, Unfit> {
    let slot_id = id.clone();
    let units = |quantity: &Quantity| Count::new(quantity.get(), "quantities have at most 31 bits");
    Ok(match event {
        SlotEvent::SlotOpened { pool_id, window, counts } => {
            tell(&SlotOpened { slot_id, pool_id: pool_id.shared(), window: window.map(Window::from), counts: (*counts).try_into()? })
        }
        // for whom is not told: an order's own events say what it holds
        SlotEvent::UnitsHeld { hold_id, quantity, expires_at, holder: _, counts } => {
            let (hold_id, expires_at) = (hold_id.shared(), (*expires_at).into());
            tell(&UnitsHeld { slot_id, hold_id, quantity: units(quantity)?, expires_at, counts: (*counts).try_into()? })
        }
        SlotEvent::HoldExtended { hold_id, expires_at } => {
            tell(&HoldExtended { slot_id, hold_id: hold_id.shared(), expires_at: (*expires_at).into() })
        }
        SlotEvent::HoldConfirmed { hold_id, quantity, counts } => {
            tell(&HoldConfirmed { slot_id, hold_id: hold_id.shared(), quantity: units(quantity)?, counts: (*counts).try_into()? })
        }
        SlotEvent::HoldReleased { hold_id, quantity, counts } => {
            tell(&HoldReleased { slot_id, hold_id: hold_id.shared(), quantity: units(quantity)?, counts: (*counts).try_into()? })
        }
        SlotEvent::HoldExpired { hold_id, quantity, expired_at, counts } => {
            let (hold_id, expired_at) = (hold_id.shared(), (*expired_at).into());
            tell(&HoldExpired { slot_id, hold_id, quantity: units(quantity)?, expired_at, counts: (*counts).try_into()? })
        }
        SlotEvent::UnitsCancelled { hold_id, quantity, holder: _, counts } => {
            tell(&UnitsCancelled { slot_id, hold_id: hold_id.shared(), quantity: units(quantity)?, counts: (*counts).try_into()? })
        }
        SlotEvent::CapacityAdjusted { counts } => tell(&CapacityAdjusted { slot_id, counts: (*counts).try_into()? }),
        SlotEvent::SlotSuspended { reason, counts: _ } => tell(&SlotSuspended { slot_id, reason: reason.clone() }),
        SlotEvent::SlotResumed { counts: _ } => tell(&SlotResumed { slot_id }),
        SlotEvent::SlotClosed { counts: _ } => tell(&SlotClosed { slot_id }),
    })
}
