//! Giving back what is held or bought, or leaving the line. Touches: the order, then every slot of which it has something.

use jari_domain::{
    Refusal, Timestamp,
    ids::OrderId,
    order::{Order, OrderCommand, OrderStatus},
    slot::SlotCommand,
};

use super::{decide, on_every_slot, slot_touches};
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// Cancels an order, whole.
#[derive(Debug)]
pub struct CancelOrder {
    /// Which.
    pub order_id: OrderId,
    /// At most 500 characters.
    pub reason: String,
}

impl UnitOfWork for CancelOrder {
    fn name(&self) -> &'static str {
        "cancel_order"
    }
    fn touches(&self) -> Vec<Touch> {
        vec![Touch::existing(&self.order_id)]
    }
    fn discover(&self, states: &States<'_>) -> Vec<Touch> {
        slot_touches(states.at::<Order>(0))
    }
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let order = states.at::<Order>(0);
        let mut changes = vec![(0, decide::<Order>(states, 0, &OrderCommand::CancelOrder { reason: self.reason.clone() }, now)?)];
        match order.status() {
            OrderStatus::Held => {
                let release = |_: &_, _| SlotCommand::ReleaseForOrder { order_id: self.order_id.clone() };
                on_every_slot(states, order, now, release, &mut changes)?;
            }
            OrderStatus::Confirmed => {
                let cancel = |_: &_, quantity| SlotCommand::CancelForOrder { order_id: self.order_id.clone(), quantity };
                on_every_slot(states, order, now, cancel, &mut changes)?;
            }
            // in line, nothing is taken yet; in the other states the order itself has refused
            OrderStatus::Placed | OrderStatus::Absent | OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled => {}
        }
        Ok(changes)
    }
}
