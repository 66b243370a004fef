//! The archiver's role with `psql` in its hand: whatever it says to the database, the log stays whole and is told once.

use jari_event_store::{Appender, Archiver, Database, PoolSettings, Position, archive_horizon, migrate};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    harness::{database, empty_database, eventually},
    raw::{INSERT, batch, client, group, values, write},
    seal::{before, walk},
};

/// Up to where events may be in the archive, and up to where they are.
async fn horizon(database: &Database) -> (u64, u64) {
    let horizon = archive_horizon(database).await.unwrap();
    (horizon.upto.get(), horizon.moved_to.get())
}

/// A log of one stream of five events, its owner, and the archiver.
async fn log_and_archiver() -> (Database, Client, Client) {
    let database = database().await;
    let (owner, archiver) = (client(&database).await, client(&database).await);
    for n in 1..=5 {
        owner.batch_execute(&format!("{INSERT} {}", values("old", n))).await.unwrap();
    }
    archiver.batch_execute("SET SESSION AUTHORIZATION jari_archiver").await.unwrap();
    (database, owner, archiver)
}

fn copy(first: u32, last: u32) -> String {
    format!("INSERT INTO archived_events SELECT * FROM events WHERE position BETWEEN {first} AND {last}")
}

fn leave(first: u32, last: u32) -> String {
    format!("DELETE FROM events WHERE position BETWEEN {first} AND {last}")
}

async fn refused(client: &Client, statement: &str) {
    let error = client.batch_execute(statement).await.expect_err(statement);
    // what it opened is over
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
}

/// Where the events of the log stand, and how often each is told.
async fn told(client: &Client) -> (i64, i64, i64) {
    let count = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM archived_events), (SELECT count(DISTINCT position) FROM log_events)";
    let row = client.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_archiver_takes_rows_out_and_only_what_stands_in_the_archive() {
    let database = database().await;
    let (owner, server, archiver) = (client(&database).await, client(&database).await, client(&database).await);
    for n in 1..=4 {
        owner.batch_execute(&format!("{INSERT} {}", values("a", n))).await.unwrap();
    }
    server.batch_execute("SET SESSION AUTHORIZATION jari_server").await.unwrap();
    archiver.batch_execute("SET SESSION AUTHORIZATION jari_archiver; SELECT raise_archive_horizon(5)").await.unwrap();
    for statement in ["DELETE FROM events WHERE position = 2", "DELETE FROM events", "TRUNCATE events", "UPDATE events SET sequence = 9"] {
        for (who, role) in [(&server, "server"), (&archiver, "archiver"), (&owner, "owner")] {
            let refused = who.batch_execute(statement).await.expect_err(statement);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement} by the {role}");
        }
    }
    // a copy that is not the event, then one that is, then of the ends
    let copy = |position: u32, payload: &str| {
        format!(
            "INSERT INTO archived_events SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, {payload}, metadata, position, recorded_at
             FROM events WHERE position = {position}; DELETE FROM events WHERE position = {position}"
        )
    };
    assert!(archiver.batch_execute(&copy(2, "'{}'::json")).await.is_err());
    for end in [1, 4] {
        assert!(archiver.batch_execute(&copy(end, "payload")).await.is_err(), "{end}: an end of its stream stays");
    }
    archiver.batch_execute(&copy(2, "payload")).await.unwrap();
    let columns = ["aggregate_type", "aggregate_id", "sequence", "event_type", "event_version", "payload", "metadata", "position", "recorded_at"];
    for (column, other) in [
        ("aggregate_type", "'Order'"),
        ("aggregate_id", "'b'"),
        ("sequence", "5"),
        ("event_type", "'SlotClosed'"),
        ("event_version", "'9.9'"),
        ("payload", "'{}'::json"),
        ("metadata", r#"'{"actor":"somebody else"}'::json"#),
        ("position", "5"),
        ("position", "0"),
        ("position", "1000000"),
        ("position", "2"),
        ("recorded_at", "recorded_at + interval '1 microsecond'"),
    ] {
        let invented = columns.map(|known| if known == column { other } else { known }).join(", ");
        let invented = format!("INSERT INTO archived_events SELECT {invented} FROM events WHERE position = 4");
        let refused = archiver.batch_execute(&invented).await.expect_err("an event that is not in the log");
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{invented}");
    }
    for statement in [
        "DELETE FROM archived_events",
        "UPDATE archived_events SET sequence = 7",
        "TRUNCATE archived_events",
        "DELETE FROM archive_horizon",
        "INSERT INTO batches VALUES (7, 1, now(), sha256(''))",
        "UPDATE archive_horizon SET upto = -1",
    ] {
        assert!(archiver.batch_execute(statement).await.is_err(), "{statement}");
        assert!(server.batch_execute(statement).await.is_err(), "{statement}");
    }
    for function in ["archive_events(1)", "raise_archive_horizon(5)"] {
        assert!(server.query_one(&format!("SELECT {function}"), &[]).await.is_err(), "{function}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_copy_stands_in_the_archive_never_stays_in_its_place_as_well() {
    let (database, owner, archiver) = log_and_archiver().await;
    archiver.batch_execute("SELECT raise_archive_horizon(6)").await.unwrap();
    let (all, gone) = (copy(2, 4), leave(2, 4));
    for statement in [
        all.clone(),
        copy(1, 1),
        format!("BEGIN; {all}; {}; COMMIT", leave(2, 3)),
        // it looks well where it is asked early, and is taken back behind that
        format!("BEGIN; {all}; SAVEPOINT s; {gone}; SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; ROLLBACK TO s; COMMIT"),
    ] {
        refused(&archiver, &statement).await;
        assert_eq!(told(&owner).await, (5, 0, 5), "{statement}");
    }
    archiver.batch_execute(&format!("BEGIN; {all}; {gone}; COMMIT")).await.unwrap();
    assert_eq!(told(&owner).await, (2, 3, 5));
    let (broken, end) = walk(&database).await;
    assert_eq!((broken, end.position.get()), (vec![], 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_moves_from_beyond_the_horizon_by_which_appends_know_when_to_look() {
    let (database, owner, archiver) = log_and_archiver().await;
    let move_all = format!("BEGIN; {}; {}; COMMIT", copy(2, 4), leave(2, 4));
    refused(&archiver, &move_all).await;
    // one who knows the first event alone meets the second, which is where it was
    let appender = Appender::connect(&database).await.unwrap();
    let stale = || batch(vec![group(vec![write("old", 1, "stale")]).knowing(Position::new(1))]);
    assert!(appender.append(&stale(), 1, None, false).await.unwrap_err().is_unique_violation());
    archiver.batch_execute("SELECT raise_archive_horizon(3)").await.unwrap();
    refused(&archiver, &move_all).await;
    archiver.batch_execute(&format!("BEGIN; {}; {}; COMMIT", copy(2, 2), leave(2, 2))).await.unwrap();
    assert_eq!(appender.append(&stale(), 2, None, false).await.unwrap().fallen, [0], "the horizon says that it has to be looked for");
    assert_eq!(told(&owner).await, (4, 1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_horizon_rises_to_where_the_log_ends_at_most_and_under_its_lock() {
    let (database, owner, archiver) = log_and_archiver().await;
    for beyond in ["6", "1000000000000", "9223372036854775807"] {
        refused(&archiver, &format!("UPDATE archive_horizon SET upto = {beyond}")).await;
        refused(&archiver, &format!("UPDATE archive_horizon SET upto = {beyond}, moved_to = {beyond}")).await;
    }
    owner.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    let raising = tokio::spawn(async move {
        archiver.batch_execute("UPDATE archive_horizon SET upto = 5").await.unwrap();
        archiver
    });
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
        WHERE l.locktype = 'advisory' AND NOT l.granted";
    eventually("it waits for the log's lock", || async { owner.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1 }).await;
    assert_eq!(horizon(&database).await, (0, 0));
    owner.batch_execute("COMMIT").await.unwrap();
    let archiver = raising.await.unwrap();
    refused(&archiver, "UPDATE archive_horizon SET upto = 4").await;
    // what moves waits for nobody who appends
    owner.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    archiver.batch_execute("SET lock_timeout = '60s'; SELECT archive_events(100)").await.unwrap();
    owner.batch_execute("COMMIT").await.unwrap();
    assert_eq!(told(&owner).await, (2, 3, 5));
    assert_eq!(horizon(&database).await, (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archiver_reads_what_it_moves_and_nothing_else_of_the_log() {
    let (_database, _owner, archiver) = log_and_archiver().await;
    let tables = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace
        AND has_any_column_privilege('jari_archiver', oid, 'SELECT, INSERT, UPDATE, REFERENCES') ORDER BY 1";
    let open: Vec<String> = archiver.query(tables, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(open, ["archive_horizon", "archived_events", "events"]);
    refused(&archiver, "SELECT digest_key FROM log_identity").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_that_was_set_by_hand_comes_to_where_it_must_be_while_others_append() {
    for (by_hand, moved_to, becomes) in [
        ("UPDATE archive_horizon SET upto = 1000000000000, moved_to = 1000000000000".to_owned(), 1_000_000_000_000, (5, 0)),
        (format!("BEGIN; {}; {}; COMMIT", copy(2, 3), leave(2, 3)), 0, (3, 0)),
        ("SELECT raise_archive_horizon(4); SELECT archive_events(100)".to_owned(), 3, (3, 3)),
    ] {
        let database = Database::new(empty_database().await, PoolSettings::patient()).unwrap();
        let mut runner = client(&database).await;
        before::migrations::runner().set_target(refinery::Target::Version(12)).run_async(&mut runner).await.unwrap();
        let appender = Appender::connect(&database).await.unwrap();
        for n in 1..=5 {
            runner.batch_execute(&format!("{INSERT} {}", values("old", n))).await.unwrap();
        }
        let archiver = client(&database).await;
        archiver.batch_execute("SET SESSION AUTHORIZATION jari_archiver").await.unwrap();
        archiver.batch_execute(&by_hand).await.unwrap();
        assert_eq!(horizon(&database).await.1, moved_to, "{by_hand}");
        // a backup reads, and an append is under way: neither waits
        let reading = client(&database).await;
        reading.batch_execute("BEGIN; SELECT * FROM archive_horizon, archived_events, events; SELECT lock_log_head()").await.unwrap();
        migrate(&database, None).await.unwrap();
        reading.batch_execute("COMMIT").await.unwrap();
        assert_eq!(horizon(&database).await, becomes, "{by_hand}");
        // a node and an archiver of before go on
        let newest = batch(vec![group(vec![write("old", 5, "newest")]).knowing(Position::new(5))]);
        assert_eq!(appender.append(&newest, 1, None, false).await.unwrap().fallen, [0; 0]);
        let archiver = Archiver::connect(&database).await.unwrap();
        assert_eq!(archiver.raise(Position::new(100)).await.unwrap().get(), 6);
        // ends at the horizon
        while let piece = archiver.step().await.unwrap()
            && piece.reached < piece.upto
        {}
        let (broken, end) = walk(&database).await;
        assert_eq!((broken, end.position.get()), (vec![], 6), "{by_hand}");
    }
}
