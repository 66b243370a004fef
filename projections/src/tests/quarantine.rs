//! A stream that a view cannot read waits alone.

use jari_domain::{
    AnyEvent, Position, Quantity, StreamId,
    ids::{CustomerRef, OrderId, PoolId, ProductId, SlotId},
    order::{Order, OrderCommand, OrderEvent},
    product::{Product, SaleMode},
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::{Database, Reader};
use jari_proto::{
    availability::v1::{GetSlotRequest, availability_service_server::AvailabilityService},
    order::v1::{GetOrderRequest, ListOrdersRequest, Order as Told, OrderState, order_query_service_server::OrderQueryService},
    product::v1::{GetProductRequest, product_query_service_server::ProductQueryService},
};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use super::{
    history::{draft, first, line},
    nodes::until_it_waits,
    place::{Node, Pencil, as_superuser, database, refused, rows, settings},
};
use crate::{AsOf, QuarantinePage, Replay, RetryError, builds, quarantine, rebuild, views::orders::Orders, writer::Writer};

fn id(text: &str) -> OrderId {
    OrderId::parse(text).unwrap()
}

fn placed(customer: &str) -> Vec<AnyEvent> {
    let slot = SlotId::of(&PoolId::parse("gallery").unwrap(), None);
    let customer = CustomerRef::parse(customer).unwrap();
    first::<Order>(&[OrderCommand::PlaceOrder { customer, lines: vec![line(&[&slot], 1)], hold_seconds: 600, personal: None }], Timestamp::now())
}

fn held() -> Vec<AnyEvent> {
    vec![AnyEvent::Order(OrderEvent::OrderHeld { expires_at: Timestamp::now() + SignedDuration::from_secs(600) })]
}

fn confirmed() -> Vec<AnyEvent> {
    vec![AnyEvent::Order(OrderEvent::OrderConfirmed {})]
}

/// Changes the live table of orders.
async fn alter(database: &Database, how: &str) {
    let client = database.connection().await.unwrap();
    let table = "SELECT format('views.orders_v%s_%s_orders', version, build) FROM views.builds WHERE view = 'orders'";
    let table: String = client.query_one(table, &[]).await.unwrap().get(0);
    client.batch_execute(&format!("ALTER TABLE {table} {how}")).await.unwrap();
}

/// The table refuses one customer from now on, as a defect of a view would.
async fn refuse_lee(database: &Database) {
    alter(database, "ADD CONSTRAINT no_lee CHECK (customer <> 'lee')").await;
}

async fn take_lee(database: &Database) {
    alter(database, "DROP CONSTRAINT no_lee").await;
}

/// Gives an event that nobody could read the type that its content is of: with the triggers off, as whoever mends a row does it.
async fn mend(database: &Database, position: Position) {
    let client = as_superuser(database).await;
    let triggers = |what: &str| format!("ALTER TABLE events {what} TRIGGER USER");
    client.batch_execute(&triggers("DISABLE")).await.unwrap();
    let mended = client.execute("UPDATE events SET event_type = 'OrderConfirmed' WHERE position = $1", &[&position.to_i64()]).await.unwrap();
    client.batch_execute(&triggers("ENABLE")).await.unwrap();
    assert_eq!(mended, 1);
}

/// A log with an order that can be read, and one that cannot behind its first event, whose position this gives: mended it is a confirmation.
async fn log_with_an_unreadable_order(database: &Database) -> Position {
    let mut pencil = Pencil::new(database).await;
    pencil.say(&id("good"), placed("kim")).await;
    pencil.say(&id("bad"), placed("lee")).await;
    let failed = pencil.scrawl(&id("bad"), "OrderTeleported", r#"{"OrderConfirmed":{}}"#).await;
    pencil.say(&id("bad"), held()).await;
    pencil.say(&id("good"), held()).await;
    failed
}

async fn get(node: &Node, order: &str) -> Result<Told, Status> {
    let asked = GetOrderRequest { order_id: order.into(), min_position: 0 };
    node.orders.get_order(Request::new(asked)).await.map(|answer| answer.into_inner().order.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_holds_its_own_stream_back_and_no_other() {
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    pencil.say(&id("good"), placed("kim")).await;
    pencil.say(&id("bad"), placed("lee")).await;
    let failed = pencil.scrawl(&id("bad"), "OrderTeleported", r#"{"OrderTeleported":{}}"#).await;
    pencil.say(&id("bad"), confirmed()).await;
    pencil.say(&id("good"), held()).await;
    let is_bad = |row: &String| row.contains("bad");
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    let before: Vec<_> = rows(&database, "orders").await.into_iter().filter(is_bad).collect();
    // also what comes in another batch waits
    pencil.say(&id("bad"), held()).await;
    pencil.say(&id("later"), placed("kim")).await;
    node.caught_up().await;

    let after: Vec<_> = rows(&database, "orders").await.into_iter().filter(is_bad).collect();
    assert!(after == before && after.len() == 1, "{before:?} became {after:?}");
    assert_eq!(get(&node, "good").await.unwrap().state(), OrderState::Held);
    assert_eq!(get(&node, "later").await.unwrap().state(), OrderState::Accepted);
    assert_eq!(refused(get(&node, "bad").await), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));
    let list = |customer: &str| node.orders.list_orders(Request::new(ListOrdersRequest { customer: customer.into(), ..Default::default() }));
    assert_eq!(list("kim").await.unwrap().get_ref().orders.len(), 2, "a list that does not need the stream is answered");
    assert_eq!(refused(list("lee").await), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));

    let held_back = node.views.quarantined(&QuarantinePage { view: None, after: None, limit: 10 }).await.unwrap();
    assert_eq!(held_back.len(), 1);
    let shown = &held_back[0];
    assert_eq!((shown.view.as_str(), shown.aggregate_id.as_str(), shown.failed_position), ("orders", "bad", failed));
    assert_eq!((shown.code.as_str(), shown.waiting_events), ("EVENT_UNREADABLE", 3));
    let status = node.views.status().await.unwrap();
    assert_eq!(status.iter().map(|view| (view.quarantined, view.lag)).collect::<Vec<_>>(), [(0, 0), (0, 0), (1, 0)]);
    assert!(matches!(node.views.retry_quarantined("orders", &StreamId::from(&id("bad"))).await, Err(RetryError::Still(_))));
    assert!(matches!(node.views.retry_quarantined("orders", &StreamId::from(&id("good"))).await, Err(RetryError::NotQuarantined(_))));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_refuses_is_found_in_a_batch_of_many() {
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    let order = |n: usize| id(&format!("order-{n:03}"));
    for n in 0..200 {
        pencil.say(&order(n), placed("kim")).await;
        if n == 57 || n == 140 {
            // text with a NUL is JSON, and no text that PostgreSQL stores
            pencil.say(&order(n), held()).await;
            pencil.scrawl(&order(n), "OrderCancelled", r#"{"OrderCancelled":{"reason":"a\u0000b","was":"HELD"}}"#).await;
        }
    }
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    let held_back = node.views.quarantined(&QuarantinePage { limit: 10, ..Default::default() }).await.unwrap();
    let shown: Vec<_> = held_back.iter().map(|s| (s.aggregate_id.as_str(), s.code.as_str(), s.waiting_events)).collect();
    assert_eq!(shown, [("order-057", "VIEW_ROW_REFUSED", 1), ("order-140", "VIEW_ROW_REFUSED", 1)]);
    assert_eq!(rows(&database, "orders").await.len(), 200, "what came before the refused event is there");
    assert_eq!(get(&node, "order-199").await.unwrap().state(), OrderState::Accepted);
    assert_eq!(refused(get(&node, "order-140").await).1, "VIEW_STREAM_QUARANTINED");
    let page = QuarantinePage { view: Some("orders".into()), after: Some(("orders".into(), "Order".into(), "order-057".into())), limit: 1 };
    assert_eq!(node.views.quarantined(&page).await.unwrap()[0].aggregate_id, "order-140");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_can_be_read_again_catches_up_while_the_view_goes_on() {
    let database = database().await;
    let one = Node::start(&database, "one", settings()).await;
    let two = Node::start(&database, "two", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    pencil.say(&id("early"), placed("kim")).await;
    one.caught_up().await;
    refuse_lee(&database).await;
    pencil.say(&id("odd"), placed("lee")).await;
    pencil.say(&id("odd"), held()).await;
    pencil.say(&id("even"), placed("kim")).await;
    one.caught_up().await;
    assert_eq!(refused(get(&one, "odd").await).1, "VIEW_STREAM_QUARANTINED");
    let stream = StreamId::from(&id("odd"));
    assert!(matches!(two.views.retry_quarantined("orders", &stream).await, Err(RetryError::Still(_))));
    take_lee(&database).await;

    // on whichever node: the one that writes finds out
    two.views.retry_quarantined("orders", &stream).await.unwrap();
    assert_eq!(get(&one, "odd").await.unwrap().state(), OrderState::Held);
    pencil.say(&id("odd"), confirmed()).await;
    one.caught_up().await;
    assert_eq!(get(&one, "odd").await.unwrap().state(), OrderState::Confirmed, "later events do not wait any more");
    assert!(one.views.quarantined(&QuarantinePage { limit: 10, ..Default::default() }).await.unwrap().is_empty());
    let live = rows(&database, "orders").await;
    rebuild(&database, "orders", |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(rows(&database, "orders").await, live);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_folded_before_change_nothing() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let (mut pencil, mut history) = (Pencil::new(&database).await, super::history::History::new(21));
    pencil.append(history.go_on(800)).await;
    node.caught_up().await;
    let before = [rows(&database, "products").await, rows(&database, "availability").await, rows(&database, "orders").await];
    node.stop().await;
    // as if somebody had set the checkpoints back: the whole log is folded over the rows that came of it
    let client = database.connection().await.unwrap();
    client.batch_execute("UPDATE views.builds SET position = 0").await.unwrap();
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    assert!(node.views.status().await.unwrap().iter().all(|view| view.quarantined == 0));
    assert_eq!([rows(&database, "products").await, rows(&database, "availability").await, rows(&database, "orders").await], before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_order_that_is_held_back_has_its_customer_s_list_refused() {
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    pencil.say(&id("older"), placed("kim")).await;
    pencil.say(&id("newer"), placed("kim")).await;
    pencil.say(&id("other"), placed("lee")).await;
    pencil.scrawl(&id("older"), "OrderTeleported", "{}").await;
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    let list = |customer: &str| node.orders.list_orders(Request::new(ListOrdersRequest { customer: customer.into(), ..Default::default() }));
    // the newest stands first, and it can be read
    assert_eq!(get(&node, "newer").await.unwrap().state(), OrderState::Accepted);
    assert_eq!(refused(list("kim").await), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));
    assert_eq!(list("lee").await.unwrap().get_ref().orders.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_or_product_that_is_held_back_is_never_told_from_an_old_row() {
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    let product = |name: &str| ProductId::parse(name).unwrap();
    for name in ["museum", "ferry"] {
        let pool_id = PoolId::parse(name).unwrap();
        pencil.say(&product(name), first::<Product>(&[draft("A draft", SaleMode::Realtime, "Asia/Seoul")], Timestamp::now())).await;
        let slot = SlotId::of(&pool_id, None);
        pencil
            .say(&slot, first::<InventorySlot>(&[SlotCommand::OpenSlot { pool_id, window: None, capacity: Quantity::new(5) }], Timestamp::now()))
            .await;
    }
    let node = Node::start(&database, "one", settings()).await;
    let slot = |pool: &str| {
        let slot_id = SlotId::of(&PoolId::parse(pool).unwrap(), None).to_string();
        node.availability.get_slot(Request::new(GetSlotRequest { slot_id, min_position: 0 }))
    };
    let shown = |name: &str| node.products.get_product(Request::new(GetProductRequest { product_id: name.into(), min_position: 0 }));
    node.caught_up().await;
    assert!(slot("museum").await.is_ok() && shown("museum").await.is_ok());
    pencil.scrawl(&SlotId::of(&PoolId::parse("museum").unwrap(), None), "SlotFlooded", "{}").await;
    pencil.scrawl(&product("museum"), "ProductMelted", "{}").await;
    node.caught_up().await;
    assert_eq!(refused(slot("museum").await), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));
    assert_eq!(refused(shown("museum").await), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));
    assert!(slot("ferry").await.is_ok() && shown("ferry").await.is_ok(), "its neighbours are answered");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_for_whoever_writes_the_view_and_reads_what_came_meanwhile() {
    let database = database().await;
    builds::prepare(&database).await.unwrap();
    builds::provide(&database, &Orders).await.unwrap();
    let client = database.connection().await.unwrap();
    let (build, _) = builds::live(&**client, &Orders).await.unwrap().unwrap();
    let mut pencil = Pencil::new(&database).await;
    pencil.say(&id("odd"), placed("lee")).await;
    pencil.say(&id("odd"), held()).await;
    refuse_lee(&database).await;
    let mut writer = Writer::open(&database, &Orders, build.clone(), 1, "live").await.unwrap().unwrap();
    writer.take(&Reader::new(database.clone()).log_after(Position::START, 10).await.unwrap()).await.unwrap();
    assert_eq!(quarantine::list(&database, &QuarantinePage { limit: 10, ..Default::default() }).await.unwrap().len(), 1);
    take_lee(&database).await;

    // a batch that is on its way: it passes over the stream, for that waits, and moves the checkpoint behind its newest event
    let mut other = database.dedicated().await.unwrap();
    let batch = other.transaction().await.unwrap();
    batch.execute("SELECT FROM views.builds WHERE build = $1 FOR UPDATE", &[&build.number]).await.unwrap();
    let retry = tokio::spawn({
        let (database, build) = (database.clone(), build.clone());
        async move { quarantine::retry(&database, &Orders, build, &StreamId::from(&id("odd"))).await }
    });
    until_it_waits(&database, &retry).await;
    assert!(!retry.is_finished(), "the view stands still for it, so it waits for whoever moves the view");
    let last = pencil.say(&id("odd"), confirmed()).await;
    batch.execute("UPDATE views.builds SET position = $2 WHERE build = $1", &[&build.number, &last.to_i64()]).await.unwrap();
    batch.commit().await.unwrap();

    assert_eq!(retry.await.unwrap().unwrap(), last);
    let live = rows(&database, "orders").await;
    assert!(live.len() == 1 && live[0].contains("CONFIRMED"), "{live:?}");
    rebuild(&database, "orders", |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(rows(&database, "orders").await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_more_than_a_page_is_read_again_to_its_end() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    refuse_lee(&database).await;
    let mut pencil = Pencil::new(&database).await;
    // one more than is read at once; the last one counts
    pencil.say(&id("odd"), placed("lee")).await;
    for held in vec![held(); 1_999].chunks(500) {
        pencil.say(&id("odd"), held.concat()).await;
    }
    pencil.say(&id("odd"), confirmed()).await;
    node.caught_up().await;
    assert_eq!(node.views.quarantined(&QuarantinePage { limit: 10, ..Default::default() }).await.unwrap()[0].waiting_events, 2_001);
    take_lee(&database).await;
    node.views.retry_quarantined("orders", &StreamId::from(&id("odd"))).await.unwrap();
    assert_eq!(get(&node, "odd").await.unwrap().state(), OrderState::Confirmed);
    let live = rows(&database, "orders").await;
    rebuild(&database, "orders", |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(rows(&database, "orders").await, live);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_taken_up_tries_the_streams_again_that_were_mended_since_it_was_begun() {
    let database = database().await;
    let failed = log_with_an_unreadable_order(&database).await;
    let node = Node::start(&database, "one", settings()).await;
    node.caught_up().await;
    // it has met the order, and was killed before its switch
    let (build, _) = builds::begin(&database, &Orders).await.unwrap();
    let mut killed = Writer::open(&database, &Orders, build, 0, "building").await.unwrap().unwrap();
    killed.take(&Reader::new(database.clone()).log_after(Position::START, 10).await.unwrap()).await.unwrap();
    assert!(killed.holds_back());
    drop(killed);
    mend(&database, failed).await;
    // which only the live build hears of
    node.views.retry_quarantined("orders", &StreamId::from(&id("bad"))).await.unwrap();
    let live = rows(&database, "orders").await;

    rebuild(&database, "orders", |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(rows(&database, "orders").await, live);
    assert_eq!(node.views.quarantined(&QuarantinePage { limit: 10, ..Default::default() }).await.unwrap(), []);
    assert_eq!(get(&node, "bad").await.unwrap().state(), OrderState::Held);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_taken_up_after_a_stream_was_mended_has_the_digest_of_a_fresh_one() {
    let database = database().await;
    let failed = log_with_an_unreadable_order(&database).await;
    builds::prepare(&database).await.unwrap();
    let log = Reader::new(database.clone()).log_after(Position::START, 10).await.unwrap();
    let head = log.last().unwrap().position;
    // it has come to its end, and was killed before its digest
    let build = builds::begin_replay(&database, &Orders, head, 1).await.unwrap().unwrap();
    Writer::open(&database, &Orders, build, 0, "replaying").await.unwrap().unwrap().take(&log).await.unwrap();
    mend(&database, failed).await;
    let replay = Replay::of("orders", AsOf::Position(head));
    let resumed = replay.run(&database, |_| {}, &CancellationToken::new()).await.unwrap();
    let fresh = replay.run(&database, |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!((resumed.events, fresh.events), (0, head.get()), "the first went on, the second began anew");
    assert_eq!((resumed.digested.digest, resumed.quarantined), (fresh.digested.digest, 0));
}
