//! What `jari verify` proves, event by event.
//!
//! It counts for itself: what a slot has taken follows from the quantities of its events, and what these state of it is held against that. And it holds
//! each event against what the product, slot or order allowed at that time: a finding is something that no decision of `domain/` comes to. In
//! memory it keeps a line for each stream, the products, the open holds, and each order that may still be cancelled, which a bought one may be for ever:
//! it grows with streams and with orders bought, not with units. docs/operators.md says how much that is.

mod decided;
mod group;
mod holds;
mod ledger;
mod objection;
mod orders;
mod products;
mod rejections;
mod walk;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use jari_domain::{
    AnyEvent, Decider, Position, Timestamp,
    order::Order,
    product::Product,
    slot::{InventorySlot, SlotEvent},
};
use jari_event_store::{Body, RecordedEvent};

use self::{decided::Decided, ledger::SlotLedger, orders::OrderBook, products::ProductBook};
pub use walk::Walk;

/// Findings kept; a log that is broken everywhere need not fill memory to say so.
const MOST_FINDINGS: usize = 10_000;

#[derive(Debug, Default)]
struct Stream {
    sequence: u64,
    /// The time that it has reached, in microseconds: what snapshots keep of it, and whoever goes on from one.
    reached: i64,
    /// It has an event that cannot be read, or lacks one. That is said once; whatever else seems wrong with the stream may be in that event.
    is_unreadable: bool,
}

/// The walk so far.
#[derive(Debug, Default)]
pub struct Proof {
    /// Walked.
    pub events: u64,
    recorded_at: Option<Timestamp>,
    streams: HashMap<(Cow<'static, str>, Arc<str>), Stream>,
    slots: HashMap<Arc<str>, SlotLedger>,
    products: ProductBook,
    orders: OrderBook,
    findings: Vec<String>,
}

impl Proof {
    /// Takes the next event.
    pub fn take(&mut self, event: &RecordedEvent) {
        let is_readable = self.place(event);
        let findings = match &event.body {
            Body::Known(AnyEvent::InventorySlot(change)) => self.take_slot(event, change, is_readable),
            Body::Unreadable { .. } if event.aggregate_type == InventorySlot::TYPE => Vec::new(),
            Body::Unreadable { .. } => self.orders.group_is_over(event),
            Body::Known(AnyEvent::Product(change)) => {
                let mut findings = self.orders.group_is_over(event);
                findings.extend(is_readable.then(|| self.products.note(event, change)).flatten());
                findings
            }
            Body::Known(AnyEvent::Order(change)) => {
                let mut findings = self.orders.group_is_over(event);
                if is_readable {
                    findings.extend(self.orders.note(event, change, &self.slots));
                }
                findings
            }
        };
        if !is_readable {
            // what is not judged any more need not be remembered
            self.forget(event);
        }
        findings.into_iter().for_each(|finding| self.found(finding));
    }

    fn take_slot(&mut self, event: &RecordedEvent, change: &SlotEvent, is_readable: bool) -> Vec<String> {
        let mut findings = Vec::new();
        let (mut sold, mut of_order) = (None, None);
        if is_readable {
            let ledger = self.slots.entry(event.aggregate_id.clone()).or_default();
            of_order = ledger.order_moved_by(change);
            ledger
                .note(change, Decided::of(event), |fault| findings.push(format!("position {}: slot {} {fault}", event.position, event.aggregate_id)));
            sold = Some(ledger.sold());
        }
        // of an order with an event that cannot be read nobody knows what it did
        let order = of_order.map(|order| (Cow::Borrowed(Order::TYPE), order.shared()));
        let is_of_order = order.is_some_and(|order| self.streams.get(&order).is_none_or(|stream| !stream.is_unreadable));
        findings.extend(self.orders.note_slot(event, change, sold, is_of_order));
        findings
    }

    /// Its place in the log and in its stream, and its time. Says whether all of the stream up to here could be read.
    fn place(&mut self, event: &RecordedEvent) -> bool {
        self.events += 1;
        if event.position != Position::new(self.events) {
            self.found(format!("position {} where {} should be", event.position, self.events));
            self.events = event.position.get();
            self.orders.lacks_an_event();
        }
        if self.recorded_at.is_some_and(|before| event.recorded_at < before) {
            self.found(format!("position {}: recorded before the event before it", event.position));
        }
        self.recorded_at = Some(event.recorded_at);
        let stream = self.streams.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_default();
        let (expected, reached) = (stream.sequence + 1, stream.reached);
        stream.sequence = event.sequence;
        stream.reached = reached.max(event.reaches().as_microsecond());
        let is_unreadable = matches!(event.body, Body::Unreadable { .. });
        stream.is_unreadable |= is_unreadable || event.sequence != expected;
        let is_readable = !stream.is_unreadable;
        let (position, kind, id) = (event.position, &event.aggregate_type, &event.aggregate_id);
        if event.sequence != expected {
            self.found(format!("position {position}: sequence {} of {kind}/{id} where {expected} should be", event.sequence));
        }
        if let Some(said) = event.metadata.decided_at.filter(|said| said.as_microsecond() < reached) {
            self.found(format!("position {position}: decided at {said}, before what stands before it in {kind}/{id}"));
        }
        if is_unreadable {
            self.found(format!("position {position}: the event cannot be read, sequence {} of {kind}/{id}", event.sequence));
        }
        is_readable
    }

    /// Takes an event that is there and cannot be had. Whose it was shows in the stream that lacks it.
    pub fn damaged(&mut self, position: Position, why: &str) {
        self.events = position.get();
        self.orders.lacks_an_event();
        self.found(format!("position {position}: the event cannot be read: {why}"));
    }

    fn forget(&mut self, event: &RecordedEvent) {
        match &*event.aggregate_type {
            InventorySlot::TYPE => {
                self.slots.insert(event.aggregate_id.clone(), SlotLedger::unreadable());
                self.orders.slot_is_unreadable(&event.aggregate_id);
            }
            Product::TYPE => self.products.forget(&event.aggregate_id),
            Order::TYPE => self.orders.forget(&event.aggregate_id),
            _ => {}
        }
    }

    /// Streams seen.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
    /// Orders seen.
    pub fn orders(&self) -> u64 {
        self.orders.placed
    }
    /// Orders seen that lost their place in line, having been parked.
    pub fn passed(&self) -> u64 {
        self.orders.passed
    }

    /// Everything that does not hold, when nothing follows on what was taken: the log ends here, or all of a batch was taken.
    pub fn finish(&self) -> Vec<String> {
        self.findings.iter().cloned().chain(self.orders.missing()).collect()
    }

    /// Keeps a finding, while there are not too many.
    pub fn found(&mut self, finding: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}
