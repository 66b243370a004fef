//! Given a slot's past, when a command, then events or a refusal.

mod orders;
mod properties;
mod room;

use jiff::Timestamp;

use super::{
    Counts, Holder, InventorySlot, MAX_CAPACITY, MAX_HOLD_SECONDS, MAX_OPEN_HOLDS, MAX_WINDOW_DAYS, Sale, SlotCommand as C, SlotEvent as E,
    SlotStatus, Window,
};
use crate::{
    Decider, Quantity,
    given::{Given, given, t},
    ids::{HoldId, PoolId},
};

/// When the slots of these tests start.
const START: i64 = 7 * 86_400;
/// The longest hold, in seconds.
const LONGEST: i64 = MAX_HOLD_SECONDS as i64;
/// The most units of a slot.
const MOST: u32 = MAX_CAPACITY.get();

fn id(text: &str) -> HoldId {
    HoldId::parse(text).unwrap()
}

fn pool() -> PoolId {
    PoolId::parse("gallery").unwrap()
}

fn window() -> Option<Window> {
    Some(Window { starts_at: t(START), ends_at: t(START + 3_600) })
}

fn open(capacity: u32) -> C {
    open_in(window(), capacity)
}

fn open_in(window: Option<Window>, capacity: u32) -> C {
    C::OpenSlot { pool_id: pool(), window, capacity: Quantity::new(capacity) }
}

fn hold(hold_id: &str, quantity: u32, expires_at: Timestamp) -> C {
    C::HoldUnits { hold_id: id(hold_id), quantity: Quantity::new(quantity), expires_at }
}

fn extend(hold_id: &str, expires_at: Timestamp) -> C {
    C::ExtendHold { hold_id: id(hold_id), expires_at }
}

fn confirm(hold_id: &str) -> C {
    C::ConfirmHold { hold_id: id(hold_id) }
}

fn release(hold_id: &str) -> C {
    C::ReleaseHold { hold_id: id(hold_id) }
}

fn expire(hold_id: &str) -> C {
    C::ExpireHold { hold_id: id(hold_id) }
}

fn cancel(quantity: u32) -> C {
    C::CancelUnits { hold_id: id("sold"), quantity: Quantity::new(quantity) }
}

fn adjust(capacity: u32) -> C {
    C::AdjustCapacity { capacity: Quantity::new(capacity) }
}

fn suspend() -> C {
    C::SuspendSlot { reason: "Storm warning".into() }
}

fn counts(capacity: u32, held: u32, confirmed: u32) -> Counts {
    let [capacity, held, confirmed] = [capacity, held, confirmed].map(Quantity::new);
    Counts { capacity, held, confirmed, ..Counts::default() }
}

fn expired(hold_id: &str, quantity: u32, expired_at: Timestamp, counts: Counts) -> E {
    E::HoldExpired { hold_id: id(hold_id), quantity: Quantity::new(quantity), expired_at, counts }
}

fn held(hold_id: &str, quantity: u32, expires_at: Timestamp, counts: Counts) -> E {
    E::UnitsHeld { hold_id: id(hold_id), quantity: Quantity::new(quantity), expires_at, holder: Holder::Caller, counts }
}

fn confirmed(hold_id: &str, quantity: u32, counts: Counts) -> E {
    E::HoldConfirmed { hold_id: id(hold_id), quantity: Quantity::new(quantity), counts }
}

fn released(hold_id: &str, quantity: u32, counts: Counts) -> E {
    E::HoldReleased { hold_id: id(hold_id), quantity: Quantity::new(quantity), counts }
}

fn cancelled(hold_id: &str, holder: Holder, quantity: u32, counts: Counts) -> E {
    E::UnitsCancelled { hold_id: id(hold_id), quantity: Quantity::new(quantity), holder, counts }
}

/// Open, with `confirmed` sold.
fn slot(capacity: u32, confirmed: u32) -> Given<InventorySlot> {
    let slot = given().done(t(0), &open(capacity));
    if confirmed == 0 { slot } else { slot.done(t(0), &hold("sold", confirmed, t(60))).done(t(0), &confirm("sold")) }
}

#[test]
fn a_slot_opens_once_and_with_a_window_that_can_be_sold() {
    let opened = |window| E::SlotOpened { pool_id: pool(), window, counts: counts(10, 0, 0) };
    given::<InventorySlot>().when(t(0), &open(10)).then(&[opened(window())]);
    given::<InventorySlot>().when(t(0), &open_in(None, 10)).then(&[opened(None)]);
    slot(10, 0).when(t(0), &open(10)).refused("SLOT_EXISTS");
    slot(10, 0).done(t(0), &C::CloseSlot).when(t(0), &open(MOST + 1)).refused("SLOT_EXISTS");
    given::<InventorySlot>().when(t(0), &open(MOST + 1)).refused("SLOT_CAPACITY_INVALID");

    let half = t(START) + jiff::SignedDuration::from_millis(500);
    for (starts_at, ends_at, fault) in [
        (half, t(START + 60), "its times must be whole seconds"),
        (t(-60), half, "its times must be whole seconds"),
        (t(0), t(-60), "it must start in the future"),
        (t(START), t(START), "it must end after it starts"),
        (t(START), t(START + MAX_WINDOW_DAYS * 86_400 + 1), "it may last 31 days at most"),
        (t(1), Timestamp::MAX, "its times must be whole seconds"),
    ] {
        let command = open_in(Some(Window { starts_at, ends_at }), u32::MAX);
        assert_eq!(given::<InventorySlot>().when(t(0), &command).refused("SLOT_WINDOW_INVALID")["fault"], fault);
    }
    let longest = open_in(Some(Window { starts_at: t(1), ends_at: t(1 + MAX_WINDOW_DAYS * 86_400) }), 0);
    given::<InventorySlot>().done(t(0), &longest);
}

#[test]
fn a_hold_takes_units_until_its_expiry() {
    slot(10, 0).when(t(0), &hold("a", 10, t(60))).then(&[held("a", 10, t(60), counts(10, 10, 0))]);
    slot(10, 4).when(t(0), &hold("a", 6, t(LONGEST))).then(&[held("a", 6, t(LONGEST), counts(10, 6, 4))]);
    let stock = given::<InventorySlot>().done(t(0), &open_in(None, 3));
    stock.when(t(START * 10), &hold("a", 3, t(START * 10 + 1))).then(&[held("a", 3, t(START * 10 + 1), counts(3, 3, 0))]);
}

#[test]
fn the_refusals_of_a_hold_win_in_their_numbered_order() {
    let wrong = hold("a", 0, t(-1));
    given::<InventorySlot>().when(t(START), &wrong).refused("SLOT_NOT_FOUND");
    slot(0, 0).done(t(0), &suspend()).done(t(0), &C::CloseSlot).when(t(START), &wrong).refused("SLOT_CLOSED");
    slot(0, 0).done(t(0), &suspend()).when(t(START), &wrong).refused("SLOT_SUSPENDED");
    assert_eq!(slot(0, 0).when(t(START), &wrong).refused("SLOT_STARTED")["starts_at"], t(START).to_string());

    let full = slot(10, 0).done(t(0), &hold("a", 10, t(60)));
    for quantity in [0, MOST + 1, u32::MAX] {
        full.when(t(0), &hold("a", quantity, t(0))).refused("SLOT_QUANTITY_INVALID");
    }
    for expires_at in [t(-1), t(0), t(LONGEST + 1), Timestamp::MIN, Timestamp::MAX] {
        full.when(t(0), &hold("a", MOST, expires_at)).refused("HOLD_EXPIRY_INVALID");
    }
    assert_eq!(full.when(t(0), &hold("a", MOST, t(60))).refused("HOLD_EXISTS")["hold_id"], "a");
    full.when(t(0), &hold("b", MOST, t(60))).refused("SLOT_INSUFFICIENT_UNITS");
    slot(10, 10).when(t(0), &hold("b", MOST, t(60))).refused("SLOT_SOLD_OUT");
    slot(0, 0).when(t(0), &hold("b", 1, t(60))).refused("SLOT_SOLD_OUT");
    full.when(t(0), &hold("b", 10, t(60))).refused("SLOT_HELD_BY_OTHERS");
}

#[test]
fn sold_out_and_too_few_and_held_by_others_are_told_apart_with_their_counts() {
    let facts = |available: u32, held: u32, confirmed: u32| {
        [("requested", 3), ("available", available), ("held", held), ("confirmed", confirmed), ("capacity", 10)].map(|(k, v)| (k, v.to_string()))
    };
    let others = slot(10, 4).done(t(0), &hold("a", 3, t(60))).done(t(0), &hold("b", 2, t(50)));
    let sold_out = slot(10, 4).done(t(0), &hold("a", 6, t(60))).done(t(0), &confirm("a"));
    for (given, code, facts) in [
        (&sold_out, "SLOT_SOLD_OUT", facts(0, 0, 10)),
        (&slot(10, 8), "SLOT_INSUFFICIENT_UNITS", facts(2, 0, 8)),
        (&others, "SLOT_HELD_BY_OTHERS", facts(1, 5, 4)),
    ] {
        let details = given.when(t(0), &hold("x", 3, t(60))).refused(code);
        for (name, value) in facts {
            assert_eq!(details[name], value, "{code}: {name}");
        }
    }
    assert_eq!(others.when(t(0), &hold("x", 3, t(60))).refused("SLOT_HELD_BY_OTHERS")["retry_at"], t(50).to_string());
    let lapsed = others.when(t(50), &hold("x", 4, t(60))).refused("SLOT_HELD_BY_OTHERS");
    assert_eq!((lapsed["available"].as_str(), lapsed["held"].as_str()), ("3", "3"), "what has lapsed is free");
    assert_eq!(lapsed["retry_at"], t(60).to_string(), "what has lapsed is not waited for");
    others.when(t(50), &hold("x", 3, t(90))).then(&[expired("b", 2, t(50), counts(10, 3, 4)), held("x", 3, t(90), counts(10, 6, 4))]);
}

#[test]
fn the_end_of_lapsed_holds_is_recorded_before_their_units_are_used_again() {
    let past = slot(10, 0).done(t(0), &hold("a", 4, t(60))).done(t(0), &hold("b", 3, t(30))).done(t(0), &hold("c", 3, t(90)));
    past.when(t(29), &hold("x", 1, t(95))).refused("SLOT_HELD_BY_OTHERS");
    past.when(t(30), &hold("x", 1, t(95))).then(&[expired("b", 3, t(30), counts(10, 7, 0)), held("x", 1, t(95), counts(10, 8, 0))]);
    past.when(t(60), &hold("x", 7, t(95))).then(&[
        expired("b", 3, t(30), counts(10, 7, 0)),
        expired("a", 4, t(60), counts(10, 3, 0)),
        held("x", 7, t(95), counts(10, 10, 0)),
    ]);
    past.when(t(60), &hold("a", 2, t(95))).then(&[
        expired("a", 4, t(60), counts(10, 6, 0)),
        expired("b", 3, t(30), counts(10, 3, 0)),
        held("a", 2, t(95), counts(10, 5, 0)),
    ]);
}

#[test]
fn a_hold_clears_few_lapsed_ones_away_unless_it_needs_the_room_of_more() {
    let mut past = slot(101, 0);
    for n in 0..100 {
        past = past.done(t(0), &hold(&format!("h{n:03}"), 1, t(60)));
    }
    let cleared = |quantity| past.state.decide(&hold("x", quantity, t(95)), t(60)).unwrap().len() - 1;
    assert_eq!([cleared(1), cleared(9), cleared(10), cleared(101)], [8, 8, 9, 100]);
    let again = past.state.decide(&hold("h099", 1, t(95)), t(60)).unwrap();
    assert_eq!(again.len(), 10, "the lapsed hold of the same id goes first, however young it is");
    let mut after = past.state.clone();
    again.iter().for_each(|event| after.apply(event));
    assert_eq!((after.counts().held.get(), after.open_holds(), after.available_at(t(60)).get()), (92, 92, 100));
}

#[test]
fn a_slot_full_of_live_holds_takes_no_more_until_one_lapses() {
    let mut full = slot(MOST, 0);
    for n in 1..=u32::try_from(MAX_OPEN_HOLDS).unwrap() {
        let counts = counts(MOST, n, 0);
        full = full.event(&held(&format!("h{n}"), 1, t(60 + i64::from(n % 10)), counts));
    }
    assert_eq!(full.when(t(0), &hold("x", MOST, t(60))).refused("SLOT_HOLDS_EXHAUSTED")["retry_at"], t(60).to_string());
    let events = full.state.decide(&hold("x", 1, t(95)), t(60)).unwrap();
    assert!(events.len() > 1, "what lapsed makes place for another hold");
}

#[test]
fn a_live_hold_is_sold_whatever_became_of_the_slot() {
    let past = slot(10, 1).done(t(0), &hold("a", 4, t(60)));
    let while_it = |sale, capacity| confirmed("a", 4, Counts { sale, ..counts(capacity, 0, 5) });
    let sold = |capacity| while_it(Sale::Open, capacity);
    past.when(t(59), &confirm("a")).then(&[sold(10)]);
    past.clone().done(t(0), &suspend()).when(t(1), &confirm("a")).then(&[while_it(Sale::Suspended, 10)]);
    past.clone().done(t(0), &C::CloseSlot).when(t(1), &confirm("a")).then(&[while_it(Sale::Closed, 10)]);
    past.clone().done(t(0), &adjust(2)).when(t(1), &confirm("a")).then(&[sold(2)]);
    let last_moment = slot(10, 1).done(t(START - 1), &hold("a", 4, t(START + 60)));
    last_moment.when(t(START + 1), &confirm("a")).then(&[sold(10)]);
}

#[test]
fn nothing_is_done_to_a_hold_that_is_gone_or_has_lapsed() {
    let past = slot(10, 0).done(t(0), &hold("a", 4, t(60))).done(t(0), &hold("b", 1, t(70))).done(t(0), &confirm("b"));
    for command in [confirm("x"), release("x"), extend("x", t(-1)), confirm("b"), release("b"), extend("b", t(-1))] {
        past.when(t(1), &command).refused("HOLD_NOT_FOUND");
        given::<InventorySlot>().when(t(1), &command).refused("SLOT_NOT_FOUND");
    }
    for command in [confirm("a"), extend("a", t(-1))] {
        assert_eq!(past.when(t(60), &command).refused("HOLD_EXPIRED")["expired_at"], t(60).to_string());
    }
    past.clone().done(t(0), &C::CloseSlot).when(t(60), &extend("x", t(-1))).refused("SLOT_CLOSED");
}

#[test]
fn a_hold_is_extended_within_a_day_of_now_and_never_into_the_past() {
    let past = slot(10, 0).done(t(0), &hold("a", 4, t(60)));
    let moved = |expires_at| [E::HoldExtended { hold_id: id("a"), expires_at }];
    past.when(t(59), &extend("a", t(120))).then(&moved(t(120)));
    past.when(t(10), &extend("a", t(20))).then(&moved(t(20)));
    past.when(t(59), &extend("a", t(59 + LONGEST))).then(&moved(t(59 + LONGEST)));
    past.when(t(10), &extend("a", t(60))).then(&[]);
    past.clone().done(t(0), &suspend()).when(t(10), &extend("a", t(20))).then(&moved(t(20)));
    for expires_at in [t(10), t(11 + LONGEST), Timestamp::MIN, Timestamp::MAX] {
        past.when(t(10), &extend("a", expires_at)).refused("HOLD_EXPIRY_INVALID");
    }
    let extended = past.done(t(10), &extend("a", t(120)));
    assert_eq!(extended.state.earliest_expiry(), Some(t(120)));
    extended.when(t(60), &confirm("a")).then(&[confirmed("a", 4, counts(10, 0, 4))]);
}

#[test]
fn a_release_gives_units_back_and_records_a_lapsed_hold_as_expired() {
    let past = slot(10, 1).done(t(0), &hold("a", 4, t(60))).done(t(0), &hold("b", 2, t(60)));
    past.when(t(59), &release("a")).then(&[released("a", 4, counts(10, 2, 1))]);
    past.when(t(60), &release("a")).then(&[expired("a", 4, t(60), counts(10, 2, 1))]);
}

#[test]
fn a_timer_that_comes_early_or_late_finds_nothing_to_expire() {
    let past = slot(10, 0).done(t(0), &hold("a", 4, t(60)));
    past.when(t(59), &expire("a")).then(&[]);
    past.when(t(60), &expire("a")).then(&[expired("a", 4, t(60), counts(10, 0, 0))]);
    past.when(t(90), &expire("a")).then(&[expired("a", 4, t(60), counts(10, 0, 0))]);
    past.clone().done(t(60), &expire("a")).when(t(61), &expire("a")).then(&[]);
    past.clone().done(t(59), &confirm("a")).when(t(60), &expire("a")).then(&[]);
    past.clone().done(t(59), &extend("a", t(70))).when(t(60), &expire("a")).then(&[]);
    given::<InventorySlot>().when(t(60), &expire("a")).then(&[]);
}

#[test]
fn no_more_units_are_cancelled_than_were_sold() {
    let while_it = |sale, quantity, left| [cancelled("sold", Holder::Caller, quantity, Counts { sale, ..counts(10, 0, left) })];
    slot(10, 5).when(t(0), &cancel(5)).then(&while_it(Sale::Open, 5, 0));
    slot(10, 5).done(t(0), &suspend()).when(t(0), &cancel(2)).then(&while_it(Sale::Suspended, 2, 3));
    slot(10, 5).done(t(0), &C::CloseSlot).when(t(START * 2), &cancel(2)).then(&while_it(Sale::Closed, 2, 3));
    assert_eq!(slot(10, 5).when(t(0), &cancel(6)).refused("SLOT_CANCEL_EXCEEDS_SOLD")["confirmed"], "5");
    slot(10, 5).when(t(0), &cancel(0)).refused("SLOT_QUANTITY_INVALID");
    slot(10, 5).when(t(0), &cancel(u32::MAX)).refused("SLOT_QUANTITY_INVALID");
    given::<InventorySlot>().when(t(0), &cancel(0)).refused("SLOT_NOT_FOUND");
}

#[test]
fn capacity_may_fall_below_what_is_taken_and_then_nothing_new_is_held() {
    let past = slot(10, 5).done(t(0), &hold("a", 3, t(60)));
    past.when(t(0), &adjust(10)).then(&[]);
    past.when(t(0), &adjust(6)).then(&[E::CapacityAdjusted { counts: counts(6, 3, 5) }]);
    past.when(t(0), &adjust(MOST + 1)).refused("SLOT_CAPACITY_INVALID");
    past.clone().done(t(0), &C::CloseSlot).when(t(0), &adjust(u32::MAX)).refused("SLOT_CLOSED");
    given::<InventorySlot>().when(t(0), &adjust(u32::MAX)).refused("SLOT_NOT_FOUND");

    let overcommitted = past.done(t(0), &adjust(6));
    assert_eq!(overcommitted.state.available_at(t(0)), Quantity::ZERO);
    overcommitted.when(t(0), &hold("x", 1, t(60))).refused("SLOT_HELD_BY_OTHERS");
    overcommitted.when(t(0), &hold("x", 2, t(60))).refused("SLOT_INSUFFICIENT_UNITS");
    overcommitted.clone().done(t(0), &confirm("a")).when(t(0), &hold("x", 1, t(60))).refused("SLOT_SOLD_OUT");
    overcommitted.when(t(60), &hold("x", 1, t(90))).then(&[expired("a", 3, t(60), counts(6, 0, 5)), held("x", 1, t(90), counts(6, 1, 5))]);
}

#[test]
fn suspending_resuming_and_closing_what_is_so_already_records_nothing() {
    let suspended = slot(10, 0).done(t(0), &suspend());
    let closed = slot(10, 0).done(t(0), &C::CloseSlot);
    let while_it = |sale| Some(Counts { sale, ..counts(10, 0, 0) });
    slot(10, 0).when(t(0), &suspend()).then(&[E::SlotSuspended { reason: "Storm warning".into(), counts: while_it(Sale::Suspended) }]);
    suspended.when(t(0), &suspend()).then(&[]);
    suspended.when(t(0), &C::ResumeSlot).then(&[E::SlotResumed { counts: while_it(Sale::Open) }]);
    slot(10, 0).when(t(0), &C::ResumeSlot).then(&[]);
    suspended.when(t(0), &C::CloseSlot).then(&[E::SlotClosed { counts: while_it(Sale::Closed) }]);
    closed.when(t(0), &C::CloseSlot).then(&[]);
    for command in [suspend(), C::ResumeSlot, C::SuspendSlot { reason: String::new() }] {
        closed.when(t(0), &command).refused("SLOT_CLOSED");
        given::<InventorySlot>().when(t(0), &command).refused("SLOT_NOT_FOUND");
    }
    given::<InventorySlot>().when(t(0), &C::CloseSlot).refused("SLOT_NOT_FOUND");
    for reason in [String::new(), "x".repeat(501), "a\nb".into(), "a\u{202e}b".into()] {
        suspended.when(t(0), &C::SuspendSlot { reason }).refused("SLOT_REASON_INVALID");
    }
    suspended.clone().done(t(0), &C::ResumeSlot).when(t(0), &hold("a", 1, t(60))).then(&[held("a", 1, t(60), counts(10, 1, 0))]);
}

#[test]
fn each_event_says_of_the_slot_after_it_whether_it_sells() {
    let held = slot(10, 0).done(t(0), &hold("a", 2, t(60)));
    let suspended = held.clone().done(t(0), &suspend());
    let stopped = |sale, held, confirmed| Counts { sale, ..counts(10, held, confirmed) };
    let bought = confirmed("a", 2, stopped(Sale::Suspended, 0, 2));
    suspended.when(t(0), &confirm("a")).then(&[bought]);
    let closed = held.done(t(0), &C::CloseSlot);
    closed.when(t(60), &expire("a")).then(&[expired("a", 2, t(60), stopped(Sale::Closed, 0, 0))]);
}

#[test]
fn a_slot_suspended_before_events_said_so_is_suspended_all_the_same() {
    let mut slot = slot(10, 4).state;
    let old = r#"{"SlotSuspended":{"reason":"rain"}}"#;
    let crate::AnyEvent::InventorySlot(old) = crate::AnyEvent::decode("InventorySlot", "SlotSuspended", "1.0", old).unwrap() else { panic!() };
    assert_eq!(old.counts(), None, "what it does not say is not made up");
    slot.apply(&old);
    slot.apply(&cancelled("a", Holder::Caller, 1, counts(10, 0, 3)));
    assert_eq!((slot.status(), slot.counts()), (SlotStatus::Suspended, Counts { sale: Sale::Suspended, ..counts(10, 0, 3) }));
}

#[test]
fn the_state_does_not_grow_with_a_million_units_sold() {
    let mut slot = slot(MOST, 1).state;
    let before = serde_json::to_string(&slot).unwrap();
    for n in 1..1_000_000 {
        for command in [hold(&format!("order-{n}"), 1, t(60)), confirm(&format!("order-{n}"))] {
            for event in slot.decide(&command, t(0)).unwrap() {
                slot.apply(&event);
            }
        }
    }
    let after = serde_json::to_string(&slot).unwrap();
    assert_eq!(slot.counts().confirmed.get(), 1_000_000);
    assert_eq!(after.replace("1000000", "1"), before.replace("1000000", "1"), "only the digits of a counter may differ");
}
