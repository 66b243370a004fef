//! PostgreSQL goes away under load, in every way in which it can, and comes back.

use std::{process::Command, sync::Arc, time::Duration};

use jari_commands::engine::{CoreLimits, EngineSettings, ExecuteError, Health};
use jari_domain::ids::SlotId;
use jari_event_store::{Database, PoolSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};

use crate::{
    callers::{Callers, prove},
    harness::{Node, command, eventually, hold, patient},
};

/// A server of this test's own with a log in it, in which stock is open. That is made with patience: short bounds are for what comes after.
pub async fn stocked(pools: &[(&str, u32)]) -> (PrivatePostgres, Vec<SlotId>) {
    let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
    let database = Database::new(server.access().superuser.clone(), PoolSettings::patient()).unwrap();
    migrate(&database, None).await.unwrap();
    let node = Node::on(database, patient()).await;
    let mut slots = Vec::new();
    for (pool, capacity) in pools {
        slots.push(node.open_stock(pool, *capacity).await);
    }
    node.stop().await;
    (server, slots)
}

/// A server of this test's own, and a node on it.
async fn own_server() -> (PrivatePostgres, Arc<Node>, Vec<SlotId>) {
    let (server, slots) = stocked(&[("many", 1_000_000), ("few", 500)]).await;
    let database = Database::new(server.access().superuser.clone(), PoolSettings::default()).unwrap();
    let limits = CoreLimits { attempts: 1_000, ..CoreLimits::default() };
    let settings = EngineSettings { limits, answer_within: Duration::from_secs(2), ..EngineSettings::default() };
    let node = Arc::new(Node::on(database, settings).await);
    (server, node, slots)
}

pub fn signal(pid: i32, signal: &str) {
    // one that is gone meanwhile needs no signal
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
}

/// The server's first process and all that it started.
pub fn family(server: &PrivatePostgres) -> Vec<i32> {
    let pid = server.pid().expect("it runs");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    std::iter::once(pid).chain(children.split_whitespace().map(|child| child.parse().unwrap())).collect()
}

/// Waits until callers get outcomes again, more than there can have been before.
async fn served_again(node: &Node, callers: &Callers) {
    let before = callers.answered();
    eventually("callers are served again", || async { node.engine.status().health == Health::Serving && callers.answered() > before + 500 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_or_restarted_under_load_loses_and_doubles_nothing() {
    let (server, node, slots) = own_server().await;
    let callers = Callers::start(&node, &slots, 32);
    served_again(&node, &callers).await;
    for how in ["KILL", "INT", "KILL", "QUIT"] {
        let sent_away = callers.sent_away();
        signal(server.pid().expect("it runs"), how);
        eventually("callers are told to come back", || async { callers.sent_away() > sent_away }).await;
        served_again(&node, &callers).await;
    }
    let told = callers.end().await;
    prove(&node, &slots, &told).await;
    Arc::into_inner(node).unwrap().stop().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_while_only_ids_are_looked_up_sends_callers_away_too() {
    let (server, node, slots) = own_server().await;
    let stopped = family(&server);
    stopped.iter().for_each(|pid| signal(*pid, "STOP"));
    // an id without a time of its own may be of any age: it is looked up before anything is decided, and all who want the slot wait behind it
    let looked_up = tokio::spawn({
        let (node, slot) = (node.clone(), slots[0].clone());
        async move { node.engine.execute(hold(&slot, "old", 1), command(uuid::Uuid::from_u64_pair(7, 7))).await }
    });
    eventually("callers are told to come back", || async { node.engine.status().health == Health::Stalled }).await;
    let refused = node.engine.execute(hold(&slots[1], "new", 1), command(uuid::Uuid::now_v7())).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::LogUnavailable { .. }), "{refused}");
    stopped.iter().rev().for_each(|pid| signal(*pid, "CONT"));
    eventually("it goes on", || async { node.engine.status().health == Health::Serving }).await;
    assert!(matches!(looked_up.await.unwrap(), Ok(_) | Err(ExecuteError::OutcomePending { .. })));
    Arc::into_inner(node).unwrap().stop().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_sends_callers_away_and_goes_on_where_it_stood() {
    let (server, node, slots) = own_server().await;
    let callers = Callers::start(&node, &slots, 32);
    served_again(&node, &callers).await;
    for _ in 0..2 {
        let sent_away = callers.sent_away();
        let stopped = family(&server);
        stopped.iter().for_each(|pid| signal(*pid, "STOP"));
        eventually("callers are told to come back", || async { callers.sent_away() > sent_away }).await;
        assert_eq!(node.engine.status().health, Health::Stalled);
        stopped.iter().rev().for_each(|pid| signal(*pid, "CONT"));
        served_again(&node, &callers).await;
    }
    let told = callers.end().await;
    prove(&node, &slots, &told).await;
    Arc::into_inner(node).unwrap().stop().await;
    drop(server);
}
