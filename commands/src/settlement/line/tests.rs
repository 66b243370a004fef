//! Which holds settlement has a timer for.

use std::sync::Arc;

use jari_domain::slot::{Counts, Holder};
use jari_event_store::{Body, Metadata};

use super::*;

/// Units are held until `end`, by `actor`.
fn held_by(actor: Option<&str>, end: Timestamp) -> RecordedEvent {
    let event = AnyEvent::InventorySlot(SlotEvent::UnitsHeld {
        hold_id: HoldId::parse("hold").unwrap(),
        quantity: 1,
        expires_at: end,
        holder: Holder::default(),
        counts: Counts { capacity: 10, held: 1, ..Counts::default() },
    });
    RecordedEvent {
        position: 7,
        aggregate_type: "InventorySlot".into(),
        aggregate_id: "seat@stock".into(),
        sequence: 2,
        event_type: event.event_type().into(),
        event_version: event.event_version().into(),
        body: Body::Known(event),
        metadata: Arc::new(Metadata { actor: actor.map(str::to_owned), ..Metadata::default() }),
        recorded_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn a_hold_has_a_timer_of_its_own_unless_settlement_took_it_for_an_order() {
    let end = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(600);
    for (actor, timer) in [(None, Some(end)), (Some("a caller"), Some(end)), (Some(SETTLEMENT_ACTOR), None), (Some(RETRY_ACTOR), None)] {
        let mut line = Line::default();
        assert_eq!(line.fold(&held_by(actor, end)), None);
        assert_eq!(line.next_end(), timer, "{actor:?}");
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
    let mut restored = Line::restore(jari_event_store::ProcessMemory { position: 7, entries });
    let late = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(3_600);
    let ended: Vec<_> = std::iter::from_fn(|| restored.take_ended(late, late + jiff::SignedDuration::from_secs(1))).collect();
    let causes: Vec<_> = ended.into_iter().map(|(key, cause)| (key.to_text(), cause)).collect();
    let cause = Cause { position: 7, correlation_id: Some("call".into()) };
    assert_eq!(causes, [("seat@stock/hold".to_owned(), Some(cause)), ("seat@stock/old".to_owned(), None)]);
}
