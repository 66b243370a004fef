//! Units of work over orders, slots and products, one page each. What they touch stands in their first lines.

mod cancel_order;
mod cancel_units;
mod confirm_order;
mod expire_order;
mod one_stream;
mod place_order;
mod settle_order;

pub use cancel_order::CancelOrder;
pub use cancel_units::CancelUnits;
pub use confirm_order::ConfirmOrder;
pub use expire_order::ExpireOrder;
use jari_domain::{
    AnyEvent, Quantity, Refusal, Refuse, Timestamp,
    ids::SlotId,
    order::{Order, OrderStatus},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
pub use one_stream::OneStream;
pub use place_order::{PlaceLine, PlaceOrder};
pub use settle_order::SettleOrder;

use crate::engine::{Changes, States, Touch};

/// The slots of which an order has something, as touches, in the order of their ids; they follow the order's own touch at index 0. An order that is in
/// line, or has ended, has nothing of them: it can leave the line also when one of its slots cannot be read.
fn slot_touches(order: &Order) -> Vec<Touch> {
    match order.status() {
        OrderStatus::Held | OrderStatus::Confirmed => order.draws().keys().map(Touch::existing).collect(),
        OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled => Vec::new(),
    }
}

/// Decides the same kind of command on every slot of an order, whose states follow the order's own. All or nothing: the first refusal ends it.
fn on_every_slot(
    states: &States<'_>,
    order: &Order,
    now: Timestamp,
    command: impl Fn(&SlotId, Quantity) -> SlotCommand,
    changes: &mut Changes,
) -> Result<(), Refusal> {
    for (index, (slot_id, quantity)) in (1..states.count()).zip(order.draws()) {
        let events = decide_slot(states, index, &command(&slot_id, quantity), now)?;
        changes.push((index, events));
    }
    Ok(())
}

fn decide_slot(states: &States<'_>, index: usize, command: &SlotCommand, now: Timestamp) -> Result<Vec<AnyEvent>, Refusal> {
    decide::<InventorySlot>(states, index, command, now)
}

/// Decides on the state of one touch; events come back wrapped, a refusal as the outside sees it.
fn decide<A: AsAggregate>(states: &States<'_>, index: usize, command: &A::Command, now: Timestamp) -> Result<Vec<AnyEvent>, Refusal> {
    let events = states.at::<A>(index).decide(command, now).map_err(|e| e.to_refusal())?;
    Ok(events.into_iter().map(A::wrap).collect())
}
