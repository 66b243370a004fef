//! An order's event and what it brings about in the slots: one group, in one commit.
//!
//! The slots' events stand right behind the order's, or before it where another writer put them so. What is missing when the next event of another kind
//! comes is missing for good.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jari_domain::{
    Position, Quantity, Timestamp,
    ids::{HoldId, OrderId, SlotId},
    order::{OrderEvent, OrderStatus},
    slot::SlotEvent,
};
use jari_event_store::{Metadata, RecordedEvent};

use super::{ledger::SlotLedger, orders::Draw};

/// What an order's event must bring about in a slot.
#[derive(Debug, Clone)]
pub(super) enum Due {
    /// A hold, until then.
    Held(Timestamp),
    /// A hold's sale.
    Sold,
    /// The end of a hold that lapses by then. An order's expiry leaves one alone that a caller has made longer.
    Ended(Timestamp),
    /// What was sold comes back.
    GivenBack,
    /// No hold: there is none to be had in the group of a rejection.
    Nothing(Arc<Metadata>),
}

impl Due {
    /// What an order's event brings about in each of its slots; `None`: nothing that could be asked for.
    pub fn of(change: &OrderEvent, stood: OrderStatus, metadata: &Arc<Metadata>) -> Option<Self> {
        match change {
            OrderEvent::OrderPlaced { .. } => None,
            OrderEvent::OrderHeld { expires_at } => Some(Self::Held(*expires_at)),
            OrderEvent::OrderRejected { .. } => Some(Self::Nothing(metadata.clone())),
            OrderEvent::OrderConfirmed {} => Some(Self::Sold),
            OrderEvent::OrderExpired { expired_at } => Some(Self::Ended(*expired_at)),
            OrderEvent::OrderCancelled { .. } => match stood {
                OrderStatus::Held => Some(Self::Ended(Timestamp::MAX)),
                OrderStatus::Confirmed => Some(Self::GivenBack),
                OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled => None,
            },
        }
    }

    /// The slots in which it is not so yet, with the units that are missing there.
    pub fn missing(&self, hold_id: &HoldId, draws: &[Draw], slots: &HashMap<Arc<str>, SlotLedger>) -> BTreeMap<SlotId, Quantity> {
        let is_missing = |draw: &&Draw| {
            let ledger = slots.get(draw.slot.as_str());
            let hold = ledger.and_then(|ledger| ledger.hold(hold_id));
            if ledger.is_some_and(SlotLedger::is_unreadable) {
                return false;
            }
            match self {
                Self::Held(until) => hold.is_none_or(|hold| hold.quantity != draw.quantity || hold.expires_at < *until),
                Self::Sold => draw.sold < draw.quantity,
                Self::Ended(by) => hold.is_some_and(|hold| hold.expires_at <= *by),
                Self::GivenBack => draw.sold > Quantity::ZERO,
                Self::Nothing(_) => true,
            }
        };
        draws.iter().filter(is_missing).map(|draw| (draw.slot.clone(), draw.quantity)).collect()
    }

    /// Whether it is events of this kind that it brings about.
    fn brings(&self, change: &SlotEvent) -> bool {
        match self {
            Self::Held(_) => matches!(change, SlotEvent::UnitsHeld { .. }),
            Self::Sold => matches!(change, SlotEvent::HoldConfirmed { .. }),
            Self::Ended(_) => matches!(change, SlotEvent::HoldReleased { .. } | SlotEvent::HoldExpired { .. }),
            Self::GivenBack => matches!(change, SlotEvent::UnitsCancelled { .. }),
            Self::Nothing(_) => false,
        }
    }
}

/// The last event of an order, while events of slots follow on it.
#[derive(Debug)]
pub(super) struct Group {
    pub position: Position,
    pub order: OrderId,
    pub due: Due,
    /// What is still missing, in units; of [`Due::Nothing`], where it must not be.
    pub slots: BTreeMap<SlotId, Quantity>,
}

impl Group {
    /// Whether it is this group that moves the hold so.
    pub fn moves(&self, hold_id: &HoldId, change: &SlotEvent) -> bool {
        self.order.as_str() == hold_id.as_str() && self.due.brings(change)
    }

    /// Crosses off what the event brings about.
    pub fn settle(&mut self, event: &RecordedEvent, change: &SlotEvent, hold_id: &HoldId, units: Quantity) -> Option<String> {
        if self.order.as_str() != hold_id.as_str() {
            return None;
        }
        let (slot, due) = self.slots.iter().find(|(slot, _)| slot.as_str() == &*event.aggregate_id)?;
        let (slot, due) = (slot.clone(), *due);
        let is_there = match (&self.due, change) {
            (Due::Held(until), SlotEvent::UnitsHeld { expires_at, .. }) => units == due && expires_at >= until,
            (Due::Sold, SlotEvent::HoldConfirmed { .. }) | (Due::GivenBack, SlotEvent::UnitsCancelled { .. }) => units == due,
            (Due::Ended(_), SlotEvent::HoldReleased { .. } | SlotEvent::HoldExpired { .. }) => true,
            (Due::Nothing(metadata), SlotEvent::UnitsHeld { .. }) if *metadata == event.metadata => {
                return Some(format!("position {}: slot {slot} holds {units} for order {hold_id}, which is rejected", event.position));
            }
            _ => false,
        };
        if is_there {
            self.slots.remove(&slot);
        }
        None
    }

    /// Nothing more is asked of a slot with an event that cannot be read.
    pub fn forget_slot(&mut self, slot_id: &str) {
        self.slots.retain(|slot, _| slot.as_str() != slot_id);
    }

    /// What is missing if no more follows.
    pub fn missing(&self) -> Vec<String> {
        let Self { position, order, due, slots } = self;
        let say = |(slot, units): (&SlotId, &Quantity)| {
            let what = match due {
                Due::Held(_) => format!("is held, and slot {slot} does not hold its {units}"),
                Due::Sold => format!("was confirmed, and slot {slot} did not sell its {units}"),
                Due::Ended(_) => format!("has ended, and slot {slot} still holds its {units}"),
                Due::GivenBack => format!("was cancelled, and slot {slot} did not take back its {units}"),
                Due::Nothing(_) => return None,
            };
            Some(format!("position {position}: order {order} {what}"))
        };
        slots.iter().filter_map(say).collect()
    }
}
