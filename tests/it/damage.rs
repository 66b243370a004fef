//! A disk that gives back other bytes than it was given.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use jari::proof::Walk;
use jari_event_store::{Broken, ChainWalk, Database, PoolSettings, migrate};
use jari_heads::{Checked, HeadsCheck, SigningKey, Trusted};
use jari_postgres::{Lifetime, PrivatePostgres};

use crate::{
    harness::eventually,
    heads::{self, sign},
    outage::signal,
    processes::{Folder, start},
    raw::{INSERT, client, values},
    seal::{self, broken_batch, tamper},
};

const EVENTS: u64 = 300;
const PAGE: u64 = 8_192;

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.sync_all().unwrap();
}

/// A log of one event a batch, on a server of its own.
struct Log {
    server: PrivatePostgres,
    database: Database,
}

impl Log {
    async fn new() -> Self {
        let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
        let database = Database::new(server.access().superuser.clone(), PoolSettings::patient()).unwrap();
        migrate(&database, None).await.unwrap();
        let rows: Vec<String> = (1..=EVENTS).map(|n| values("a", n)).collect();
        client(&database).await.batch_execute(&format!("{INSERT} {}", rows.join(", "))).await.unwrap();
        Self { server, database }
    }

    /// Flips a bit on the page where this table has this position. The positions of all rows on it.
    async fn damage(&self, table: &str, column: &str, position: u64) -> Vec<u64> {
        let psql = client(&self.database).await;
        let page = format!("SELECT (ctid::text::point)[0]::bigint FROM {table} WHERE {column} = {position}");
        let page: i64 = psql.query_one(&page, &[]).await.unwrap().get(0);
        let on_it = format!("SELECT {column} FROM {table} WHERE (ctid::text::point)[0]::bigint = $1 ORDER BY {column}");
        let damaged: Vec<u64> = psql.query(&on_it, &[&page]).await.unwrap().iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect();
        let file = format!("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('{table}')");
        let file: String = psql.query_one(&file, &[]).await.unwrap().get(0);
        assert!(damaged.len() > 1 && (damaged.len() as u64) < EVENTS / 2, "{damaged:?}");
        psql.batch_execute("CHECKPOINT").await.unwrap();
        flip(&PathBuf::from(file), page.cast_unsigned() * PAGE + PAGE - 40);
        // what it has in memory is forgotten
        signal(self.server.pid().unwrap(), "QUIT");
        eventually("it is gone", || async { psql.is_closed() }).await;
        eventually("it answers again", || async { self.database.dedicated().await.is_ok() }).await;
        damaged
    }

    async fn findings(&self) -> Vec<String> {
        Walk::over(&self.database).await.unwrap().proof.finish()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_on_the_disk_is_named_by_its_batches_and_the_rest_is_proved() {
    let log = Log::new().await;
    let damaged = log.damage("events", "position", 150).await;
    let (broken, end) = seal::walk(&log.database).await;
    assert_eq!(broken, damaged.iter().map(|at| broken_batch(*at, *at)).collect::<Vec<_>>());
    assert_eq!(end.position.get(), EVENTS);
    let found = log.findings().await;
    for position in &damaged {
        assert!(
            found.iter().any(|finding| finding.starts_with(&format!("position {position}: the event cannot be read: "))),
            "{position}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_among_the_batches_is_named_and_what_stands_around_it_is_proved() {
    let log = Log::new().await;
    let folder = tempfile::tempdir().unwrap();
    let heads = heads::settings(folder.path());
    sign(&log.database, &heads).await;
    let changed = EVENTS - 2;
    tamper(&client(&log.database).await, &format!("UPDATE events SET metadata = '{{ }}' WHERE position IN (2, {changed})")).await;
    let lost = log.damage("batches", "first_position", 150).await;
    let (broken, end) = seal::walk(&log.database).await;
    let [before, Broken::Unreadable { first, last, why }, after] = &broken[..] else { panic!("{broken:?}") };
    assert_eq!((before, after), (&broken_batch(2, 2), &broken_batch(changed, changed)));
    assert_eq!((first.get(), last.get()), (lost[0], lost[lost.len() - 1]));
    assert!(why.contains("XX001"), "{why}");
    assert_eq!(end.position.get(), EVENTS);
    // the program says so, compares the heads all the same, and ends with an error
    let folder = Folder::new();
    let config = folder.config("verify", &log.database, "");
    let key = SigningKey::read(&heads.key_file).unwrap().public_text();
    let mut program = start(&config, &["verify", "--heads", heads.file.to_str().unwrap(), "--key", &key]);
    assert!(!program.until_ended().await);
    let said = program.said();
    assert!(said.contains(&format!("BROKEN positions {first} to {last}: their batches cannot be read")), "{said}");
    assert!(said.contains(&format!("BROKEN batch of positions {changed} to {changed}")) && !said.contains("line 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_last_events_and_batches_are_damaged_is_proved_up_to_there() {
    let log = Log::new().await;
    let folder = tempfile::tempdir().unwrap();
    let heads = heads::settings(folder.path());
    sign(&log.database, &heads).await;
    let lost = log.damage("batches", "first_position", EVENTS).await;
    let (broken, end) = seal::walk(&log.database).await;
    assert!(matches!(&broken[..], [Broken::Unreadable { first, last, .. }] if (first.get(), last.get()) == (lost[0], EVENTS)), "{broken:?}");
    assert_eq!(end.position.get(), EVENTS);
    let mut trusted = Trusted::default();
    trusted.add(&SigningKey::read(&heads.key_file).unwrap().public_text()).unwrap();
    let log_id = ChainWalk::begin(log.database.clone()).await.unwrap().log_id();
    let mut check = HeadsCheck::open(&heads.file, trusted, log.database.clone(), log_id, end.position).unwrap();
    let Some(Checked::Broken(why)) = check.step().await.unwrap() else { panic!("there is nothing to compare it with") };
    assert!(why.contains("cannot be read"), "{why}");
}
