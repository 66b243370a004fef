//! The road of a command against a real log.

use std::sync::Arc;

use jari_commands::engine::{CoreLimits, EngineSettings};
use jari_domain::{Position, slot::InventorySlot};
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, hold, in_seconds, patient},
    raw::{INSERT, client, values},
};

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_capacity_is_sold_when_many_want_one_slot() {
    let node = Arc::new(Node::start().await);
    let slot = node.open_stock("seats", 100).await;
    let tasks: Vec<_> = (0..1_000)
        .map(|n| {
            let (node, slot) = (node.clone(), slot.clone());
            tokio::spawn(async move { node.run(hold(&slot, &format!("h{n}"), 1)).await })
        })
        .collect();
    let mut sold = 0;
    for task in tasks {
        match task.await.unwrap().refusal {
            None => sold += 1,
            Some(refusal) => assert_eq!(refusal.code, "SLOT_HELD_BY_OTHERS"),
        }
    }
    assert_eq!(sold, 100);
    let state: InventorySlot = node.state(&slot).await;
    assert_eq!(state.counts().held.get(), 100);
    assert_eq!(node.log().await.len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_gives_the_recorded_outcome() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 1).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let sold = node.engine.execute(hold(&slot, "a", 1), command(first)).await.unwrap();
    let refused = node.engine.execute(hold(&slot, "b", 1), command(second)).await.unwrap();
    assert!(sold.refusal.is_none() && refused.refusal.is_some());
    for _ in 0..3 {
        assert_eq!(node.engine.execute(hold(&slot, "a", 1), command(first)).await.unwrap(), sold);
        assert_eq!(node.engine.execute(hold(&slot, "b", 1), command(second)).await.unwrap(), refused);
    }
    let database = node.stop().await;
    let node = Node::on(database, patient()).await;
    assert_eq!(node.engine.execute(hold(&slot, "a", 1), command(first)).await.unwrap(), sold, "also after a restart");
    assert_eq!(node.engine.execute(hold(&slot, "b", 1), command(second)).await.unwrap(), refused, "refusals too");
    let other = jari_commands::engine::Origin { digest: [1; 16], ..command(first) };
    let error = node.engine.execute(hold(&slot, "c", 1), other).await.unwrap_err();
    assert_eq!(error.code(), "COMMAND_ID_REUSED");
    assert_eq!(node.log().await.len(), 2);
    let _ = in_seconds(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_slot_never_oversell() {
    let one = Arc::new(Node::start().await);
    let two = Arc::new(Node::on(one.database.clone(), patient()).await);
    let slot = one.open_stock("seats", 300).await;
    let tasks: Vec<_> = (0..800)
        .map(|n| {
            let node = if n % 2 == 0 { one.clone() } else { two.clone() };
            let slot = slot.clone();
            tokio::spawn(async move { node.engine.execute(hold(&slot, &format!("h{n}"), 1), command(Uuid::now_v7())).await })
        })
        .collect();
    let (mut sold, mut refused, mut contended) = (0, 0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) if outcome.refusal.is_none() => sold += 1,
            Ok(_) => refused += 1,
            Err(error) => {
                assert_eq!(error.code(), "CONTENTION");
                contended += 1;
            }
        }
    }
    let state: InventorySlot = one.state(&slot).await;
    assert_eq!(state.counts().held.get(), sold, "what was acknowledged stands in the log, and nothing else");
    assert!(sold <= 300 && (contended > 0 || sold == 300), "sold {sold}, refused {refused}, contended {contended}");
    one.log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_to_a_stream_is_known_before_the_next_decision_on_it() {
    // one try: who decides on a state that is old by now falls, and is told so
    let limits = CoreLimits { attempts: 1, ..CoreLimits::default() };
    let node = Node::on(database().await, EngineSettings { limits, ..patient() }).await;
    let (slot, beside) = (node.open_stock("seats", 10).await, node.open_stock("beside", 10).await);
    assert_eq!(node.run(hold(&slot, "before", 1)).await.refusal, None);
    // versions 3 and 4: suspended, and resumed
    let id = slot.to_string();
    client(&node.database).await.batch_execute(&format!("{INSERT} {}, {}", values(&id, 3), values(&id, 4))).await.unwrap();
    assert!(!node.tail.read(Position::new(4), 1).await.unwrap().is_empty());
    // while these wait for the log, the loop looks at what the tail has
    for n in 0..2 {
        assert_eq!(node.run(hold(&beside, &format!("h{n}"), 1)).await.refusal, None);
    }
    let after = node.engine.execute(hold(&slot, "after", 1), command(Uuid::now_v7())).await;
    assert_eq!(after.expect("it is decided on what is there").refusal, None);
}
