//! Several nodes on one database.

use std::time::Duration;

use jari_event_store::Reader;

use super::{
    history::History,
    place::{Node, Pencil, database, rows, settings},
};
use crate::{ViewSettings, bookkeeping, pen::Fault, views::orders::Orders, writer::Writer};

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_lease_is_another_s_writes_nothing() {
    let database = database().await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(4));
    pencil.append(history.go_on(400)).await;
    bookkeeping::prepare(&database).await.unwrap();
    bookkeeping::provide(&database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    let (build, _) = bookkeeping::live(&**client, &Orders).await.unwrap().unwrap();
    let events = Reader::new(database.clone()).log_after(0, 1_000).await.unwrap();
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
    bookkeeping::prepare(&database).await.unwrap();
    bookkeeping::provide(&database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    let (build, _) = bookkeeping::live(&**client, &Orders).await.unwrap().unwrap();
    let reader = Reader::new(database.clone());
    let events = reader.log_after(0, 10_000).await.unwrap();
    let mut live = Writer::open(&database, &Orders, build, 1, "live").await.unwrap().unwrap();
    live.take(&events).await.unwrap();
    let before = rows(&database, "orders").await;

    let (build, _) = bookkeeping::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build.clone(), 0, "building").await.unwrap().unwrap();
    next.take(&events[..100]).await.unwrap();
    assert!(matches!(next.go_live(&reader, head - 101).await, Err(Fault::Moved)), "too far behind: the live one would stand still for too long");
    assert_eq!(next.go_live(&reader, head).await.unwrap(), head);
    assert_eq!(bookkeeping::live(&**client, &Orders).await.unwrap(), Some((build, head)));
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
    one.stop().await;
    pencil.append(history.go_on(200)).await;
    two.caught_up().await;
    assert!(two.views.status().await.unwrap().iter().all(|view| view.owner.as_deref() == Some("two")));
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
