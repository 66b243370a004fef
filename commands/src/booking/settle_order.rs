//! The settlement of an accepted order: everything is held, or it is rejected with every line that failed.
//!
//! Touches: the order, and every slot that its lines draw on, summed; at all of them it keeps its turn, so that orders are settled in
//! line even when one that was first falls to another writer. Under the settlement lease: an owner that was paused and came back lands nothing.

use std::{collections::BTreeMap, sync::Arc};

use jari_domain::{
    Decider, Few, Quantity, Refusal, Timestamp,
    ids::{OrderId, SlotId},
    order::{LineFailure, MAX_FAILURES, Order, OrderCommand, OrderStatus},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::LeaseStamp;
use jiff::SignedDuration;

use super::{decide, decide_slot};
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// Settles one order. Harmless to repeat: an order that is not waiting any more is left as it is.
#[derive(Debug)]
pub struct SettleOrder {
    /// Which.
    pub order_id: OrderId,
    /// The slots of all its lines, summed, from its own `OrderPlaced`.
    pub draws: BTreeMap<SlotId, Quantity>,
    /// See the page's head.
    pub lease: Option<Arc<LeaseStamp>>,
}

impl UnitOfWork for SettleOrder {
    fn name(&self) -> &'static str {
        "settle_order"
    }

    fn touches(&self) -> Vec<Touch> {
        std::iter::once(Touch::in_turn(&self.order_id)).chain(self.draws.keys().map(Touch::in_turn)).collect()
    }

    fn lease(&self) -> Option<LeaseStamp> {
        self.lease.as_deref().cloned()
    }

    /// What the order may leave to its own group is little in each slot, so that it is not much in all of them.
    fn beforehand(&self, states: &States<'_>, most: usize, now: Timestamp) -> Changes {
        let order = states.at::<Order>(0);
        let (mut changes, mut rest) = (Changes::new(), most);
        if order.status() != OrderStatus::Placed {
            return changes;
        }
        let (expires_at, within) = (expiry(order, now), most / self.draws.len().max(1));
        for (index, quantity) in (1..).zip(self.draws.values()) {
            if rest == 0 {
                break;
            }
            let few = Few { within, before: rest };
            let events = states.at::<InventorySlot>(index).beforehand(&self.hold(*quantity, expires_at), few, now);
            if !events.is_empty() {
                rest -= events.len();
                changes.push((index, events.into_iter().map(InventorySlot::wrap).collect()));
            }
        }
        changes
    }

    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let order = states.at::<Order>(0);
        if order.status() != OrderStatus::Placed {
            return Ok(Vec::new());
        }
        let expires_at = expiry(order, now);
        let mut changes = Vec::with_capacity(1 + self.draws.len());
        let mut refusals = BTreeMap::new();
        for (index, (slot_id, quantity)) in (1..).zip(&self.draws) {
            match decide_slot(states, index, &self.hold(*quantity, expires_at), now) {
                Ok(events) => changes.push((index, events)),
                Err(refusal) => {
                    refusals.insert(slot_id, refusal);
                }
            }
        }
        let command = if refusals.is_empty() {
            OrderCommand::RecordHold { expires_at }
        } else {
            changes.clear();
            OrderCommand::RejectOrder { failures: failures(order, &refusals) }
        };
        changes.push((0, decide::<Order>(states, 0, &command, now)?));
        Ok(changes)
    }
}

impl SettleOrder {
    fn hold(&self, quantity: Quantity, expires_at: Timestamp) -> SlotCommand {
        SlotCommand::HoldForOrder { order_id: self.order_id.clone(), quantity, expires_at }
    }
}

/// When the holds of an order end that are taken now.
fn expiry(order: &Order, now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(i64::from(order.hold_seconds()))).unwrap_or(Timestamp::MAX)
}

/// Every line that draws on a slot which refused, by line and slot.
fn failures(order: &Order, refusals: &BTreeMap<&SlotId, Refusal>) -> Vec<LineFailure> {
    let lines = (0..).zip(order.lines());
    let failing =
        lines.flat_map(|(number, line)| line.draws.iter().filter_map(move |draw| Some((number, &draw.slot_id, refusals.get(&draw.slot_id)?))));
    failing
        .take(MAX_FAILURES)
        .map(|(line, slot_id, refusal)| LineFailure {
            line,
            slot_id: slot_id.clone(),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            details: refusal.details.clone(),
            retryable: refusal.retryable,
        })
        .collect()
}
