//! One id, one command, one outcome: whoever asks, wherever, and whatever happened on the way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jari_commands::engine::{CoreLimits, EngineSettings, ExecuteError, Origin, Outcome};
use uuid::Uuid;

use crate::{
    callers::{Callers, id, prove, recorded_commands},
    harness::{Node, command, database, eventually, hold, hold_until, in_seconds, patient},
    ledger::Ledger,
    raw::client,
    wire::{Cut, Wire},
};

fn settings() -> EngineSettings {
    EngineSettings { limits: CoreLimits { attempts: 100_000, ..CoreLimits::default() }, ..patient() }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_sent_to_two_nodes_at_once_and_after_a_restart_has_one_outcome() {
    let one = Arc::new(Node::on(database().await, settings()).await);
    let two = Arc::new(Node::on(one.database.clone(), settings()).await);
    let slot = one.open_stock("seats", 100).await;
    let ids: Vec<Uuid> = (0..160).map(id).collect();
    let tasks: Vec<_> = (0..4)
        .flat_map(|call| ids.iter().enumerate().map(move |(n, id)| (call, n, *id)))
        .map(|(call, n, id)| {
            let node = if call % 2 == 0 { one.clone() } else { two.clone() };
            let work = hold(&slot, &format!("h{n}"), 1);
            tokio::spawn(async move { (id, node.engine.execute(work, command(id)).await.unwrap()) })
        })
        .collect();
    let mut told: HashMap<Uuid, Outcome> = HashMap::new();
    for task in tasks {
        let (id, outcome) = task.await.unwrap();
        let first = told.entry(id).or_insert_with(|| outcome.clone());
        assert_eq!(*first, outcome, "one id, one outcome");
    }
    let ledger = Ledger::of(&one.database, &slot).await;
    assert_eq!((ledger.holds_taken(), ledger.events.len(), recorded_commands(&one).await), (100, 101, 161));
    ids.iter().enumerate().for_each(|(n, id)| ledger.check(&format!("h{n}"), 1, &told[id]));

    let (one, two) = (Arc::into_inner(one).unwrap(), Arc::into_inner(two).unwrap());
    two.stop().await;
    let again = Node::on(one.stop().await, settings()).await;
    for (n, id) in ids.iter().enumerate() {
        let outcome = again.engine.execute(hold(&slot, &format!("h{n}"), 1), command(*id)).await.unwrap();
        assert_eq!(outcome, told[id], "also after a restart, refusals too");
    }
    assert_eq!((again.log().await.len(), recorded_commands(&again).await), (101, 161));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commands_under_one_id_at_two_nodes_one_is_done_and_one_is_told_so() {
    let one = Node::on(database().await, settings()).await;
    let two = Node::on(one.database.clone(), settings()).await;
    let slot = one.open_stock("seats", 1_000).await;
    let races = (0..80).map(|n| {
        let (id, one, two, slot) = (id(n), &one, &two, &slot);
        async move {
            let (name, other) = (format!("one-{n}"), format!("two-{n}"));
            let origin = |digest| Origin { digest: [digest; 16], ..command(id) };
            let asked = (one.engine.execute(hold(slot, &name, 1), origin(1)), two.engine.execute(hold(slot, &other, 1), origin(2)));
            let answers = tokio::join!(asked.0, asked.1);
            let (done, winner, not) = match answers {
                (Ok(done), Err(not)) => (done, name, not),
                (Err(not), Ok(done)) => (done, other, not),
                both => panic!("{both:?}"),
            };
            assert_eq!((done.refusal.clone(), not), (None, ExecuteError::CommandIdReused));
            (winner, done)
        }
    });
    let done = futures::future::join_all(races).await;
    let ledger = Ledger::of(&one.database, &slot).await;
    assert_eq!(ledger.holds_taken(), 80, "what was told that its id is another's did nothing");
    done.iter().for_each(|(winner, outcome)| ledger.check(winner, 1, outcome));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_leaves_its_id_free_and_what_was_done_is_told_also_when_it_makes_no_sense_any_more() {
    let one = Node::on(database().await, settings()).await;
    let two = Node::on(one.database.clone(), settings()).await;
    let slot = one.open_stock("seats", 10).await;
    let before = recorded_commands(&one).await;
    let (mended_id, done_id) = (id(1), id(2));
    let (bad, good) = (Origin { digest: [1; 16], ..command(mended_id) }, Origin { digest: [2; 16], ..command(mended_id) });
    for node in [&one, &two, &one] {
        let told = node.engine.execute(hold_until(&slot, "a", 1, in_seconds(-5)), bad.clone()).await.unwrap();
        assert_eq!(told.refusal.unwrap().code, "HOLD_EXPIRY_INVALID");
    }
    assert_eq!(recorded_commands(&one).await, before, "nothing was done, and nothing is known of it");
    let mended = two.engine.execute(hold(&slot, "a", 1), good).await.unwrap();
    assert_eq!(mended.refusal, None);
    assert_eq!(one.engine.execute(hold_until(&slot, "a", 1, in_seconds(-5)), bad).await, Err(ExecuteError::CommandIdReused));

    let ends = in_seconds(10);
    let done = one.engine.execute(hold_until(&slot, "b", 1, ends), command(done_id)).await.unwrap();
    assert_eq!(done.refusal, None);
    let over = ends.duration_since(jari_domain::Timestamp::now()) + jiff::SignedDuration::from_millis(100);
    tokio::time::sleep(Duration::try_from(over).unwrap_or_default()).await;
    assert_eq!(two.engine.execute(hold_until(&slot, "b", 1, ends), command(done_id)).await, Ok(done), "its end has passed, and it was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_connection_is_cut_anywhere_is_told_as_it_stands_in_the_log() {
    let direct = database().await;
    let (wire, wired) = Wire::to(&direct).await;
    let node = Arc::new(Node::on(wired, settings()).await);
    // some sell out on the way, so that refusals are cut, too
    let slots = [node.open_stock("many", 1_000_000).await, node.open_stock("few", 200).await];
    let callers = Callers::start(&node, &slots, 48);
    for round in 0..36 {
        let cut = [Cut::AfterCommit, Cut::WithinRequest, Cut::Delayed, Cut::AfterCommit][round % 4];
        tokio::time::timeout(Duration::from_secs(60), wire.cut(cut)).await.expect("appends go on after each cut");
        let before = callers.answered();
        eventually("callers go on", || async { callers.answered() > before + 30 }).await;
    }
    let told = callers.end().await;
    assert_eq!(wire.cuts(), 36);
    assert!(told.iter().any(|(_, _, outcome)| outcome.refusal.is_some()), "some were refused");
    prove(&node, &slots, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_ended_in_the_middle_of_appends_loses_and_doubles_nothing() {
    let node = Arc::new(Node::on(database().await, settings()).await);
    let slots = [node.open_stock("many", 1_000_000).await, node.open_stock("few", 300).await];
    let callers = Callers::start(&node, &slots, 48);
    let operator = client(&node.database).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%append_batch(%' AND pid <> pg_backend_pid()";
    let mut ended = 0;
    while ended < 36 {
        ended += operator.query_one(end, &[]).await.unwrap().get::<_, i64>(0);
        tokio::time::sleep(Duration::from_millis(7 + ended.unsigned_abs() % 11)).await;
    }
    prove(&node, &slots, &callers.end().await).await;
}
