//! A slot as it stood.

use jari_domain::{
    ids::SlotId,
    slot::{InventorySlot, SlotStatus},
};
use jari_proto::{
    availability::v1::{self as wire, SlotState},
    r#type::v1::{Counts, Window},
};
use jari_wire::{count, timestamp};
use jiff::Timestamp;

/// `None` before it was opened. Holds that had lapsed are not counted, whether or not their end was recorded by then.
pub(super) fn told(id: &SlotId, slot: &InventorySlot, at: Timestamp) -> Option<wire::Slot> {
    let state = match slot.status() {
        SlotStatus::Absent => return None,
        SlotStatus::Open => SlotState::Open,
        SlotStatus::Suspended => SlotState::Suspended,
        SlotStatus::Closed => SlotState::Closed,
    };
    let counts = slot.counts_at(at);
    let [capacity, held, confirmed, available] = [counts.capacity, counts.held, counts.confirmed, counts.available()].map(|units| count(units.get()));
    Some(wire::Slot {
        slot_id: id.to_string(),
        pool_id: slot.pool_id().map(ToString::to_string).unwrap_or_default(),
        window: slot.window().map(|w| Window { starts_at: Some(timestamp(w.starts_at)), ends_at: Some(timestamp(w.ends_at)) }),
        state: state.into(),
        counts: Some(Counts { capacity, held, confirmed, available }),
        // as the view keeps it; in events of before ends were cut at the door there are nanoseconds
        earliest_hold_expires_at: slot
            .earliest_live_expiry(at)
            .map(|end| timestamp(Timestamp::from_microsecond(end.as_microsecond()).unwrap_or(end))),
    })
}
