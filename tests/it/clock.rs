//! Clocks that are behind: time in a stream goes on from where it is, and nothing is sold twice by it.

use jari_commands::engine::{CoreLimits, EngineSettings};
use jari_domain::{
    StreamId, Timestamp,
    ids::{HoldId, SlotId},
    slot::SlotCommand,
};
use jari_event_store::{Database, LoadRequest, PoolSettings};

use crate::{
    harness::{Node, database, eventually, hold_until, in_seconds, on_slot, patient},
    ledger::Ledger,
    raw::{INSERT, client, values},
};

/// A node whose clock is ahead of ours by an hour and more: it suspends the slot and opens it again. `sequence` must be odd.
async fn an_hour_ahead(node: &Node, slot: &SlotId, sequence: u64) -> Timestamp {
    let ahead = in_seconds(3_600);
    let event = |n| values(&slot.to_string(), n).replace("'{}')", &format!(r#"'{{"decided_at":"{ahead}"}}')"#));
    client(&node.database).await.batch_execute(&format!("{INSERT} {}, {}", event(sequence), event(sequence + 1))).await.unwrap();
    ahead
}

fn confirm(slot: &SlotId, hold: &str) -> jari_commands::booking::OneStream<jari_domain::slot::InventorySlot> {
    on_slot(slot, SlotCommand::ConfirmHold { hold_id: HoldId::parse(hold).unwrap() })
}

async fn code(node: &Node, work: impl jari_commands::engine::UnitOfWork) -> Option<String> {
    node.run(work).await.refusal.map(|refusal| refusal.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_behind_decides_by_the_streams_time_and_sells_nothing_twice() {
    let node = Node::start().await;
    let slot = node.open_stock("seat", 1).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(600))).await, None);
    let ahead = an_hour_ahead(&node, &slot, 3).await;
    // by our clock the hold is good for ten minutes more; by the stream's it is over, and another may have been told so
    assert_eq!(code(&node, confirm(&slot, "first")).await.as_deref(), Some("HOLD_EXPIRED"));
    let ended = hold_until(&slot, "late", 1, in_seconds(3_000));
    assert_eq!(code(&node, ended).await.as_deref(), Some("HOLD_EXPIRY_INVALID"), "an end before the stream's time is in the past");
    assert_eq!(code(&node, hold_until(&slot, "second", 1, in_seconds(4_000))).await, None, "its unit is free");
    assert_eq!(code(&node, confirm(&slot, "first")).await.as_deref(), Some("HOLD_NOT_FOUND"));
    assert_eq!(code(&node, confirm(&slot, "second")).await, None);
    let ledger = Ledger::of(&node.database, &slot).await;
    assert_eq!((ledger.state.counts().held, ledger.state.counts().confirmed), (0, 1));
    assert!(ledger.events[4..].iter().all(|event| event.decided_at() >= ahead), "no event is earlier than the one before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_no_clock_says_does_not_hold_a_streams_time_for_years() {
    let node = Node::start().await;
    let slot = node.open_stock("seat", 2).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(600))).await, None);
    let event = |n| values(&slot.to_string(), n).replace("'{}')", r#"'{"decided_at":"2126-01-01T00:00:00Z"}')"#);
    client(&node.database).await.batch_execute(&format!("{INSERT} {}, {}", event(3), event(4))).await.unwrap();
    assert_eq!(code(&node, hold_until(&slot, "second", 1, in_seconds(600))).await, None, "its end is not in the past of the stream");
    assert_eq!(code(&node, confirm(&slot, "first")).await, None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_stream_outlives_a_restart_also_in_a_snapshot() {
    let limits = CoreLimits { snapshot_every: 2, ..CoreLimits::default() };
    let settings = EngineSettings { limits, ..patient() };
    let node = Node::on(database().await, settings).await;
    let slot = node.open_stock("seat", 2).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(600))).await, None);
    let ahead = an_hour_ahead(&node, &slot, 3).await;
    assert_eq!(code(&node, hold_until(&slot, "second", 1, ahead + jiff::SignedDuration::from_secs(600))).await, None);
    let reader = client(&node.database).await;
    eventually("a snapshot holds the whole stream", || async {
        let row = reader.query_opt("SELECT sequence FROM snapshots WHERE aggregate_id = $1", &[&slot.to_string()]).await.unwrap();
        row.is_some_and(|row| row.get::<_, i64>(0) == 6)
    })
    .await;
    let database = node.stop().await;
    let node = Node::on(database, settings).await;
    // nothing is read behind the snapshot: the time can only come from there
    assert_eq!(code(&node, confirm(&slot, "first")).await.as_deref(), Some("HOLD_NOT_FOUND"));
    let early = hold_until(&slot, "third", 1, in_seconds(3_000));
    assert_eq!(code(&node, early).await.as_deref(), Some("HOLD_EXPIRY_INVALID"));
    assert_eq!(code(&node, confirm(&slot, "second")).await, None);
    let ledger = Ledger::of(&node.database, &slot).await;
    assert!(ledger.events[2..].iter().all(|event| event.decided_at() >= ahead));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_earlier_than_the_one_before_it_takes_no_time_back() {
    let node = Node::start().await;
    let slot = node.open_stock("seat", 1).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(600))).await, None);
    let ahead = an_hour_ahead(&node, &slot, 3).await;
    let early = values(&slot.to_string(), 5).replace("SlotSuspended", "SlotResumed").replace(r#"{"reason":"rain"}"#, "{}");
    let early = early.replace("'{}')", &format!(r#"'{{"decided_at":"{}"}}')"#, in_seconds(0)));
    client(&node.database).await.batch_execute(&format!("{INSERT} {early}")).await.unwrap();
    let loaded = node.reader().load(vec![LoadRequest { stream: StreamId::from(&slot), from: None }]).await.unwrap().pop().unwrap().unwrap();
    assert_eq!((loaded.version, loaded.last_time), (5, ahead));
    assert_eq!(code(&node, confirm(&slot, "first")).await.as_deref(), Some("HOLD_EXPIRED"), "another may have been told so");
}

/// A database whose clock is ten minutes behind, until somebody sets it right.
const BEHIND: &str = "CREATE SCHEMA behind;
    CREATE TABLE behind.clock (by interval NOT NULL);
    INSERT INTO behind.clock VALUES ('10 minutes');
    CREATE FUNCTION behind.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() - by FROM behind.clock';
    GRANT USAGE ON SCHEMA behind TO public;
    GRANT SELECT ON behind.clock TO public;
    ALTER FUNCTION append_batch SET search_path = behind, pg_catalog, public, pg_temp;";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_decides_by_its_databases_clock_and_hears_when_that_is_set_right() {
    let database = database().await;
    let reader = client(&database).await;
    reader.batch_execute(BEHIND).await.unwrap();
    // whoever connects from here on sees that clock before the real one
    let name = database.config().get_dbname().unwrap();
    reader.batch_execute(&format!("ALTER DATABASE {name} SET search_path = behind, pg_catalog, public")).await.unwrap();
    let node = Node::on(Database::new(database.config().clone(), PoolSettings::patient()).unwrap(), patient()).await;
    let slot = node.open_stock("seat", 2).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(-300))).await, None, "by the database's clock it ends in five minutes");
    let behind = Ledger::of(&node.database, &slot).await;
    assert!(behind.events.iter().all(|event| event.decided_at() < in_seconds(-500)), "the views and the log would contradict what this machine says");
    reader.batch_execute("UPDATE behind.clock SET by = '0'").await.unwrap();
    assert_eq!(code(&node, hold_until(&slot, "second", 1, in_seconds(600))).await, None, "its commit says what time it is");
    let late = code(&node, hold_until(&slot, "third", 1, in_seconds(-300))).await;
    assert_eq!(late.as_deref(), Some("HOLD_EXPIRY_INVALID"), "and the next decision goes by it");
    node.stop().await;
}
