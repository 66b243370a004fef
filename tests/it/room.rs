//! A hold that needs the room of thousands of holds that lapsed, of which nobody has recorded the end.

use std::{collections::BTreeMap, sync::Arc};

use jari_commands::{
    booking::OneStream,
    engine::{CoreLimits, EngineSettings},
};
use jari_domain::{
    AnyEvent, Decider, Position, Quantity, StreamId, Timestamp,
    ids::{HoldId, PoolId, SlotId},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand, SlotEvent},
};
use jari_event_store::{Appender, Batch, Database, Group, Metadata, StreamUse};

use crate::harness::{Node, database, in_seconds, on_slot, patient};

/// One-unit holds that lapsed together.
const CROWD: u32 = 3_000;
/// Ends that are recorded at once.
const AT_ONCE: usize = 500;

fn hold(slot: &SlotId, name: &str, quantity: u32, expires_at: Timestamp) -> OneStream<InventorySlot> {
    on_slot(slot, SlotCommand::HoldUnits { hold_id: HoldId::parse(name).unwrap(), quantity: Quantity::new(quantity), expires_at })
}

/// A slot that a crowd held until half a minute ago, when nobody was there to record the end.
async fn crowded(database: &Database) -> SlotId {
    let pool_id = PoolId::parse("seats").unwrap();
    let slot = SlotId::of(&pool_id, None);
    let hold_id = |n: u32| HoldId::parse(&format!("crowd-{n}")).unwrap();
    let crowd = (0..CROWD).map(|n| SlotCommand::HoldUnits { hold_id: hold_id(n), quantity: Quantity::ONE, expires_at: in_seconds(-30) });
    let (mut state, mut events, then) = (InventorySlot::default(), Vec::new(), in_seconds(-60));
    for command in std::iter::once(SlotCommand::OpenSlot { pool_id, window: None, capacity: Quantity::new(CROWD) }).chain(crowd) {
        for event in state.decide(&command, then).unwrap() {
            state.apply(&event);
            events.push(InventorySlot::wrap(event));
        }
    }
    let uses = vec![StreamUse { stream: StreamId::from(&slot), expected: 0, events, claims: true }];
    let metadata = Metadata { decided_at: Some(then), ..Metadata::default() };
    let batch = Arc::new(Batch { groups: vec![Group::new(uses, None, Arc::new(metadata), None).unwrap()] });
    Appender::connect(database).await.unwrap().append(&batch, 1, None, false).await.unwrap();
    slot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_takes_the_room_of_thousands_has_it_while_others_go_on() {
    let database = database().await;
    let seats = crowded(&database).await;
    let limits = CoreLimits { beforehand: AT_ONCE, ..CoreLimits::default() };
    let node = Node::on(database, EngineSettings { limits, ..patient() }).await;
    let chairs = node.open_stock("chairs", 100_000).await;
    let others = async {
        // Ends with the test.
        for n in 0.. {
            let outcome = node.run(hold(&chairs, &format!("other-{n}"), 1, in_seconds(600))).await;
            assert_eq!(outcome.refusal, None);
        }
    };
    let outcome = tokio::select! {
        outcome = node.run(hold(&seats, "all", CROWD, in_seconds(600))) => outcome,
        () = others => unreachable!("they go on"),
    };
    assert_eq!(outcome.refusal, None, "it is not refused while units are free");

    let slot: InventorySlot = node.state(&seats).await;
    assert_eq!((slot.counts().held.get(), slot.open_holds()), (CROWD, 1));
    let log = node.log().await;
    let ends = log.iter().filter(|event| matches!(event.event(), Some(AnyEvent::InventorySlot(SlotEvent::HoldExpired { .. }))));
    let (mut last, mut groups) = (Position::START, BTreeMap::<_, usize>::new());
    for end in ends {
        *groups.entry(end.decided_at()).or_default() += 1;
        last = end.position;
    }
    assert_eq!(groups.values().sum::<usize>(), CROWD as usize, "each end once");
    assert!(groups.values().all(|size| *size <= AT_ONCE), "{groups:?}");
    let between = log.iter().filter(|event| *event.aggregate_id == *chairs.as_str() && event.position < last);
    assert!(between.count() > 1, "the others landed between them");
    node.stop().await;
}
