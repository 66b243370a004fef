//! Clocks that are behind or ahead: time in a stream goes on from where it is, nothing is sold twice by it, and all answers go by one.

use jari_commands::engine::{CoreLimits, EngineSettings};
use jari_domain::{
    Quantity, StreamId, Timestamp,
    ids::{HoldId, SlotId},
    slot::SlotCommand,
};
use jari_event_store::{Database, LoadRequest, PoolSettings};
use jari_proto::{
    history::v1::{GetStateAsOfRequest, Moment, state},
    inventory::v1::HoldUnitsRequest,
    status::reason,
};
use jiff::SignedDuration;
use tokio_postgres::Client;

use crate::{
    harness::{Node, database, eventually, hold_until, in_seconds, on_slot, patient},
    history::{at_time, slot_named},
    ledger::Ledger,
    raw::{INSERT, client, values},
    serving::{Serving, id, wire},
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
    assert_eq!((ledger.state.counts().held, ledger.state.counts().confirmed), (Quantity::ZERO, Quantity::ONE));
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
    assert_eq!(code(&node, hold_until(&slot, "second", 1, ahead + SignedDuration::from_secs(600))).await, None);
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
    let loaded = node.reader().load(&[LoadRequest { stream: StreamId::from(&slot), from: None }]).await.unwrap().pop().unwrap().unwrap();
    assert_eq!((loaded.version, loaded.last_time), (5, ahead));
    assert_eq!(code(&node, confirm(&slot, "first")).await.as_deref(), Some("HOLD_EXPIRED"), "another may have been told so");
}

/// A database whose clock is behind, until somebody sets it right.
const BEHIND: &str = "CREATE SCHEMA behind;
    CREATE TABLE behind.clock (by interval NOT NULL);
    CREATE FUNCTION behind.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() - by FROM behind.clock';
    GRANT USAGE ON SCHEMA behind TO public;
    GRANT SELECT ON behind.clock TO public;
    ALTER FUNCTION append_batch SET search_path = behind, pg_catalog, public, pg_temp;";

/// A log whose database's clock is so many minutes behind, or ahead; and one who may set it.
async fn behind(minutes: i32) -> (Database, Client) {
    let database = database().await;
    let setter = client(&database).await;
    setter.batch_execute(&format!("{BEHIND} INSERT INTO behind.clock VALUES ('{minutes} minutes')")).await.unwrap();
    // whoever connects from here on sees that clock before the real one
    let name = database.config().get_dbname().unwrap();
    setter.batch_execute(&format!("ALTER DATABASE {name} SET search_path = behind, pg_catalog, public")).await.unwrap();
    (Database::new(database.config().clone(), PoolSettings::patient()).unwrap(), setter)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_decides_by_its_databases_clock_and_hears_when_that_is_set_right() {
    let (database, setter) = behind(10).await;
    let node = Node::on(database, patient()).await;
    let slot = node.open_stock("seat", 2).await;
    assert_eq!(code(&node, hold_until(&slot, "first", 1, in_seconds(-300))).await, None, "by the database's clock it ends in five minutes");
    let behind = Ledger::of(&node.database, &slot).await;
    assert!(behind.events.iter().all(|event| event.decided_at() < in_seconds(-500)), "the views and the log would contradict what this machine says");
    setter.batch_execute("UPDATE behind.clock SET by = '0'").await.unwrap();
    eventually("it hears so, though nobody books", || async { node.engine.clock().now() > in_seconds(-60) }).await;
    let late = code(&node, hold_until(&slot, "second", 1, in_seconds(-300))).await;
    assert_eq!(late.as_deref(), Some("HOLD_EXPIRY_INVALID"), "the next decision goes by it");
    let other = node.open_stock("other", 1).await;
    setter.batch_execute("UPDATE behind.clock SET by = '10 minutes'").await.unwrap();
    eventually("it hears so again", || async { node.engine.clock().now() < in_seconds(-500) }).await;
    assert_eq!(code(&node, hold_until(&slot, "third", 1, in_seconds(-300))).await, None);
    let (recorded, now) = (node.log().await.pop().unwrap().recorded_at, node.engine.clock().now());
    assert!(recorded > in_seconds(-400) && now < in_seconds(-500), "the log's time does not run back: {recorded} is not what the clock says, {now}");
    assert_eq!(code(&node, hold_until(&other, "fourth", 1, in_seconds(-300))).await.as_deref(), Some("HOLD_EXPIRY_INVALID"), "by its stream's time");
    node.stop().await;
}

/// How many units of the one slot are held, and when that was so, as history tells it of a moment; or the code of what refused it.
async fn held_as_of(shop: &Serving, as_of: Option<Moment>) -> Result<(i32, Timestamp), String> {
    match shop.history().get_state_as_of(GetStateAsOfRequest { aggregate: slot_named("seat@stock"), as_of }).await {
        Ok(answer) => {
            let told = answer.into_inner().state.unwrap();
            let Some(state::State::Slot(slot)) = told.state else { panic!("{told:?}") };
            let time = told.time.unwrap();
            Ok((slot.counts.unwrap().held, Timestamp::new(time.seconds, time.nanos).unwrap()))
        }
        Err(status) => Err(reason(&status).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_ahead_of_its_database_tells_history_by_the_clock_of_its_queries() {
    let (database, _setter) = behind(10).await;
    let shop = Serving::on(database, |_| {}).await;
    let slot_id = shop.on_sale("seat", 3).await;
    // over by this machine's clock; by the database's it is good for five minutes
    let ends = in_seconds(-300);
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), quantity: 2, expires_at: Some(wire(ends)) };
    let position = shop.inventory().hold_units(hold).await.unwrap().into_inner().position;
    assert_eq!(shop.slot(&slot_id, position).await.2, 2);
    let (held, now) = held_as_of(&shop, None).await.unwrap();
    assert_eq!((held, now < ends), (2, true), "{now}");
    assert_eq!(held_as_of(&shop, at_time(ends)).await, Err("TIME_AHEAD".to_owned()), "nobody knows yet what will have been recorded by then");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_its_database_takes_the_time_of_each_event_that_it_tells() {
    let (database, _setter) = behind(-10).await;
    let shop = Serving::on(database, |_| {}).await;
    shop.on_sale("seat", 3).await;
    let log = shop.log().await;
    for event in log.iter().filter(|event| &*event.aggregate_id == "seat@stock") {
        assert!(event.recorded_at > in_seconds(300));
        assert_eq!(held_as_of(&shop, at_time(event.recorded_at)).await, Ok((0, event.recorded_at)));
    }
    let newest = log.last().unwrap().recorded_at;
    assert_eq!(held_as_of(&shop, at_time(newest + SignedDuration::from_micros(1))).await, Err("TIME_AHEAD".to_owned()));
    shop.node.stop().await;
}
