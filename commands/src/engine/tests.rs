//! The loop alone, one turn after the other: races that need their order.

use std::sync::Arc;

use jari_domain::{
    AnyEvent, AnyState, Decider, Position, Quantity, StreamId, Timestamp,
    ids::{HoldId, OrderId, PoolId, SlotId},
    order::Order,
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::{Appended, BatchLimits, CommandKey, LoadRequest, LoadedStream, RecordedCommand};
use jiff::SignedDuration;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    core::{Core, Reply},
    flight::{AppendFailure, Departure},
    limits::CoreLimits,
    unit::{ExecuteError, Origin, Outcome, UnitOfWork},
};
use crate::booking::{ConfirmOrder, OneStream};

mod beforehand;
mod cells;

type Answer = oneshot::Receiver<Result<Outcome, ExecuteError>>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn core(attempts: u32) -> Core {
    Core::new(CoreLimits { attempts, ..CoreLimits::default() }, at(0))
}

fn key(n: u128) -> CommandKey {
    CommandKey { caller: "c".into(), id: Uuid::from_u128(n) }
}

/// Asks; its id is looked up first.
fn ask(core: &mut Core, work: impl UnitOfWork, key: CommandKey) -> Answer {
    let (to, answer) = oneshot::channel();
    core.submit(Arc::new(work), Origin { key: Some(key), ..Origin::default() }, Reply { to, permit: None }, at(1));
    answer
}

/// The same, and it is not found.
fn submit(core: &mut Core, work: impl UnitOfWork, key: CommandKey) -> Answer {
    let answer = ask(core, work, key.clone());
    core.effects.lookups.clear();
    core.looked_up(&[key], vec![], at(1));
    answer
}

fn recorded(position: u64) -> RecordedCommand {
    RecordedCommand { digest: [0; 16], position: Position::new(position), refusal: None }
}

/// The same, as whoever asked hears it.
fn outcome_at(position: u64) -> Outcome {
    Outcome { position: Position::new(position), refusal: None, events: Vec::new() }
}

fn slot(pool: &str) -> SlotId {
    SlotId::of(&PoolId::parse(pool).unwrap(), None)
}

fn hold(pool: &str, hold: &str) -> OneStream<InventorySlot> {
    let expires_at = at(0) + SignedDuration::from_secs(60);
    OneStream::on("hold", &slot(pool), SlotCommand::HoldUnits { hold_id: HoldId::parse(hold).unwrap(), quantity: Quantity::ONE, expires_at })
}

/// An open slot's stream with `more` holds in it.
fn opened(pool: &str, more: u64) -> LoadedStream {
    let mut slot_state = InventorySlot::default();
    let mut version = 0;
    let open = SlotCommand::OpenSlot { pool_id: PoolId::parse(pool).unwrap(), window: None, capacity: Quantity::new(10) };
    let expires_at = at(0) + SignedDuration::from_secs(60);
    let holds =
        (0..more).map(|n| SlotCommand::HoldUnits { hold_id: HoldId::parse(&format!("other-{n}")).unwrap(), quantity: Quantity::ONE, expires_at });
    for command in std::iter::once(open).chain(holds) {
        for event in slot_state.decide(&command, at(0)).unwrap() {
            slot_state.apply(&event);
            version += 1;
        }
    }
    let state = AnyState::InventorySlot(Box::new(slot_state));
    LoadedStream { stream: StreamId::from(&slot(pool)), state, version, last_time: at(0), snapshot_sequence: 0 }
}

fn load(core: &mut Core, loaded: LoadedStream) {
    let asked: Vec<(LoadRequest, u64)> = std::mem::take(&mut core.effects.loads);
    let (request, generation) = asked.into_iter().find(|(r, _)| r.stream == loaded.stream).expect("the stream was asked for");
    core.loaded(&request.stream, generation, Ok(loaded), at(1));
}

fn land(departure: Departure, base: u64) -> (u64, Result<Appended, AppendFailure>) {
    let appended = Appended { base: Position::new(base), recorded_at: at(1), fallen: vec![], repeated: vec![], lease_lost: false, stale: false };
    (departure.number, Ok(appended))
}

fn fall(departure: Departure, repeated: bool) -> (u64, Result<Appended, AppendFailure>) {
    let repeated = if repeated { vec![0] } else { vec![] };
    fall_all(departure, repeated)
}

/// Every group of it falls.
fn fall_all(departure: Departure, repeated: Vec<usize>) -> (u64, Result<Appended, AppendFailure>) {
    let fallen = (0..departure.batch.groups.len()).collect();
    let appended = Appended { base: Position::new(9), recorded_at: at(1), fallen, repeated, lease_lost: false, stale: false };
    (departure.number, Ok(appended))
}

/// Who waits leaves together and falls, `times` times; the slot is read anew each time.
fn beat(core: &mut Core, times: usize, repeated: &[usize]) {
    for _ in 0..times {
        let (number, fallen) = fall_all(core.depart(at(1)).unwrap(), repeated.to_vec());
        core.appended(number, fallen, at(1));
        let asked = std::mem::take(&mut core.effects.lookups);
        core.looked_up(&asked, vec![], at(1));
        assert!(core.depart(at(1)).is_none(), "the slot is read first");
        load(core, opened("seats", 0));
    }
}

#[test]
fn who_fell_only_with_another_is_never_told_of_contention() {
    for repeated in [vec![], vec![0]] {
        let mut core = core(2);
        let mut first = submit(&mut core, hold("seats", "first"), key(1));
        let mut second = submit(&mut core, hold("seats", "second"), key(2));
        load(&mut core, opened("seats", 0));
        beat(&mut core, 2, &repeated);
        assert!(second.try_recv().is_err(), "nobody was before it at its slot but the first");
        let was_beaten = repeated.is_empty();
        assert_eq!(first.try_recv().ok(), was_beaten.then_some(Err(ExecuteError::Contention { attempts: 2 })));
        let (number, landed) = land(core.depart(at(1)).unwrap(), 9);
        core.appended(number, landed, at(1));
        assert_eq!(second.try_recv().unwrap().unwrap().refusal, None);
    }
}

#[test]
fn a_command_whose_stream_cannot_be_read_is_looked_up_before_it_hears_so() {
    for was_done in [false, true] {
        let mut core = core(32);
        let mut answer = submit(&mut core, hold("seats", "mine"), key(1));
        let (request, asked) = core.effects.loads.pop().unwrap();
        core.loaded(&request.stream, asked, Err("torn".into()), at(1));
        assert!(answer.try_recv().is_err(), "another node may read it, and may have done it");
        assert_eq!(core.effects.lookups, [key(1)]);
        core.looked_up(&[key(1)], if was_done { vec![(key(1), recorded(7))] } else { vec![] }, at(1));
        let unreadable = ExecuteError::StreamUnreadable { stream: request.stream.to_string(), reason: "torn".into() };
        let expected = if was_done { Ok(outcome_at(7)) } else { Err(unreadable) };
        assert_eq!(answer.try_recv().unwrap(), expected);
        assert!(core.units.is_empty());
    }
}

#[test]
fn what_nobody_would_send_again_is_decided_until_it_lands() {
    let mut core = core(2);
    let (to, mut answer) = oneshot::channel();
    core.submit(Arc::new(hold("seats", "ours")), Origin::default(), Reply { to, permit: None }, at(1));
    load(&mut core, opened("seats", 0));
    beat(&mut core, 9, &[]);
    let (number, landed) = land(core.depart(at(1)).unwrap(), 9);
    core.appended(number, landed, at(1));
    assert_eq!(answer.try_recv().unwrap().unwrap().refusal, None);
}

#[test]
fn an_event_of_another_writer_that_passes_a_read_under_way_is_read_after_it() {
    let mut core = core(32);
    let answer = submit(&mut core, hold("seats", "mine"), key(1));
    let read_before = opened("seats", 0);
    core.seen(&StreamId::from(&slot("seats")), 2);
    load(&mut core, read_before);
    assert!(core.depart(at(1)).is_none(), "nothing is decided on a state that is known to be old");
    load(&mut core, opened("seats", 1));
    let departure = core.depart(at(1)).expect("decided on the newest state");
    assert_eq!(departure.batch.groups[0].uses[0].expected, 2);
    drop(answer);
}

#[test]
fn an_order_that_turns_out_to_exist_is_never_confirmed_without_its_slots() {
    let mut core = core(32);
    let order_id = OrderId::parse("o").unwrap();
    let mut answer = submit(&mut core, ConfirmOrder { order_id: order_id.clone() }, key(1));
    let stream = StreamId::from(&order_id);
    let absent = AnyState::new(Order::TYPE).unwrap();
    load(&mut core, LoadedStream { stream: stream.clone(), state: absent.clone(), version: 0, last_time: at(0), snapshot_sequence: 0 });
    let departure = core.depart(at(1)).expect("refused: no such order");
    let (number, fallen) = fall(departure, false);
    core.appended(number, fallen, at(1));
    assert!(core.depart(at(1)).is_none());
    let mut held = absent;
    for json in [
        r#"{"OrderPlaced":{"customer":"c","lines":[{"product_id":"p","option_id":"one","starts_at":null,"units":[{"unit_id":"u","quantity":1,"price":{"minor":1,"currency":"KRW"}}],"draws":[{"slot_id":"seats@stock","quantity":1}],"total":{"minor":1,"currency":"KRW"}}],"total":{"minor":1,"currency":"KRW"},"hold_seconds":60}}"#,
        r#"{"OrderHeld":{"expires_at":"2027-01-15T08:01:00Z"}}"#,
    ] {
        held.apply(&AnyEvent::Order(serde_json::from_str(json).unwrap()));
    }
    load(&mut core, LoadedStream { stream, state: held, version: 2, last_time: at(0), snapshot_sequence: 0 });
    assert!(core.depart(at(1)).is_none(), "it waits for the slot that the order names");
    load(&mut core, opened("seats", 0));
    let departure = core.depart(at(1)).unwrap();
    assert_eq!(departure.batch.groups[0].uses.len(), 2);
    assert!(answer.try_recv().is_err(), "no answer before it is durable");
}

#[test]
fn a_repeat_found_at_the_last_attempt_gives_its_recorded_outcome() {
    let mut core = core(1);
    let mut answer = submit(&mut core, hold("seats", "mine"), key(1));
    load(&mut core, opened("seats", 0));
    let (number, fallen) = fall(core.depart(at(1)).unwrap(), true);
    core.appended(number, fallen, at(1));
    core.looked_up(&[key(1)], vec![(key(1), recorded(7))], at(1));
    assert_eq!(answer.try_recv().unwrap(), Ok(outcome_at(7)));
}

#[test]
fn a_command_that_fell_too_often_is_looked_up_before_it_hears_that_nothing_was_done() {
    for was_done in [false, true] {
        let mut core = core(1);
        let mut answer = submit(&mut core, hold("seats", "mine"), key(1));
        load(&mut core, opened("seats", 0));
        let (number, fallen) = fall(core.depart(at(1)).unwrap(), false);
        core.appended(number, fallen, at(1));
        assert!(answer.try_recv().is_err());
        assert_eq!(core.effects.lookups, [key(1)]);
        let outcome = recorded(7);
        core.looked_up(&[key(1)], if was_done { vec![(key(1), outcome)] } else { vec![] }, at(1));
        let expected = if was_done { Ok(outcome_at(7)) } else { Err(ExecuteError::Contention { attempts: 1 }) };
        assert_eq!(answer.try_recv().unwrap(), expected);
    }
}

#[test]
fn a_refusal_goes_out_only_when_what_it_was_decided_on_is_durable() {
    let mut core = core(32);
    let mut first = submit(&mut core, hold("seats", "same"), key(1));
    let mut second = submit(&mut core, hold("seats", "same"), key(2));
    load(&mut core, opened("seats", 0));
    let departure = core.depart(at(1)).unwrap();
    assert_eq!(departure.batch.groups.len(), 2, "the refusal travels behind what it was decided on");
    assert!(second.try_recv().is_err());
    let (number, landed) = land(departure, 9);
    core.appended(number, landed, at(1));
    assert_eq!(first.try_recv().unwrap().unwrap().refusal, None);
    assert_eq!(second.try_recv().unwrap().unwrap().refusal.unwrap().code, "HOLD_EXISTS");
}

#[test]
fn a_decision_that_breaks_is_answered_alone_and_the_loop_goes_on() {
    #[derive(Debug)]
    struct Broken(bool);
    impl UnitOfWork for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn touches(&self) -> Vec<super::Touch> {
            vec![super::Touch::existing(&slot("seats"))]
        }
        fn discover(&self, _: &super::States<'_>) -> Vec<super::Touch> {
            assert!(self.0, "a mistake in what it discovers");
            vec![]
        }
        fn decide(&self, _: &super::States<'_>, _: Timestamp) -> Result<super::Changes, jari_domain::Refusal> {
            panic!("a mistake in what it decides")
        }
    }
    let mut core = core(32);
    let mut broken: Vec<Answer> = (1..=2).map(|n| submit(&mut core, Broken(n == 1), key(n))).collect();
    let sound = submit(&mut core, hold("seats", "mine"), key(3));
    load(&mut core, opened("seats", 0));
    for answer in &mut broken {
        assert_eq!(answer.try_recv().unwrap(), Err(ExecuteError::DecisionFailed { name: "broken" }));
    }
    assert_eq!(core.depart(at(1)).unwrap().batch.groups.len(), 1);
    drop(sound);
}

/// A loop with a batch of `first` holds under way, and `more` that have come since.
fn behind_a_batch(first: u128, more: u128) -> (Core, Departure) {
    let mut core = core(32);
    let mut submitted = (0..first).map(|n| submit(&mut core, hold("seats", &format!("hold-{n}")), key(n))).collect::<Vec<_>>();
    load(&mut core, opened("seats", 0));
    let batch = core.depart(at(1)).expect("nobody waits behind nothing");
    assert_eq!(batch.batch.groups.len() as u128, first);
    submitted.extend((first..first + more).map(|n| submit(&mut core, hold("seats", &format!("hold-{n}")), key(n))));
    (core, batch)
}

#[test]
fn who_leaves_behind_a_batch_waits_for_company_while_others_come() {
    let left = |more: u128, is_lull: bool| {
        let (mut core, _under_way) = behind_a_batch(8, more);
        core.flight.is_lull = is_lull;
        core.depart(at(1)).map(|batch| batch.batch.groups.len())
    };
    assert_eq!([1, 2, 8].map(|more| left(more, true)), [None, Some(2), Some(8)], "nobody else comes, and they are enough for a commit");
    assert_eq!([2, 8, 15, 16].map(|more| left(more, false)), [None, None, None, Some(16)], "others may come");
}

#[test]
fn who_waited_for_company_leaves_when_the_batch_before_has_landed() {
    let (mut core, batch) = behind_a_batch(8, 1);
    assert!(core.depart(at(1)).is_none());
    let (number, landed) = land(batch, 9);
    core.appended(number, landed, at(1));
    assert_eq!(core.depart(at(1)).unwrap().batch.groups.len(), 1);
}

#[test]
fn more_outcomes_than_are_remembered_are_told_when_they_are_found_together() {
    let mut core = Core::new(CoreLimits { recent_outcomes: 1, ..CoreLimits::default() }, at(0));
    let mut answers = [1, 2, 3].map(|n| ask(&mut core, hold("seats", "mine"), key(n)));
    let found = [1, 2, 3].map(|n| (key(n), recorded(n as u64)));
    core.looked_up(&[1, 2, 3].map(key), found.into(), at(1));
    let positions = answers.each_mut().map(|answer| answer.try_recv().unwrap().unwrap().position.get());
    assert_eq!(positions, [1, 2, 3]);
}

#[test]
fn who_asks_while_bad_input_is_looked_up_is_told_after_a_look_of_its_own() {
    let mut core = core(32);
    let too_late = SlotCommand::HoldUnits { hold_id: HoldId::parse("mine").unwrap(), quantity: Quantity::ONE, expires_at: at(0) };
    let late = || OneStream::<InventorySlot>::on("hold", &slot("seats"), too_late.clone());
    let mut first = submit(&mut core, late(), key(1));
    load(&mut core, opened("seats", 0));
    let (number, landed) = land(core.depart(at(1)).unwrap(), 9);
    core.appended(number, landed, at(1));
    assert_eq!(std::mem::take(&mut core.effects.lookups), [key(1)], "another node may have done it in time");
    let mut second = ask(&mut core, late(), key(1));
    core.looked_up(&[key(1)], vec![], at(1));
    assert!(first.try_recv().unwrap().unwrap().refusal.is_some());
    assert!(second.try_recv().is_err(), "by now it may have been done");
    assert_eq!(core.effects.lookups, [key(1)]);
    core.looked_up(&[key(1)], vec![(key(1), recorded(7))], at(1));
    assert_eq!(second.try_recv().unwrap().unwrap(), outcome_at(7));
}

/// How many groups leave together, batch by batch, of five that wait.
fn batches_of_five(batch: BatchLimits) -> Vec<usize> {
    let mut core = Core::new(CoreLimits { batch, ..CoreLimits::default() }, at(0));
    let answers: Vec<Answer> = (0..5).map(|n| submit(&mut core, hold("seats", &format!("hold-{n}")), key(n))).collect();
    load(&mut core, opened("seats", 0));
    let mut sizes = Vec::new();
    while let Some(departure) = core.depart(at(1)) {
        sizes.push(departure.batch.groups.len());
        let (number, landed) = land(departure, 9);
        core.appended(number, landed, at(1));
    }
    assert!(answers.into_iter().all(|mut answer| answer.try_recv().is_ok()), "all of them leave: {sizes:?}");
    sizes
}

#[test]
fn what_exceeds_a_batch_in_groups_events_or_bytes_leaves_with_the_next_one_and_never_stays() {
    let unbounded = BatchLimits { groups: 1_000, events: 1_000, bytes: 1 << 20 };
    assert_eq!(batches_of_five(unbounded), [5]);
    assert_eq!(batches_of_five(BatchLimits { groups: 2, ..unbounded }), [2, 2, 1]);
    assert_eq!(batches_of_five(BatchLimits { events: 2, ..unbounded }), [2, 2, 1]);
    let mut core = core(32);
    let answer = submit(&mut core, hold("seats", "hold-0"), key(1));
    load(&mut core, opened("seats", 0));
    let bytes = core.depart(at(1)).unwrap().batch.groups[0].bytes();
    drop(answer);
    assert_eq!(batches_of_five(BatchLimits { bytes: 2 * bytes, ..unbounded }), [2, 2, 1]);
    assert_eq!(batches_of_five(BatchLimits { bytes: 2 * bytes - 1, ..unbounded }), [1; 5]);
    assert_eq!(batches_of_five(BatchLimits { bytes: 1, ..unbounded }), [1; 5], "one that is too large alone leaves alone");
}
