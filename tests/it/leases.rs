//! Who lost a role writes nothing more for it, neither to the log nor to what the role remembers.

use std::time::Duration;

use jari_event_store::{Lease, LeaseKeeper, Position, ProcessStore, read_lease};
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
    assert!(store.save(1, Position::new(10), &entry("a", "first"), &[]).await.unwrap());
    assert!(store.save(2, Position::new(20), &entry("a", "second"), &[]).await.unwrap());
    assert!(!store.save(1, Position::new(30), &entry("b", "late"), &["a".to_owned()]).await.unwrap(), "its owner is another by now");
    let memory = store.load().await.unwrap();
    assert_eq!((memory.position.get(), memory.entries), (20, entry("a", "second")));
    assert!(store.save(2, Position::new(30), &[], &["a".to_owned()]).await.unwrap(), "the owner goes on");
    assert!(
        !store.save(2, Position::new(31), &entry("b", "ahead"), &[]).await.unwrap(),
        "the log does not reach so far: what comes there would never be folded"
    );
    assert_eq!(store.load().await.unwrap().position.get(), 30);
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

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_name_do_not_take_a_role_from_each_other() {
    let database = database().await;
    let stop = CancellationToken::new();
    let keeper = |address: &str| {
        let node = ("twin".to_owned(), address.to_owned());
        LeaseKeeper::start(database.clone(), "settlement", node, Duration::from_secs(600), true, stop.clone())
    };
    let (first, keeping) = keeper("http://first");
    eventually("the first has the role", || async { first.current() == Lease::Mine(1) }).await;
    let (second, watching) = keeper("http://second");
    eventually("the second sees whose it is", || async { matches!(second.current(), Lease::Theirs(row) if &*row.address == "http://first") }).await;
    second.doubt().notify_one();
    let (again, renewing) = keeper("http://first");
    eventually("a process in its place has the role at once", || async { again.current() == Lease::Mine(2) }).await;
    assert!(matches!(second.current(), Lease::Theirs(_)), "{:?}", second.current());
    stop.cancel();
    for task in [keeping, watching, renewing] {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_freed_by_ending_its_lease_and_never_by_deleting_it() {
    let database = database().await;
    let (stop, node) = (CancellationToken::new(), ("node".to_owned(), "http://node".to_owned()));
    let (keeper, keeping) = LeaseKeeper::start(database.clone(), "settlement", node, Duration::from_secs(60), true, stop.clone());
    eventually("it has the role", || async { keeper.current() == Lease::Mine(1) }).await;
    let operator = client(&database).await;
    for gone in ["DELETE FROM leases", "TRUNCATE leases"] {
        let refused = operator.batch_execute(gone).await.unwrap_err();
        let hint = refused.as_db_error().and_then(|error| error.hint()).unwrap_or_default();
        assert!(hint.contains("SET expires_at"), "{refused}: whoever came next would begin at an epoch of long ago");
    }
    stop.cancel();
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_nobody_renews_is_taken_whatever_the_databases_clock_says_of_its_end() {
    let database = database().await;
    let operator = client(&database).await;
    // both were written when the database's clock was an hour ahead; one of the owners lives, and goes on by such a clock
    let left =
        "INSERT INTO leases SELECT name, 'before', 'http://before', 7, now() + interval '1 hour' FROM unnest(ARRAY['settlement', 'relay']) name";
    operator.execute(left, &[]).await.unwrap();
    let renewing = tokio::spawn(async move {
        let renew = "UPDATE leases SET expires_at = clock_timestamp() + interval '1 hour' WHERE name = 'relay'";
        // ends with the test
        loop {
            operator.execute(renew, &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let (stop, lasts, begun) = (CancellationToken::new(), Duration::from_secs(6), tokio::time::Instant::now());
    let keeper = |name| {
        let node = ("next".to_owned(), "http://next".to_owned());
        LeaseKeeper::start(database.clone(), name, node, lasts, true, stop.clone())
    };
    let ((of_dead, keeping), (of_living, watching)) = (keeper("settlement"), keeper("relay"));
    eventually("nobody else has it", || async { of_dead.current() == Lease::Mine(8) }).await;
    assert!(begun.elapsed() > lasts, "its owner had as long as ever to renew it");
    tokio::time::sleep_until(begun + 2 * lasts).await;
    assert!(matches!(of_living.current(), Lease::Theirs(row) if row.epoch == 7), "{:?}", of_living.current());
    assert!(!renewing.is_finished());
    renewing.abort();
    stop.cancel();
    for task in [keeping, watching] {
        task.await.unwrap();
    }
}
