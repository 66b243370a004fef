//! A real private server, from its archive to its end.

use std::time::{Duration, Instant};

use jari_postgres::{Lifetime, Place, PostgresError, PrivatePostgres, Settings};
use tokio_postgres::NoTls;

async fn client(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("jari-test-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let place = Place::new(folder("restart"));
    let first = PrivatePostgres::start(Settings::new(place.clone())).await.unwrap();
    let owner = client(&first.access().owner).await;
    owner.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit", "data_checksums"] {
        let value: String = owner.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap().get(0);
        assert_eq!(value, "on", "{setting}");
    }
    assert!(matches!(PrivatePostgres::start(Settings::new(place.clone())).await, Err(PostgresError::Owned { .. })), "one process owns a place");
    assert!(place.find().is_some(), "others find it");
    first.stop();
    assert!(place.find().is_none(), "a stopped server is not found");
    let second = PrivatePostgres::start(Settings::new(place.clone())).await.unwrap();
    let kept: i32 = client(&second.access().owner).await.query_one("SELECT n FROM kept", &[]).await.unwrap().get(0);
    assert_eq!(kept, 7);
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_apart_outlives_its_starter_until_it_is_stopped() {
    let server = PrivatePostgres::temporary(false, Lifetime::Apart).await.unwrap();
    assert!(server.place().find().is_some());
    let place = server.place().clone();
    server.stop();
    assert!(place.find().is_none());
}

/// The child half of the test below: starts a server, says where, and waits to be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_killed_owner_takes_its_server_with_it"]
async fn child_that_owns_a_server_and_waits() {
    let Ok(folder) = std::env::var("JARI_TEST_PLACE") else { return };
    let server = PrivatePostgres::start(Settings::new(Place::new(folder))).await.unwrap();
    println!("pid={}", server.pid().unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_takes_its_server_with_it() {
    let place = folder("killed");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child_that_owns_a_server_and_waits", "--nocapture"])
        .env("JARI_TEST_PLACE", &place)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while Place::new(&place).find().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "the child's server did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // the next owner waits for the old server to leave, and finds a clean cluster
    let next = PrivatePostgres::start(Settings::new(Place::new(&place))).await.unwrap();
    let log = std::fs::read_to_string(place.join("postgres/server.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
    next.stop();
}
