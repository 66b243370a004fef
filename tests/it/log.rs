//! The log itself: one order, for whoever writes; append-only, for everybody; one schema, whoever migrates.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_event_store::{Database, LogError, PoolSettings, migrate};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::{
    harness::{Node, command, database, empty_database, hold, patient},
    raw::{INSERT, client, values},
};

/// Plain inserts of all kinds into one stream of its own; some are rolled back, some meet what is there.
async fn scribble(database: Database, slot: String, rounds: u64) -> u64 {
    let mut client = client(&database).await;
    let mut version = 0;
    for round in 0..rounds {
        let (one, two) = (values(&slot, version + 1), values(&slot, version + 2));
        match round % 4 {
            0 => {
                client.batch_execute(&format!("{INSERT} {one}")).await.unwrap();
                version += 1;
            }
            1 => {
                let transaction = client.transaction().await.unwrap();
                transaction.batch_execute(&format!("{INSERT} {one}, {two}")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(round % 7)).await;
                transaction.rollback().await.unwrap();
            }
            2 => {
                let there = values(&slot, version.max(1));
                client.batch_execute(&format!("{INSERT} {there}, {one} ON CONFLICT DO NOTHING")).await.unwrap();
                version = version.max(1).max(version + 1);
            }
            _ => {
                let transaction = client.transaction().await.unwrap();
                transaction.batch_execute(&format!("{INSERT} {one}, {two}")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(round % 5)).await;
                transaction.commit().await.unwrap();
                version += 2;
            }
        }
    }
    version
}

/// Follows the log by position until `done` and says how much it saw; panics at a gap, at something late, and at time that runs backwards.
async fn follow(database: Database, done: Arc<AtomicBool>) -> i64 {
    let client = client(&database).await;
    let mut seen = 0;
    let mut last = None;
    loop {
        let finished = done.load(Ordering::SeqCst);
        let rows = client.query("SELECT position, recorded_at FROM events WHERE position > $1 ORDER BY position", &[&seen]).await.unwrap();
        for row in &rows {
            let (position, recorded_at): (i64, std::time::SystemTime) = (row.get(0), row.get(1));
            assert_eq!(position, seen + 1, "a reader who follows sees no gap");
            assert!(last.is_none_or(|last| last <= recorded_at), "time of recording never decreases");
            (seen, last) = (position, Some(recorded_at));
        }
        if finished && rows.is_empty() {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_inserts_beside_the_engine_leave_no_gap_and_nothing_appears_late() {
    let node = Arc::new(Node::start().await);
    let slot = node.open_stock("seats", 100_000).await;
    let done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..2).map(|_| tokio::spawn(follow(node.database.clone(), done.clone()))).collect();
    let writers: Vec<_> = (0..6).map(|n| tokio::spawn(scribble(node.database.clone(), format!("raw-{n}@stock"), 60))).collect();
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let (node, slot) = (node.clone(), slot.clone());
            tokio::spawn(async move {
                for n in 0..20 {
                    node.run(hold(&slot, &format!("h-{caller}-{n}"), 1)).await;
                }
            })
        })
        .collect();
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    for caller in callers {
        caller.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for follower in followers {
        assert_eq!(follower.await.unwrap() as u64, written + 641, "every follower has seen all of it");
    }
    assert_eq!(node.log().await.len() as u64, written + 641);
    let client = client(&node.database).await;
    let gaps = "SELECT count(*) FROM (SELECT first_position, lag(first_position + event_count, 1, 1::bigint) OVER (ORDER BY first_position) AS due FROM batches) b
        WHERE first_position <> due";
    assert_eq!(client.query_one(gaps, &[]).await.unwrap().get::<_, i64>(0), 0, "the batches cover the log, whoever wrote");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_writer_that_leaves_a_gap_in_its_stream_is_refused() {
    let database = database().await;
    let client = client(&database).await;
    client.batch_execute(&format!("{INSERT} {}, {}", values("a", 2), values("a", 1))).await.expect("in any order within one statement");
    let error = client.batch_execute(&format!("{INSERT} {}", values("a", 4))).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INTEGRITY_CONSTRAINT_VIOLATION));
    client.batch_execute(&format!("{INSERT} {}", values("a", 3))).await.unwrap();
}

/// A role that has the server's rights and no others.
async fn as_server(database: &Database) -> tokio_postgres::Client {
    let client = client(database).await;
    client.batch_execute("SET SESSION AUTHORIZATION jari_server").await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_or_removes_events_and_the_server_does_not_number_them() {
    let database = database().await;
    let (owner, server) = (client(&database).await, as_server(&database).await);
    server.batch_execute(&format!("{INSERT} {}", values("a", 1))).await.expect("the server adds by the seven columns");
    for statement in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DELETE FROM log_identity",
        "TRUNCATE log_identity",
        "UPDATE batches SET chained_hash = sha256('')",
        "DELETE FROM batches",
        "TRUNCATE batches",
        "UPDATE log_seal SET head = sha256('')",
        "DELETE FROM log_seal",
        "TRUNCATE log_seal",
    ] {
        for client in [&server, &owner] {
            let error = client.batch_execute(statement).await.expect_err(statement);
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
        }
    }
    for column in ["position", "recorded_at"] {
        let value = if column == "position" { "99" } else { "now()" };
        let insert = INSERT.replace("metadata)", &format!("metadata, {column})"));
        let error = server.batch_execute(&format!("{insert} {}", values("a", 2).replace("'{}')", &format!("'{{}}', {value})")))).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{column}");
    }
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE events",
        "INSERT INTO batches VALUES (7, 1, now(), sha256(''))",
        "UPDATE commands SET position = 0",
    ] {
        assert!(server.batch_execute(statement).await.is_err(), "{statement}");
    }
    assert_eq!(owner.query_one("SELECT count(*) FROM events", &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_with_the_rights_of_the_owner_or_archives_is_called_by_nobody_else() {
    let database = database().await;
    let open = "SELECT p.proname::text FROM pg_proc p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0 AND a.privilege_type = 'EXECUTE'
        AND (p.prosecdef OR p.proname IN ('archive_events', 'raise_archive_horizon'))";
    let open: Vec<String> = client(&database).await.query(open, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(open, [""; 0], "every role of the database may call these");
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_of_the_server_never_stand_in_for_the_log() {
    let database = database().await;
    let server = as_server(&database).await;
    // were the temporary tables found first, the trigger's function would run with the rights of the owner
    server
        .batch_execute(
            "CREATE TEMP TABLE events (aggregate_type text, aggregate_id text, sequence bigint, position bigint, recorded_at timestamptz);
             CREATE TEMP TABLE batches (first_position bigint, event_count integer, recorded_at timestamptz, chained_hash bytea);
             CREATE TEMP TABLE log_seal (head bytea);
             CREATE TEMP TABLE ran_as (who text); GRANT ALL ON ran_as, events, batches TO public;
             CREATE FUNCTION pg_temp.planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO pg_temp.ran_as VALUES (current_user); RETURN NEW; END $$;
             CREATE TRIGGER planted BEFORE INSERT ON batches FOR EACH ROW EXECUTE FUNCTION pg_temp.planted();",
        )
        .await
        .unwrap();
    for sequence in 1..=2 {
        let insert = INSERT.replace("INTO events", "INTO public.events");
        server.batch_execute(&format!("{insert} {}", values("a", sequence))).await.unwrap();
    }
    let ran = server.query("SELECT who FROM pg_temp.ran_as", &[]).await.unwrap();
    assert!(ran.is_empty(), "the server's own code ran as {}", ran[0].get::<_, String>(0));
    let owner = client(&database).await;
    assert_eq!(owner.query_one("SELECT count(*) FROM batches", &[]).await.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_migrate_once_and_again_changes_nothing() {
    let config = empty_database().await;
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let database = Database::new(config.clone(), PoolSettings::patient()).unwrap();
            tokio::spawn(async move { migrate(&database, Some("jari_server")).await })
        })
        .collect();
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    let database = Database::new(config, PoolSettings::patient()).unwrap();
    let reader = client(&database).await;
    let count = "SELECT count(*), count(DISTINCT version), (SELECT log_id FROM log_identity) FROM refinery_schema_history";
    let before = reader.query_one(count, &[]).await.unwrap();
    migrate(&database, None).await.unwrap();
    let after = reader.query_one(count, &[]).await.unwrap();
    assert_eq!(before.get::<_, i64>(0), before.get::<_, i64>(1), "each once");
    assert_eq!((before.get::<_, i64>(0), before.get::<_, Uuid>(2)), (after.get(0), after.get(2)));
    let node = Node::on(database, patient()).await;
    let slot = node.open_stock("seats", 1).await;
    assert!(node.engine.execute(hold(&slot, "a", 1), command(Uuid::now_v7())).await.unwrap().refusal.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_made_by_other_migrations_is_refused_and_left_as_it_is() {
    let database = database().await;
    let owner = client(&database).await;
    let refused = async |change: &str, back: &str| {
        owner.batch_execute(change).await.unwrap();
        let error = migrate(&database, None).await.expect_err(change);
        assert!(matches!(error, LogError::Migration(_)), "{error:?}");
        owner.batch_execute(back).await.unwrap();
        migrate(&database, None).await.unwrap();
        error.to_string()
    };
    // what was released was edited since: this database has run the other text
    let keep = "CREATE TABLE kept AS SELECT checksum FROM refinery_schema_history WHERE version = 3;";
    let edited = format!("{keep} UPDATE refinery_schema_history SET checksum = '1' WHERE version = 3");
    let told = refused(&edited, "UPDATE refinery_schema_history SET checksum = (SELECT checksum FROM kept) WHERE version = 3").await;
    assert!(told.contains("V3__roles"), "it is named: {told}");
    // a newer program was here: what it has changed this one does not know
    let newer = "INSERT INTO refinery_schema_history SELECT 99, 'newer', applied_on, '1' FROM refinery_schema_history WHERE version = 1";
    let told = refused(newer, "DELETE FROM refinery_schema_history WHERE version = 99").await;
    assert!(told.contains("V99__newer"), "it is named: {told}");
}
