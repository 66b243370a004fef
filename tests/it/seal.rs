//! The chain over the log: whoever wrote, and in whichever way, it stands; whatever is changed afterwards is found, by its batch.

use jari_event_store::{Appender, Broken, ChainWalk, Database, HeadAt, PoolSettings, Position, head_at, newest_head};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{
    harness::{Node, database, empty_database, hold, patient},
    heads::CHAIN_ANEW,
    raw::{INSERT, batch, client, command, group, read, values, write},
};

/// More events than are read at once, and than a batch has by default.
const MANY: u64 = 160_000;

pub mod before {
    refinery::embed_migrations!("../infra/event_store/migrations");
}

/// Walks all of it: what is broken, and where the chain ends.
pub async fn walk(database: &Database) -> (Vec<Broken>, HeadAt) {
    let mut chain = ChainWalk::begin(database.clone()).await.unwrap();
    let mut all = Vec::new();
    while let Some(broken) = chain.step().await.unwrap() {
        all.extend(broken);
    }
    (all, chain.at())
}

/// What is said of a batch of these positions that was changed.
pub fn broken_batch(first: u64, last: u64) -> Broken {
    Broken::Batch { first: Position::new(first), last: Position::new(last) }
}

/// Does as somebody does who has taken the database over.
pub async fn tamper(client: &Client, statement: &str) {
    let changed = format!(
        "ALTER TABLE events DISABLE TRIGGER USER; ALTER TABLE batches DISABLE TRIGGER USER; ALTER TABLE log_seal DISABLE TRIGGER USER; {statement};
         ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE batches ENABLE TRIGGER USER; ALTER TABLE log_seal ENABLE TRIGGER USER"
    );
    client.batch_execute(&changed).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Five batches: of two events, of one by another writer, of two of which one group fell, of one, of three.
async fn five_batches(database: &Database) -> Client {
    let (appender, client) = (Appender::connect(database).await.unwrap(), client(database).await);
    let two = batch(vec![group(vec![write("a", 0, "비가 와서"), write("b", 0, "wind")])]);
    appender.append(&two, 1, None, false).await.unwrap();
    client.batch_execute(&format!("{INSERT} {}", values("a", 2))).await.unwrap();
    let falls = batch(vec![
        group(vec![write("c", 0, "lands")]),
        group(vec![read("a", 1), write("d", 0, "falls")]),
        command(vec![write("e", 0, "lands, too")], Uuid::now_v7()),
    ]);
    assert_eq!(appender.append(&falls, 2, None, true).await.unwrap().fallen, [1]);
    appender.append(&batch(vec![group(vec![write("f", 0, "one")])]), 3, None, false).await.unwrap();
    let three = batch(vec![group(vec![write("g", 0, "one")]), group(vec![write("h", 0, "two"), write("i", 0, "three")])]);
    appender.append(&three, 4, None, false).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_stands_over_whatever_was_appended_by_whomever() {
    let database = database().await;
    let genesis = newest_head(&database).await.unwrap();
    assert_eq!(walk(&database).await, (vec![], genesis), "an empty log has a head of its own");
    assert_eq!(genesis.position, Position::START);
    five_batches(&database).await;
    let (broken, end) = walk(&database).await;
    assert_eq!((broken, end.position.get()), (vec![], 9));
    assert_eq!(newest_head(&database).await.unwrap(), end);
    for (position, is_an_end) in
        [(0, true), (1, false), (2, true), (3, true), (4, false), (5, true), (6, true), (7, false), (8, false), (9, true), (10, false)]
    {
        assert_eq!(head_at(&database, Position::new(position)).await.unwrap().is_some(), is_an_end, "{position}");
    }
    let node = Node::on(database, patient()).await;
    let slot = node.open_stock("seats", 50).await;
    for n in 0..50 {
        node.run(hold(&slot, &format!("h-{n}"), 1)).await;
    }
    let database = node.stop().await;
    let (broken, end) = walk(&database).await;
    assert_eq!((broken, end.position.get()), (vec![], 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logs_of_the_same_events_have_other_heads() {
    let (one, other) = (database().await, database().await);
    assert_ne!(newest_head(&one).await.unwrap().head, newest_head(&other).await.unwrap().head);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_is_found_and_named_by_its_batch() {
    let database = database().await;
    let client = five_batches(&database).await;
    let before = newest_head(&database).await.unwrap();
    client.batch_execute("CREATE TABLE kept AS SELECT * FROM batches").await.unwrap();
    let (third, fifth) = (broken_batch(4, 5), broken_batch(7, 9));
    for (change, back, found) in [
        (
            "UPDATE events SET payload = replace(payload::text, 'lands', 'lends')::json WHERE position = 4",
            "UPDATE events SET payload = replace(payload::text, 'lends', 'lands')::json WHERE position = 4",
            vec![third.clone()],
        ),
        // the same value, in other bytes
        (
            "UPDATE events SET payload = replace(payload::text, ':', ' :')::json WHERE position = 5",
            "UPDATE events SET payload = replace(payload::text, ' :', ':')::json WHERE position = 5",
            vec![third.clone()],
        ),
        (
            "UPDATE events SET metadata = replace(metadata::text, '}', ' }')::json WHERE position = 8",
            "UPDATE events SET metadata = replace(metadata::text, ' }', '}')::json WHERE position = 8",
            vec![fifth.clone()],
        ),
        (
            "UPDATE events SET event_version = '1.7' WHERE position = 9",
            "UPDATE events SET event_version = '1.1' WHERE position = 9",
            vec![fifth.clone()],
        ),
        (
            "UPDATE events SET event_type = 'SlotResumed' WHERE position = 9",
            "UPDATE events SET event_type = 'SlotSuspended' WHERE position = 9",
            vec![fifth.clone()],
        ),
        ("UPDATE events SET aggregate_id = 'ii' WHERE position = 9", "UPDATE events SET aggregate_id = 'i' WHERE position = 9", vec![fifth.clone()]),
        (
            "UPDATE events SET aggregate_type = 'Order' WHERE position = 9",
            "UPDATE events SET aggregate_type = 'InventorySlot' WHERE position = 9",
            vec![fifth.clone()],
        ),
        ("UPDATE events SET sequence = 2 WHERE position = 9", "UPDATE events SET sequence = 1 WHERE position = 9", vec![fifth.clone()]),
        (
            "UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 8",
            "UPDATE events SET recorded_at = recorded_at - interval '1 microsecond' WHERE position = 8",
            vec![fifth.clone()],
        ),
        // both change places, and are as they were but for that
        (
            "UPDATE events SET position = position + 900 WHERE position IN (4, 5); UPDATE events SET position = CASE position WHEN 904 THEN 5 ELSE 4 END WHERE position > 900",
            "UPDATE events SET position = position + 900 WHERE position IN (4, 5); UPDATE events SET position = CASE position WHEN 904 THEN 5 ELSE 4 END WHERE position > 900",
            vec![third.clone()],
        ),
        (
            "UPDATE batches SET recorded_at = recorded_at + interval '1 microsecond' WHERE first_position = 4",
            "UPDATE batches SET recorded_at = recorded_at - interval '1 microsecond' WHERE first_position = 4",
            vec![third.clone()],
        ),
        (
            "UPDATE batches SET event_count = 200 WHERE first_position = 3",
            "UPDATE batches SET event_count = 1 WHERE first_position = 3",
            vec![broken_batch(3, 3)],
        ),
        (
            "UPDATE batches SET event_count = 2147483647 WHERE first_position = 7",
            "UPDATE batches SET event_count = 3 WHERE first_position = 7",
            vec![broken_batch(7, 2_147_483_653)],
        ),
        // its own digest is wrong, and the one after it does not follow from it
        (
            "UPDATE batches SET chained_hash = sha256(chained_hash) WHERE first_position = 4",
            "UPDATE batches b SET chained_hash = k.chained_hash FROM kept k WHERE k.first_position = b.first_position",
            vec![third.clone(), broken_batch(6, 6)],
        ),
    ] {
        tamper(&client, change).await;
        assert_eq!(walk(&database).await.0, found, "{change}");
        tamper(&client, back).await;
        assert_eq!(walk(&database).await, (vec![], before), "undone: {back}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_taken_out_or_put_in_is_found_at_its_place() {
    let database = database().await;
    let client = five_batches(&database).await;
    tamper(&client, "DELETE FROM events WHERE position = 6; DELETE FROM batches WHERE first_position = 6").await;
    let (broken, _) = walk(&database).await;
    assert_eq!(broken, [Broken::Uncovered { due: Position::new(6), found: Position::new(7) }, broken_batch(7, 9)]);
    tamper(&client, "UPDATE events SET position = position - 1 WHERE position > 6; UPDATE batches SET first_position = 6 WHERE first_position = 7")
        .await;
    let (broken, _) = walk(&database).await;
    assert_eq!(broken, [broken_batch(6, 8)], "moved up to close the gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_as_many_events_as_the_configuration_allows_is_walked_whole() {
    let database = database().await;
    let client = five_batches(&database).await;
    let many = format!("SET jari.appending = 'on'; SET session_replication_role = replica;
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at)
            SELECT 'InventorySlot', 'many', n, 'SlotResumed', '1.0', '{{\"SlotResumed\":{{}}}}', '{{}}', 9 + n, '2100-01-01' FROM generate_series(1, {MANY}) n;
        INSERT INTO batches (first_position, event_count, recorded_at, chained_hash) VALUES (10, {MANY}, '2100-01-01', decode(repeat('00', 32), 'hex'));
        RESET session_replication_role; RESET jari.appending; ANALYZE");
    client.batch_execute(&many).await.unwrap();
    tamper(&client, CHAIN_ANEW).await;
    let (broken, end) = walk(&database).await;
    assert_eq!((broken, end.position.get()), (vec![], 9 + MANY));
    tamper(&client, "UPDATE events SET metadata = '{ }' WHERE position = 150000").await;
    assert_eq!(walk(&database).await.0, [broken_batch(10, 9 + MANY)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_before_is_sealed_by_one_digest_and_goes_on_chained() {
    let config = empty_database().await;
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    before::migrations::runner().set_target(refinery::Target::Version(5)).run_async(&mut client).await.unwrap();
    for n in 1..=30 {
        client.batch_execute(&format!("{INSERT} {}", values("old", n))).await.unwrap();
    }
    let database = Database::new(config, PoolSettings::patient()).unwrap();
    jari_event_store::migrate(&database, None).await.unwrap();
    let sealed = newest_head(&database).await.unwrap();
    assert_eq!((sealed.position.get(), walk(&database).await), (30, (vec![], sealed)));
    client.batch_execute(&format!("{INSERT} {}", values("old", 31))).await.unwrap();
    Appender::connect(&database).await.unwrap().append(&batch(vec![group(vec![write("new", 0, "x")])]), 1, None, false).await.unwrap();
    let (broken, end) = walk(&database).await;
    assert_eq!((broken, end.position.get()), (vec![], 32));
    tamper(&client, "UPDATE events SET recorded_at = recorded_at - interval '1 microsecond' WHERE position = 30").await;
    assert_eq!(walk(&database).await.0, [Broken::Before { last: Position::new(30) }]);
    let head = jari_event_store::head_at(&database, Position::new(30)).await.unwrap();
    assert_eq!(head, Some(sealed.head), "exports and heads up to the seal are proved against it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_append_after_the_seal_may_be_the_program_s() {
    let config = empty_database().await;
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    before::migrations::runner().set_target(refinery::Target::Version(5)).run_async(&mut client).await.unwrap();
    client.batch_execute(&format!("{INSERT} {}", values("old", 1))).await.unwrap();
    let database = Database::new(config, PoolSettings::patient()).unwrap();
    jari_event_store::migrate(&database, None).await.unwrap();
    let appender = Appender::connect(&database).await.unwrap();
    let appended = appender.append(&batch(vec![group(vec![write("old", 1, "x")])]), 1, None, false).await.unwrap();
    assert_eq!(appended.base.get(), 1, "behind what was there");
    assert_eq!(walk(&database).await.1.position.get(), 2);
    assert_eq!(walk(&database).await.0, []);
}
