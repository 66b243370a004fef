//! What `jari verify` proves, event by event.
//!
//! It counts for itself: what a slot has taken follows from the quantities of its events, and what these state of it is held against that. In
//! memory it keeps a line for each stream, the live holds, and each order that may still be cancelled, which a bought one may be for ever: it grows
//! with streams and with orders bought, not with units. docs/operators.md says how much that is.

mod ledger;
mod orders;
mod walk;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use jari_domain::{AnyEvent, Decider, Timestamp, slot::InventorySlot};
use jari_event_store::{Body, RecordedEvent};

use self::{ledger::SlotLedger, orders::OrderBook};
pub use walk::Walk;

/// Findings kept; a log that is broken everywhere need not fill memory to say so.
const MOST_FINDINGS: usize = 10_000;

#[derive(Debug, Default)]
struct Stream {
    sequence: u64,
    /// It has an event that cannot be read. That is said once; whatever else seems wrong with the stream may be in that event.
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
    orders: OrderBook,
    findings: Vec<String>,
}

impl Proof {
    /// Takes the next event.
    pub fn take(&mut self, event: &RecordedEvent) {
        let is_readable = self.place(event);
        let mut findings = Vec::new();
        match &event.body {
            Body::Unreadable { .. } if event.aggregate_type == InventorySlot::TYPE => self.orders.slot_is_unreadable(&event.aggregate_id),
            Body::Unreadable { .. } | Body::Known(AnyEvent::Product(_)) => findings.extend(self.orders.group_is_over()),
            Body::Known(AnyEvent::InventorySlot(change)) => {
                let sold = is_readable.then(|| {
                    let ledger = self.slots.entry(event.aggregate_id.clone()).or_default();
                    ledger.note(change, |fault| findings.push(format!("position {}: slot {} {fault}", event.position, event.aggregate_id)));
                    ledger.sold()
                });
                findings.extend(self.orders.note_slot(event, change, sold));
            }
            Body::Known(AnyEvent::Order(change)) => {
                findings.extend(self.orders.group_is_over());
                if is_readable {
                    findings.extend(self.orders.note(event, change, &self.slots));
                }
            }
        }
        if !is_readable {
            // what is not judged any more need not be remembered
            self.forget(event);
        }
        findings.into_iter().for_each(|finding| self.found(finding));
    }

    /// Its place in the log and in its stream. Says whether all of the stream up to here could be read.
    fn place(&mut self, event: &RecordedEvent) -> bool {
        self.events += 1;
        if event.position != self.events {
            self.found(format!("position {} where {} should be", event.position, self.events));
            self.events = event.position;
        }
        if self.recorded_at.is_some_and(|before| event.recorded_at < before) {
            self.found(format!("position {}: recorded before the event before it", event.position));
        }
        self.recorded_at = Some(event.recorded_at);
        let stream = self.streams.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_default();
        let expected = stream.sequence + 1;
        stream.sequence = event.sequence;
        let is_unreadable = matches!(event.body, Body::Unreadable { .. });
        stream.is_unreadable |= is_unreadable;
        let is_readable = !stream.is_unreadable;
        if event.sequence != expected {
            self.found(format!(
                "position {}: sequence {} of {}/{} where {expected} should be",
                event.position, event.sequence, event.aggregate_type, event.aggregate_id
            ));
        }
        if is_unreadable {
            self.found(format!("position {}: the event cannot be read", event.position));
        }
        is_readable
    }

    /// Takes an event that is there and cannot be had. Whose it was shows in the stream that lacks it.
    pub fn damaged(&mut self, position: u64, why: &str) {
        self.events = position;
        self.found(format!("position {position}: the event cannot be read: {why}"));
    }

    fn forget(&mut self, event: &RecordedEvent) {
        if event.aggregate_type == InventorySlot::TYPE {
            self.slots.insert(event.aggregate_id.clone(), SlotLedger::unreadable());
        } else {
            self.orders.forget(&event.aggregate_id);
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
