//! Which holds settlement has a timer for, and when it goes off.

use std::sync::Arc;

use jari_domain::{
    Quantity,
    slot::{Counts, Holder},
};
use jari_event_store::{Body, Metadata};

use super::*;

/// Where its events stand in the log.
const AT: Position = Position::new(7);

/// Units are held until `end`, by `actor` for a caller.
fn held_by(actor: Option<&str>, end: Timestamp) -> RecordedEvent {
    held_for(Holder::Caller, actor, end)
}

fn held_for(holder: Holder, actor: Option<&str>, end: Timestamp) -> RecordedEvent {
    let counts = Counts { capacity: Quantity::new(10), held: Quantity::ONE, ..Counts::default() };
    let held = slot_event(SlotEvent::UnitsHeld { hold_id: hold(), quantity: Quantity::ONE, expires_at: end, holder, counts });
    RecordedEvent { metadata: Arc::new(Metadata { actor: actor.map(str::to_owned), ..Metadata::default() }), ..held }
}

fn hold() -> HoldId {
    HoldId::parse("hold").unwrap()
}

fn slot_event(event: SlotEvent) -> RecordedEvent {
    let event = AnyEvent::InventorySlot(event);
    RecordedEvent {
        position: AT,
        aggregate_type: "InventorySlot".into(),
        aggregate_id: "seat@stock".into(),
        sequence: 2,
        event_type: event.event_type().into(),
        event_version: event.event_version().into(),
        body: Body::Known(event),
        metadata: Arc::default(),
        recorded_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn a_hold_has_a_timer_of_its_own_unless_settlement_took_it_for_an_order() {
    let end = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(600);
    let told = [
        (Holder::Caller, None, Some(end)),
        (Holder::Caller, Some("a caller"), Some(end)),
        (Holder::Order, Some(SETTLEMENT_ACTOR), None),
        (Holder::Order, None, None),
        // from before the holder was written
        (Holder::Caller, Some(SETTLEMENT_ACTOR), None),
        (Holder::Caller, Some(RETRY_ACTOR), None),
    ];
    for (holder, actor, timer) in told {
        let mut line = Line::default();
        assert_eq!(line.fold(&held_for(holder, actor, end)), None);
        assert_eq!(line.next_end(), timer, "{holder:?} {actor:?}");
    }
}

#[test]
fn what_was_saved_is_restored_with_what_set_it_and_without_from_before_that_was_kept() {
    let end = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(600);
    let mut event = held_by(None, end);
    event.metadata = Arc::new(Metadata { correlation_id: Some("call".into()), ..Metadata::default() });
    let mut line = Line::default();
    line.fold(&event);
    let (mut entries, _) = line.take_changes();
    entries.push(("seat@stock/old".to_owned(), r#"{"until":"1970-01-01T00:20:00Z"}"#.to_owned()));
    let mut restored = Line::restore(jari_event_store::ProcessMemory { position: AT, entries });
    let late = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(3_600);
    let ended: Vec<_> = std::iter::from_fn(|| restored.take_ended(late)).collect();
    let causes: Vec<_> = ended.into_iter().map(|(key, cause)| (key.to_text(), cause)).collect();
    let cause = Cause { position: AT, correlation_id: Some("call".into()) };
    assert_eq!(causes, [("seat@stock/hold".to_owned(), Some(cause)), ("seat@stock/old".to_owned(), None)]);
}

fn seconds(n: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(n)
}

#[test]
fn an_end_that_was_taken_is_given_again_only_when_it_was_not_recorded() {
    let mut line = Line::default();
    line.fold(&held_by(None, seconds(600)));
    assert_eq!(line.take_ended(seconds(599)), None, "not before its time");
    let (key, _) = line.take_ended(seconds(600)).expect("its time has come");
    assert_eq!((line.take_ended(seconds(9_000)), line.next_end()), (None, None), "its record is on its way");
    line.look_again(key.clone(), seconds(602));
    assert_eq!((line.take_ended(seconds(601)), line.next_end()), (None, Some(seconds(602))));
    assert_eq!(line.take_ended(seconds(602)).map(|(again, _)| again), Some(key.clone()));
    line.fold(&slot_event(SlotEvent::HoldExpired { hold_id: hold(), quantity: Quantity::ONE, expired_at: seconds(600), counts: Counts::default() }));
    line.look_again(key, seconds(700));
    assert_eq!(line.next_end(), None, "it has ended: there is nothing to look at");
}

#[test]
fn a_hold_that_was_extended_while_its_end_was_on_its_way_ends_when_it_was_extended_to() {
    let mut line = Line::default();
    line.fold(&held_by(None, seconds(600)));
    let (key, _) = line.take_ended(seconds(600)).expect("its time has come");
    line.fold(&slot_event(SlotEvent::HoldExtended { hold_id: hold(), expires_at: seconds(900) }));
    line.look_again(key, seconds(602));
    assert_eq!(line.next_end(), Some(seconds(900)));
}

#[test]
fn what_ends_without_its_timer_is_dropped_from_what_is_saved() {
    let mut line = Line::default();
    line.fold(&held_by(None, seconds(600)));
    line.take_changes();
    line.take_ended(seconds(600)).expect("its time has come");
    line.fold(&slot_event(SlotEvent::HoldReleased { hold_id: hold(), quantity: Quantity::ONE, counts: Counts::default() }));
    assert_eq!(line.take_changes(), (vec![], vec!["seat@stock/hold".to_owned()]));
}
