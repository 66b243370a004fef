//! What `jari verify` proves, event by event.

use std::collections::BTreeMap;

use jari_commands::settlement::RETRY_ACTOR;
use jari_domain::{
    AnyEvent, AnyState, Timestamp,
    ids::{OrderId, SlotId},
    order::{OrderEvent, draws_of},
    registry::AsAggregate,
    slot::{InventorySlot, SlotEvent},
};
use jari_event_store::{Body, RecordedEvent};

/// Findings kept; a log that is broken everywhere need not fill memory to say so.
const MOST_FINDINGS: usize = 10_000;

#[derive(Debug)]
struct Stream {
    sequence: u64,
    state: Option<AnyState>,
}

/// An order as far as its settlement goes.
#[derive(Debug)]
struct Placed {
    position: u64,
    slots: Vec<SlotId>,
}

/// The walk so far.
#[derive(Debug, Default)]
pub struct Proof {
    /// Walked.
    pub events: u64,
    recorded_at: Option<Timestamp>,
    streams: BTreeMap<(String, String), Stream>,
    /// Orders that were placed and not decided.
    waiting: BTreeMap<OrderId, Placed>,
    orders: u64,
    /// Orders that had been parked, and were decided after some that came later.
    passed: u64,
    /// For each slot the position of the order that was decided there last.
    decided: BTreeMap<SlotId, u64>,
    findings: Vec<String>,
}

impl Proof {
    /// Takes the next event.
    pub fn take(&mut self, event: &RecordedEvent) {
        self.events += 1;
        if event.position != self.events {
            self.found(format!("position {} where {} should be", event.position, self.events));
            self.events = event.position;
        }
        if self.recorded_at.is_some_and(|before| event.recorded_at < before) {
            self.found(format!("position {}: recorded before the event before it", event.position));
        }
        self.recorded_at = Some(event.recorded_at);
        let key = (event.aggregate_type.to_string(), event.aggregate_id.to_string());
        let stream = self.streams.entry(key).or_insert_with(|| Stream { sequence: 0, state: AnyState::new(&event.aggregate_type) });
        let expected = stream.sequence + 1;
        stream.sequence = event.sequence;
        let Body::Known(typed) = &event.body else {
            self.found(format!("position {}: the event cannot be read", event.position));
            return;
        };
        let broken = stream.state.as_mut().and_then(|state| {
            let before = InventorySlot::of(state).map(InventorySlot::counts);
            state.apply(typed);
            let after = InventorySlot::of(state)?.counts();
            let taken = u64::from(after.held) + u64::from(after.confirmed);
            let had = before.map_or(0, |b| u64::from(b.held) + u64::from(b.confirmed));
            (taken > u64::from(after.capacity) && taken > had).then(|| format!("{taken} taken of {}", after.capacity))
        });
        let told = told_counts(typed);
        let counted = stream.state.as_ref().and_then(InventorySlot::of).map(InventorySlot::counts);
        if event.sequence != expected {
            self.found(format!(
                "position {}: sequence {} of {}/{} where {expected} should be",
                event.position, event.sequence, event.aggregate_type, event.aggregate_id
            ));
        }
        if let Some(broken) = broken {
            self.found(format!("position {}: slot {} is oversold: {broken}", event.position, event.aggregate_id));
        }
        if told.is_some() && told != counted {
            self.found(format!("position {}: slot {} says {told:?} and holds {counted:?}", event.position, event.aggregate_id));
        }
        self.line(event, typed);
    }

    /// For every slot, the decisions on orders stand in the order of those orders' positions, but for orders that had been parked.
    fn line(&mut self, event: &RecordedEvent, typed: &AnyEvent) {
        let AnyEvent::Order(change) = typed else { return };
        let Ok(order) = OrderId::parse(&event.aggregate_id) else { return };
        match change {
            OrderEvent::OrderPlaced { lines, .. } => {
                self.orders += 1;
                let slots = draws_of(lines).into_keys().collect();
                self.waiting.insert(order, Placed { position: event.position, slots });
            }
            OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } => {
                let Some(placed) = self.waiting.remove(&order) else { return };
                // one that was parked let the others pass, and moves nobody's place
                if event.metadata.actor.as_deref() == Some(RETRY_ACTOR) {
                    self.passed += u64::from(placed.slots.iter().any(|slot| self.decided.get(slot).is_some_and(|last| *last > placed.position)));
                    return;
                }
                for slot in placed.slots {
                    let before = self.decided.insert(slot.clone(), placed.position).unwrap_or(0);
                    if before > placed.position {
                        self.found(format!("position {}: order {order} was decided at slot {slot} after one that came later", event.position));
                    }
                }
            }
            OrderEvent::OrderCancelled { .. } => {
                self.waiting.remove(&order);
            }
            OrderEvent::OrderConfirmed {} | OrderEvent::OrderExpired { .. } => {}
        }
    }

    /// Streams seen.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
    /// Orders seen.
    pub fn orders(&self) -> u64 {
        self.orders
    }
    /// Orders seen that lost their place in line, having been parked.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Everything that does not hold.
    pub fn finish(&self) -> &[String] {
        &self.findings
    }

    /// Keeps a finding, while there are not too many.
    pub fn found(&mut self, finding: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// The counts that a slot's event carries, when it moves units.
fn told_counts(event: &AnyEvent) -> Option<jari_domain::slot::Counts> {
    match event {
        AnyEvent::InventorySlot(
            SlotEvent::SlotOpened { counts, .. }
            | SlotEvent::UnitsHeld { counts, .. }
            | SlotEvent::HoldConfirmed { counts, .. }
            | SlotEvent::HoldReleased { counts, .. }
            | SlotEvent::HoldExpired { counts, .. }
            | SlotEvent::UnitsCancelled { counts, .. }
            | SlotEvent::CapacityAdjusted { counts },
        ) => Some(*counts),
        _ => None,
    }
}
