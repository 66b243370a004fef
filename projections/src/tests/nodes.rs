//! Several nodes on one database.

use std::time::Duration;

use jari_domain::{
    AnyEvent, Position,
    ids::{CustomerRef, OrderId, PoolId, SlotId},
    order::{Order, OrderCommand},
};
use jari_event_store::{Database, Reader};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::{
    history::{History, first, line},
    place::{Node, Pencil, database, rows, settings},
};
use crate::{
    QuarantinePage, ViewSettings,
    build_connection::Fault,
    builds::{self, Build},
    quarantine,
    views::{VIEWS, orders::Orders},
    writer::Writer,
};

/// The live build of the orders, made when there is none.
async fn orders(database: &Database) -> Build {
    builds::prepare(database).await.unwrap();
    builds::provide(database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    builds::live(&**client, &Orders).await.unwrap().unwrap().0
}

/// The epoch by which each view was written last, and that of its lease.
async fn epochs(database: &Database) -> Vec<(i64, i64)> {
    let client = database.connection().await.unwrap();
    let mut all = Vec::new();
    for view in VIEWS {
        let sql = "SELECT b.epoch, l.epoch FROM views.builds b, leases l WHERE b.view = $1 AND b.state = 'live' AND l.name = $2";
        let row = client.query_one(sql, &[&view.name(), &view.lease()]).await.unwrap();
        all.push((row.get(0), row.get(1)));
    }
    all
}

/// An order of so many lines.
fn order(lines: usize) -> Vec<AnyEvent> {
    let slot = SlotId::of(&PoolId::parse("gallery").unwrap(), None);
    let (customer, lines) = (CustomerRef::parse("kim").unwrap(), vec![line(&[&slot], 1); lines]);
    first::<Order>(&[OrderCommand::PlaceOrder { customer, lines, hold_seconds: 600, personal: None }], Timestamp::now())
}

/// Waits until somebody waits for a lock, or `task` has ended; bounded by a minute.
pub async fn until_it_waits<T>(database: &Database, task: &JoinHandle<T>) {
    let client = database.connection().await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..1_200 {
        if task.is_finished() || client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it neither waits nor ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_lease_is_another_s_writes_nothing() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(4));
    pencil.append(history.go_on(400)).await;
    builds::prepare(&database).await.unwrap();
    builds::provide(&database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    let (build, _) = builds::live(&**client, &Orders).await.unwrap().unwrap();
    let events = Reader::new(database.clone()).log_after(Position::START, 1_000).await.unwrap();
    let (early, late) = events.split_at(100);

    let mut old = Writer::open(&database, &Orders, build.clone(), 7, "live").await.unwrap().unwrap();
    old.take(early).await.unwrap();
    let mut new = Writer::open(&database, &Orders, build.clone(), 8, "live").await.unwrap().unwrap();
    // both stand at 100: whoever is first moves the checkpoint, the other one finds it moved
    new.take(late).await.unwrap();
    let after = rows(&database, "orders").await;
    assert!(matches!(old.take(late).await, Err(Fault::Moved)));
    // and a later owner's epoch stands above an older one's even at the same position
    let mut back = Writer::open(&database, &Orders, build, 7, "live").await.unwrap().unwrap();
    let head = pencil.append(history.go_on(50)).await;
    let more = Reader::new(database.clone()).log_after(late.last().unwrap().position, 1_000).await.unwrap();
    assert_eq!(more.last().unwrap().position, head);
    assert!(matches!(back.take(&more).await, Err(Fault::Moved)));
    assert_eq!(rows(&database, "orders").await, after);
    // two writers of one epoch, as a process that is restarted under its own name may leave behind: the checkpoint alone decides
    let mut twin = Writer::open(&database, &Orders, new.build().clone(), 8, "live").await.unwrap().unwrap();
    twin.take(&more).await.unwrap();
    assert!(matches!(new.take(&more).await, Err(Fault::Moved)));
    // and nobody writes a build that was replaced, though its tables are still there
    client.batch_execute("UPDATE views.builds SET state = 'retired'").await.unwrap();
    pencil.append(history.go_on(20)).await;
    let last = Reader::new(database.clone()).log_after(head, 1_000).await.unwrap();
    assert!(matches!(twin.take(&last).await, Err(Fault::Moved)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_goes_live_has_read_whatever_the_live_one_has() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(14));
    let head = pencil.append(history.go_on(600)).await;
    builds::prepare(&database).await.unwrap();
    builds::provide(&database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    let (build, _) = builds::live(&**client, &Orders).await.unwrap().unwrap();
    let reader = Reader::new(database.clone());
    let events = reader.log_after(Position::START, 10_000).await.unwrap();
    let mut live = Writer::open(&database, &Orders, build, 1, "live").await.unwrap().unwrap();
    live.take(&events).await.unwrap();
    let before = rows(&database, "orders").await;

    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build.clone(), 0, "building").await.unwrap().unwrap();
    next.take(&events[..100]).await.unwrap();
    assert!(
        matches!(next.go_live(&reader, head.get() - 101).await, Err(Fault::Moved)),
        "too far behind: the live one would stand still for too long"
    );
    assert_eq!(next.go_live(&reader, head.get()).await.unwrap(), head);
    assert_eq!(builds::live(&**client, &Orders).await.unwrap(), Some((build, head)));
    assert_eq!(rows(&database, "orders").await, before);
    assert!(matches!(live.take(&events[..1]).await, Err(Fault::Moved)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_writes_each_view_and_another_takes_over_when_it_ends() {
    let database = database().await;
    // long enough that a machine with other work to do does not lose it; whoever stops gives it back
    let settings = || ViewSettings { lease: Duration::from_secs(15), ..settings() };
    let one = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(6));
    pencil.append(history.go_on(200)).await;
    one.caught_up().await;
    let two = Node::start(&database, "two", settings()).await;
    for _ in 0..20 {
        pencil.append(history.go_on(40)).await;
    }
    // the one that only follows answers as well
    two.caught_up().await;
    assert!(two.views.status().await.unwrap().iter().all(|view| view.owner.as_deref() == Some("one")));
    let before = epochs(&database).await;
    assert!(before.iter().all(|(view, lease)| view == lease), "{before:?}: by its epoch whoever owned the view before is kept from it");
    one.stop().await;
    pencil.append(history.go_on(200)).await;
    two.caught_up().await;
    assert!(two.views.status().await.unwrap().iter().all(|view| view.owner.as_deref() == Some("two")));
    let after = epochs(&database).await;
    assert!(after.iter().zip(&before).all(|((view, lease), (old, _))| view == lease && view > old), "{before:?}, then {after:?}");
    let live = rows(&database, "availability").await;
    crate::rebuild(&database, "availability", |_| {}, &Default::default()).await.unwrap();
    assert_eq!(rows(&database, "availability").await, live);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_may_start_at_once_on_an_empty_database() {
    let database = database().await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let nodes = futures::future::join_all(names.iter().map(|name| Node::start(&database, name, settings()))).await;
    let builds = database.connection().await.unwrap().query("SELECT view FROM views.builds", &[]).await.unwrap();
    assert_eq!(builds.len(), crate::view_names().len());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_held_back_at_the_switch_stays_so_in_the_new_build() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(15));
    pencil.append(history.go_on(300)).await;
    let (bad, reader) = (OrderId::parse("bad").unwrap(), Reader::new(database.clone()));
    pencil.say(&bad, order(1)).await;
    let mut live = Writer::open(&database, &Orders, orders(&database).await, 1, "live").await.unwrap().unwrap();
    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build.clone(), 0, "building").await.unwrap().unwrap();
    let events = reader.log_after(Position::START, 10_000).await.unwrap();
    live.take(&events).await.unwrap();
    next.take(&events).await.unwrap();
    // only the live one has read what nobody can read
    let failed = pencil.scrawl(&bad, "OrderTeleported", "{}").await;
    let head = pencil.append(history.go_on(20)).await;
    live.take(&reader.log_after(live.position(), 10_000).await.unwrap()).await.unwrap();
    assert_eq!(next.go_live(&reader, 1_000).await.unwrap(), head);
    assert_eq!(orders(&database).await, build);
    let told = quarantine::list(&database, &QuarantinePage { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(told.iter().map(|stream| (&*stream.aggregate_id, stream.failed_position)).collect::<Vec<_>>(), [("bad", failed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_waits_for_whoever_writes_the_live_build_and_reads_what_that_has_read() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(16));
    pencil.append(history.go_on(300)).await;
    let (reader, live) = (Reader::new(database.clone()), orders(&database).await);
    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build.clone(), 0, "building").await.unwrap().unwrap();
    next.take(&reader.log_after(Position::START, 10_000).await.unwrap()).await.unwrap();
    let head = pencil.append(history.go_on(50)).await;
    // a batch of the live one that is not committed yet
    let mut other = database.dedicated().await.unwrap();
    let batch = other.transaction().await.unwrap();
    batch.execute("UPDATE views.builds SET position = $2 WHERE build = $1", &[&live.number, &head.to_i64()]).await.unwrap();
    let switch = tokio::spawn(async move { next.go_live(&reader, 1_000).await });
    until_it_waits(&database, &switch).await;
    batch.commit().await.unwrap();
    assert_eq!(switch.await.unwrap().unwrap(), head, "or readers would see the view go back");
    assert_eq!(orders(&database).await, build);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heavy_batch_that_fails_in_its_second_part_has_its_checkpoint_where_its_rows_end() {
    const ORDERS: usize = 300;
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    // as many lines as an order may have: a part and a half
    let placed = order(100);
    for some in (0..ORDERS).collect::<Vec<_>>().chunks(50) {
        let group = |n: &usize| ((&OrderId::parse(&format!("order-{n:03}")).unwrap()).into(), placed.clone(), Timestamp::now());
        pencil.append(some.iter().map(group).collect()).await;
    }
    let (build, client) = (orders(&database).await, database.connection().await.unwrap());
    // no fault of a row, so nothing is set aside: as when a disk is full
    let full = "CREATE FUNCTION views.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER is_full BEFORE INSERT ON build.orders FOR EACH ROW WHEN (NEW.order_id = 'order-250') EXECUTE FUNCTION views.full()";
    client.batch_execute(&build.sql(full)).await.unwrap();
    let events = Reader::new(database.clone()).log_after(Position::START, 10_000).await.unwrap();
    let mut writer = Writer::open(&database, &Orders, build.clone(), 1, "live").await.unwrap().unwrap();
    assert!(matches!(writer.take(&events).await, Err(Fault::Away(_))));
    let ends = build.sql("SELECT b.position, (SELECT max(o.accepted_position) FROM build.orders o) FROM views.builds b WHERE b.build = $1");
    let row = client.query_one(&ends, &[&build.number]).await.unwrap();
    let (checkpoint, last): (i64, Option<i64>) = (row.get(0), row.get(1));
    assert_eq!((Some(checkpoint), last), (last, Some(200)), "20,000 lines are a part");
    // and whoever goes on from there leaves none out
    client.batch_execute(&build.sql("DROP TRIGGER is_full ON build.orders")).await.unwrap();
    let mut writer = Writer::open(&database, &Orders, build, 1, "live").await.unwrap().unwrap();
    writer.take(&events[200..]).await.unwrap();
    assert_eq!(rows(&database, "orders").await.len(), ORDERS);
}
