//! The archive: whatever has moved, the log reads, decides and proves as before.

use std::time::Duration;

use jari_domain::{Position, StreamId, Timestamp, slot::InventorySlot};
use jari_event_store::{Appender, Archiver, Database, LoadRequest, LogError, Reader, TailSettings, archive_horizon};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, eventually, hold, patient},
    raw::{INSERT, batch, client, group, stream, values, write},
    seal::walk,
};

/// Moves everything before `before` that may move; how many events did.
pub async fn archive(database: &Database, before: u64) -> u64 {
    let archiver = Archiver::connect(database).await.unwrap();
    archiver.raise(Position::new(before)).await.unwrap();
    let mut moved = 0;
    loop {
        let piece = archiver.step().await.unwrap();
        moved += piece.moved;
        if piece.reached == piece.upto {
            return moved;
        }
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    client(database).await.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_most_has_moved_reads_decides_and_proves_as_before() {
    let node = Node::on(database().await, patient()).await;
    let slot = node.open_stock("seats", 100).await;
    for n in 0..60 {
        node.run(hold(&slot, &format!("h-{n}"), 1)).await;
    }
    let before = (format!("{:?}", node.log().await), node.state::<InventorySlot>(&slot).await);
    let database = node.stop().await;
    // snapshots would hide what the streams have
    client(&database).await.batch_execute("DELETE FROM snapshots").await.unwrap();
    let proved = walk(&database).await;
    assert_eq!(archive(&database, 51).await, 49, "but for the first of its stream");
    assert_eq!((count(&database, "events").await, count(&database, "archived_events").await), (12, 49));
    assert_eq!(archive(&database, 51).await, 0, "once");
    assert_eq!(archive(&database, 1_000_000).await, 10, "but for the last of its stream");
    let horizon = archive_horizon(&database).await.unwrap();
    assert_eq!((horizon.upto.get(), horizon.moved_to.get()), (61, 61));
    let node = Node::on(database, patient()).await;
    assert_eq!((format!("{:?}", node.log().await), node.state::<InventorySlot>(&slot).await), before);
    assert_eq!(walk(&node.database).await, proved);
    for limit in [1, 7, 60] {
        let mut at = Position::START;
        while let Some(event) = node.reader().log_after(at, limit).await.unwrap().last() {
            assert!(event.position <= at + limit as u64, "dense, page by page");
            at = event.position;
        }
        assert_eq!(at.get(), 61);
    }
    // as it was: 60 taken of 100
    for n in 60..100 {
        assert!(node.run(hold(&slot, &format!("h-{n}"), 1)).await.refusal.is_none(), "{n}");
    }
    assert!(node.run(hold(&slot, "one-too-many", 1)).await.refusal.is_some());
    let (broken, end) = walk(&node.database).await;
    assert_eq!((broken, end.position.get()), (vec![], 101));
}

/// A log of one stream of nine events, of which the first seven stand in the archive.
async fn seven_of_nine_moved() -> Database {
    let database = database().await;
    let writer = client(&database).await;
    for n in 1..=9 {
        writer.batch_execute(&format!("{INSERT} {}", values("old", n))).await.unwrap();
    }
    assert_eq!(archive(&database, 9).await, 7);
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decided_before_events_moved_never_lands_in_their_place() {
    let database = seven_of_nine_moved().await;
    let appender = Appender::connect(&database).await.unwrap();
    let mut number = 0;
    let mut append = async |expected, known| {
        number += 1;
        appender.append(&batch(vec![group(vec![write("old", expected, "stale")]).knowing(Position::new(known))]), number, None, false).await
    };
    for (expected, known) in [(0, 0), (1, 1), (3, 3), (7, 7), (2, 0)] {
        assert_eq!(append(expected, known).await.unwrap().fallen, [0], "version {expected}, decided at {known}");
    }
    // what knows of all that has moved, or claims to be new, meets an event that stays
    for (expected, known) in [(8, 8), (0, 9)] {
        assert!(append(expected, known).await.unwrap_err().is_unique_violation(), "version {expected}, decided at {known}");
    }
    let newest = batch(vec![group(vec![write("old", 9, "newest")]).knowing(Position::new(9))]);
    assert!(appender.append(&newest, 99, None, false).await.unwrap().fallen.is_empty());
    let sequences: Vec<u64> = Reader::new(database.clone()).stream_after(&stream("old"), 0, 99).await.unwrap().iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_in_two_places_is_read_in_its_order_page_by_page() {
    let reader = Reader::new(seven_of_nine_moved().await);
    for size in 1..=9 {
        let mut sequences = Vec::new();
        // ends with the stream: each page goes on after the last one
        while let page = reader.stream_after(&stream("old"), sequences.last().copied().unwrap_or(0), size).await.unwrap()
            && !page.is_empty()
        {
            sequences.extend(page.iter().map(|event| event.sequence));
        }
        assert_eq!(sequences, (1..=9).collect::<Vec<_>>(), "pages of {size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_on_a_stream_of_which_an_event_is_missing() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 2).await;
    for n in 1..=3 {
        node.run(hold(&slot, &format!("h-{n}"), 1)).await;
    }
    let database = node.stop().await;
    // what no trigger sees, as a restore that lost a part of the archive: the first hold is gone, and its unit looks free
    client(&database).await.batch_execute("SET session_replication_role = replica; DELETE FROM events WHERE sequence = 2").await.unwrap();
    let load = LoadRequest { stream: StreamId::from(&slot), from: None };
    let error = Reader::new(database.clone()).load(&[load]).await.unwrap().pop().unwrap().unwrap_err();
    assert!(matches!(error, LogError::Gap { expected: 2, found: 3, .. }), "{error:?}");
    let node = Node::on(database, patient()).await;
    let refused = node.engine.execute(hold(&slot, "sold-twice", 1), command(Uuid::now_v7())).await.unwrap_err();
    assert_eq!(refused.code(), "STREAM_UNREADABLE");
    assert!(refused.to_string().contains("sequence 3 stands where 2 should"), "{refused}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_horizon_waits_for_an_append_under_way_and_covers_what_that_has_added() {
    let database = seven_of_nine_moved().await;
    let (appending, reader) = (client(&database).await, client(&database).await);
    appending.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    let before = archive_horizon(&database).await.unwrap();
    let raising = tokio::spawn({
        let archiver = Archiver::connect(&database).await.unwrap();
        async move { archiver.raise(Position::new(1_000_000)).await.unwrap() }
    });
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
        WHERE l.locktype = 'advisory' AND NOT l.granted";
    eventually("it waits for the log's lock", || async { reader.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1 }).await;
    appending.batch_execute(&format!("{INSERT} {}", values("old", 10))).await.unwrap();
    assert_eq!(archive_horizon(&database).await.unwrap(), before, "whoever appends must meet all rows, or see the horizon");
    appending.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raising.await.unwrap().get(), 10, "what was appended meanwhile is before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_checked_for_its_group_that_knows_least() {
    let database = seven_of_nine_moved().await;
    let appender = Appender::connect(&database).await.unwrap();
    let stale = || group(vec![write("old", 3, "stale")]).knowing(Position::new(3));
    let newest = |id| group(vec![write(id, 0, "newest")]).knowing(Position::new(9));
    let appended = appender.append(&batch(vec![stale(), newest("a")]), 1, None, false).await.unwrap();
    assert_eq!(appended.fallen, [0], "what it would meet has moved");
    let appended = appender.append(&batch(vec![newest("b"), stale()]), 2, None, false).await.unwrap();
    assert_eq!(appended.fallen, [1]);
}

/// The node hears of nothing that others write: it knows the log as far as it has written it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_nothing_of_what_has_moved_decides_again_on_all_of_it() {
    let deaf = TailSettings { poll: Duration::from_secs(86_400), ..TailSettings::default() };
    let node = Node::following(database().await, patient(), deaf).await;
    let slot = node.open_stock("seats", 5).await;
    let rows: Vec<String> = (2..=9).map(|n| values(&slot.to_string(), n + 1).replace(&format!("', {}, '", n + 1), &format!("', {n}, '"))).collect();
    client(&node.database).await.batch_execute(&format!("{INSERT} {}", rows.join(", "))).await.unwrap();
    assert_eq!(archive(&node.database, 9).await, 7);
    assert!(node.run(hold(&slot, "a", 1)).await.refusal.is_none());
    let sequences: Vec<u64> = node.log().await.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<_>>(), "no second event where one has moved");
    assert_eq!(walk(&node.database).await.0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_writers_never_put_a_second_event_where_one_has_moved() {
    let database = database().await;
    let writer = client(&database).await;
    for n in 1..=5 {
        writer.batch_execute(&format!("{INSERT} {}", values("old", n))).await.unwrap();
    }
    archive(&database, 100).await;
    for sequence in 1..=5 {
        let refused = writer.batch_execute(&format!("{INSERT} {}", values("old", sequence))).await.unwrap_err();
        let code = refused.code().unwrap();
        assert!([&SqlState::UNIQUE_VIOLATION, &SqlState::INTEGRITY_CONSTRAINT_VIOLATION].contains(&code), "{sequence}: {code:?}");
    }
    // all at once, each on the one before it
    let all: Vec<String> = (2..=4).map(|n| values("old", n)).collect();
    assert!(writer.batch_execute(&format!("{INSERT} {}", all.join(", "))).await.is_err());
    writer.batch_execute(&format!("{INSERT} {}", values("old", 6))).await.unwrap();
    assert_eq!(walk(&database).await.0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_go_on_while_their_own_history_moves_and_an_archiver_is_killed() {
    let node = std::sync::Arc::new(Node::on(database().await, patient()).await);
    let slot = node.open_stock("seats", 100_000).await;
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (node, slot) = (node.clone(), slot.clone());
            tokio::spawn(async move {
                for n in 0..150 {
                    assert!(node.run(hold(&slot, &format!("h-{caller}-{n}"), 1)).await.refusal.is_none());
                }
            })
        })
        .collect();
    let mut kills = 0;
    while callers.iter().any(|caller| !caller.is_finished()) {
        let database = node.database.clone();
        let head = node.reader().head().await.unwrap();
        let archiving = tokio::spawn(async move { archive(&database, head.get()).await });
        tokio::time::sleep(Duration::from_millis(kills % 23)).await;
        // its connection ends wherever it is
        archiving.abort();
        kills += 1;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    archive(&node.database, 1_000_000).await;
    let log = node.log().await;
    assert_eq!(log.len(), 1_201, "after {kills} kills");
    assert!(log.iter().zip(1..).all(|(event, n)| event.position.get() == n && event.sequence == n), "dense, in one stream");
    assert!(log.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at && pair[0].recorded_at > Timestamp::UNIX_EPOCH));
    assert_eq!(walk(&node.database).await.0, []);
    assert_eq!(count(&node.database, "events").await, 2, "the ends of the one stream");
}
