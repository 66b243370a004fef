//! What settlement remembers: who waits in line, and which holds end when. Folded from the log; no I/O.

use std::collections::{BTreeMap, BTreeSet};

use jari_domain::{
    AnyEvent, Decider, Position, Timestamp,
    ids::{HoldId, OrderId, SlotId},
    order::{Order, OrderEvent},
    slot::{Holder, SlotEvent},
};
use jari_event_store::RecordedEvent;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::{RETRY_ACTOR, SETTLEMENT_ACTOR};

#[cfg(test)]
mod tests;

/// What puts an order in line, by its name in the log, in every version.
const PLACED: &str = "OrderPlaced";

/// Something that is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// An order, in line or held.
    Order(OrderId),
    /// A hold that belongs to no order.
    Hold(SlotId, HoldId),
}

impl Key {
    /// As it is stored. A slot's id contains `@`, an order's never does.
    pub fn to_text(&self) -> String {
        match self {
            Self::Order(id) => id.to_string(),
            Self::Hold(slot, hold) => format!("{slot}/{hold}"),
        }
    }
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((slot, hold)) => Some(Self::Hold(SlotId::parse(slot).ok()?, HoldId::parse(hold).ok()?)),
            None => Some(Self::Order(OrderId::parse(text).ok()?)),
        }
    }
}

/// How it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Open {
    /// In line since this position.
    Waiting(Position),
    /// Held.
    Until(End),
}

/// The end of what is held, and what set it: its record belongs to the same call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredEnd", into = "StoredEnd")]
pub(super) struct End {
    at: Timestamp,
    /// Unknown of what was saved before it was kept.
    pub cause: Option<Cause>,
}

/// The event that set an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cause {
    pub position: Position,
    pub correlation_id: Option<Box<str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredEnd {
    Alone(Timestamp),
    Caused { at: Timestamp, cause: Cause },
}

impl From<StoredEnd> for End {
    fn from(stored: StoredEnd) -> Self {
        match stored {
            StoredEnd::Alone(at) => Self { at, cause: None },
            StoredEnd::Caused { at, cause } => Self { at, cause: Some(cause) },
        }
    }
}

impl From<End> for StoredEnd {
    fn from(End { at, cause }: End) -> Self {
        match cause {
            None => Self::Alone(at),
            Some(cause) => Self::Caused { at, cause },
        }
    }
}

/// The end that an event sets.
fn end(at: Timestamp, event: &RecordedEvent) -> Open {
    let correlation_id = event.metadata.correlation_id.as_deref().map(Box::from);
    Open::Until(End { at, cause: Some(Cause { position: event.position, correlation_id }) })
}

/// Whether settlement itself wrote it: holds from before their holder was written tell by nothing else that they are an order's.
fn by_settlement(event: &RecordedEvent) -> bool {
    matches!(event.metadata.actor.as_deref(), Some(SETTLEMENT_ACTOR | RETRY_ACTOR))
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Folded up to here.
    pub position: Position,
    open: FxHashMap<Key, Open>,
    waiting: BTreeMap<Position, OrderId>,
    ends: BTreeSet<(Timestamp, Key)>,
    changed: FxHashSet<Key>,
}

impl Line {
    /// From what was saved. An entry that does not read is left out: the order that it names is found again by whoever asks for it.
    pub fn restore(memory: jari_event_store::ProcessMemory) -> Self {
        let mut line = Self { position: memory.position, ..Self::default() };
        for (key, state) in memory.entries {
            match (Key::parse(&key), serde_json::from_str(&state)) {
                (Some(key), Ok(open)) => line.put(key, open),
                _ => tracing::error!(%key, %state, "settlement's memory has an entry that cannot be read"),
            }
        }
        line.changed.clear();
        line
    }

    /// Folds one event. Says when it puts an order in line: also one whose lines this program cannot read, since it was accepted like any other.
    /// Passed over, it would wait for ever, and nobody would know.
    pub fn fold(&mut self, event: &RecordedEvent) -> Option<OrderId> {
        self.position = event.position;
        let Some(known) = event.event() else { return self.fold_unreadable(event) };
        match known {
            AnyEvent::Order(change) => {
                let order_id = OrderId::parse(&event.aggregate_id).ok()?;
                let key = Key::Order(order_id.clone());
                match change {
                    OrderEvent::OrderPlaced { .. } => {
                        self.put(key, Open::Waiting(event.position));
                        return Some(order_id);
                    }
                    OrderEvent::OrderHeld { expires_at } => self.put(key, end(*expires_at, event)),
                    OrderEvent::OrderRejected { .. }
                    | OrderEvent::OrderConfirmed {}
                    | OrderEvent::OrderExpired { .. }
                    | OrderEvent::OrderCancelled { .. } => self.close(key),
                }
            }
            AnyEvent::InventorySlot(change) => self.fold_slot(event, change),
            AnyEvent::Product(_) => {}
        }
        None
    }

    /// Of what a newer program wrote, the name tells enough: an order was accepted. What other events did to an order is found by whoever reads
    /// its stream next.
    fn fold_unreadable(&mut self, event: &RecordedEvent) -> Option<OrderId> {
        if event.aggregate_type != Order::TYPE || &*event.event_type != PLACED {
            return None;
        }
        let order_id = OrderId::parse(&event.aggregate_id).ok()?;
        self.put(Key::Order(order_id.clone()), Open::Waiting(event.position));
        Some(order_id)
    }

    /// A hold of an order ends with the order, in one group: only the others have timers of their own.
    fn fold_slot(&mut self, event: &RecordedEvent, change: &SlotEvent) {
        let Ok(slot) = SlotId::parse(&event.aggregate_id) else { return };
        match change {
            // What another writer calls a hold may be no key that can be saved, and then nothing could be. Such a hold lapses without a record of its
            // own, until somebody needs its room.
            SlotEvent::UnitsHeld { hold_id, expires_at, holder: Holder::Caller, .. }
                if !by_settlement(event) && HoldId::parse(hold_id.as_str()).is_ok() =>
            {
                self.put(Key::Hold(slot, hold_id.clone()), end(*expires_at, event));
            }
            SlotEvent::HoldExtended { hold_id, expires_at } => {
                let key = Key::Hold(slot, hold_id.clone());
                if self.open.contains_key(&key) {
                    self.put(key, end(*expires_at, event));
                }
            }
            SlotEvent::HoldConfirmed { hold_id, .. } | SlotEvent::HoldReleased { hold_id, .. } | SlotEvent::HoldExpired { hold_id, .. } => {
                self.close(Key::Hold(slot, hold_id.clone()));
            }
            SlotEvent::UnitsHeld { .. }
            | SlotEvent::SlotOpened { .. }
            | SlotEvent::UnitsCancelled { .. }
            | SlotEvent::CapacityAdjusted { .. }
            | SlotEvent::SlotSuspended { .. }
            | SlotEvent::SlotResumed { .. }
            | SlotEvent::SlotClosed { .. } => {}
        }
    }

    fn put(&mut self, key: Key, open: Open) {
        self.forget(&key);
        match (&open, &key) {
            (Open::Waiting(position), Key::Order(order)) => {
                self.waiting.insert(*position, order.clone());
            }
            (Open::Until(end), _) => {
                self.ends.insert((end.at, key.clone()));
            }
            (Open::Waiting(_), Key::Hold(..)) => {}
        }
        self.changed.insert(key.clone());
        self.open.insert(key, open);
    }

    fn close(&mut self, key: Key) {
        if self.forget(&key) {
            self.changed.insert(key);
        }
    }

    fn forget(&mut self, key: &Key) -> bool {
        match self.open.remove(key) {
            Some(Open::Waiting(position)) => self.waiting.remove(&position).is_some(),
            Some(Open::Until(end)) => {
                // its end may have been taken already
                self.ends.remove(&(end.at, key.clone()));
                true
            }
            None => false,
        }
    }

    /// Who waits, first in line first.
    pub fn waiting(&self) -> impl Iterator<Item = (Position, &OrderId)> {
        self.waiting.iter().map(|(position, order)| (*position, order))
    }

    /// How many wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Since when the order waits.
    pub fn waiting_since(&self, order: &OrderId) -> Option<Position> {
        match self.open.get(&Key::Order(order.clone())) {
            Some(Open::Waiting(position)) => Some(*position),
            Some(Open::Until(_)) | None => None,
        }
    }

    /// The next end of a hold.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// A hold that has ended by `now`, and what set its end. It stays open until its end is read in the log, and is not given again meanwhile: for one
    /// whose end was not recorded after all there is [`Line::look_again`].
    pub fn take_ended(&mut self, now: Timestamp) -> Option<(Key, Option<Cause>)> {
        if self.next_end()? > now {
            return None;
        }
        let (_, key) = self.ends.pop_first()?;
        let cause = match self.open.get(&key) {
            Some(Open::Until(end)) => end.cause.clone(),
            Some(Open::Waiting(_)) | None => None,
        };
        Some((key, cause))
    }

    /// Looks at the end of a hold again at this time, unless it has ended or was extended since it was taken.
    pub fn look_again(&mut self, key: Key, at: Timestamp) {
        if let Some(Open::Until(end)) = self.open.get_mut(&key)
            && !self.ends.contains(&(end.at, key.clone()))
        {
            end.at = at;
            self.ends.insert((at, key));
        }
    }

    /// How much would be saved.
    pub fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// What changed since the last time: entries to write, and keys to drop.
    pub fn take_changes(&mut self) -> (Vec<(String, String)>, Vec<String>) {
        let (mut puts, mut drops) = (Vec::new(), Vec::new());
        for key in self.changed.drain() {
            match self.open.get(&key).and_then(|open| serde_json::to_string(open).ok()) {
                Some(state) => puts.push((key.to_text(), state)),
                None => drops.push(key.to_text()),
            }
        }
        (puts, drops)
    }
}
