//! Our log under others' libraries: stock postgres-es on the very table, and an unchanged framework of cqrs-es on our store.

use std::{collections::HashMap, sync::Arc};

use cqrs_es::{AggregateContext, AggregateError, CqrsFramework, EventStore, persist::PersistedEventStore};
use jari_commands::engine::{CoreLimits, EngineSettings};
use jari_domain::{
    AnyEvent, Quantity, StreamId, Timestamp,
    cqrs::{DecisionTime, Upcaster},
    ids::{HoldId, SlotId},
    product::{Product, ProductEvent},
    slot::{InventorySlot, SlotCommand, SlotError, SlotEvent},
};
use jari_event_store::{Database, LogStore, Reader};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio_postgres::config::Host;

use crate::{
    harness::{Node, database, hold, in_seconds},
    ledger::Ledger,
    raw::{INSERT, client},
};

/// Everybody who decides again when another was first gets there in the end.
fn patient() -> EngineSettings {
    EngineSettings { limits: CoreLimits { attempts: 100_000, ..CoreLimits::default() }, ..crate::harness::patient() }
}

async fn pool(database: &Database) -> PgPool {
    let config = database.config();
    let mut options = PgConnectOptions::new().username(config.get_user().unwrap()).database(config.get_dbname().unwrap());
    let port = config.get_ports().first().copied().unwrap_or(5432);
    options = match &config.get_hosts()[0] {
        Host::Tcp(host) => options.host(host).port(port),
        Host::Unix(folder) => options.socket(folder).port(port),
    };
    if let Some(password) = config.get_password() {
        options = options.password(std::str::from_utf8(password).unwrap());
    }
    PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap()
}

type Stock = PersistedEventStore<PostgresEventRepository, InventorySlot>;

/// Stock all through: its default tables, its default settings.
async fn stock(database: &Database) -> Stock {
    PersistedEventStore::new_event_store(PostgresEventRepository::new(pool(database).await))
}

fn framework<S: EventStore<InventorySlot>>(store: S) -> CqrsFramework<InventorySlot, S> {
    CqrsFramework::new(store, vec![], DecisionTime(Timestamp::now))
}

fn take(hold: &str, quantity: u32) -> SlotCommand {
    SlotCommand::HoldUnits { hold_id: HoldId::parse(hold).unwrap(), quantity: Quantity::new(quantity), expires_at: in_seconds(600) }
}

fn confirm(hold: &str) -> SlotCommand {
    SlotCommand::ConfirmHold { hold_id: HoldId::parse(hold).unwrap() }
}

/// Positions are dense and the batches cover them, whoever wrote.
async fn prove_log(node: &Node, events: usize) {
    assert_eq!(node.log().await.len(), events);
    let covered = "SELECT count(*), coalesce(sum(event_count), 0)::bigint, count(*) FILTER (WHERE first_position <> due)
        FROM (SELECT first_position, event_count, lag(first_position + event_count, 1, 1::bigint) OVER (ORDER BY first_position) AS due FROM batches) b";
    let row = client(&node.database).await.query_one(covered, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (i64::try_from(events).unwrap(), 0), "the batches cover the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_reads_what_the_engine_wrote_and_the_engine_decides_on_what_it_appends() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 3).await;
    assert_eq!(node.run(hold(&slot, "ours", 1)).await.refusal, None);
    let (store, stock) = (stock(&node.database).await, framework(stock(&node.database).await));
    let id = slot.to_string();
    stock.execute(&id, take("theirs", 1)).await.unwrap();
    stock.execute(&id, confirm("ours")).await.expect("what the engine held is there for the library");
    assert_eq!(node.run(hold(&slot, "again", 2)).await.refusal.unwrap().code, "SLOT_HELD_BY_OTHERS", "one is sold, one is held by the library");
    assert_eq!(node.run(hold(&slot, "last", 1)).await.refusal, None);
    let refused = stock.execute(&id, take("more", 1)).await.unwrap_err();
    assert!(matches!(refused, AggregateError::UserError(SlotError::HeldByOthers { .. })), "{refused}");

    let theirs = store.load_events(&id).await.unwrap();
    let ours = Ledger::of(&node.database, &slot).await;
    assert_eq!(theirs.len(), 5);
    for (read, event) in theirs.iter().zip(&ours.events) {
        assert_eq!(event.event(), Some(&AnyEvent::InventorySlot(read.payload.clone())));
        assert_eq!(u64::try_from(read.sequence).unwrap(), event.sequence);
        assert_eq!(read.metadata.get("command_id"), event.metadata.command_id.as_ref());
    }
    assert!(theirs[1].metadata.contains_key("decided_at"), "the library reads our metadata as the map of strings that it expects");
    let mut context = EventStore::<InventorySlot>::load_aggregate(&store, &id).await.unwrap();
    assert_eq!(*context.aggregate(), ours.state, "both fold to the same state");
    prove_log(&node, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_and_two_libraries_race_for_one_slot_and_sell_exactly_what_there_is() {
    let node = Arc::new(Node::on(database().await, patient()).await);
    let slot = node.open_stock("seats", 150).await;
    let mut tasks = Vec::new();
    let stock = Arc::new(framework(stock(&node.database).await));
    let ours = Arc::new(framework(LogStore::new(node.database.clone())));
    for n in 0..40 {
        let (stock, ours, id) = (stock.clone(), ours.clone(), slot.to_string());
        tasks.push(tokio::spawn(async move { retried(n, &stock, &id, "stock").await }));
        let id = slot.to_string();
        tasks.push(tokio::spawn(async move { retried(n, &ours, &id, "log").await }));
    }
    let mut engines = Vec::new();
    for n in 0..120 {
        let (node, slot) = (node.clone(), slot.clone());
        engines.push(tokio::spawn(async move {
            let name = format!("engine-{n}");
            let outcome = node.run(hold(&slot, &name, 1)).await;
            (name, outcome)
        }));
    }
    let mut sold = 0;
    for task in tasks {
        sold += usize::from(task.await.unwrap());
    }
    let told = futures::future::join_all(engines).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    sold += told.iter().filter(|(_, outcome)| outcome.refusal.is_none()).count();
    let ledger = Ledger::of(&node.database, &slot).await;
    told.iter().for_each(|(name, outcome)| ledger.check(name, 1, outcome));
    assert_eq!((sold, ledger.holds_taken(), ledger.state.counts().held.get()), (150, 150, 150));
    prove_log(&node, 151).await;
}

/// As users of cqrs-es do it: a conflict is tried again, a refusal is an answer, and anything else is a mistake.
async fn retried<S: EventStore<InventorySlot>>(n: u32, framework: &CqrsFramework<InventorySlot, S>, slot: &str, who: &str) -> bool {
    loop {
        match framework.execute(slot, take(&format!("{who}-{n}"), 1)).await {
            Ok(()) => return true,
            Err(AggregateError::AggregateConflict) => {}
            Err(AggregateError::UserError(SlotError::HeldByOthers { .. })) => return false,
            Err(other) => panic!("{who}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_on_our_store_is_told_of_a_conflict_as_such_and_nothing_of_it_lands() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 5).await;
    let (store, id) = (LogStore::new(node.database.clone()), slot.to_string());
    let load = || async { EventStore::<InventorySlot>::load_aggregate(&store, &id).await.unwrap() };
    let decide = |state: &InventorySlot, command| jari_domain::Decider::decide(state, &command, Timestamp::now()).unwrap();
    let (mut first, mut second, mut third) = (load().await, load().await, load().await);
    let (one, two, three) =
        (decide(first.aggregate(), take("one", 1)), decide(second.aggregate(), take("two", 1)), decide(third.aggregate(), take("three", 1)));
    let caused = HashMap::from([("actor".to_owned(), "somebody".to_owned()), ("desk".to_owned(), "7".to_owned())]);
    let written = store.commit(one, first, caused.clone()).await.unwrap();
    assert_eq!((written.len(), written[0].sequence), (1, 2));
    let conflict = store.commit(two, second, HashMap::new()).await.map(|_| ()).unwrap_err();
    assert!(matches!(conflict, AggregateError::AggregateConflict), "{conflict}");
    assert_eq!(node.run(hold(&slot, "ours", 1)).await.refusal, None);
    let conflict = store.commit(three, third, HashMap::new()).await.map(|_| ()).unwrap_err();
    assert!(matches!(conflict, AggregateError::AggregateConflict), "{conflict}");

    let framework = framework(store.clone());
    framework.execute_with_metadata(&id, confirm("ours"), caused.clone()).await.unwrap();
    let refused = framework.execute(&id, confirm("two")).await.unwrap_err();
    assert!(matches!(refused, AggregateError::UserError(SlotError::HoldNotFound { .. })), "{refused}");
    let stored = EventStore::<InventorySlot>::load_events(&store, &id).await.unwrap();
    assert_eq!((&stored[1].metadata, &stored[3].metadata), (&caused, &caused), "what was said of it comes back");
    let counts = Ledger::of(&node.database, &slot).await.state.counts();
    assert_eq!((counts.held, counts.confirmed), (Quantity::ONE, Quantity::ONE));
    prove_log(&node, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_lifts_old_events_by_our_upcaster_and_is_stopped_by_the_version_of_a_stream() {
    let node = Node::start().await;
    let old = include_str!("../../domain/golden/Product/ProductDrafted.1.0.json").replace('\'', "''");
    let insert = format!("{INSERT} ('Product', 'museum', 1, 'ProductDrafted', '1.0', '{old}', '{{}}')");
    client(&node.database).await.batch_execute(&insert).await.unwrap();
    let repository = PostgresEventRepository::new(pool(&node.database).await);
    let store = PersistedEventStore::<_, Product>::new_event_store(repository).with_upcasters(vec![Box::new(Upcaster::<ProductEvent>::default())]);
    let read = store.load_events("museum").await.unwrap();
    let ours = Reader::new(node.database.clone()).stream_after(&StreamId::parse("Product", "museum").unwrap(), 0, 9).await.unwrap();
    assert_eq!(ours[0].event(), Some(&AnyEvent::Product(read[0].payload.clone())));

    // two contexts on one version: the second is behind
    let slot: SlotId = node.open_stock("seats", 5).await;
    let (stock, id) = (stock(&node.database).await, slot.to_string());
    let context = EventStore::<InventorySlot>::load_aggregate(&stock, &id).await.unwrap();
    assert_eq!(node.run(hold(&slot, "ours", 1)).await.refusal, None);
    let behind = stock.commit(vec![SlotEvent::SlotClosed { counts: None }], context, HashMap::new()).await.map(|_| ()).unwrap_err();
    assert!(matches!(behind, AggregateError::AggregateConflict), "{behind}");
    prove_log(&node, 3).await;
}
