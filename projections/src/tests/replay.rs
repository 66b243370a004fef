//! Views as they were: the same log gives the same digest, whatever happens to whoever makes it.

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{Database, PoolSettings, Reader};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    history::History,
    place::{Node, Pencil, as_superuser, database, rows, settings},
};
use crate::{
    AsOf, Replay, ReplayError, Replayed, ViewSettings, digest_live, drop_replay, rebuild, replay::MOST_REPLAYS, replays, view_names, views::VIEWS,
};

async fn replayed(database: &Database, replay: &Replay) -> Replayed {
    replay.run(database, |_| {}, &CancellationToken::new()).await.unwrap()
}

async fn digest(database: &Database, view: &str, position: Position) -> String {
    replayed(database, &Replay::of(view, AsOf::Position(position))).await.digested.digest
}

/// Tables in the schema of the views, and rows of its builds.
async fn everything(database: &Database) -> (i64, i64) {
    let client = database.connection().await.unwrap();
    let count =
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relkind = 'r'), (SELECT count(*) FROM views.builds)";
    let row = client.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_as_of_any_position_is_what_the_live_one_was_when_it_stood_there() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(21));
    let mut seen = Vec::new();
    for _ in 0..6 {
        pencil.append(history.go_on(120)).await;
        node.caught_up().await;
        for view in view_names() {
            let live = digest_live(&database, view).await.unwrap();
            seen.push((view, live.position, live.digested));
        }
    }
    let before = (everything(&database).await, rows(&database, "orders").await);
    for (view, position, live) in &seen {
        let then = replayed(&database, &Replay::of(view, AsOf::Position(*position))).await;
        assert_eq!(then.position, *position);
        assert_eq!(then.digested.digest, live.digest, "{view} as of {position}");
        let counts = |digested: &crate::Digested| digested.tables.iter().map(|table| (table.name.clone(), table.rows)).collect::<Vec<_>>();
        assert_eq!(counts(&then.digested), counts(live));
    }
    let digests: std::collections::BTreeSet<_> = seen.iter().map(|(view, _, live)| (view, &live.digest)).collect();
    assert_eq!(digests.len(), seen.len(), "each moment has a digest of its own");
    assert_eq!((everything(&database).await, rows(&database, "orders").await), before, "nothing stays, and the live views are not touched");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_log_gives_the_same_digest_in_batches_of_every_size_and_after_a_rebuild() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(22));
    for _ in 0..3 {
        pencil.append(history.go_on(100)).await;
    }
    let head = pencil.append(history.go_on(100)).await;
    for view in view_names() {
        let told = digest(&database, view, head).await;
        for range in [1, 7, 113, 100_000] {
            let again = replayed(&database, &Replay { range, ..Replay::of(view, AsOf::Head) }).await;
            assert_eq!((again.position, again.events), (head, head.get()));
            assert_eq!(again.digested.digest, told, "{view} in ranges of {range}");
        }
        rebuild(&database, view, |_| {}, &CancellationToken::new()).await.unwrap();
        let live = digest_live(&database, view).await.unwrap();
        assert_eq!((live.position, live.digested.digest), (head, told), "{view} rebuilt");
    }
    // a live one that was written in small batches
    let node = Node::start(&database, "one", ViewSettings { batch_events: 3, ..settings() }).await;
    let head = pencil.append(history.go_on(200)).await;
    node.caught_up().await;
    for view in view_names() {
        let live = digest_live(&database, view).await.unwrap();
        assert_eq!((live.position, live.digested.digest), (head, digest(&database, view, head).await), "{view} live");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_cut_off_or_stopped_at_any_moment_ends_with_the_same_digest() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(23));
    for _ in 0..6 {
        pencil.append(history.go_on(300)).await;
    }
    let told = replayed(&database, &Replay::of("orders", AsOf::Head)).await;
    let replay = Replay { range: 200, ..Replay::of("orders", AsOf::Position(told.position)) };
    // stopped by whoever asked, after each range
    let mut rounds: u64 = 0;
    let last = loop {
        let (stop, mut told) = (CancellationToken::new(), 0);
        let done = replay
            .run(
                &database,
                |_| {
                    told += 1;
                    stop.cancel();
                },
                &stop,
            )
            .await;
        match done {
            Ok(done) => break done,
            Err(ReplayError::Stopped) => rounds += 1,
            Err(other) => panic!("{other}"),
        }
        assert_eq!(told, 1, "one range a round");
    };
    assert!(rounds >= told.position.get() / 200, "{rounds}");
    assert_eq!(last.digested.digest, told.digested.digest);
    assert!(last.events <= 200, "it goes on where it was: {}", last.events);
    // the same while its connections are cut again and again, as by a kill: it goes on by itself, or is called again
    let mut config = database.config().clone();
    let cut_off = Database::new(config.application_name("cut").clone(), PoolSettings::patient()).unwrap();
    let cutting = tokio::spawn({
        let database = database.clone();
        async move {
            let (mut cuts, mut connections) = (0, 0);
            // ends when enough were there to be cut
            while connections < 10 {
                tokio::time::sleep(Duration::from_millis(10 + cuts * 37 % 100)).await;
                cuts += 1;
                let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'cut'";
                connections += database.connection().await.unwrap().query(text, &[]).await.unwrap().len();
            }
        }
    });
    // bounded: each round reads on, or waits for the lock of the one before to be given back
    let mut rounds = 0;
    let again = loop {
        match (Replay { range: 20, ..replay.clone() }).run(&cut_off, |_| {}, &CancellationToken::new()).await {
            // the first ones may be through before they are cut
            Ok(_) if !cutting.is_finished() => {}
            Ok(done) => break done,
            Err(ReplayError::Away(_) | ReplayError::UnderWay { .. }) if rounds < 1_000 => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(other) => panic!("{other}"),
        }
        rounds += 1;
    };
    cutting.await.unwrap();
    assert_eq!(again.digested.digest, told.digested.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_that_of_the_file_and_what_is_kept_can_be_asked_by_sql_and_dropped() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(24));
    pencil.append(history.go_on(600)).await;
    let folder = std::env::temp_dir().join(format!("jari-replay-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let replay =
        Replay { keep: true, lines: Some(folder.join("rows.jsonl")), csv: Some(folder.join("tables")), ..Replay::of("availability", AsOf::Head) };
    let done = replayed(&database, &replay).await;
    let bytes = std::fs::read(folder.join("rows.jsonl")).unwrap();
    assert_eq!(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>(), done.digested.digest);
    let lines: Vec<serde_json::Value> = std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(done.digested.tables.iter().map(|table| &*table.name).collect::<Vec<_>>(), ["draws", "holds", "products", "slots"]);
    let kept = replays(&database).await.unwrap();
    assert_eq!((kept.len(), kept[0].number, kept[0].whole, kept[0].as_of), (1, done.number, true, done.position));
    let client = database.connection().await.unwrap();
    for table in &done.digested.tables {
        assert!(kept[0].tables.contains(&table.sql_name) && table.rows > 0, "{table:?}");
        let counted: i64 = client.query_one(&format!("SELECT count(*) FROM {}", table.sql_name), &[]).await.unwrap().get(0);
        let csv = std::fs::read_to_string(folder.join("tables").join(format!("{}.csv", table.name))).unwrap();
        let told = lines.iter().filter(|line| line["table"] == *table.name).count();
        assert_eq!([u64::try_from(counted).unwrap(), csv.lines().count() as u64 - 1, told as u64], [table.rows; 3], "{}", table.name);
    }
    // another of the same moment is another build, and neither is in the other's way
    assert_eq!(digest(&database, "availability", done.position).await, done.digested.digest);
    drop_replay(&database, done.number).await.unwrap();
    assert!(matches!(drop_replay(&database, done.number).await, Err(ReplayError::ReplayUnknown(_))));
    assert_eq!((replays(&database).await.unwrap(), everything(&database).await), (vec![], (2, 0)), "but for the tables of builds themselves");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_given_by_time_is_the_last_event_recorded_by_then() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(25));
    for _ in 0..5 {
        pencil.append(history.go_on(40)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let events = Reader::new(database.clone()).log_after(Position::START, 10_000).await.unwrap();
    let mut times = 0;
    for pair in events.windows(2).filter(|pair| pair[0].recorded_at < pair[1].recorded_at) {
        for at in [pair[0].recorded_at, pair[1].recorded_at - Duration::from_micros(1)] {
            let done = replayed(&database, &Replay::of("products", AsOf::Time(at))).await;
            assert_eq!(done.position, pair[0].position);
        }
        times += 1;
    }
    assert_eq!(times, 4);
    let before = replayed(&database, &Replay::of("products", AsOf::Time(events[0].recorded_at - Duration::from_micros(1)))).await;
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!((before.position, &*before.digested.digest), (Position::START, nothing), "no rows: the digest of nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_has_come_when_the_databases_clock_or_the_log_says_so_whatever_this_machine_says() {
    let database = database().await;
    let behind = format!(
        "CREATE SCHEMA behind; GRANT USAGE ON SCHEMA behind TO public; ALTER DATABASE {} SET search_path = behind, pg_catalog, public;
         CREATE FUNCTION behind.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT pg_catalog.clock_timestamp() - interval '10 minutes' $$",
        database.config().get_dbname().unwrap()
    );
    as_superuser(&database).await.batch_execute(&behind).await.unwrap();
    // whoever connects from here on sees that clock before the real one
    let seen = Database::new(database.config().clone(), PoolSettings::patient()).unwrap();
    let as_of = async |time| Replay::of("products", AsOf::Time(time)).run(&seen, |_| {}, &CancellationToken::new()).await;
    let ago = |minutes: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    assert_eq!(as_of(ago(5)).await.unwrap_err().code(), Some("TIME_AHEAD"), "of an empty log, and five minutes before its time");
    assert_eq!(as_of(ago(11)).await.unwrap().position, Position::START);
    // the append goes by the real clock: as if the database's had been set back since
    let head = Pencil::new(&database).await.append(History::new(29).go_on(20)).await;
    let newest = Reader::new(database.clone()).log_after(head.previous(), 1).await.unwrap()[0].recorded_at;
    assert_eq!(as_of(newest).await.unwrap().position, head);
    assert_eq!(as_of(newest + Duration::from_micros(1)).await.unwrap_err().code(), Some("TIME_AHEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_refused_with_a_stable_code() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(26));
    let head = pencil.append(history.go_on(50)).await;
    let code = async |replay: Replay| replay.run(&database, |_| {}, &CancellationToken::new()).await.unwrap_err().code();
    assert_eq!(code(Replay::of("sales", AsOf::Head)).await, Some("VIEW_UNKNOWN"));
    assert_eq!(code(Replay::of("orders", AsOf::Position(head.next()))).await, Some("POSITION_AHEAD"));
    let later = jiff::Timestamp::now() + Duration::from_secs(3_600);
    assert_eq!(code(Replay::of("orders", AsOf::Time(later))).await, Some("TIME_AHEAD"));
    let holder = database.dedicated().await.unwrap();
    let lock = format!("SELECT pg_advisory_lock(hashtextextended('jari.replay.orders.{head}', 0))");
    holder.execute(&lock, &[]).await.unwrap();
    assert_eq!(code(Replay::of("orders", AsOf::Head)).await, Some("REPLAY_UNDER_WAY"));
    drop(holder);
    for position in (0..MOST_REPLAYS as u64).map(Position::new) {
        replayed(&database, &Replay { keep: true, ..Replay::of("products", AsOf::Position(position)) }).await;
    }
    let one_more = Replay { keep: true, ..Replay::of("products", AsOf::Position(head)) };
    assert_eq!(code(one_more).await, Some("REPLAYS_EXHAUSTED"));
    let passing = replayed(&database, &Replay::of("orders", AsOf::Position(head))).await;
    assert_eq!(passing.position, head, "what is not kept needs no place among those that are");
    assert_eq!(drop_replay(&database, 4_711).await.unwrap_err().code(), Some("REPLAY_UNKNOWN"));
    let first = replays(&database).await.unwrap()[0].number;
    drop_replay(&database, first).await.unwrap();
    assert_eq!(replayed(&database, &Replay::of("products", AsOf::Position(head))).await.position, head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_read_is_told_of_and_the_others_are_replayed() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(27));
    pencil.append(history.go_on(100)).await;
    let id = jari_domain::ids::OrderId::parse("scrawled").unwrap();
    pencil.scrawl(&id, "OrderScrawled", "{}").await;
    let head = pencil.append(history.go_on(100)).await;
    let done = replayed(&database, &Replay::of("orders", AsOf::Head)).await;
    assert_eq!((done.position, done.quarantined), (head, 1));
    assert!(done.digested.tables[0].rows > 10);
    assert_eq!(everything(&database).await.1, 0, "its quarantine went with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_builds_from_before_replays_learn_of_them() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(28));
    let head = pencil.append(history.go_on(60)).await;
    node.caught_up().await;
    node.stop().await;
    let older = "ALTER TABLE views.builds DROP COLUMN as_of, DROP COLUMN taken_up_at, DROP COLUMN taken_up_from, DROP CONSTRAINT builds_state_check,
        ADD CONSTRAINT builds_state_check CHECK (state IN ('building', 'live', 'retired'))";
    database.connection().await.unwrap().batch_execute(older).await.unwrap();
    let node = Node::start(&database, "one", settings()).await;
    let live = digest_live(&database, "orders").await.unwrap();
    assert_eq!((live.position, live.digested.digest), (head, digest(&database, "orders", head).await));
    node.stop().await;
}

/// What a digest relies on: a key by bytes, and values with one text only. What depends on the clock or on chance is found by the house rules.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_a_view_has_a_key_in_byte_order_and_values_of_one_text() {
    let database = database().await;
    for view in VIEWS {
        replayed(&database, &Replay { keep: true, ..Replay::of(view.name(), AsOf::Head) }).await;
    }
    let client = database.connection().await.unwrap();
    let (tables, builds) = everything(&database).await;
    let columns = client.query(include_str!("columns.sql"), &[]).await.unwrap();
    let (mut seen, mut keys) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for row in &columns {
        let (table, column, kind, has_default, in_key, by_bytes): (String, String, String, bool, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
        seen.insert(table.clone());
        assert!(["text", "integer", "bigint", "boolean", "timestamp with time zone"].contains(&&*kind), "{table}.{column} is a {kind}");
        assert!(!has_default, "{table}.{column} has a default, which no event says");
        assert!(!in_key || by_bytes, "{table}.{column} is of the key: text COLLATE \"C\"");
        if in_key {
            keys.insert(table);
        }
    }
    assert_eq!((seen.len() as i64, builds), (tables - 2, VIEWS.len() as i64));
    assert_eq!(keys, seen, "each table has a primary key");
}
