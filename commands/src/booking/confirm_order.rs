//! Buying what is held. Touches: the order, then every slot of which it has something.
//!
//! The order's own refusal wins over a slot's. A confirm and an expiry that race meet at the same streams: whichever is first in line wins.

use jari_domain::{
    Refusal, Timestamp,
    ids::OrderId,
    order::{Order, OrderCommand},
    slot::SlotCommand,
};

use super::{decide, on_every_slot, slot_touches};
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// Confirms an order and all its holds.
#[derive(Debug)]
pub struct ConfirmOrder {
    /// Which.
    pub order_id: OrderId,
}

impl UnitOfWork for ConfirmOrder {
    fn name(&self) -> &'static str {
        "confirm_order"
    }
    fn touches(&self) -> Vec<Touch> {
        vec![Touch::existing(&self.order_id)]
    }
    fn discover(&self, states: &States<'_>) -> Vec<Touch> {
        slot_touches(states.at::<Order>(0))
    }
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let mut changes = vec![(0, decide::<Order>(states, 0, &OrderCommand::ConfirmOrder, now)?)];
        let confirm = |_: &_, _| SlotCommand::ConfirmForOrder { order_id: self.order_id.clone() };
        on_every_slot(states, states.at::<Order>(0), now, confirm, &mut changes)?;
        Ok(changes)
    }
}
