//! What a query waits for, and what it judges by time.

use std::time::Duration;

use futures::StreamExt;
use jari_domain::{
    AnyEvent, Quantity,
    ids::{CustomerRef, HoldId, OrderId, PoolId, ProductId, SlotId},
    order::{Order, OrderCommand, OrderEvent},
    product::{Product, ProductCommand, SaleMode},
    slot::{Holder, InventorySlot, SlotCommand, Window},
};
use jari_event_store::Clock;
use jari_proto::{
    availability::v1::{GetSlotRequest, ListAvailabilityRequest, ListAvailabilityResponse, Slot, availability_service_server::AvailabilityService},
    order::v1::{GetOrderRequest, OrderState, WatchOrderRequest, WatchUntil, order_query_service_server::OrderQueryService},
    product::v1::{GetProductRequest, product_query_service_server::ProductQueryService},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use super::{
    history::{draft, first, line, option},
    place::{Node, Pencil, database, refused, settings},
};
use crate::ViewSettings;

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

/// A slot of a pool, with so many units.
async fn open(pencil: &mut Pencil, pool: &str, starts_at: Option<Timestamp>, capacity: u32) -> SlotId {
    let pool_id = PoolId::parse(pool).unwrap();
    let (id, capacity) = (SlotId::of(&pool_id, starts_at), Quantity::new(capacity));
    let window = starts_at.map(|starts_at| Window { starts_at, ends_at: starts_at + seconds(3_600) });
    pencil.say(&id, first::<InventorySlot>(&[SlotCommand::OpenSlot { pool_id, window, capacity }], Timestamp::now())).await;
    id
}

/// Waits until a time is just over.
async fn until(at: Timestamp) {
    let over = at + SignedDuration::from_millis(100);
    tokio::time::sleep(Duration::try_from(over.duration_since(Timestamp::now())).unwrap_or_default()).await;
}

fn hold(name: &str, quantity: u32, expires_at: Timestamp, held: u32, capacity: u32) -> AnyEvent {
    let [quantity, held, capacity] = [quantity, held, capacity].map(Quantity::new);
    let counts = jari_domain::slot::Counts { capacity, held, ..Default::default() };
    AnyEvent::InventorySlot(jari_domain::slot::SlotEvent::UnitsHeld {
        hold_id: HoldId::parse(name).unwrap(),
        quantity,
        expires_at,
        holder: Holder::Caller,
        counts,
    })
}

async fn slot(node: &Node, id: &SlotId) -> Slot {
    let asked = GetSlotRequest { slot_id: id.to_string(), min_position: 0 };
    node.availability.get_slot(Request::new(asked)).await.unwrap().into_inner().slot.unwrap()
}

async fn days(node: &Node, product: &str, option: &str, first: &str, last: &str, token: &str) -> Result<ListAvailabilityResponse, Status> {
    let asked = ListAvailabilityRequest {
        product_id: product.into(),
        option_id: option.into(),
        first_date: first.into(),
        last_date: last.into(),
        page_size: 2,
        page_token: token.into(),
        min_position: 0,
    };
    Ok(node.availability.list_availability(Request::new(asked)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_lapsed_holds_are_free_before_anybody_records_it() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let id = open(&mut pencil, "gallery", None, 10).await;
    let (soon, late) = (Timestamp::now() + seconds(10), Timestamp::now() + seconds(600));
    pencil.say(&id, vec![hold("a", 3, soon, 3, 10), hold("b", 4, late, 7, 10)]).await;
    node.caught_up().await;
    let before = slot(&node, &id).await;
    let counts = before.counts.unwrap();
    assert_eq!((counts.held, counts.available), (7, 3));
    assert_eq!(before.earliest_hold_expires_at.unwrap().seconds, soon.as_second());
    until(soon).await;
    let after = slot(&node, &id).await;
    let counts = after.counts.unwrap();
    assert_eq!((counts.held, counts.available), (4, 6));
    assert_eq!(after.earliest_hold_expires_at.unwrap().seconds, late.as_second());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_ahead_of_its_database_tells_of_holds_by_the_databases_clock() {
    let database = database().await;
    let ahead = Clock::new(Timestamp::now() - seconds(600));
    let node = Node::by(ahead, &database, "ahead", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let id = open(&mut pencil, "gallery", None, 10).await;
    let (over, good) = (Timestamp::now() - seconds(660), Timestamp::now() - seconds(60));
    pencil.say(&id, vec![hold("a", 3, over, 3, 10), hold("b", 4, good, 7, 10)]).await;
    node.caught_up().await;
    let counts = slot(&node, &id).await.counts.unwrap();
    assert_eq!((counts.held, counts.available), (4, 6));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_s_slots_are_listed_by_its_own_days_and_by_option() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let commands = [
        draft("미술관", SaleMode::Reservation, "Asia/Seoul"),
        ProductCommand::DefineOption(option("entry", &["gallery"])),
        ProductCommand::DefineOption(option("tour", &["gallery", "guide"])),
        ProductCommand::LaunchProduct,
    ];
    pencil.say(&ProductId::parse("museum").unwrap(), first::<Product>(&commands, Timestamp::now())).await;
    let poster = [draft("포스터", SaleMode::Realtime, "Asia/Seoul"), ProductCommand::DefineOption(option("a2", &["poster"]))];
    pencil.say(&ProductId::parse("poster").unwrap(), first::<Product>(&poster, Timestamp::now())).await;
    // 24 December in Seoul is from 15:00 UTC on the 23rd to 15:00 UTC on the 24th
    let mut ids = Vec::new();
    for (pool, start) in [
        ("gallery", "2126-12-23T14:00:00Z"),
        ("gallery", "2126-12-23T15:00:00Z"),
        ("gallery", "2126-12-24T05:00:00Z"),
        ("guide", "2126-12-24T05:00:00Z"),
        ("gallery", "2126-12-24T15:00:00Z"),
        ("elsewhere", "2126-12-24T05:00:00Z"),
    ] {
        ids.push(open(&mut pencil, pool, at(start), 5).await.to_string());
    }
    let stock = open(&mut pencil, "poster", None, 100).await;
    node.caught_up().await;
    let names = |page: &ListAvailabilityResponse| page.slots.iter().map(|slot| slot.slot_id.clone()).collect::<Vec<_>>();
    let day = days(&node, "museum", "", "2126-12-24", "", "").await.unwrap();
    assert_eq!(names(&day), [ids[1].clone(), ids[2].clone()]);
    let rest = days(&node, "museum", "", "2126-12-24", "", &day.next_page_token).await.unwrap();
    assert_eq!((names(&rest), rest.next_page_token.as_str()), (vec![ids[3].clone()], ""));
    assert_eq!(names(&days(&node, "museum", "entry", "2126-12-24", "2126-12-24", "").await.unwrap()), [ids[1].clone(), ids[2].clone()]);
    assert_eq!(names(&days(&node, "museum", "", "2126-12-25", "2127-01-24", "").await.unwrap()), [ids[4].clone()]);
    assert_eq!(names(&days(&node, "poster", "", "", "", "").await.unwrap()), [stock.to_string()]);
    assert!(days(&node, "poster", "", "", "", "").await.unwrap().slots[0].window.is_none());

    let invalid = (Code::InvalidArgument, "DATE_RANGE_INVALID".to_owned());
    assert_eq!(refused(days(&node, "museum", "", "", "", "").await), invalid);
    assert_eq!(refused(days(&node, "poster", "", "2126-12-24", "", "").await), invalid);
    for (option, first, last) in [("", "2126-12-25", ""), ("", "2126-12-24", "2126-12-25"), ("entry", "2126-12-24", "")] {
        let other = days(&node, "museum", option, first, last, &day.next_page_token).await;
        assert_eq!(refused(other).1, "PAGE_TOKEN_INVALID", "{option} {first} {last}");
    }
    assert_eq!(refused(days(&node, "nowhere", "", "2126-12-24", "", "").await), (Code::NotFound, "PRODUCT_NOT_FOUND".into()));
    assert_eq!(refused(days(&node, "museum", "boat", "2126-12-24", "", "").await), (Code::NotFound, "OPTION_NOT_FOUND".into()));

    // a slot that is held back is missed only by those who ask for its day
    pencil.scrawl(&SlotId::parse(&ids[4]).unwrap(), "SlotPainted", "{}").await;
    node.caught_up().await;
    assert!(days(&node, "museum", "", "2126-12-24", "", "").await.is_ok());
    assert_eq!(refused(days(&node, "museum", "", "2126-12-25", "", "").await).1, "VIEW_STREAM_QUARANTINED");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_lapsed_holds_are_free_in_lists_by_day_and_of_stock() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let museum = [draft("museum", SaleMode::Reservation, "UTC"), ProductCommand::DefineOption(option("entry", &["gallery"]))];
    pencil.say(&ProductId::parse("museum").unwrap(), first::<Product>(&museum, Timestamp::now())).await;
    let poster = [draft("poster", SaleMode::Realtime, "UTC"), ProductCommand::DefineOption(option("a2", &["poster"]))];
    pencil.say(&ProductId::parse("poster").unwrap(), first::<Product>(&poster, Timestamp::now())).await;
    let dated = open(&mut pencil, "gallery", Some("2126-12-24T05:00:00Z".parse().unwrap()), 10).await;
    let stock = open(&mut pencil, "poster", None, 10).await;
    let (past, late) = (Timestamp::now() - seconds(1), Timestamp::now() + seconds(600));
    for id in [&dated, &stock] {
        pencil.say(id, vec![hold("a", 3, past, 3, 10), hold("b", 4, late, 7, 10)]).await;
    }
    node.caught_up().await;
    for (product, day) in [("museum", "2126-12-24"), ("poster", "")] {
        let listed = days(&node, product, "", day, "", "").await.unwrap().slots.remove(0);
        let counts = listed.counts.unwrap();
        assert_eq!((counts.held, counts.available), (4, 6), "{product}");
        assert_eq!(listed.earliest_hold_expires_at.unwrap().seconds, late.as_second(), "{product}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_of_several_pools_is_listed_in_pages_and_none_is_left_out_in_silence() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let set = [draft("set", SaleMode::Realtime, "UTC"), ProductCommand::DefineOption(option("all", &["a", "b", "c"]))];
    pencil.say(&ProductId::parse("set").unwrap(), first::<Product>(&set, Timestamp::now())).await;
    let mut ids = Vec::new();
    for pool in ["a", "b", "c", "elsewhere"] {
        ids.push(open(&mut pencil, pool, None, 5).await);
    }
    node.caught_up().await;
    let names = |page: &ListAvailabilityResponse| page.slots.iter().map(|slot| slot.slot_id.clone()).collect::<Vec<_>>();
    let two = days(&node, "set", "", "", "", "").await.unwrap();
    assert_eq!(names(&two), ["a@stock", "b@stock"]);
    let rest = days(&node, "set", "", "", "", &two.next_page_token).await.unwrap();
    assert_eq!((names(&rest), rest.next_page_token.as_str()), (vec!["c@stock".to_owned()], ""));
    for (id, is_ours) in [(&ids[3], false), (&ids[1], true)] {
        pencil.scrawl(id, "SlotPainted", "{}").await;
        node.caught_up().await;
        let told = days(&node, "set", "", "", "", "").await.map_err(|status| jari_proto::status::reason(&status).unwrap());
        assert_eq!(told.err().as_deref(), is_ours.then_some("VIEW_STREAM_QUARANTINED"), "{id}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_the_position_that_it_must_have_seen() {
    let database = database().await;
    let node = Node::start(&database, "one", ViewSettings { wait: Duration::from_secs(60), ..settings() }).await;
    let mut pencil = Pencil::new(&database).await;
    let id = ProductId::parse("museum").unwrap();
    for round in 0..20 {
        let title = format!("round {round}");
        let id = ProductId::parse(&format!("museum-{round}")).unwrap();
        let min_position = pencil.say(&id, first::<Product>(&[draft(&title, SaleMode::Realtime, "UTC")], Timestamp::now())).await.to_i64();
        let answer = node.products.get_product(Request::new(GetProductRequest { product_id: id.to_string(), min_position })).await.unwrap();
        assert!(answer.get_ref().position >= min_position);
        assert_eq!(answer.into_inner().product.unwrap().title, title, "what was written is read");
    }
    node.stop().await;
    // who waits for what does not come waits no longer than that
    let node = Node::start(&database, "one", ViewSettings { wait: Duration::from_millis(400), ..settings() }).await;
    let ahead = || GetProductRequest { product_id: id.to_string(), min_position: 1_000 };
    let began = Instant::now();
    let refusal = node.products.get_product(Request::new(ahead())).await.unwrap_err();
    assert!((Duration::from_millis(350)..Duration::from_secs(60)).contains(&began.elapsed()));
    assert_eq!((refusal.code(), jari_proto::status::reason(&refusal).unwrap().as_str()), (Code::Unavailable, "VIEW_BEHIND"));
    assert!(jari_proto::status::retry_after(&refusal).is_some());
    node.stop().await;
    // a shorter deadline of the call's own
    let node = Node::start(&database, "one", ViewSettings { wait: Duration::from_secs(60), ..settings() }).await;
    let mut hurried = Request::new(ahead());
    hurried.metadata_mut().insert("grpc-timeout", "60m".parse().unwrap());
    let began = Instant::now();
    assert_eq!(refused(node.products.get_product(hurried).await).1, "VIEW_BEHIND");
    assert!(began.elapsed() < Duration::from_secs(30), "and not for as long as it may wait here");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_told_apart_from_what_is_no_id() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let order = |id: &str| node.orders.get_order(Request::new(GetOrderRequest { order_id: id.into(), min_position: 0 }));
    assert_eq!(refused(order("none").await), (Code::NotFound, "ORDER_NOT_FOUND".into()));
    assert_eq!(refused(order("a b").await), (Code::InvalidArgument, "ID_INVALID".into()));
    let slot = |id: &str| node.availability.get_slot(Request::new(GetSlotRequest { slot_id: id.into(), min_position: 0 }));
    assert_eq!(refused(slot("gallery@stock").await), (Code::NotFound, "SLOT_NOT_FOUND".into()));
    assert_eq!(refused(slot("gallery").await), (Code::InvalidArgument, "ID_INVALID".into()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_each_state_until_the_one_it_waits_for() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let id = OrderId::parse("order").unwrap();
    let slot = SlotId::of(&PoolId::parse("gallery").unwrap(), None);
    let place =
        OrderCommand::PlaceOrder { customer: CustomerRef::parse("kim").unwrap(), lines: vec![line(&[&slot], 1)], hold_seconds: 600, personal: None };
    let min_position = pencil.say(&id, first::<Order>(&[place], Timestamp::now())).await.to_i64();
    let watch =
        |until: WatchUntil| node.orders.watch_order(Request::new(WatchOrderRequest { order_id: "order".into(), until: until.into(), min_position }));
    let mut settled = watch(WatchUntil::Settled).await.unwrap().into_inner();
    let mut last = watch(WatchUntil::Final).await.unwrap().into_inner();
    let state = |answer: Option<Result<jari_proto::order::v1::WatchOrderResponse, Status>>| answer.unwrap().unwrap().order.unwrap().state();
    assert_eq!(state(settled.next().await), OrderState::Accepted);
    assert_eq!(state(last.next().await), OrderState::Accepted);
    // lapses by itself, with nothing in the log to say so
    let expires_at = Timestamp::now() + seconds(10);
    pencil.say(&id, vec![AnyEvent::Order(OrderEvent::OrderHeld { expires_at })]).await;
    assert_eq!(state(settled.next().await), OrderState::Held);
    assert!(settled.next().await.is_none(), "the stream ends where it was asked to");
    assert_eq!(state(last.next().await), OrderState::Held);
    assert_eq!(state(last.next().await), OrderState::Expired);
    assert!(Timestamp::now() >= expires_at);
    assert!(last.next().await.is_none());
    let mut late = watch(WatchUntil::Final).await.unwrap().into_inner();
    assert_eq!(state(late.next().await), OrderState::Expired, "one who comes late is told once");
    assert!(late.next().await.is_none());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_bounded_and_end_with_the_node() {
    let database = database().await;
    let node = Node::start(&database, "one", ViewSettings { watches: 1, ..settings() }).await;
    let mut pencil = Pencil::new(&database).await;
    let slot = SlotId::of(&PoolId::parse("gallery").unwrap(), None);
    let place =
        OrderCommand::PlaceOrder { customer: CustomerRef::parse("kim").unwrap(), lines: vec![line(&[&slot], 1)], hold_seconds: 600, personal: None };
    let min_position = pencil.say(&OrderId::parse("order").unwrap(), first::<Order>(&[place], Timestamp::now())).await.to_i64();
    let watch = || node.orders.watch_order(Request::new(WatchOrderRequest { order_id: "order".into(), until: 0, min_position }));
    let first = watch().await.unwrap();
    assert_eq!(refused(watch().await.map(|_| ())), (Code::ResourceExhausted, "WATCHES_EXHAUSTED".into()));
    drop(first);
    let mut stream = watch().await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    node.stop.cancel();
    assert_eq!(refused(stream.next().await.unwrap()), (Code::Unavailable, "SHUTTING_DOWN".into()));
    assert!(stream.next().await.is_none());
    node.stop().await;
}
