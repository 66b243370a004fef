//! Recording that an order's holds have lapsed. Touches: the order, then every slot of which it has something.
//!
//! The engine's own; harmless to repeat, to be early or to be late: the lapse is a matter of time, and this only writes it down.

use jari_domain::{
    Refusal, Timestamp,
    ids::{HoldId, OrderId},
    order::{Order, OrderCommand},
    slot::SlotCommand,
};

use super::{decide, on_every_slot, slot_touches};
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// Expires an order and what is left of its holds.
#[derive(Debug)]
pub struct ExpireOrder {
    /// Which.
    pub order_id: OrderId,
}

impl UnitOfWork for ExpireOrder {
    fn name(&self) -> &'static str {
        "expire_order"
    }
    fn touches(&self) -> Vec<Touch> {
        vec![Touch::existing(&self.order_id)]
    }
    fn discover(&self, states: &States<'_>) -> Vec<Touch> {
        slot_touches(states.at::<Order>(0))
    }
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let events = decide::<Order>(states, 0, &OrderCommand::ExpireOrder, now)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut changes = vec![(0, events)];
        let expire = |_: &_, _| SlotCommand::ExpireHold { hold_id: HoldId::from(&self.order_id) };
        on_every_slot(states, states.at::<Order>(0), now, expire, &mut changes)?;
        Ok(changes)
    }
}
