//! Giving back units that were sold under a caller's own hold. Touches: the slot, and the order with the hold's id (read: its version must still
//! stand when the units come back).
//!
//! A slot counts how many units orders bought, and gives callers no more back than the rest; which order bought which stands in the order. So only
//! the order can say that these units are its own: the caller hears so, and the log does not tell readers of units of an order that came back without
//! it. The look at an order that mostly does not exist costs a query. Units are cancelled rarely; every other command on holds finds in the
//! slot whose a hold is.
//!
//! Which refusal wins: 1 `HOLD_OF_ORDER`, 2 the slot's own.

use jari_domain::{
    Quantity, Refusal, Refuse, Timestamp,
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
    /// At least 1, at most what is sold and not to orders.
    pub quantity: Quantity,
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
        if is_part_of(states.at::<Order>(1), &self.slot_id) {
            return Err(SlotError::HoldOfOrder { order_id: OrderId::from(&self.hold_id) }.to_refusal());
        }
        Ok(vec![(0, decide_slot(states, 0, &command, now)?)])
    }
}

/// Whether what was sold under the order's id in this slot is, or was, the order's. One that never had anything here leaves the id to the caller.
fn is_part_of(order: &Order, slot_id: &SlotId) -> bool {
    match order.status() {
        OrderStatus::Held | OrderStatus::Confirmed | OrderStatus::Cancelled => order.draws().contains_key(slot_id),
        OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired => false,
    }
}
