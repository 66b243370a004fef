//! What holds whatever is asked of a slot, in whatever order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{super::SlotError, *};
use crate::Refuse;

/// What the events say, told without their counts.
#[derive(Default)]
struct Ledger {
    capacity: u32,
    confirmed: u32,
    holds: BTreeMap<HoldId, u32>,
    sale: Sale,
}

impl Ledger {
    fn note(&mut self, event: &E) -> Option<Counts> {
        let stated = match event {
            E::SlotOpened { counts, .. } | E::CapacityAdjusted { counts } => {
                self.capacity = counts.capacity;
                counts
            }
            E::UnitsHeld { hold_id, quantity, counts, .. } => {
                assert_eq!(self.holds.insert(hold_id.clone(), *quantity), None, "a hold was taken over the head of one that had no end");
                counts
            }
            E::HoldConfirmed { hold_id, quantity, counts } => {
                assert_eq!(self.holds.remove(hold_id), Some(*quantity));
                self.confirmed += quantity;
                counts
            }
            E::HoldReleased { hold_id, quantity, counts } | E::HoldExpired { hold_id, quantity, counts, .. } => {
                assert_eq!(self.holds.remove(hold_id), Some(*quantity));
                counts
            }
            E::UnitsCancelled { quantity, counts, .. } => {
                self.confirmed -= quantity;
                counts
            }
            E::SlotSuspended { counts, .. } => self.sells(Sale::Suspended, counts.as_ref()),
            E::SlotResumed { counts } => self.sells(Sale::Open, counts.as_ref()),
            E::SlotClosed { counts } => self.sells(Sale::Closed, counts.as_ref()),
            E::HoldExtended { .. } => return None,
        };
        assert_eq!(event.counts(), Some(*stated));
        Some(*stated)
    }

    fn sells<'a>(&mut self, sale: Sale, counts: Option<&'a Counts>) -> &'a Counts {
        self.sale = sale;
        counts.expect("today's events carry counts")
    }

    fn counts(&self) -> Counts {
        Counts { sale: self.sale, ..counts(self.capacity, self.holds.values().sum(), self.confirmed) }
    }
}

fn quantity() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1_u32..6, 1 => Just(0), 1 => Just(MAX_CAPACITY), 1 => any::<u32>()]
}

/// Asked at a time from now, with an expiry from then.
fn command() -> impl Strategy<Value = (i64, C)> {
    let name = || (0_u8..8).prop_map(|n| format!("h{n}"));
    let end = || prop_oneof![6 => 1_i64..90, 1 => -5_i64..1, 1 => Just(MAX_HOLD_SECONDS + 1)];
    let capacity = prop_oneof![4 => 0_u32..20, 1 => Just(MAX_CAPACITY), 1 => any::<u32>()];
    let asked = prop_oneof![
        12 => (name(), quantity(), end()).prop_map(|(h, q, e)| hold(&h, q, t(e))),
        4 => (name(), end()).prop_map(|(h, e)| extend(&h, t(e))),
        6 => name().prop_map(|h| confirm(&h)),
        4 => name().prop_map(|h| release(&h)),
        4 => name().prop_map(|h| expire(&h)),
        3 => quantity().prop_map(cancel),
        2 => capacity.prop_map(adjust),
        1 => Just(suspend()),
        3 => Just(C::ResumeSlot),
        1 => Just(open(10)),
    ];
    (0_i64..25, asked)
}

/// Moves the expiry that `command` names from the first instant of the tests to `now`.
fn shifted(command: &C, now: i64) -> C {
    let shift = |at: Timestamp| at + jiff::SignedDuration::from_secs(now);
    match command {
        C::HoldUnits { hold_id, quantity, expires_at } => {
            C::HoldUnits { hold_id: hold_id.clone(), quantity: *quantity, expires_at: shift(*expires_at) }
        }
        C::ExtendHold { hold_id, expires_at } => C::ExtendHold { hold_id: hold_id.clone(), expires_at: shift(*expires_at) },
        other => other.clone(),
    }
}

fn check_room(slot: &InventorySlot, command: &C, now: Timestamp, outcome: &Result<Vec<E>, SlotError>) {
    let C::HoldUnits { quantity, .. } = command else { return };
    let fits = *quantity <= slot.available_at(now);
    match outcome {
        Ok(_) => assert!(fits, "{quantity} were held where {:?} had no room", slot.counts_at(now)),
        Err(SlotError::SoldOut { .. } | SlotError::InsufficientUnits { .. } | SlotError::HeldByOthers { .. }) => {
            assert!(!fits, "{quantity} were refused although {:?} had room", slot.counts_at(now));
        }
        Err(other) => assert!(SlotError::CODES.contains(&other.code())),
    }
}

proptest! {
    #[test]
    fn capacity_counts_and_replay_hold_whatever_is_asked(capacity in 0_u32..20, commands in prop::collection::vec(command(), 0..120)) {
        let mut ledger = Ledger::default();
        let mut log = vec![];
        let mut live = InventorySlot::default();
        for event in live.decide(&open(capacity), t(0)).unwrap() {
            live.apply(&event);
            ledger.note(&event);
            log.push(event);
        }
        let mut now = 0;
        for (later, command) in commands {
            now += later;
            let command = shifted(&command, now);
            let outcome = live.decide(&command, t(now));
            check_room(&live, &command, t(now), &outcome);
            for event in outcome.unwrap_or_default() {
                let taken = u64::from(live.counts().held) + u64::from(live.counts().confirmed);
                live.apply(&event);
                let stated = ledger.note(&event);
                prop_assert_eq!(stated.unwrap_or(ledger.counts()), ledger.counts());
                prop_assert_eq!(live.counts(), ledger.counts());
                prop_assert_eq!(live.live_holds(), ledger.holds.len());
                let taken_now = u64::from(live.counts().held) + u64::from(live.counts().confirmed);
                let reduced = matches!(event, E::CapacityAdjusted { .. });
                prop_assert!(reduced || taken_now <= u64::from(live.counts().capacity).max(taken), "{:?} took more than there is", event);
                log.push(event);
            }
        }
        let mut replayed = InventorySlot::default();
        log.iter().for_each(|event| replayed.apply(event));
        prop_assert_eq!(&replayed, &live);
        let snapshot = serde_json::to_string(&live).unwrap();
        let restored: InventorySlot = serde_json::from_str(&snapshot).unwrap();
        prop_assert_eq!(&restored, &live);
        prop_assert_eq!(serde_json::to_string(&restored).unwrap(), snapshot);
    }

    #[test]
    fn no_quantity_and_no_time_makes_a_decision_panic(
        asked in prop::collection::vec((any::<u32>(), any_time(), any_time(), 0_u8..9), 1..40)
    ) {
        let mut slot = InventorySlot::default();
        for (n, expires_at, now, which) in asked {
            let name = format!("h{}", n % 4);
            let command = match which {
                0 => C::OpenSlot { pool_id: pool(), window: Some(Window { starts_at: expires_at, ends_at: now }), capacity: n },
                1 => C::OpenSlot { pool_id: pool(), window: None, capacity: n },
                2 => hold(&name, n, expires_at),
                3 => extend(&name, expires_at),
                4 => confirm(&name),
                5 => release(&name),
                6 => expire(&name),
                7 => cancel(n),
                _ => adjust(n),
            };
            for event in slot.decide(&command, now).unwrap_or_default() {
                slot.apply(&event);
            }
            let _ = (slot.available_at(expires_at), slot.earliest_expiry());
        }
    }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
        4 => (-100_i64..100).prop_map(t),
        1 => (Timestamp::MIN.as_second()..Timestamp::MAX.as_second()).prop_map(|second| Timestamp::from_second(second).unwrap()),
    ]
}
