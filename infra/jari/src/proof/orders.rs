//! The orders of a log beside its slots: each settled in its turn, and in its slots what it says of them.
//!
//! An order's event and what it brings about in the slots are one group, in one commit: the slots' events stand right behind it, or before it
//! where another writer put them so. What is missing when the next event of another kind comes is missing for good. Other writers may
//! move an order's holds by themselves; so only what an order's own event says is asked for, when it says so.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jari_commands::settlement::RETRY_ACTOR;
use jari_domain::{
    Timestamp,
    ids::{HoldId, OrderId, SlotId},
    order::{OrderEvent, OrderStatus, draws_of},
    slot::SlotEvent,
};
use jari_event_store::{Metadata, RecordedEvent};

use super::ledger::SlotLedger;

/// An order that is not over.
#[derive(Debug)]
struct Standing {
    position: u64,
    status: OrderStatus,
    draws: Box<[Draw]>,
}

/// What it takes of one slot.
#[derive(Debug)]
struct Draw {
    slot: SlotId,
    quantity: u32,
    /// Sold under its hold, and not given back.
    sold: u32,
}

/// What an order's event must bring about in a slot.
#[derive(Debug, Clone)]
enum Due {
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

/// The last event of an order, while events of slots follow on it.
#[derive(Debug)]
struct Group {
    position: u64,
    order: OrderId,
    due: Due,
    /// What is still missing, in units; of [`Due::Nothing`], where it must not be.
    slots: BTreeMap<SlotId, u32>,
}

/// The walk so far. An order is forgotten when it is over.
#[derive(Debug, Default)]
pub(super) struct OrderBook {
    /// Orders seen.
    pub placed: u64,
    /// Orders that had been parked, and were decided after some that came later.
    pub passed: u64,
    standing: HashMap<Arc<str>, Standing>,
    /// For each slot what orders that are not over have bought of it.
    bought: HashMap<Arc<str>, u64>,
    /// For each slot the position of the order that was decided there last.
    decided: BTreeMap<SlotId, u64>,
    group: Option<Group>,
}

impl OrderBook {
    /// Takes the next event of an order, after [`OrderBook::group_is_over`].
    pub fn note(&mut self, event: &RecordedEvent, change: &OrderEvent, slots: &HashMap<Arc<str>, SlotLedger>) -> Vec<String> {
        let Ok(order) = OrderId::parse(&event.aggregate_id) else {
            return vec![format!("position {}: {:?} is no order's id", event.position, event.aggregate_id)];
        };
        let mut findings = Vec::new();
        if let OrderEvent::OrderPlaced { lines, .. } = change {
            let draws = draws_of(lines).into_iter().map(|(slot, quantity)| Draw { slot, quantity, sold: 0 }).collect();
            self.placed += 1;
            if event.sequence > 1 {
                findings.push(format!("position {}: order {order} was placed twice", event.position));
            }
            self.standing.insert(order.shared(), Standing { position: event.position, status: OrderStatus::Placed, draws });
            return findings;
        }
        let Some(standing) = self.standing.get_mut(&*event.aggregate_id) else {
            return vec![format!("position {}: order {order} had ended or never was placed: {}", event.position, event.event_type)];
        };
        let stood = std::mem::replace(&mut standing.status, after(change));
        if !before(change, stood) {
            findings.push(format!("position {}: order {order} was {stood}: {}", event.position, event.event_type));
        }
        if let Some(due) = due_of(change, stood, &event.metadata) {
            let slots = missing(&due, &HoldId::from(&order), &standing.draws, slots);
            self.group = Some(Group { position: event.position, order: order.clone(), due, slots });
        }
        if stood == OrderStatus::Placed && !matches!(change, OrderEvent::OrderCancelled { .. }) {
            findings.extend(self.keep_line(event, &order));
        }
        if after(change).is_final() {
            self.forget(&event.aggregate_id);
        }
        findings
    }

    /// For every slot, the decisions on orders stand in the order of those orders' positions, but for orders that had been parked.
    fn keep_line(&mut self, event: &RecordedEvent, order: &OrderId) -> Vec<String> {
        let Some(placed) = self.standing.get(&*event.aggregate_id) else { return Vec::new() };
        // one that was parked let the others pass, and moves nobody's place
        if event.metadata.actor.as_deref() == Some(RETRY_ACTOR) {
            self.passed += u64::from(placed.draws.iter().any(|draw| self.decided.get(&draw.slot).is_some_and(|last| *last > placed.position)));
            return Vec::new();
        }
        let mut findings = Vec::new();
        for Draw { slot, .. } in &placed.draws {
            let before = self.decided.insert(slot.clone(), placed.position).unwrap_or(0);
            if before > placed.position {
                findings.push(format!("position {}: order {order} was decided at slot {slot} after one that came later", event.position));
            }
        }
        findings
    }

    /// Takes the next event of a slot of which so many are sold after it, if that is known. Says when it takes back what an order bought, and when it holds
    /// units for an order that the same group rejected.
    pub fn note_slot(&mut self, event: &RecordedEvent, change: &SlotEvent, sold: Option<u64>) -> Option<String> {
        let (hold_id, units) = units_of(change)?;
        self.move_units(event, change, hold_id, units);
        if let (SlotEvent::UnitsCancelled { .. }, Some(sold), Some(bought)) = (change, sold, self.bought.get(&*event.aggregate_id))
            && *bought > sold
        {
            return Some(format!(
                "position {}: slot {} takes back what orders bought: {sold} are sold, and {bought} were to them",
                event.position, event.aggregate_id
            ));
        }
        self.settle_due(event, change, hold_id, units)
    }

    /// What an order bought of a slot, or gave back.
    fn move_units(&mut self, event: &RecordedEvent, change: &SlotEvent, hold_id: &HoldId, units: u32) {
        if let Some(standing) = self.standing.get_mut(hold_id.as_str())
            && let Some(draw) = standing.draws.iter_mut().find(|draw| draw.slot.as_str() == &*event.aggregate_id)
        {
            let before = draw.sold;
            match change {
                SlotEvent::HoldConfirmed { .. } => draw.sold = draw.sold.saturating_add(units),
                SlotEvent::UnitsCancelled { .. } => draw.sold = draw.sold.saturating_sub(units),
                _ => {}
            }
            if draw.sold != before {
                let bought = self.bought.entry(event.aggregate_id.clone()).or_default();
                *bought = bought.saturating_sub(before.into()).saturating_add(draw.sold.into());
            }
        }
    }

    /// Crosses off what the last event of an order asked for.
    fn settle_due(&mut self, event: &RecordedEvent, change: &SlotEvent, hold_id: &HoldId, units: u32) -> Option<String> {
        let group = self.group.as_mut().filter(|group| group.order.as_str() == hold_id.as_str())?;
        let (slot, due) = group.slots.iter().find(|(slot, _)| slot.as_str() == &*event.aggregate_id)?;
        let (slot, due) = (slot.clone(), *due);
        let is_there = match (&group.due, change) {
            (Due::Held(until), SlotEvent::UnitsHeld { expires_at, .. }) => units == due && expires_at >= until,
            (Due::Sold, SlotEvent::HoldConfirmed { .. }) | (Due::GivenBack, SlotEvent::UnitsCancelled { .. }) => units == due,
            (Due::Ended(_), SlotEvent::HoldReleased { .. } | SlotEvent::HoldExpired { .. }) => true,
            (Due::Nothing(metadata), SlotEvent::UnitsHeld { .. }) if *metadata == event.metadata => {
                return Some(format!("position {}: slot {slot} holds {units} for order {hold_id}, which is rejected", event.position));
            }
            _ => false,
        };
        if is_there {
            group.slots.remove(&slot);
        }
        None
    }

    /// Nothing more is asked of a slot with an event that cannot be read.
    pub fn slot_is_unreadable(&mut self, slot_id: &str) {
        if let Some(group) = &mut self.group {
            group.slots.retain(|slot, _| slot.as_str() != slot_id);
        }
    }

    /// Nothing more is asked of an order: it is over, or has an event that cannot be read.
    pub fn forget(&mut self, order_id: &str) {
        let Some(standing) = self.standing.remove(order_id) else { return };
        for draw in standing.draws.iter().filter(|draw| draw.sold > 0) {
            if let Some(bought) = self.bought.get_mut(draw.slot.as_str()) {
                *bought = bought.saturating_sub(draw.sold.into());
            }
        }
    }

    /// No more events of slots follow on the last event of an order: what is missing now.
    pub fn group_is_over(&mut self) -> Vec<String> {
        let missing = self.missing();
        self.group = None;
        missing
    }

    /// What is missing if no more follows.
    pub fn missing(&self) -> Vec<String> {
        let Some(Group { position, order, due, slots }) = &self.group else { return Vec::new() };
        let say = |(slot, units): (&SlotId, &u32)| {
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

/// Where an order stands after the event.
fn after(change: &OrderEvent) -> OrderStatus {
    match change {
        OrderEvent::OrderPlaced { .. } => OrderStatus::Placed,
        OrderEvent::OrderHeld { .. } => OrderStatus::Held,
        OrderEvent::OrderRejected { .. } => OrderStatus::Rejected,
        OrderEvent::OrderConfirmed {} => OrderStatus::Confirmed,
        OrderEvent::OrderExpired { .. } => OrderStatus::Expired,
        OrderEvent::OrderCancelled { .. } => OrderStatus::Cancelled,
    }
}

/// Whether the event may follow on an order that stood so.
fn before(change: &OrderEvent, stood: OrderStatus) -> bool {
    match change {
        OrderEvent::OrderPlaced { .. } => stood == OrderStatus::Absent,
        OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } => stood == OrderStatus::Placed,
        OrderEvent::OrderConfirmed {} | OrderEvent::OrderExpired { .. } => stood == OrderStatus::Held,
        OrderEvent::OrderCancelled { was, .. } => stood == *was,
    }
}

/// What an order's event brings about in each of its slots; `None`: nothing that could be asked for.
fn due_of(change: &OrderEvent, stood: OrderStatus, metadata: &Arc<Metadata>) -> Option<Due> {
    match change {
        OrderEvent::OrderPlaced { .. } => None,
        OrderEvent::OrderHeld { expires_at } => Some(Due::Held(*expires_at)),
        OrderEvent::OrderRejected { .. } => Some(Due::Nothing(metadata.clone())),
        OrderEvent::OrderConfirmed {} => Some(Due::Sold),
        OrderEvent::OrderExpired { expired_at } => Some(Due::Ended(*expired_at)),
        OrderEvent::OrderCancelled { .. } => match stood {
            OrderStatus::Held => Some(Due::Ended(Timestamp::MAX)),
            OrderStatus::Confirmed => Some(Due::GivenBack),
            OrderStatus::Absent | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled => None,
        },
    }
}

/// The slots in which it is not so yet.
fn missing(due: &Due, hold_id: &HoldId, draws: &[Draw], slots: &HashMap<Arc<str>, SlotLedger>) -> BTreeMap<SlotId, u32> {
    let is_missing = |draw: &&Draw| {
        let ledger = slots.get(draw.slot.as_str());
        let hold = ledger.and_then(|ledger| ledger.hold(hold_id));
        if ledger.is_some_and(SlotLedger::is_unreadable) {
            return false;
        }
        match due {
            Due::Held(until) => hold.is_none_or(|hold| hold.quantity != draw.quantity || hold.expires_at < *until),
            Due::Sold => draw.sold < draw.quantity,
            Due::Ended(by) => hold.is_some_and(|hold| hold.expires_at <= *by),
            Due::GivenBack => draw.sold > 0,
            Due::Nothing(_) => true,
        }
    };
    draws.iter().filter(is_missing).map(|draw| (draw.slot.clone(), draw.quantity)).collect()
}

/// Whose hold an event moves, and how many units of it.
fn units_of(change: &SlotEvent) -> Option<(&HoldId, u32)> {
    match change {
        SlotEvent::UnitsHeld { hold_id, quantity, .. }
        | SlotEvent::HoldConfirmed { hold_id, quantity, .. }
        | SlotEvent::HoldReleased { hold_id, quantity, .. }
        | SlotEvent::HoldExpired { hold_id, quantity, .. }
        | SlotEvent::UnitsCancelled { hold_id, quantity, .. } => Some((hold_id, *quantity)),
        SlotEvent::SlotOpened { .. }
        | SlotEvent::HoldExtended { .. }
        | SlotEvent::CapacityAdjusted { .. }
        | SlotEvent::SlotSuspended { .. }
        | SlotEvent::SlotResumed { .. }
        | SlotEvent::SlotClosed { .. } => None,
    }
}
