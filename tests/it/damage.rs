//! A disk that gives back other bytes than it was given.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use jari::proof::Walk;
use jari_event_store::{Broken, Database, PoolSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};

use crate::{
    harness::eventually,
    outage::signal,
    raw::{INSERT, client, values},
    seal,
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

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_on_the_disk_is_named_by_its_batches_and_the_rest_is_proved() {
    let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
    let database = Database::new(server.access().superuser.clone(), PoolSettings::patient()).unwrap();
    migrate(&database, None).await.unwrap();
    let psql = client(&database).await;
    let rows: Vec<String> = (1..=EVENTS).map(|n| values("a", n)).collect();
    psql.batch_execute(&format!("{INSERT} {}", rows.join(", "))).await.unwrap();
    let page = "SELECT (ctid::text::point)[0]::bigint FROM events WHERE position = 150";
    let page: i64 = psql.query_one(page, &[]).await.unwrap().get(0);
    let on_it = "SELECT position FROM events WHERE (ctid::text::point)[0]::bigint = $1 ORDER BY position";
    let damaged: Vec<u64> = psql.query(on_it, &[&page]).await.unwrap().iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect();
    let file: String = psql.query_one("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('events')", &[]).await.unwrap().get(0);
    assert!(damaged.len() > 1 && (damaged.len() as u64) < EVENTS / 2, "{damaged:?}");
    psql.batch_execute("CHECKPOINT").await.unwrap();

    flip(&PathBuf::from(file), page.cast_unsigned() * PAGE + PAGE - 40);
    // what it has in memory is forgotten
    signal(server.pid().unwrap(), "QUIT");
    eventually("it is gone", || async { psql.is_closed() }).await;
    eventually("it answers again", || async { database.dedicated().await.is_ok() }).await;

    let (broken, end) = seal::walk(&database).await;
    assert_eq!(broken, damaged.iter().map(|at| Broken::Batch { first: *at, last: *at }).collect::<Vec<_>>());
    assert_eq!(end.position, EVENTS);
    let found = Walk::over(&database).await.unwrap().proof.finish();
    for position in &damaged {
        assert!(
            found.iter().any(|finding| finding.starts_with(&format!("position {position}: the event cannot be read: "))),
            "{position}: {found:?}"
        );
    }
    drop(server);
}
