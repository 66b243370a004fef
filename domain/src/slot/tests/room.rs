//! A hold that needs the room of many lapsed ones: what is recorded before it, so that the hold itself comes to few events.

use proptest::prelude::*;

use super::{
    super::{SlotError, decide::CLEARED_AT_ONCE},
    orders::hold_for,
    *,
};
use crate::Few;

/// A slot with so many holds of one unit, of which the first lapses at second 1, the next at second 2, and so on.
fn held_one_by_one(capacity: u32, holds: u32) -> Given<InventorySlot> {
    (1..=holds).fold(slot(capacity, 0), |slot, n| slot.done(t(0), &hold(&format!("h{n:03}"), 1, t(n.into()))))
}

/// How many ends come first, of those that a hold of so many units needs at second `now`.
fn before(slot: &Given<InventorySlot>, quantity: u32, now: i64, few: Few) -> usize {
    let events = slot.state.beforehand(&hold("x", quantity, t(now + 60)), few, t(now));
    assert_eq!(events, slot.state.beforehand(&hold_for("x", quantity, t(now + 60)), few, t(now)), "an order's hold goes the same way");
    assert!(events.iter().all(|event| matches!(event, E::HoldExpired { .. })));
    events.len()
}

#[test]
fn a_hold_that_needs_the_room_of_more_than_a_few_has_their_ends_recorded_before_it() {
    let past = held_one_by_one(100, 100);
    let few = |within, before| Few { within, before };
    assert_eq!(before(&past, 50, 50, few(50, 10)), 0, "fifty are few here");
    assert_eq!(before(&past, 50, 50, few(49, 100)), 50, "and here they are not");
    assert_eq!(before(&past, 50, 50, few(49, 10)), 10, "so many at once");
    assert_eq!(before(&past, 51, 50, few(49, 10)), 10, "though it will be refused, which shows later");
    assert_eq!(before(&past, 51, 50, few(50, 10)), 0, "no more than fifty have lapsed");
    assert_eq!(before(&past, 101, 100, few(0, 10)), 0, "so much is not there");
    let first = past.state.beforehand(&hold("x", 50, t(110)), few(49, 2), t(50));
    assert_eq!(first, [expired("h001", 1, t(1), counts(100, 99, 0)), expired("h002", 1, t(2), counts(100, 98, 0))], "the oldest first");
}

#[test]
fn nothing_is_recorded_before_a_command_that_takes_no_room_or_is_bad_input() {
    let few = Few { within: 0, before: 10 };
    let past = held_one_by_one(10, 10);
    let nothing = |slot: &Given<InventorySlot>, command: &C, now| assert_eq!(slot.state.beforehand(command, few, t(now)), [], "{command:?}");
    for command in [confirm("h001"), release("h001"), expire("h001"), extend("h010", t(60)), adjust(5), suspend(), C::ResumeSlot, C::CloseSlot] {
        nothing(&past, &command, 9);
    }
    for bad in [hold("x", 0, t(60)), hold("x", MOST + 1, t(60)), hold("x", 5, t(9)), hold("x", 5, t(10 + LONGEST))] {
        nothing(&past, &bad, 9);
    }
    nothing(&past, &hold("x", 5, t(START + 60)), START);
    nothing(&past.clone().done(t(0), &suspend()), &hold("x", 5, t(60)), 9);
    nothing(&past.done(t(0), &C::CloseSlot), &hold("x", 5, t(60)), 9);
    nothing(&given(), &hold("x", 5, t(60)), 9);
}

proptest! {
    #[test]
    fn what_is_recorded_before_a_hold_changes_nothing_but_the_number_of_its_events(
        capacity in 1_u32..60, holds in 0_u32..60, now in 0_i64..70, quantity in 1_u32..70, within in 0_usize..20, before in 1_usize..20, same in any::<bool>()
    ) {
        let past = held_one_by_one(capacity, holds.min(capacity));
        let command = hold(if same { "h003" } else { "x" }, quantity, t(now + 60));
        let at_once = past.state.decide(&command, t(now));
        let mut slot = past.state.clone();
        // Ends: each round ends a hold at least.
        loop {
            let events = slot.beforehand(&command, Few { within, before }, t(now));
            prop_assert!(events.len() <= before);
            if events.is_empty() {
                break;
            }
            events.iter().for_each(|event| slot.apply(event));
        }
        let at_last = slot.decide(&command, t(now));
        let code = |outcome: &Result<Vec<E>, SlotError>| outcome.as_ref().err().cloned();
        prop_assert_eq!(code(&at_last), code(&at_once));
        prop_assert!(at_last.iter().flatten().count() <= within.max(CLEARED_AT_ONCE) + 2, "{:?}", at_last);
        let mut other = past.state;
        at_once.iter().flatten().for_each(|event| other.apply(event));
        at_last.iter().flatten().for_each(|event| slot.apply(event));
        prop_assert_eq!((slot.counts_at(t(now)), slot.hold(&id("x"))), (other.counts_at(t(now)), other.hold(&id("x"))));
    }
}
