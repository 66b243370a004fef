//! Somebody with `psql` who moves the very streams that the engine decides on, under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_commands::engine::{CoreLimits, EngineSettings, ExecuteError};
use jari_domain::{
    AnyEvent, Decider, Quantity, StreamId, Timestamp,
    ids::{HoldId, SlotId},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::{Database, LoadRequest, Reader};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, eventually, hold, in_seconds, on_slot, patient},
    ledger::Ledger,
    raw::{INSERT, client, values},
};

fn settings(attempts: u32) -> EngineSettings {
    EngineSettings { limits: CoreLimits { attempts, ..CoreLimits::default() }, ..patient() }
}

/// Decides on what stands in the log and inserts the seven columns; says which version of the stream it was, or that another was first.
async fn by_hand(database: &Database, client: &tokio_postgres::Client, slot: &SlotId, command: &SlotCommand) -> Result<usize, SqlState> {
    let request = LoadRequest { stream: StreamId::from(slot), from: None };
    let loaded = Reader::new(database.clone()).load(&[request]).await.unwrap().pop().unwrap().unwrap();
    let now = Timestamp::now().max(loaded.last_time);
    let Ok(events) = InventorySlot::of(&loaded.state).unwrap().decide(command, now) else { return Ok(0) };
    let rows: Vec<String> = events
        .into_iter()
        .map(AnyEvent::InventorySlot)
        .zip(loaded.version + 1..)
        .map(|(event, sequence)| {
            let payload = event.to_payload().unwrap();
            let (kind, version) = (event.event_type(), event.event_version());
            format!(r#"('InventorySlot', '{slot}', {sequence}, '{kind}', '{version}', '{payload}', '{{"decided_at":"{now}"}}')"#)
        })
        .collect();
    match client.batch_execute(&format!("{INSERT} {}", rows.join(", "))).await {
        Ok(()) => Ok(rows.len()),
        Err(error) => Err(error.code().cloned().unwrap_or_else(|| panic!("{error}"))),
    }
}

/// Takes and gives back units of `slot` until `done`; says how many events it wrote and how often another was first.
async fn meddle(database: Database, slot: SlotId, done: Arc<AtomicBool>) -> (usize, usize) {
    let client = client(&database).await;
    let (mut written, mut beaten) = (0, 0);
    for n in 0_u32.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        // it keeps one hold, whose end it moves, so that there is always something that it can do
        let hold_id = HoldId::parse(&if n % 3 == 0 { "foreign".to_owned() } else { format!("foreign-{}", n / 3) }).unwrap();
        let expires_at = in_seconds(600 + i64::from(n));
        let command = match n % 3 {
            0 if written > 0 => SlotCommand::ExtendHold { hold_id, expires_at },
            0 | 1 => SlotCommand::HoldUnits { hold_id, quantity: Quantity::ONE, expires_at },
            _ => SlotCommand::ReleaseHold { hold_id },
        };
        match by_hand(&database, &client, &slot, &command).await {
            Ok(events) => written += events,
            Err(code) => {
                assert_eq!(code, SqlState::UNIQUE_VIOLATION);
                beaten += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (written, beaten)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_while_units_are_free_though_another_writer_moves_the_stream() {
    let node = Arc::new(Node::on(database().await, settings(100_000)).await);
    let slot = node.open_stock("seats", 60).await;
    let done = Arc::new(AtomicBool::new(false));
    let meddler = tokio::spawn(meddle(node.database.clone(), slot.clone(), done.clone()));
    let callers: Vec<_> = (0..40)
        .map(|caller| {
            let (node, slot, done) = (node.clone(), slot.clone(), done.clone());
            tokio::spawn(async move {
                let mut told = Vec::new();
                for n in 0_u32.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let (name, quantity) = (format!("c{caller}-{n}"), 1 + (caller + n) % 3);
                    let outcome = node.run(hold(&slot, &name, quantity)).await;
                    if outcome.refusal.is_none() && (n > 0 || caller > 5) {
                        let release = SlotCommand::ReleaseHold { hold_id: HoldId::parse(&name).unwrap() };
                        assert_eq!(node.run(on_slot(&slot, release)).await.refusal, None, "what was told to be held is there to be given back");
                    }
                    told.push((name, quantity, outcome));
                }
                told
            })
        })
        .collect();
    let client = client(&node.database).await;
    let by_hand = "SELECT count(*) FROM events WHERE metadata->>'command_id' IS NULL";
    eventually("it has written much", || async { client.query_one(by_hand, &[]).await.unwrap().get::<_, i64>(0) > 15 }).await;
    done.store(true, Ordering::SeqCst);
    let told = futures::future::join_all(callers).await.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>();
    let (written, beaten) = meddler.await.unwrap();
    let ledger = Ledger::of(&node.database, &slot).await;
    told.iter().for_each(|(name, quantity, outcome)| ledger.check(name, *quantity, outcome));
    let refused = told.iter().filter(|(_, _, outcome)| outcome.refusal.is_some()).count();
    assert!(beaten > 0 && refused > 0, "they met: {written} written by hand, {beaten} times too late, {refused} refused");
    node.log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_one_stream_fails_nobody_on_the_streams_beside_it() {
    // two tries at most: a neighbour that fell with the conflict would soon be told of contention
    let node = Arc::new(Node::on(database().await, settings(2)).await);
    let hot = node.open_stock("hot", 1_000_000).await;
    let done = Arc::new(AtomicBool::new(false));
    let meddler = tokio::spawn(meddle(node.database.clone(), hot.clone(), done.clone()));
    let mut slots = Vec::new();
    for n in 0..8 {
        slots.push(node.open_stock(&format!("calm-{n}"), 1_000_000).await);
    }
    let on_the_hot_one: Vec<_> = (0..8)
        .map(|caller| {
            let (node, hot, done) = (node.clone(), hot.clone(), done.clone());
            tokio::spawn(async move {
                let (mut taken, mut contended) = (0, 0);
                for n in 0_u32.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    match node.engine.execute(hold(&hot, &format!("c{caller}-{n}"), 1), command(Uuid::now_v7())).await {
                        Ok(outcome) => taken += usize::from(outcome.refusal.is_none()),
                        Err(error) => {
                            assert_eq!(error, ExecuteError::Contention { attempts: 2 });
                            contended += 1;
                        }
                    }
                }
                (taken, contended)
            })
        })
        .collect();
    let neighbours: Vec<_> = (0..32)
        .map(|caller| {
            let (node, slot) = (node.clone(), slots[caller % slots.len()].clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    let outcome = node.engine.execute(hold(&slot, &format!("c{caller}-{n}"), 1), command(Uuid::now_v7())).await;
                    assert_eq!(outcome.expect("its own stream is moved by nobody else").refusal, None);
                }
            })
        })
        .collect();
    for neighbour in neighbours {
        neighbour.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let (written, beaten) = meddler.await.unwrap();
    let (mut taken, mut contended) = (0, 0);
    for caller in on_the_hot_one {
        let (more, fell) = caller.await.unwrap();
        (taken, contended) = (taken + more, contended + fell);
    }
    let ledger = Ledger::of(&node.database, &hot).await;
    assert_eq!(ledger.events.len(), 1 + written + taken, "written by hand {written} ({beaten} too late), taken {taken}, contended {contended}");
    assert!(contended + beaten > 0, "they met");
    for slot in &slots {
        assert_eq!(Ledger::of(&node.database, slot).await.holds_taken(), 240);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_always_beaten_hears_so_after_its_attempts_and_has_done_nothing() {
    let node = Arc::new(Node::on(database().await, settings(3)).await);
    let slot = node.open_stock("seats", 10).await;
    // three writers take turns at the log's lock: while one commits, others wait for it, so that the engine always comes to a moved stream
    let next = Arc::new(tokio::sync::Mutex::new(1));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (database, id, next, done) = (node.database.clone(), slot.to_string(), next.clone(), done.clone());
            tokio::spawn(async move {
                let mut client = client(&database).await;
                while !done.load(Ordering::SeqCst) {
                    let transaction = client.transaction().await.unwrap();
                    transaction.batch_execute("SELECT lock_log_head()").await.unwrap();
                    let mut version = next.lock().await;
                    *version += 1;
                    // from version 2 on: suspended at even ones, resumed at odd ones
                    let event = values(&id, *version + 1).replace(&format!("', {}, '", *version + 1), &format!("', {}, '", *version));
                    transaction.batch_execute(&format!("{INSERT} {event}")).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    transaction.commit().await.unwrap();
                }
            })
        })
        .collect();
    eventually("they are at it", || async { Ledger::of(&node.database, &slot).await.events.len() > 4 }).await;
    let id = Uuid::now_v7();
    let beaten = node.engine.execute(hold(&slot, "mine", 1), command(id)).await.unwrap_err();
    assert_eq!(beaten, ExecuteError::Contention { attempts: 3 });
    done.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let reader = client(&node.database).await;
    let recorded = reader.query_one("SELECT count(*) FROM commands WHERE command_id = $1", &[&id]).await.unwrap();
    assert_eq!(recorded.get::<_, i64>(0), 0, "no outcome is recorded");
    let ledger = Ledger::of(&node.database, &slot).await;
    assert_eq!(ledger.holds_taken(), 0);
    if ledger.events.len().is_multiple_of(2) {
        assert_eq!(node.run(on_slot(&slot, SlotCommand::ResumeSlot)).await.refusal, None);
    }
    let later = node.engine.execute(hold(&slot, "mine", 1), command(id)).await.unwrap();
    assert_eq!(later.refusal, None, "the same id may be tried again");
}
