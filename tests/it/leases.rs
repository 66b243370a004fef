//! Who lost a role writes nothing more for it, neither to the log nor to what the role remembers.

use std::time::Duration;

use jari_event_store::{Lease, LeaseKeeper, ProcessStore, read_lease};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{database, eventually},
    raw::{INSERT, client, values},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_remembers_is_never_overwritten_by_an_owner_before() {
    let database = database().await;
    let log: Vec<String> = (1..=30).map(|n| values("slot", n)).collect();
    client(&database).await.batch_execute(&format!("{INSERT} {}", log.join(", "))).await.unwrap();
    let store = ProcessStore::new(database, "settlement");
    let entry = |key: &str, state: &str| vec![(key.to_owned(), state.to_owned())];
    assert!(store.save(1, 10, &entry("a", "first"), &[]).await.unwrap());
    assert!(store.save(2, 20, &entry("a", "second"), &[]).await.unwrap());
    assert!(!store.save(1, 30, &entry("b", "late"), &["a".to_owned()]).await.unwrap(), "its owner is another by now");
    let memory = store.load().await.unwrap();
    assert_eq!((memory.position, memory.entries), (20, entry("a", "second")));
    assert!(store.save(2, 30, &[], &["a".to_owned()]).await.unwrap(), "the owner goes on");
    assert!(!store.save(2, 31, &entry("b", "ahead"), &[]).await.unwrap(), "the log does not reach so far: what comes there would never be folded");
    assert_eq!(store.load().await.unwrap().position, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_taken_only_when_the_append_under_way_has_ended() {
    let database = database().await;
    let append = client(&database).await;
    append.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    let (stop, node) = (CancellationToken::new(), ("next".to_owned(), "http://next".to_owned()));
    let (keeper, keeping) = LeaseKeeper::start(database.clone(), "settlement", node, Duration::from_secs(60), true, stop.clone());
    let operator = client(&database).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
    eventually("it waits for the append, or has not waited", || async {
        operator.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0 || read_lease(&database, "settlement").await.unwrap().is_some()
    })
    .await;
    assert_eq!(read_lease(&database, "settlement").await.unwrap(), None, "whatever the owner before lands, it lands before this");
    append.batch_execute("COMMIT").await.unwrap();
    eventually("it has the lease", || async { keeper.current() == Lease::Mine(1) }).await;
    stop.cancel();
    keeping.await.unwrap();
}
