//! Making a view anew, and what a live one may suffer.

use std::time::Duration;

use jari_domain::{Position, Quantity, order::Order, product::Product, slot::InventorySlot};
use jari_event_store::{Database, PoolSettings, Reader};
use jari_proto::{
    availability::v1::{GetSlotRequest, availability_service_server::AvailabilityService},
    order::v1::{GetOrderRequest, OrderState, order_query_service_server::OrderQueryService},
    product::v1::{GetProductRequest, product_query_service_server::ProductQueryService},
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{
    history::History,
    place::{Node, Pencil, database, rows, settings},
};
use crate::{
    RebuildError, ViewSettings, builds,
    catch_up::RANGE,
    rebuild, view_names,
    views::{orders::Orders, products::Products},
    writer::Writer,
};

async fn rebuild_all(node: &Node) {
    for view in view_names() {
        rebuild(&node.database, view, |_| {}, &CancellationToken::new()).await.unwrap();
    }
}

async fn assert_rebuilt_equals_live(node: &Node) {
    node.caught_up().await;
    let mut live = Vec::new();
    for view in view_names() {
        live.push(rows(&node.database, view).await);
    }
    rebuild_all(node).await;
    for (view, live) in view_names().into_iter().zip(live) {
        assert!(!live.is_empty(), "{view} has rows to compare");
        assert_eq!(rows(&node.database, view).await, live, "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_view_equals_the_live_one() {
    for (seed, batch_events) in [(1, 1), (2, 7), (3, 2_000)] {
        let database = database().await;
        let node = Node::start(&database, "one", ViewSettings { batch_events, ..settings() }).await;
        let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(seed));
        for _ in 0..6 {
            pencil.append(history.go_on(150)).await;
            node.caught_up().await;
        }
        assert_rebuilt_equals_live(&node).await;
        let client = database.connection().await.unwrap();
        let builds = client.query("SELECT state FROM views.builds", &[]).await.unwrap();
        assert_eq!(builds.len(), view_names().len(), "the old builds are gone");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_says_what_the_aggregates_themselves_say() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(11));
    for _ in 0..8 {
        pencil.append(history.go_on(200)).await;
    }
    node.caught_up().await;
    assert!(history.slots.values().any(|slot| slot.sold_to_orders() > Quantity::ZERO), "slots sold to orders, too");
    let now = Timestamp::now();
    for (id, slot) in history.slots.iter().filter(|(_, slot)| slot.pool_id().is_some()) {
        let slot: &InventorySlot = slot;
        let answer = node.availability.get_slot(Request::new(GetSlotRequest { slot_id: id.to_string(), min_position: 0 })).await.unwrap();
        let (counts, said) = (slot.counts_at(now), answer.get_ref().slot.as_ref().unwrap().counts.unwrap());
        let told = [said.capacity, said.held, said.confirmed, said.available];
        assert_eq!(told, [counts.capacity, counts.held, counts.confirmed, counts.available()].map(|units| units.get().cast_signed()), "{id}");
    }
    for (id, order) in history.orders.iter().filter(|(_, order)| order.customer().is_some()) {
        let order: &Order = order;
        let answer = node.orders.get_order(Request::new(GetOrderRequest { order_id: id.to_string(), min_position: 0 })).await.unwrap();
        let said = answer.into_inner().order.unwrap();
        let status = if said.state() == OrderState::Accepted { "PLACED" } else { said.state().as_str_name().trim_start_matches("ORDER_STATE_") };
        assert_eq!(status, order.status_at(now).as_str(), "{id}");
        assert_eq!(said.lines.len(), order.lines().len());
        assert_eq!(said.failures.len(), order.failures().len());
        assert_eq!(said.total.unwrap().minor_units, order.total().unwrap().minor.cast_signed());
    }
    for (id, product) in history.products.iter().filter(|(_, product)| product.terms().is_some()) {
        let product: &Product = product;
        let answer = node.products.get_product(Request::new(GetProductRequest { product_id: id.to_string(), min_position: 0 })).await.unwrap();
        let said = answer.into_inner().product.unwrap();
        assert_eq!(said.state().as_str_name(), format!("PRODUCT_STATE_{}", product.status()));
        let mut ids: Vec<_> = product.options().iter().map(|option| option.option_id.to_string()).collect();
        ids.sort();
        assert_eq!(said.options.into_iter().map(|option| option.option_id).collect::<Vec<_>>(), ids);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_cut_off_at_any_moment_leaves_rows_and_checkpoint_together() {
    let database = database().await;
    let mut config = database.config().clone();
    let cut_off = Database::new(config.application_name("cut").clone(), PoolSettings::patient()).unwrap();
    let node = Node::start(&cut_off, "one", ViewSettings { batch_events: 20, ..settings() }).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(5));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'cut'";
    for _ in 0..25 {
        pencil.append(history.go_on(60)).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        database.connection().await.unwrap().execute(cut, &[]).await.unwrap();
    }
    node.stop().await;
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    for status in node.views.status().await.unwrap() {
        assert_eq!(status.quarantined, 0, "a database that is away is no reason to hold anything back");
    }
    assert_rebuilt_equals_live(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_stopped_goes_on_where_it_was() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(8));
    let mut head = Position::START;
    while head.get() <= RANGE {
        head = pencil.append(history.go_on(2_000)).await;
    }
    node.caught_up().await;
    let before = rows(&database, "orders").await;
    let stop = CancellationToken::new();
    let mut seen = Vec::new();
    let stopped = rebuild(
        &database,
        "orders",
        |p| {
            seen.push(p.clone());
            stop.cancel();
        },
        &stop,
    )
    .await;
    assert!(matches!(stopped, Err(RebuildError::Stopped)));
    assert_eq!((seen.len(), seen[0].position, seen[0].head), (1, Position::new(RANGE), head));
    let mut resumed = Vec::new();
    let rebuilt = rebuild(&database, "orders", |p| resumed.push(p.position), &CancellationToken::new()).await.unwrap();
    assert_eq!(resumed, [head], "goes on after the first range");
    assert_eq!((rebuilt.position, rebuilt.events), (head, head.get() - RANGE));
    assert_eq!(rows(&database, "orders").await, before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rebuild_left_behind_that_was_killed_after_its_switch_is_dropped_by_whoever_writes_next() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(15));
    let head = pencil.append(history.go_on(300)).await;
    node.caught_up().await;
    let before = rows(&database, "orders").await;
    node.stop().await;
    let client = database.connection().await.unwrap();
    let count =
        "SELECT (SELECT count(*) FROM views.builds), (SELECT count(*) FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relkind = 'r')";
    let count = async || client.query_one(count, &[]).await.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))).unwrap();
    let (builds, tables) = count().await;
    // one that is being made stays: somebody may be at it
    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build, 0, "building").await.unwrap().unwrap();
    next.take(&Reader::new(database.clone()).log_after(Position::START, 10_000).await.unwrap()).await.unwrap();
    next.go_live(&Reader::new(database.clone()), head.get()).await.unwrap();
    builds::begin(&database, &Products).await.unwrap();
    let ((_, left), products) = (count().await, tables_of(&client, "products").await / 2);
    assert_eq!(left, tables + tables_of(&client, "orders").await / 2 + products);

    let node = Node::start(&database, "one", settings()).await;
    for _ in 0..600 {
        if count().await == (builds + 1, tables + products) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count().await, (builds + 1, tables + products));
    assert_eq!(rows(&database, "orders").await, before);
    node.stop().await;
}

/// Tables of all builds of a view.
async fn tables_of(client: &tokio_postgres::Client, view: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relkind = 'r' AND starts_with(relname, $1)";
    client.query_one(count, &[&format!("{view}_v")]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_never_goes_back_while_it_is_switched_under_load() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(9));
    pencil.append(history.go_on(500)).await;
    let done = CancellationToken::new();
    let writing = tokio::spawn({
        let done = done.clone();
        async move {
            while !done.is_cancelled() {
                pencil.append(history.go_on(40)).await;
            }
            (pencil, history)
        }
    });
    let reading = tokio::spawn({
        let (orders, done, reader) = (node.orders.clone(), done.clone(), Reader::new(database.clone()));
        async move {
            let (mut last, mut answers) = (0, 0);
            while !done.is_cancelled() {
                let min_position = reader.head().await.unwrap().to_i64();
                let asked = jari_proto::order::v1::ListOrdersRequest { customer: "customer-1".into(), min_position, ..Default::default() };
                let position = orders.list_orders(Request::new(asked)).await.unwrap().get_ref().position;
                assert!(position >= min_position && position >= last, "{position} after {last}, asked for {min_position}");
                (last, answers) = (position, answers + 1);
            }
            answers
        }
    });
    for _ in 0..4 {
        rebuild_all(&node).await;
    }
    done.cancel();
    writing.await.unwrap();
    assert!(reading.await.unwrap() > 10);
    assert_rebuilt_equals_live(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_view_is_rebuilt_by_one_caller_at_a_time() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let holder = database.dedicated().await.unwrap();
    holder.execute("SELECT pg_advisory_lock(hashtextextended('jari.rebuild.orders', 0))", &[]).await.unwrap();
    let stop = CancellationToken::new();
    assert!(matches!(rebuild(&database, "orders", |_| {}, &stop).await, Err(RebuildError::UnderWay("orders"))));
    assert!(matches!(rebuild(&database, "sales", |_| {}, &stop).await, Err(RebuildError::ViewUnknown { .. })));
    assert!(rebuild(&database, "products", |_| {}, &stop).await.is_ok());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_an_older_version_is_built_anew_and_switched_at_the_start() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(3));
    pencil.append(history.go_on(300)).await;
    node.caught_up().await;
    let before = rows(&database, "orders").await;
    node.stop().await;
    let client = database.connection().await.unwrap();
    client.batch_execute("UPDATE views.builds SET version = 0 WHERE view = 'orders'").await.unwrap();
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    assert_eq!(rows(&database, "orders").await, before);
    let status = node.views.status().await.unwrap();
    assert!(status.iter().all(|view| view.version > 0 && view.lag == 0), "{status:?}");
    // and one of a newer program's is left alone
    node.stop().await;
    client.batch_execute("UPDATE views.builds SET version = 9 WHERE view = 'orders'").await.unwrap();
    let node = Node::start(&database, "one", ViewSettings { wait: Duration::from_millis(50), ..settings() }).await;
    let asked = GetOrderRequest { order_id: "order-1".into(), min_position: 0 };
    let refused = super::place::refused(node.orders.get_order(Request::new(asked)).await);
    assert_eq!(refused, (tonic::Code::Unavailable, "VIEW_NOT_READY".into()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_comes_from_a_build_that_was_replaced() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, History::new(17));
    let head = pencil.append(history.go_on(300)).await;
    node.caught_up().await;
    let (id, _) = history.orders.iter().find(|(_, order)| order.customer().is_some()).unwrap();
    let client = database.connection().await.unwrap();
    let (old, _) = builds::live(&**client, &Orders).await.unwrap().unwrap();
    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut next = Writer::open(&database, &Orders, build, 0, "building").await.unwrap().unwrap();
    next.take(&Reader::new(database.clone()).log_after(Position::START, 10_000).await.unwrap()).await.unwrap();
    // what is read from the old tables from here on is wrong, and shows; they are not dropped yet, and the node looks once a second
    next.go_live(&Reader::new(database.clone()), head.get()).await.unwrap();
    client.batch_execute(&old.sql("DELETE FROM build.orders")).await.unwrap();
    let asked = || Request::new(GetOrderRequest { order_id: id.to_string(), min_position: 0 });
    for _ in 0..50 {
        assert_eq!(node.orders.get_order(asked()).await.unwrap().into_inner().order.unwrap().order_id, id.as_str());
    }
    node.stop().await;
}
