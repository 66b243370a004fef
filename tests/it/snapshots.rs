//! Snapshots only save time: whatever becomes of them, the log decides. And command ids are forgotten without anybody waiting.

use std::sync::Arc;

use futures::StreamExt;
use jari_commands::engine::ExecuteError;
use jari_domain::{
    AnyState, Decider, StreamId,
    ids::{HoldId, SlotId},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::{Database, LoadRequest, LoadedStream, LogError, Reader, SnapshotWriter, StateSnapshot, prune_commands};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, eventually, hold, on_slot, patient},
    ledger::Ledger,
    raw::{INSERT, client, values},
    serving::Serving,
};

async fn load(database: &Database, slot: &SlotId) -> Result<LoadedStream, LogError> {
    Reader::new(database.clone()).load(&[LoadRequest { stream: StreamId::from(slot), from: None }]).await.unwrap().pop().unwrap()
}

/// A slot with nearly twice as many events as `rounds`.
async fn long_stream(node: &Arc<Node>, rounds: u32) -> SlotId {
    let slot = node.open_stock("years", 1_000_000).await;
    let rounds = futures::stream::iter(0..rounds).for_each_concurrent(256, |n| {
        let slot = &slot;
        async move {
            let hold_id = HoldId::parse(&format!("h{n}")).unwrap();
            assert_eq!(node.run(hold(slot, &format!("h{n}"), 1 + n % 3)).await.refusal, None);
            let end = match n % 50 {
                0 => return,
                1..=20 => SlotCommand::ConfirmHold { hold_id },
                _ => SlotCommand::ReleaseHold { hold_id },
            };
            assert_eq!(node.run(on_slot(slot, end)).await.refusal, None);
        }
    });
    rounds.await;
    slot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_loaded_through_its_snapshot_and_no_snapshot_can_do_harm() {
    let node = Arc::new(Node::start().await);
    let slot = long_stream(&node, 10_300).await;
    let database = Arc::into_inner(node).unwrap().stop().await;
    let whole = Ledger::of(&database, &slot).await;
    let version = whole.events.len() as u64;
    assert!(version > 20_000);
    let loaded = load(&database, &slot).await.unwrap();
    assert_eq!((InventorySlot::of(&loaded.state), loaded.version), (Some(&whole.state), version));
    assert!(loaded.snapshot_sequence + 10_000 > version, "only the end of it is read: from {} of {version}", loaded.snapshot_sequence);
    assert_eq!(loaded.last_time, whole.events.iter().map(jari_event_store::RecordedEvent::decided_at).max().unwrap());

    let owner = client(&database).await;
    for harm in [
        "DELETE FROM snapshots",
        "INSERT INTO snapshots SELECT 'InventorySlot', 'years@stock', 20000, 1, 'not even JSON', now()",
        "UPDATE snapshots SET state = '{}'",
        "UPDATE snapshots SET state = 'null'",
        "UPDATE snapshots SET state = '[]', sequence = 20001",
        "UPDATE snapshots SET version = version + 1",
        "UPDATE snapshots SET version = -1",
    ] {
        assert!(owner.execute(harm, &[]).await.unwrap() > 0, "{harm}");
        let loaded = load(&database, &slot).await.unwrap();
        assert_eq!((InventorySlot::of(&loaded.state), loaded.version, loaded.snapshot_sequence), (Some(&whole.state), version, 0), "{harm}");
    }
    // after a restart the engine decides on what the log says, and puts a sound snapshot in the place of the broken one
    let node = Node::on(database, patient()).await;
    let refused = node.run(hold(&slot, "h10250", 1)).await.refusal.unwrap();
    assert_eq!(refused.code, "HOLD_EXISTS");
    assert_eq!(node.run(hold(&slot, "new", 1)).await.refusal, None);
    eventually("a sound snapshot is there again", || async { load(&node.database, &slot).await.unwrap().snapshot_sequence >= version }).await;
    let whole = Ledger::of(&node.database, &slot).await;
    assert_eq!(InventorySlot::of(&load(&node.database, &slot).await.unwrap().state), Some(&whole.state));

    // what lies before the snapshot is not even read: it is made unreadable by somebody who may do anything
    let break_it = "ALTER TABLE events DISABLE TRIGGER ALL; UPDATE events SET payload = '{}' WHERE sequence = 2";
    owner.batch_execute(break_it).await.unwrap();
    assert_eq!(InventorySlot::of(&load(&node.database, &slot).await.unwrap().state), Some(&whole.state));
    owner.execute("DELETE FROM snapshots", &[]).await.unwrap();
    assert!(matches!(load(&node.database, &slot).await, Err(LogError::Unreadable { sequence: 2, .. })), "nothing is guessed without it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a hundred thousand events"]
async fn of_a_hundred_thousand_events_a_restart_reads_the_last_ones_only() {
    let node = Arc::new(Node::start().await);
    let slot = long_stream(&node, 51_000).await;
    let database = Arc::into_inner(node).unwrap().stop().await;
    let loaded = load(&database, &slot).await.unwrap();
    assert!(loaded.version > 100_000 && loaded.snapshot_sequence + 10_000 > loaded.version, "{} of {}", loaded.snapshot_sequence, loaded.version);
    // all before the snapshot may be gone
    let owner = client(&database).await;
    let break_it =
        format!("ALTER TABLE events DISABLE TRIGGER ALL; UPDATE events SET payload = '{{}}' WHERE sequence < {}", loaded.snapshot_sequence);
    owner.batch_execute(&break_it).await.unwrap();
    let node = Node::on(database, patient()).await;
    assert_eq!(node.run(hold(&slot, "after", 1)).await.refusal, None);
}

/// Of a stream of seven events, the sequence at which its snapshot stands when these were offered one after the other.
async fn kept(offered: &[u64]) -> Option<i64> {
    let database = database().await;
    let reader = client(&database).await;
    let events: Vec<String> = (1..=7).map(|n| values("seats@stock", n)).chain([values("last@stock", 1)]).collect();
    reader.batch_execute(&format!("{INSERT} {}", events.join(", "))).await.unwrap();
    let (stop, stream) = (CancellationToken::new(), |id| StreamId::parse("InventorySlot", id).unwrap());
    let (writer, writing) = SnapshotWriter::start(database.clone(), stop.clone());
    let snapshots = offered.iter().map(|version| (*version, stream("seats@stock"))).chain([(1, stream("last@stock"))]);
    for (version, stream) in snapshots {
        let state = AnyState::new(InventorySlot::TYPE).unwrap();
        assert!(writer.offer(StateSnapshot { stream, state, version, last_time: jari_domain::Timestamp::UNIX_EPOCH }));
    }
    let written = async || {
        let rows = reader.query("SELECT aggregate_id, sequence FROM snapshots", &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect::<std::collections::BTreeMap<String, i64>>()
    };
    eventually("the last one is written", async || written().await.contains_key("last@stock")).await;
    stop.cancel();
    writing.await.unwrap();
    written().await.remove("seats@stock")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_never_takes_the_place_of_a_newer_one() {
    assert_eq!(kept(&[5]).await, Some(5));
    assert_eq!(kept(&[5, 7]).await, Some(7));
    assert_eq!(kept(&[7, 5]).await, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_events_that_a_failover_has_lost_is_never_written() {
    assert_eq!(kept(&[8]).await, None, "what comes there anew would never be folded");
    assert_eq!(kept(&[7, 9]).await, Some(7));
}

/// An id that was made so many days ago.
fn made_days_ago(days: i64) -> Uuid {
    let at = jari_domain::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at.as_second().unsigned_abs(), 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_older_than_what_is_remembered_is_refused_and_nothing_is_done() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 10).await;
    for _ in 0..2 {
        let error = node.engine.execute(hold(&slot, "old", 1), command(made_days_ago(31))).await.unwrap_err();
        assert_eq!(error, ExecuteError::CommandIdExpired { retention_days: 30 });
    }
    let young = made_days_ago(29);
    let outcome = node.engine.execute(hold(&slot, "young", 1), command(young)).await.unwrap();
    assert_eq!(node.engine.execute(hold(&slot, "young", 1), command(young)).await.unwrap(), outcome);
    let ledger = Ledger::of(&node.database, &slot).await;
    assert_eq!((ledger.holds_taken(), ledger.state.counts().held.get()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_old_ids_holds_up_nobody_and_forgets_no_young_one() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 1_000_000).await;
    let owner = client(&node.database).await;
    let old =
        "INSERT INTO commands SELECT gen_random_uuid(), 'old', '\\x00', 1, NULL, now() - make_interval(days => 31) FROM generate_series(1, 30000)";
    owner.execute(old, &[]).await.unwrap();
    let young = Uuid::new_v4();
    let first = node.engine.execute(hold(&slot, "young", 1), command(young)).await.unwrap();
    // somebody looks at one of the old rows, and whoever deletes it has to wait in the middle of its work
    let looker = client(&node.database).await;
    looker.batch_execute("BEGIN; SELECT 1 FROM commands WHERE caller = 'old' OFFSET 20000 LIMIT 1 FOR UPDATE").await.unwrap();
    let database = node.database.clone();
    let pruning = tokio::spawn(async move { prune_commands(&database, 30, 1_000_000).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%DELETE FROM commands%'";
    eventually("it waits", || async { owner.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0 }).await;
    for n in 0..50 {
        assert_eq!(node.run(hold(&slot, &format!("h{n}"), 1)).await.refusal, None, "nobody waits with it");
    }
    assert!(!pruning.is_finished());
    looker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(pruning.await.unwrap().unwrap(), 30_000);
    let database = node.stop().await;
    let node = Node::on(database, patient()).await;
    assert_eq!(node.engine.execute(hold(&slot, "young", 1), command(young)).await.unwrap(), first);
    assert_eq!(prune_commands(&node.database, 30, 1_000_000).await.unwrap(), 0, "nothing else is old");
}

/// So many outcomes of so many days ago, under ids of version 7 of that time, or of version 4.
async fn outcomes(owner: &tokio_postgres::Client, count: i32, days_ago: i32, has_time: bool) {
    let id = match has_time {
        true => {
            "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 3) || '8' || left(md5(n::text), 15))::uuid"
        }
        false => "gen_random_uuid()",
    };
    let rows = "SELECT n, now() - make_interval(days => $2) AS at FROM generate_series(1, $1) n";
    let insert = format!("INSERT INTO commands SELECT {id}, 'who', '\\x00', 1, NULL, at FROM ({rows}) r");
    owner.execute(&insert, &[&count, &days_ago]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_ids_of_every_version_are_forgotten_and_found_without_a_look_at_the_young_ones() {
    let database = database().await;
    let owner = client(&database).await;
    for has_time in [true, false] {
        outcomes(&owner, 20_000, 1, has_time).await;
        outcomes(&owner, 3_000, 31, has_time).await;
    }
    owner.batch_execute("VACUUM ANALYZE commands").await.unwrap();
    for (prune, index) in [
        (include_str!("../../infra/event_store/src/sql/prune_timed_commands.sql"), "commands_pkey"),
        (include_str!("../../infra/event_store/src/sql/prune_other_commands.sql"), "commands_without_a_time"),
    ] {
        let explain = format!(
            "EXPLAIN {}",
            prune
                .lines()
                .filter(|line| !line.starts_with("--"))
                .collect::<Vec<_>>()
                .join(" ")
                .replace("$1", "30")
                .replace("$2", "2000")
                .replace("$3", &format!("'{}'", made_days_ago(30)))
        );
        let plan: Vec<String> = owner.query(&explain, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains(index)) && !plan.iter().any(|line| line.contains("Seq Scan")), "{}", plan.join("\n"));
    }
    assert_eq!(prune_commands(&database, 30, 1_000_000).await.unwrap(), 6_000);
    assert_eq!(prune_commands(&database, 30, 1_000_000).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_forgets_outcomes_only_some_days_after_their_ids_are_refused() {
    let database = database().await;
    let owner = client(&database).await;
    // of callers whose clocks are ahead: their ids are refused for their age a day later than others'
    let old = "INSERT INTO commands SELECT gen_random_uuid(), days::text, '\\x00', 1, NULL, now() - make_interval(days => days) FROM unnest(ARRAY[29, 31, 33]) days";
    owner.execute(old, &[]).await.unwrap();
    let shop = Serving::on(database, |config| config.engine.retention_days = 30).await;
    let kept = || async {
        let rows = owner.query("SELECT caller FROM commands ORDER BY caller", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    eventually("the oldest is forgotten", || async { !kept().await.contains(&"33".to_owned()) }).await;
    assert_eq!(kept().await, ["29", "31"]);
    shop.node.stop().await;
}
