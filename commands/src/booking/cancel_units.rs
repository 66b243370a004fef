//! Giving back units that were sold under a caller's own hold. Touches: the slot, and the order with the hold's id (read: its version must still
//! stand when the units come back).
//!
//! A slot counts what is sold and does not know to whom; what an order bought stands in the order. So only the order can say that these
//! units are its own, and then they come back with it alone: else it would stay confirmed over units that others buy. The look at an order that
//! mostly does not exist costs a query. Units are cancelled rarely; every other command on holds finds in the slot whose a hold is.
//!
//! Which refusal wins: 1 the slot's own, 2 `HOLD_OF_ORDER`.

use jari_domain::{
    Refusal, Refuse, Timestamp,
    ids::{HoldId, OrderId, SlotId},
    order::{Order, OrderStatus},
    slot::{SlotCommand, SlotError},
};

use super::decide_slot;
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// Gives sold units back.
#[derive(Debug)]
pub struct CancelUnits {
    /// Where.
    pub slot_id: SlotId,
    /// The hold under which they were sold.
    pub hold_id: HoldId,
    /// At least 1, at most what is confirmed.
    pub quantity: u32,
}

impl UnitOfWork for CancelUnits {
    fn name(&self) -> &'static str {
        "cancel_units"
    }
    fn touches(&self) -> Vec<Touch> {
        vec![Touch::existing(&self.slot_id), Touch::existing(&OrderId::from(&self.hold_id))]
    }
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let command = SlotCommand::CancelUnits { hold_id: self.hold_id.clone(), quantity: self.quantity };
        let events = decide_slot(states, 0, &command, now)?;
        if is_part_of(states.at::<Order>(1), &self.slot_id) {
            return Err(SlotError::HoldOfOrder { order_id: OrderId::from(&self.hold_id) }.to_refusal());
        }
        Ok(vec![(0, events)])
    }
}

/// Whether what was sold under the order's id in this slot is, or was, the order's. One that never had anything here leaves the id to the caller.
fn is_part_of(order: &Order, slot_id: &SlotId) -> bool {
    match order.status() {
        OrderStatus::Held | OrderStatus::Confirmed | OrderStatus::Cancelled => order.draws().contains_key(slot_id),
        OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired => false,
    }
}
