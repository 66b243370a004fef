//! What can be booked, as integrators see it: told beside each event of a slot that changes it.

use std::sync::Arc;

use jari_domain::{
    Position,
    slot::{Sale, SlotEvent},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Told, events_of, tell},
    error::Unfit,
    value::{Counts, Int64},
};

events_of! { "reservation.availability.v1" on Availability {
    AvailabilityChanged "1.0",
}}

/// The counts of a slot, or whether it is for sale, changed. All that a cache needs: it takes the place of the message before with the slot's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityChanged {
    /// The slot: "POOL@YYYYMMDDTHHMMSSZ" (its start in UTC), or "POOL@stock".
    pub slot_id: Arc<str>,
    /// Whose capacity.
    pub pool_id: Arc<str>,
    /// After the change.
    pub counts: Counts,
    /// After the change.
    pub sale_state: SaleState,
    /// Of the event that changed it. Pass it as `min_position` to a query that must have seen the change.
    pub position: Int64,
}

/// Whether a slot is for sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaleState {
    /// Takes holds, until it starts.
    #[serde(rename = "SLOT_STATE_OPEN")]
    Open,
    /// Takes no new holds for a while.
    #[serde(rename = "SLOT_STATE_SUSPENDED")]
    Suspended,
    /// Takes no new holds ever; what is held may still be confirmed.
    #[serde(rename = "SLOT_STATE_CLOSED")]
    Closed,
}

impl From<Sale> for SaleState {
    fn from(sale: Sale) -> Self {
        match sale {
            Sale::Open => Self::Open,
            Sale::Suspended => Self::Suspended,
            Sale::Closed => Self::Closed,
        }
    }
}

/// What integrators are told beside an event of the slot `id`. Nothing when the event changes nothing that can be booked (a hold that lasts longer
/// or shorter), or is from before events said so of the slot after them.
pub(crate) fn told(id: &Arc<str>, event: &SlotEvent, position: Position) -> Result<Option<Told>, Unfit> {
    let Some(counts) = event.counts() else { return Ok(None) };
    // The id of a slot begins with its pool's, which cannot hold the sign. Another writer's may have none: then nobody knows the pool.
    let pool_id = id.split_once('@').map_or("", |(pool, _)| pool);
    Ok(Some(tell(&AvailabilityChanged {
        slot_id: id.clone(),
        pool_id: pool_id.into(),
        counts: counts.try_into()?,
        sale_state: counts.sale.into(),
        position: Int64::new(position.get(), "positions have at most 63 bits")?,
    })))
}
