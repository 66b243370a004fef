//! Who may come in: bounded, told at once, and nothing leaks.

use std::{sync::Arc, time::Duration};

use jari_commands::engine::{AdmissionLimits, EngineSettings, ExecuteError};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, eventually, hold},
    ledger::Ledger,
    raw::client,
};

const PLACES: usize = 4;
const WAITING: usize = 3;

async fn narrow(wait: Duration) -> Arc<Node> {
    let admission = AdmissionLimits { places: PLACES, waiting: WAITING, wait };
    // a log that is locked for long is not taken for a stalled one: only the door sends away
    let settings =
        EngineSettings { admission, stalled_after: Duration::from_secs(600), answer_within: Duration::from_secs(600), ..EngineSettings::default() };
    Arc::new(Node::on(database().await, settings).await)
}

/// Holds the log's lock: no append gets through until the transaction ends.
async fn blocked(node: &Node) -> Client {
    let client = client(&node.database).await;
    client.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    client
}

/// Whether somebody who comes now is sent away at once.
fn is_full(node: &Node) -> bool {
    node.engine.status().waiting == WAITING
}

type Answer = Result<jari_commands::engine::Outcome, ExecuteError>;

fn callers(node: &Arc<Node>, slot: &jari_domain::ids::SlotId, name: &'static str, count: usize) -> Vec<JoinHandle<Answer>> {
    (0..count)
        .map(|n| {
            let (node, work) = (node.clone(), hold(slot, &format!("{name}-{n}"), 1));
            tokio::spawn(async move { node.engine.execute(work, command(Uuid::now_v7())).await })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_surplus_is_told_at_once_to_come_back_and_nothing_of_it_is_done() {
    let node = narrow(Duration::from_secs(60)).await;
    let slot = node.open_stock("seats", 1_000).await;
    let log = blocked(&node).await;
    let mut inside = callers(&node, &slot, "inside", PLACES);
    eventually("all places are taken", || async { node.engine.status().occupied == PLACES }).await;
    assert!(!is_full(&node), "there is room to wait");
    inside.extend(callers(&node, &slot, "waiting", WAITING));
    eventually("the waiting room is full", || async { is_full(&node) }).await;
    let mut delays = Vec::new();
    for surplus in callers(&node, &slot, "surplus", 50) {
        // the log is still blocked: who is answered now was answered at once
        match surplus.await.unwrap() {
            Err(ExecuteError::Busy { retry_after }) => delays.push(retry_after),
            other => panic!("{other:?}"),
        }
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays[0] > Duration::ZERO && delays.len() > 8, "a delay, and not the same for all: {delays:?}");
    assert!(node.engine.status().occupied == PLACES && node.engine.status().refused >= 50, "{:?}", node.engine.status());
    log.batch_execute("COMMIT").await.unwrap();
    for inside in inside {
        assert_eq!(inside.await.unwrap().unwrap().refusal, None, "who had a place or waited for one is served");
    }
    assert_eq!(node.engine.status().occupied, 0);
    let ledger = Ledger::of(&node.database, &slot).await;
    assert_eq!(ledger.holds_taken(), PLACES + WAITING);
    let again = callers(&node, &slot, "again", PLACES + WAITING);
    for answer in again {
        assert_eq!(answer.await.unwrap().unwrap().refusal, None, "every place was given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_sent_away_and_leaves_the_waiting_room() {
    let node = narrow(Duration::from_millis(600)).await;
    let slot = node.open_stock("seats", 1_000).await;
    let log = blocked(&node).await;
    let inside = callers(&node, &slot, "inside", PLACES);
    eventually("all places are taken", || async { node.engine.status().occupied == PLACES }).await;
    for _ in 0..2 {
        for waiting in callers(&node, &slot, "waiting", WAITING) {
            assert!(matches!(waiting.await.unwrap(), Err(ExecuteError::Busy { .. })), "the wait is bounded");
        }
        assert!(!is_full(&node), "the waiting room is empty again");
    }
    log.batch_execute("COMMIT").await.unwrap();
    for inside in inside {
        assert_eq!(inside.await.unwrap().unwrap().refusal, None);
    }
    assert_eq!(Ledger::of(&node.database, &slot).await.holds_taken(), PLACES);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_give_up_leave_no_place_taken_and_their_work_is_done() {
    let node = narrow(Duration::from_secs(60)).await;
    let slot = node.open_stock("seats", 1_000).await;
    for round in 0..3 {
        let log = blocked(&node).await;
        let inside = callers(&node, &slot, ["a", "b", "c"][round], PLACES);
        eventually("all places are taken", || async { node.engine.status().units == PLACES }).await;
        let waiting = callers(&node, &slot, ["aw", "bw", "cw"][round], WAITING);
        eventually("the waiting room is full", || async { is_full(&node) }).await;
        for gone in inside.into_iter().chain(waiting) {
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        assert!(!is_full(&node), "nobody is counted who has left the waiting room");
        assert_eq!(node.engine.status().occupied, PLACES, "work that goes on keeps its place until it is done");
        log.batch_execute("COMMIT").await.unwrap();
        eventually("the places are given back", || async { node.engine.status().occupied == 0 }).await;
        let ledger = Ledger::of(&node.database, &slot).await;
        assert_eq!(ledger.holds_taken(), PLACES * (round + 1), "what was accepted is done, what only waited is not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_own_work_gets_through_when_callers_take_every_place() {
    let node = narrow(Duration::from_secs(60)).await;
    let slot = node.open_stock("seats", 1_000).await;
    let log = blocked(&node).await;
    let inside = callers(&node, &slot, "inside", PLACES + WAITING);
    eventually("the engine is full", || async { is_full(&node) }).await;
    let own = node.engine.submit_own(hold(&slot, "own", 1), jari_commands::engine::Origin::default()).await.unwrap();
    assert_eq!(node.engine.status().occupied, PLACES, "it takes no caller's place");
    log.batch_execute("COMMIT").await.unwrap();
    assert_eq!(own.await.unwrap().unwrap().refusal, None);
    for inside in inside {
        assert_eq!(inside.await.unwrap().unwrap().refusal, None);
    }
}
