//! What holds whatever is asked of a slot, in whatever order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    super::SlotError,
    orders::{cancel_for, confirm_for, hold_for, release_for},
    *,
};

/// What the events say, told without their counts.
#[derive(Default)]
struct Ledger {
    capacity: u32,
    confirmed: u32,
    holds: BTreeMap<HoldId, (u32, Holder)>,
    /// Of what is sold, what each order bought and has not given back.
    bought: BTreeMap<HoldId, u32>,
    sale: Sale,
}

impl Ledger {
    fn note(&mut self, event: &E) -> Option<Counts> {
        let stated = match event {
            E::SlotOpened { counts, .. } | E::CapacityAdjusted { counts } => {
                self.capacity = counts.capacity.get();
                counts
            }
            E::UnitsHeld { hold_id, quantity, holder, counts, .. } => {
                let before = self.holds.insert(hold_id.clone(), (quantity.get(), *holder));
                assert_eq!(before, None, "a hold was taken over the head of one that had no end");
                counts
            }
            E::HoldConfirmed { hold_id, quantity, counts } => {
                if self.end(hold_id, quantity.get()) == Holder::Order {
                    *self.bought.entry(hold_id.clone()).or_default() += quantity.get();
                }
                self.confirmed += quantity.get();
                counts
            }
            E::HoldReleased { hold_id, quantity, counts } | E::HoldExpired { hold_id, quantity, counts, .. } => {
                self.end(hold_id, quantity.get());
                counts
            }
            E::UnitsCancelled { hold_id, quantity, holder, counts } => {
                if *holder == Holder::Order {
                    *self.bought.get_mut(hold_id).expect("an order gives back what it bought") -= quantity.get();
                }
                self.confirmed -= quantity.get();
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

    /// Whose hold it was that ended.
    fn end(&mut self, hold_id: &HoldId, quantity: u32) -> Holder {
        let (held, holder) = self.holds.remove(hold_id).expect("only what is held ends");
        assert_eq!(held, quantity);
        holder
    }

    fn sold_to_orders(&self) -> u32 {
        self.bought.values().sum()
    }

    /// An order gives back all that it bought, and one that bought nothing asks for nothing: a slot does not know which order bought how much.
    fn as_orders_ask(&self, command: C) -> Option<C> {
        let C::CancelForOrder { order_id, .. } = command else { return Some(command) };
        let quantity = *self.bought.get(&HoldId::from(&order_id)).filter(|quantity| **quantity > 0)?;
        Some(C::CancelForOrder { order_id, quantity: Quantity::new(quantity) })
    }

    fn sells<'a>(&mut self, sale: Sale, counts: Option<&'a Counts>) -> &'a Counts {
        self.sale = sale;
        counts.expect("today's events carry counts")
    }

    fn counts(&self) -> Counts {
        Counts { sale: self.sale, ..counts(self.capacity, self.holds.values().map(|(quantity, _)| quantity).sum(), self.confirmed) }
    }
}

fn quantity() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1_u32..6, 1 => Just(0), 1 => Just(MOST), 1 => any::<u32>()]
}

/// Asked at a time from now, with an expiry from then. Callers and orders take the same names, so that they meet.
fn command() -> impl Strategy<Value = (i64, C)> {
    let name = || (0_u8..8).prop_map(|n| format!("h{n}"));
    let end = || prop_oneof![6 => 1_i64..90, 1 => -5_i64..1, 1 => Just(LONGEST + 1)];
    let capacity = prop_oneof![4 => 0_u32..20, 1 => Just(MOST), 1 => any::<u32>()];
    let of_callers = prop_oneof![
        12 => (name(), quantity(), end()).prop_map(|(h, q, e)| hold(&h, q, t(e))),
        4 => (name(), end()).prop_map(|(h, e)| extend(&h, t(e))),
        6 => name().prop_map(|h| confirm(&h)),
        4 => name().prop_map(|h| release(&h)),
        3 => quantity().prop_map(cancel),
    ];
    let of_orders = prop_oneof![
        8 => (name(), quantity(), end()).prop_map(|(o, q, e)| hold_for(&o, q, t(e))),
        5 => name().prop_map(|o| confirm_for(&o)),
        3 => name().prop_map(|o| release_for(&o)),
        4 => name().prop_map(|o| cancel_for(&o, 1)),
    ];
    let of_operators = prop_oneof![
        4 => capacity.prop_map(adjust),
        2 => Just(suspend()),
        6 => Just(C::ResumeSlot),
        1 => Just(C::CloseSlot),
        1 => Just(open(10)),
    ];
    let asked = prop_oneof![30 => of_callers, 20 => of_orders, 4 => name().prop_map(|h| expire(&h)), 7 => of_operators];
    (0_i64..25, asked)
}

/// Moves the expiry that `command` names from the first instant of the tests to `now`.
fn shifted(command: &C, now: i64) -> C {
    let shift = |at: Timestamp| at + jiff::SignedDuration::from_secs(now);
    match command {
        C::HoldUnits { hold_id, quantity, expires_at } => {
            C::HoldUnits { hold_id: hold_id.clone(), quantity: *quantity, expires_at: shift(*expires_at) }
        }
        C::HoldForOrder { order_id, quantity, expires_at } => {
            C::HoldForOrder { order_id: order_id.clone(), quantity: *quantity, expires_at: shift(*expires_at) }
        }
        C::ExtendHold { hold_id, expires_at } => C::ExtendHold { hold_id: hold_id.clone(), expires_at: shift(*expires_at) },
        other => other.clone(),
    }
}

fn check_room(slot: &InventorySlot, command: &C, now: Timestamp, outcome: &Result<Vec<E>, SlotError>) {
    let (C::HoldUnits { quantity, .. } | C::HoldForOrder { quantity, .. }) = command else { return };
    let fits = *quantity <= slot.available_at(now);
    match outcome {
        Ok(_) => assert!(fits, "{quantity} were held where {:?} had no room", slot.counts_at(now)),
        Err(SlotError::SoldOut { .. } | SlotError::InsufficientUnits { .. } | SlotError::HeldByOthers { .. }) => {
            assert!(!fits, "{quantity} were refused although {:?} had room", slot.counts_at(now));
        }
        Err(SlotError::Suspended | SlotError::Closed) => assert!(slot.status() != SlotStatus::Open),
        Err(SlotError::QuantityInvalid { .. } | SlotError::ExpiryInvalid { .. } | SlotError::HoldExists { .. }) => {}
        Err(SlotError::HoldOfOrder { .. }) => assert!(matches!(command, C::HoldUnits { .. }), "an order's hold was kept from its order"),
        Err(other) => panic!("{command:?} was refused: {other}"),
    }
}

/// Whose units they are, events say; what orders hold and bought, callers do not move.
fn check_owners(ledger: &Ledger, command: &C, outcome: &Result<Vec<E>, SlotError>) {
    let asks = if matches!(command, C::HoldForOrder { .. } | C::CancelForOrder { .. }) { Holder::Order } else { Holder::Caller };
    for event in outcome.iter().flatten() {
        if let E::UnitsHeld { holder, .. } | E::UnitsCancelled { holder, .. } = event {
            assert_eq!(*holder, asks, "{event:?}");
        }
    }
    let is_an_orders = |hold_id| ledger.holds.get(hold_id).is_some_and(|(_, holder)| *holder == Holder::Order);
    match command {
        C::ConfirmHold { hold_id } | C::ReleaseHold { hold_id } | C::ExtendHold { hold_id, .. } if is_an_orders(hold_id) => {
            assert!(matches!(outcome, Err(SlotError::HoldOfOrder { .. } | SlotError::Closed)), "{command:?} reached it: {outcome:?}");
        }
        C::CancelUnits { quantity, .. } => {
            let theirs = ledger.confirmed - ledger.sold_to_orders();
            assert_eq!(outcome.is_ok(), (1..=theirs).contains(&quantity.get()), "{quantity} of {theirs} that callers bought: {outcome:?}");
        }
        C::CancelForOrder { .. } => assert!(outcome.is_ok(), "an order cannot give back what it bought: {outcome:?}"),
        _ => {}
    }
}

proptest! {
    #[test]
    fn capacity_counts_owners_and_replay_hold_whatever_is_asked(capacity in 0_u32..20, commands in prop::collection::vec(command(), 0..120)) {
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
            let Some(command) = ledger.as_orders_ask(shifted(&command, now)) else { continue };
            let outcome = live.decide(&command, t(now));
            check_room(&live, &command, t(now), &outcome);
            check_owners(&ledger, &command, &outcome);
            for event in outcome.unwrap_or_default() {
                let taken = u64::from(live.counts().held) + u64::from(live.counts().confirmed);
                live.apply(&event);
                let stated = ledger.note(&event);
                prop_assert_eq!(stated.unwrap_or(ledger.counts()), ledger.counts());
                prop_assert_eq!(live.counts(), ledger.counts());
                prop_assert_eq!((live.open_holds(), live.sold_to_orders().get()), (ledger.holds.len(), ledger.sold_to_orders()));
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
        asked in prop::collection::vec((any::<u32>(), any_time(), any_time(), 0_u8..13), 1..40)
    ) {
        let mut slot = InventorySlot::default();
        for (n, expires_at, now, which) in asked {
            let name = format!("h{}", n % 4);
            let command = match which {
                0 => open_in(Some(Window { starts_at: expires_at, ends_at: now }), n),
                1 => open_in(None, n),
                2 => hold(&name, n, expires_at),
                3 => extend(&name, expires_at),
                4 => confirm(&name),
                5 => release(&name),
                6 => expire(&name),
                7 => cancel(n),
                8 => hold_for(&name, n, expires_at),
                9 => confirm_for(&name),
                10 => release_for(&name),
                11 => cancel_for(&name, n),
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
