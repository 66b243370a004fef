//! What the log says of one slot, to hold what callers were told against it.

use std::collections::HashMap;

use jari_commands::engine::Outcome;
use jari_domain::{
    AnyEvent, Decider, Position, StreamId,
    ids::SlotId,
    slot::{Counts, InventorySlot, SlotEvent},
};
use jari_event_store::{Database, Reader, RecordedEvent};

/// The history of one slot, proved: no gap, time that never runs back, and never more taken than there is.
pub struct Ledger {
    pub events: Vec<RecordedEvent>,
    pub state: InventorySlot,
    /// Position and counts after each event.
    counts: Vec<(Position, Counts)>,
    /// Positions at which each hold was taken.
    held: HashMap<String, Vec<Position>>,
}

impl Ledger {
    pub async fn of(database: &Database, slot: &SlotId) -> Self {
        let events = Reader::new(database.clone()).stream_after(&StreamId::from(slot), 0, usize::MAX).await.unwrap();
        let mut ledger = Self { events, state: InventorySlot::default(), counts: Vec::new(), held: HashMap::new() };
        for (n, event) in ledger.events.iter().enumerate() {
            assert_eq!(event.sequence, n as u64 + 1, "a stream has no gap");
            assert!(n == 0 || ledger.events[n - 1].decided_at() <= event.decided_at(), "time in a stream never runs back: {n}");
            let Some(AnyEvent::InventorySlot(typed)) = event.event() else { panic!("{event:?}") };
            ledger.state.apply(typed);
            let counts = ledger.state.counts();
            assert!(counts.held.saturating_add(counts.confirmed) <= counts.capacity, "more is taken than there is: {counts:?} at {}", event.position);
            ledger.counts.push((event.position, counts));
            if let SlotEvent::UnitsHeld { hold_id, .. } = typed {
                ledger.held.entry(hold_id.to_string()).or_default().push(event.position);
            }
        }
        ledger
    }

    /// The counts as they were when the log's head was at `position`.
    pub fn counts_at(&self, position: Position) -> Counts {
        let after = self.counts.partition_point(|(at, _)| *at <= position);
        if after == 0 { Counts::default() } else { self.counts[after - 1].1 }
    }

    /// How many different holds were taken, each of them once.
    pub fn holds_taken(&self) -> usize {
        for (hold, positions) in &self.held {
            assert_eq!(positions.len(), 1, "{hold} was taken at {positions:?}");
        }
        self.held.len()
    }

    /// Holds what a caller was told of its hold of `quantity` units against the log: taken where it was said to be, or refused when there was no room.
    pub fn check(&self, hold: &str, quantity: u32, told: &Outcome) {
        let positions = self.held.get(hold).map_or(&[][..], Vec::as_slice);
        match &told.refusal {
            None => assert_eq!(positions, [told.position], "{hold} was told that it has its units"),
            Some(refusal) => {
                assert_eq!(positions, [], "{hold} was refused");
                assert!(["SLOT_HELD_BY_OTHERS", "SLOT_SOLD_OUT", "SLOT_INSUFFICIENT_UNITS"].contains(&&*refusal.code), "{hold}: {refusal:?}");
                let counts = self.counts_at(told.position);
                assert!(counts.available().get() < quantity, "{hold} was refused while units were free: {counts:?} at {}", told.position);
            }
        }
    }
}
