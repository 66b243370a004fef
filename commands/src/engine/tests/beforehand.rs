//! A unit that needs much to be in the log before it is decided: in groups of a bounded size, while it keeps its turn.

use std::collections::BTreeMap;

use jari_event_store::Group;

use super::*;
use crate::booking::SettleOrder;

/// When the holds of the crowd have lapsed.
pub(super) const LATER: i64 = 70;

/// A slot that a crowd holds, one unit each, until second 60.
pub(super) fn crowded(pool: &str, holds: u32) -> LoadedStream {
    let mut state = InventorySlot::default();
    let open = SlotCommand::OpenSlot { pool_id: PoolId::parse(pool).unwrap(), window: None, capacity: Quantity::new(holds) };
    let hold_id = |n: u32| HoldId::parse(&format!("crowd-{n}")).unwrap();
    let crowd = (0..holds).map(|n| SlotCommand::HoldUnits { hold_id: hold_id(n), quantity: Quantity::ONE, expires_at: at(60) });
    let mut version = 0;
    for command in std::iter::once(open).chain(crowd) {
        for event in state.decide(&command, at(0)).unwrap() {
            state.apply(&event);
            version += 1;
        }
    }
    let (stream, state) = (StreamId::from(&slot(pool)), AnyState::InventorySlot(Box::new(state)));
    LoadedStream { stream, state, version, last_time: at(0), snapshot_sequence: version }
}

pub(super) fn hold_of(pool: &str, hold: &str, quantity: u32) -> OneStream<InventorySlot> {
    let hold_id = HoldId::parse(hold).unwrap();
    OneStream::on("hold", &slot(pool), SlotCommand::HoldUnits { hold_id, quantity: Quantity::new(quantity), expires_at: at(LATER + 60) })
}

fn small(beforehand: usize) -> Core {
    Core::new(CoreLimits { beforehand, attempts: 2, ..CoreLimits::default() }, at(0))
}

/// Brings what was asked for, at a time when the crowd's holds have lapsed.
pub(super) fn bring(core: &mut Core, streams: &[LoadedStream]) {
    for (request, generation) in std::mem::take(&mut core.effects.loads) {
        let loaded = streams.iter().find(|loaded| loaded.stream == request.stream).expect("only these are asked for");
        core.loaded(&request.stream, generation, Ok(loaded.clone()), at(LATER));
    }
}

/// The groups of the next batch, which lands.
fn next(core: &mut Core) -> Option<Vec<Group>> {
    let departure = core.depart(at(LATER))?;
    let groups = departure.batch.groups.clone();
    let (number, landed) = land(departure, 1_000);
    core.appended(number, landed, at(LATER));
    Some(groups)
}

fn kinds(group: &Group) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    group.uses.iter().flat_map(|used| &used.events).for_each(|event| *kinds.entry(event.event_type()).or_default() += 1);
    kinds
}

fn code(answer: &mut Answer) -> Option<String> {
    answer.try_recv().unwrap().unwrap().refusal.map(|refusal| refusal.code)
}

#[test]
fn a_hold_that_needs_the_room_of_thousands_is_recorded_in_groups_of_a_bounded_size() {
    let mut core = small(512);
    let mut answer = submit(&mut core, hold_of("seats", "big", 5_000), key(1));
    bring(&mut core, &[crowded("seats", 5_000)]);
    let mut sizes = Vec::new();
    while let Some(groups) = next(&mut core) {
        let [group] = &groups[..] else { panic!("it is alone here") };
        let is_last = kinds(group).contains_key("UnitsHeld");
        assert_eq!(group.command.is_some(), is_last, "its outcome stands with its decision");
        assert_eq!(answer.try_recv().is_ok(), is_last, "and it is told then");
        sizes.push(group.event_count());
    }
    assert_eq!((sizes.iter().max(), sizes.iter().sum::<usize>()), (Some(&512), 5_001), "{sizes:?}");
}

#[test]
fn others_go_on_between_its_groups_and_who_came_later_to_its_slot_waits_behind_it() {
    let mut core = small(10);
    let mut big = submit(&mut core, hold_of("seats", "big", 100), key(1));
    let mut later = submit(&mut core, hold_of("seats", "later", 1), key(2));
    bring(&mut core, &[crowded("seats", 100)]);
    let mut elsewhere = submit(&mut core, hold_of("chairs", "other", 1), key(3));
    bring(&mut core, &[crowded("chairs", 1)]);
    assert_eq!(next(&mut core).unwrap().len(), 2, "what it needs first, and the other");
    assert_eq!(code(&mut elsewhere), None);
    let mut newest = submit(&mut core, hold_of("seats", "newest", 1), key(4));
    while next(&mut core).is_some() {}
    assert_eq!(code(&mut big), None);
    for answer in [&mut later, &mut newest] {
        assert_eq!(code(answer).as_deref(), Some("SLOT_HELD_BY_OTHERS"), "nobody overtook it while units were free");
    }
}

#[test]
fn an_order_over_several_slots_is_held_in_one_group_after_all_that_it_needs() {
    let order_id = OrderId::parse("o").unwrap();
    let draws: Vec<_> = ["chairs", "seats", "tables"].map(|pool| serde_json::json!({ "slot_id": slot(pool), "quantity": 30 })).into();
    let total = serde_json::json!({ "minor": 100, "currency": "KRW" });
    let unit = serde_json::json!({ "unit_id": "piece", "quantity": 1, "price": total });
    let line = serde_json::json!({ "product_id": "p", "option_id": "one", "starts_at": null, "units": [unit], "draws": draws, "total": total });
    let placed = serde_json::json!({ "OrderPlaced": { "customer": "somebody", "lines": [line], "total": total, "hold_seconds": 60 } });
    let mut state = AnyState::new(Order::TYPE).unwrap();
    state.apply(&AnyEvent::Order(serde_json::from_value(placed).unwrap()));
    let draws = ["chairs", "seats", "tables"].map(|pool| (slot(pool), Quantity::new(30))).into();
    let order = LoadedStream { stream: StreamId::from(&order_id), state, version: 1, last_time: at(0), snapshot_sequence: 0 };

    let mut core = small(12);
    let (to, mut answer) = oneshot::channel();
    core.submit(Arc::new(SettleOrder { order_id, draws, lease: None }), Origin::default(), Reply { to, permit: None }, at(1));
    bring(&mut core, &[order, crowded("chairs", 30), crowded("seats", 40), crowded("tables", 3_000)]);
    let mut last = Vec::new();
    while let Some(groups) = next(&mut core) {
        // in each slot eight that it would end in any case, and its hold; and its own event
        assert!(groups.iter().all(|group| group.event_count() <= 3 * 9 + 1), "{:?}", groups.iter().map(kinds).collect::<Vec<_>>());
        last = groups;
    }
    let kinds: Vec<_> = last.iter().map(kinds).collect();
    assert_eq!((kinds[0]["UnitsHeld"], kinds[0]["OrderHeld"]), (3, 1), "{kinds:?}");
    assert_eq!(code(&mut answer), None);
}

#[test]
fn what_it_needs_first_is_decided_again_when_another_writer_was_before_it() {
    let mut core = small(40);
    let mut big = submit(&mut core, hold_of("seats", "big", 100), key(1));
    bring(&mut core, &[crowded("seats", 100)]);
    let mut later = submit(&mut core, hold_of("seats", "later", 1), key(2));
    for _ in 0..3 {
        // with two in a row it would hear of contention; each group that lands is a step ahead
        let (number, fallen) = fall(core.depart(at(LATER)).unwrap(), false);
        core.appended(number, fallen, at(LATER));
        assert!(core.depart(at(LATER)).is_none(), "the slot is read first");
        let known = core.cells[&StreamId::from(&slot("seats"))].durable().cloned().unwrap();
        let (stream, version) = (StreamId::from(&slot("seats")), known.number);
        bring(&mut core, &[LoadedStream { stream, state: known.state, version, last_time: at(LATER), snapshot_sequence: 0 }]);
        assert!(next(&mut core).is_some());
    }
    while next(&mut core).is_some() {}
    assert_eq!(code(&mut big), None, "it has its room");
    assert_eq!(code(&mut later).as_deref(), Some("SLOT_HELD_BY_OTHERS"), "and its turn");
}
