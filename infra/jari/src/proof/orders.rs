//! The orders of a log beside its slots: each settled in its turn, and in its slots what it says of them.
//!
//! Other writers may end an order's hold that was recorded before holds said whose they are; so of a slot only what an order's own event says is asked
//! for, when it says so, and that what is an order's moves with no other event than the order's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jari_commands::settlement::RETRY_ACTOR;
use jari_domain::{
    Decider, EventFormat, Money, Position, Quantity, Timestamp,
    ids::{HoldId, OrderId, SlotId},
    order::{Order, OrderEvent, OrderLine, OrderStatus, draws_of},
    slot::{MAX_HOLD_SECONDS, SlotEvent},
};
use jari_event_store::RecordedEvent;

use super::{
    MOST_FINDINGS,
    decided::Decided,
    group::{Due, Group},
    ledger::SlotLedger,
    rejections::{self, Asked, asked_by},
};

/// An order that is not over.
#[derive(Debug)]
struct Standing {
    position: Position,
    status: OrderStatus,
    /// Of one that is held.
    expires_at: Timestamp,
    /// By slot.
    draws: Box<[Draw]>,
}

/// What it takes of one slot.
#[derive(Debug)]
pub(super) struct Draw {
    pub slot: SlotId,
    pub quantity: Quantity,
    /// Sold under its hold, and not given back.
    pub sold: Quantity,
}

/// An event of a slot that moves what is an order's, before any event of that order.
#[derive(Debug)]
struct Ahead {
    position: Position,
    slot: Arc<str>,
    hold: HoldId,
    what: &'static str,
}

/// The walk so far. An order is forgotten when it is over.
#[derive(Debug, Default)]
pub(super) struct OrderBook {
    /// Orders seen.
    pub placed: u64,
    /// Orders that had been parked, and were decided after some that came later.
    pub passed: u64,
    standing: HashMap<Arc<str>, Standing>,
    /// What the lines of orders in line draw; forgotten when they are decided.
    asked: HashMap<Arc<str>, Box<[Asked]>>,
    /// For each slot what orders that are not over have bought of it.
    bought: HashMap<Arc<str>, u64>,
    /// For each slot the position of the order that was decided there last.
    decided: BTreeMap<SlotId, Position>,
    group: Option<Group>,
    ahead: Vec<Ahead>,
    /// An event is missing, and nobody knows of what.
    is_blind: bool,
}

impl OrderBook {
    /// An event is missing that may have been of any stream: from here on nothing is made up from what was not seen.
    pub fn lacks_an_event(&mut self) {
        self.is_blind = true;
        self.ahead.clear();
    }

    /// Takes the next event of an order, after [`OrderBook::group_is_over`].
    pub fn note(&mut self, event: &RecordedEvent, change: &OrderEvent, slots: &HashMap<Arc<str>, SlotLedger>) -> Vec<String> {
        let Ok(order) = OrderId::parse(&event.aggregate_id) else {
            return vec![format!("position {}: {:?} is no order's id", event.position, event.aggregate_id)];
        };
        let faults = match change {
            OrderEvent::OrderPlaced { lines, total, hold_seconds, .. } => self.place(event, &order, (lines, *total, *hold_seconds)),
            _ => self.go_on(event, &order, change, slots),
        };
        faults.into_iter().map(|fault| format!("position {}: order {order} {fault}", event.position)).collect()
    }

    fn place(&mut self, event: &RecordedEvent, order: &OrderId, (lines, total, hold_seconds): (&[OrderLine], Money, u32)) -> Vec<String> {
        let draws: Box<[Draw]> = draws_of(lines).into_iter().map(|(slot, quantity)| Draw { slot, quantity, sold: Quantity::ZERO }).collect();
        // no slot holds for so long, whatever room it has: there is no telling what such an order was rejected for
        if (1..=MAX_HOLD_SECONDS).contains(&hold_seconds) {
            self.asked.insert(order.shared(), asked_by(lines, &draws));
        }
        self.placed += 1;
        let standing = Standing { position: event.position, status: OrderStatus::Placed, expires_at: Timestamp::MAX, draws };
        self.standing.insert(order.shared(), standing);
        let twice = (event.sequence > 1).then(|| "was placed twice".into());
        let sum =
            (sum_of(lines, total) != Some(total)).then(|| format!("costs {} {}, and its lines come to something else", total.minor, total.currency));
        twice.into_iter().chain(sum).collect()
    }

    /// Faults as what follows on the order's name.
    fn go_on(&mut self, event: &RecordedEvent, order: &OrderId, change: &OrderEvent, slots: &HashMap<Arc<str>, SlotLedger>) -> Vec<String> {
        let Some(standing) = self.standing.get_mut(&*event.aggregate_id) else {
            return vec![format!("had ended or never was placed: {}", event.event_type)];
        };
        let (stood, decided, mut faults) = (standing.status, Decided::of(event), Vec::new());
        if !before(change, stood) {
            faults.push(format!("was {stood}: {}", event.event_type));
        } else if stood == OrderStatus::Held {
            faults.extend(out_of_time(change, standing.expires_at, decided));
        }
        standing.status = after(change);
        if let OrderEvent::OrderHeld { expires_at } = change {
            standing.expires_at = *expires_at;
        }
        if let Some(due) = Due::of(change, stood, &event.metadata) {
            let slots = due.missing(&HoldId::from(order), &standing.draws, slots);
            self.group = Some(Group { position: event.position, order: order.clone(), due, slots });
        }
        if stood == OrderStatus::Placed {
            let asked = self.asked.remove(&*event.aggregate_id).filter(|_| !self.is_blind);
            if let (OrderEvent::OrderRejected { failures }, Some(asked), Some(now)) = (change, asked, decided.said()) {
                faults.extend(rejections::fault(failures, (&HoldId::from(order), now), (&asked, &standing.draws), slots));
            }
            if !matches!(change, OrderEvent::OrderCancelled { .. }) {
                faults.extend(self.keep_line(event));
            }
        }
        if after(change).is_final() {
            self.forget(&event.aggregate_id);
        }
        faults
    }

    /// For every slot, the decisions on orders stand in the order of those orders' positions, but for orders that had been parked.
    fn keep_line(&mut self, event: &RecordedEvent) -> Vec<String> {
        let Some(placed) = self.standing.get(&*event.aggregate_id) else { return Vec::new() };
        // one that was parked let the others pass, and moves nobody's place
        if event.metadata.actor.as_deref() == Some(RETRY_ACTOR) {
            self.passed += u64::from(placed.draws.iter().any(|draw| self.decided.get(&draw.slot).is_some_and(|last| *last > placed.position)));
            return Vec::new();
        }
        let mut faults = Vec::new();
        for Draw { slot, .. } in &placed.draws {
            let before = self.decided.insert(slot.clone(), placed.position).unwrap_or_default();
            if before > placed.position {
                faults.push(format!("was decided at slot {slot} after one that came later"));
            }
        }
        faults
    }

    /// Takes the next event of a slot of which so many are sold after it, if that is known. `is_of_order`: it moves what is an order's. Says when it takes
    /// back what an order bought, and when it holds units for an order that the same group rejected.
    pub fn note_slot(&mut self, event: &RecordedEvent, change: &SlotEvent, sold: Option<u64>, is_of_order: bool) -> Option<String> {
        let (hold_id, units) = units_of(change)?;
        self.move_units(event, change, hold_id, units);
        let is_moved_by_order = self.group.as_ref().is_some_and(|group| group.moves(hold_id, change));
        if is_of_order && !is_moved_by_order && !self.is_blind && self.ahead.len() < MOST_FINDINGS {
            let (position, slot, hold) = (event.position, event.aggregate_id.clone(), hold_id.clone());
            self.ahead.push(Ahead { position, slot, hold, what: change.event_type() });
        }
        if let (SlotEvent::UnitsCancelled { .. }, Some(sold), Some(bought)) = (change, sold, self.bought.get(&*event.aggregate_id))
            && *bought > sold
        {
            return Some(format!(
                "position {}: slot {} takes back what orders bought: {sold} are sold, and {bought} were to them",
                event.position, event.aggregate_id
            ));
        }
        self.group.as_mut()?.settle(event, change, hold_id, units)
    }

    /// What an order bought of a slot, or gave back.
    fn move_units(&mut self, event: &RecordedEvent, change: &SlotEvent, hold_id: &HoldId, units: Quantity) {
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

    /// Nothing more is asked of a slot with an event that cannot be read.
    pub fn slot_is_unreadable(&mut self, slot_id: &str) {
        if let Some(group) = &mut self.group {
            group.forget_slot(slot_id);
        }
        self.ahead.retain(|ahead| *ahead.slot != *slot_id);
    }

    /// Nothing more is asked of an order: it is over, or has an event that cannot be read.
    pub fn forget(&mut self, order_id: &str) {
        self.asked.remove(order_id);
        let Some(standing) = self.standing.remove(order_id) else { return };
        for draw in standing.draws.iter().filter(|draw| draw.sold > Quantity::ZERO) {
            if let Some(bought) = self.bought.get_mut(draw.slot.as_str()) {
                *bought = bought.saturating_sub(draw.sold.into());
            }
        }
    }

    /// No more events of slots follow on the last event of an order, since `next` stands there: what is missing now, and what moved before any event of
    /// its order and has none here, either.
    pub fn group_is_over(&mut self, next: &RecordedEvent) -> Vec<String> {
        if next.aggregate_type == Order::TYPE {
            self.ahead.retain(|ahead| ahead.hold.as_str() != &*next.aggregate_id);
        }
        let missing = self.missing();
        self.group = None;
        self.ahead.clear();
        missing
    }

    /// What is missing if no more follows.
    pub fn missing(&self) -> Vec<String> {
        let alone = |Ahead { position, slot, hold, what }: &Ahead| {
            format!("position {position}: slot {slot} moves what order {hold} has, without it: {what}")
        };
        self.group.iter().flat_map(Group::missing).chain(self.ahead.iter().map(alone)).collect()
    }
}

/// What the lines come to, in one currency. `None`: some line does not come to what it says, or has another currency. Added up here, not by the domain: a
/// proof that asked whoever is to be proved would agree with it.
fn sum_of(lines: &[OrderLine], total: Money) -> Option<Money> {
    let nothing = Money { minor: 0, ..total };
    lines.iter().try_fold(nothing, |sum, line| {
        let units = line.units.iter().try_fold(nothing, |sum, unit| sum.plus(unit.price.times(unit.quantity)?))?;
        if units == line.total { sum.plus(units) } else { None }
    })
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

/// What is wrong with the time at which a held order goes on.
fn out_of_time(change: &OrderEvent, expires_at: Timestamp, decided: Decided) -> Option<String> {
    match change {
        OrderEvent::OrderExpired { expired_at } => (decided.is_before(expires_at) || *expired_at != expires_at)
            .then(|| format!("expires as lapsed at {expired_at}, and is held until {expires_at}")),
        OrderEvent::OrderConfirmed {} | OrderEvent::OrderCancelled { .. } => {
            decided.is_at_or_after(expires_at).then(|| format!("had lapsed at {expires_at}: {}", change.event_type()))
        }
        OrderEvent::OrderPlaced { .. } | OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } => None,
    }
}

/// Whose hold an event moves, and how many units of it.
fn units_of(change: &SlotEvent) -> Option<(&HoldId, Quantity)> {
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
