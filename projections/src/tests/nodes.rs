//! Several nodes on one database.

use jari_event_store::Reader;

use super::{
    history::History,
    place::{Node, Pencil, database, rows, settings},
};
use crate::{bookkeeping, pen::Fault, views::orders::Orders, writer::Writer};

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
    new.take(&more).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_writes_each_view_and_another_takes_over_when_it_ends() {
    let database = database().await;
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
