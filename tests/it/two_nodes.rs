//! Two whole nodes on one log: one settles, both answer; and whatever becomes of the one, the other goes on where it was.

use std::time::Duration;

use jari::config::Config;
use jari_commands::names;
use jari_event_store::{Database, PoolSettings};
use jari_proto::{
    availability::v1::{GetSlotRequest, ListAvailabilityRequest, SlotState},
    inventory::v1::{
        AdjustCapacityRequest, CancelUnitsRequest, CloseSlotRequest, ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest, ReleaseHoldRequest,
        ResumeSlotRequest, SuspendSlotRequest,
    },
    operations::v1::{
        GetStatusRequest, GetStatusResponse, ListParkedOrdersRequest, ListQuarantinedStreamsRequest, RetryParkedOrderRequest,
        RetryQuarantinedStreamRequest,
    },
    order::v1::{
        CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, ListOrdersRequest, OrderState, PlaceOrderRequest, WatchOrderRequest, WatchUntil,
        order_service_client::OrderServiceClient,
    },
    product::v1::{
        EndProductRequest, GetProductRequest, ListProductsRequest, ProductState, ResumeProductRequest, SuspendProductRequest, WithdrawOptionRequest,
    },
    status::{reason, retry_after},
};
use tonic::{Code, transport::Channel};

use crate::{
    harness::{eventually, in_seconds},
    raw,
    serving::{Serving, id, order, wire},
};

/// Two nodes; the first settles.
pub struct Pair {
    pub owner: Serving,
    pub other: Serving,
}

/// A node under a name, with connections under that name.
pub async fn node_on(database: &Database, name: &str, change: impl FnOnce(&mut Config)) -> Serving {
    let mut config = database.config().clone();
    config.application_name(name);
    let database = Database::new(config, PoolSettings::patient()).unwrap();
    Serving::on(database, |config| {
        config.node.id = name.into();
        change(config);
    })
    .await
}

impl Pair {
    pub async fn start() -> Self {
        Self::changed(|_| {}).await
    }

    /// With settings of both that are not the usual ones.
    pub async fn changed(change: impl Fn(&mut Config)) -> Self {
        let database = crate::harness::database().await;
        Self::of(&database, node_on(&database, "owner", &change).await, &change).await
    }

    /// With an owner that renews its lease every third of so long, and learns no sooner of its loss.
    async fn with_sure_owner(lease_ms: u64) -> Self {
        let database = crate::harness::database().await;
        Self::of(&database, node_on(&database, "owner", |config| config.settlement.lease_ms = lease_ms).await, |_| {}).await
    }

    /// The second starts when the first has the lease.
    async fn of(database: &Database, owner: Serving, change: impl Fn(&mut Config)) -> Self {
        eventually("the first node settles", || async { owner.settler().await == "owner" }).await;
        let other = node_on(database, "other", change).await;
        Self { owner, other }
    }

    pub async fn stop(self) {
        self.owner.node.stop().await;
        self.other.node.stop().await;
    }
}

impl Serving {
    pub async fn status(&self) -> GetStatusResponse {
        self.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner()
    }

    /// Who settles.
    pub async fn settler(&self) -> String {
        self.status().await.settlement.unwrap().owner
    }

    /// Groups of events that this node itself has appended.
    async fn groups(&self) -> i64 {
        self.status().await.engine.unwrap().counters[names::GROUPS]
    }

    /// An operator's statement.
    pub async fn psql(&self, statement: &str) {
        raw::client(&self.database).await.batch_execute(statement).await.unwrap();
    }
}

/// An order that is only to be accepted.
fn in_passing(product: &str) -> PlaceOrderRequest {
    PlaceOrderRequest { wait: None, ..order(&[(product, 1)]) }
}

/// Every call to slots, at this node.
async fn keep_slots(node: &Serving, slot: &str) -> i64 {
    let mut inventory = node.inventory();
    let (slot_id, ends) = (slot.to_owned(), in_seconds(3_000));
    let hold =
        |hold: &str| HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: hold.into(), quantity: 2, expires_at: Some(wire(ends)) };
    inventory.hold_units(hold("a")).await.unwrap();
    inventory.hold_units(hold("b")).await.unwrap();
    let extend = ExtendHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), expires_at: Some(wire(in_seconds(6_000))) };
    inventory.extend_hold(extend).await.unwrap();
    inventory.confirm_hold(ConfirmHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into() }).await.unwrap();
    inventory.release_hold(ReleaseHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "b".into() }).await.unwrap();
    let cancel = CancelUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), quantity: 1 };
    inventory.cancel_units(cancel).await.unwrap();
    inventory.adjust_capacity(AdjustCapacityRequest { request_id: id(), slot_id: slot_id.clone(), capacity: 12 }).await.unwrap();
    inventory.suspend_slot(SuspendSlotRequest { request_id: id(), slot_id: slot_id.clone(), reason: "rain".into() }).await.unwrap();
    inventory.resume_slot(ResumeSlotRequest { request_id: id(), slot_id: slot_id.clone() }).await.unwrap();
    let nobody = RetryParkedOrderRequest { request_id: id(), order_id: "nobody".into() };
    let refused = node.operations().retry_parked_order(nobody).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("ORDER_NOT_PARKED"));
    inventory.close_slot(CloseSlotRequest { request_id: id(), slot_id }).await.unwrap().into_inner().position
}

/// The life of an order, at this node: bought, given back, and watched to its end.
async fn keep_orders(node: &Serving, product: &str) -> (String, i64) {
    let mut orders = node.orders();
    let placed = orders.place_order(order(&[(product, 1)])).await.unwrap().into_inner();
    let told = placed.order.unwrap();
    assert_eq!(told.state(), OrderState::Held);
    let watch = WatchOrderRequest { order_id: told.order_id.clone(), until: WatchUntil::Final.into(), min_position: placed.position };
    let mut changes = node.order_queries().watch_order(watch).await.unwrap().into_inner();
    let mut next = async || changes.message().await.unwrap().map(|change| change.order.unwrap().state());
    assert_eq!(next().await, Some(OrderState::Held));
    orders.confirm_order(ConfirmOrderRequest { request_id: id(), order_id: told.order_id.clone() }).await.unwrap();
    assert_eq!(next().await, Some(OrderState::Confirmed));
    let cancel = CancelOrderRequest { request_id: id(), order_id: told.order_id.clone(), reason: "rain".into() };
    let position = orders.cancel_order(cancel).await.unwrap().into_inner().position;
    assert_eq!((next().await, next().await), (Some(OrderState::Cancelled), None));
    (told.order_id, position)
}

/// The rest of a product's life, at this node.
async fn keep_products(node: &Serving, product: &str) -> i64 {
    let (mut products, product_id) = (node.products(), product.to_owned());
    products.suspend_product(SuspendProductRequest { request_id: id(), product_id: product_id.clone(), reason: "flood".into() }).await.unwrap();
    products.resume_product(ResumeProductRequest { request_id: id(), product_id: product_id.clone() }).await.unwrap();
    products.end_product(EndProductRequest { request_id: id(), product_id }).await.unwrap().into_inner().position
}

/// Every query, at this node, of what another may have done.
async fn ask(node: &Serving, product: &str, slot: &str, order_id: &str, min_position: i64) {
    let (mut products, mut orders, mut slots) = (node.product_queries(), node.order_queries(), node.availability());
    let told = products.get_product(GetProductRequest { product_id: product.into(), min_position }).await.unwrap().into_inner();
    assert_eq!(told.product.unwrap().state(), ProductState::Ended);
    let list = ListProductsRequest { min_position, state: ProductState::Ended.into(), ..Default::default() };
    assert!(products.list_products(list).await.unwrap().into_inner().products.iter().any(|told| told.product_id == product));
    let told = orders.get_order(GetOrderRequest { order_id: order_id.into(), min_position }).await.unwrap().into_inner().order.unwrap();
    assert_eq!(told.state(), OrderState::Cancelled);
    let list = ListOrdersRequest { customer: told.customer, min_position, ..Default::default() };
    assert!(orders.list_orders(list).await.unwrap().into_inner().orders.iter().any(|told| told.order_id == order_id));
    let told = slots.get_slot(GetSlotRequest { slot_id: slot.into(), min_position }).await.unwrap().into_inner().slot.unwrap();
    assert_eq!((told.state(), told.counts.unwrap().confirmed), (SlotState::Closed, 1));
    let list = ListAvailabilityRequest { product_id: product.into(), min_position, ..Default::default() };
    assert_eq!(slots.list_availability(list).await.unwrap().into_inner().slots.len(), 1);
    let mut operations = node.operations();
    assert!(operations.get_status(GetStatusRequest { min_position }).await.unwrap().into_inner().position >= min_position);
    let list = ListParkedOrdersRequest { min_position, ..Default::default() };
    assert_eq!(operations.list_parked_orders(list).await.unwrap().into_inner().parked_orders, []);
    let list = ListQuarantinedStreamsRequest { min_position, ..Default::default() };
    assert_eq!(operations.list_quarantined_streams(list).await.unwrap().into_inner().quarantined_streams, []);
    let retry = RetryQuarantinedStreamRequest {
        request_id: id(),
        projection: "orders".into(),
        aggregate_type: "Order".into(),
        aggregate_id: order_id.into(),
    };
    let refused = operations.retry_quarantined_stream(retry).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("STREAM_NOT_QUARANTINED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_works_at_either_node_and_what_touches_slots_is_done_by_the_owner() {
    let pair = Pair::with_sure_owner(60_000).await;
    for (node, asked, name) in [(&pair.other, &pair.owner, "there"), (&pair.owner, &pair.other, "here")] {
        let before = pair.other.groups().await;
        node.draft(name).await;
        node.option(name).await;
        let withdraw = WithdrawOptionRequest { request_id: id(), product_id: name.into(), option_id: "one".into() };
        node.products().withdraw_option(withdraw).await.unwrap();
        let slot = node.launched(name, 10).await;
        let (order_id, _) = keep_orders(node, name).await;
        keep_slots(node, &slot).await;
        let position = keep_products(node, name).await;
        let done = pair.other.groups().await - before;
        // draft, option, withdrawal, option, launch, suspension, resumption, end: the product's; and the order is accepted where it is placed
        assert_eq!(done, if name == "there" { 9 } else { 0 }, "the other node appends nothing that touches slots");
        for node in [node, asked] {
            ask(node, name, &slot, &order_id, position).await;
        }
    }
    let statuses = [pair.owner.status().await.settlement.unwrap(), pair.other.status().await.settlement.unwrap()];
    assert_eq!(statuses.map(|status| (status.owner, status.epoch)), [("owner".into(), 1), ("owner".into(), 1)], "settlement never moved");
    pair.other.proved().await;
    pair.stop().await;
}

/// Places orders now at one node, now at the other, until each is accepted; what breaks at the first is sent again to the second.
async fn insist(mut first: OrderServiceClient<Channel>, mut second: OrderServiceClient<Channel>, count: usize) {
    for n in 0..count {
        let request = in_passing("seat");
        let mut accepted = n % 2 == 0 && first.place_order(request.clone()).await.is_ok();
        for _ in 0..1_200 {
            if accepted {
                break;
            }
            accepted = second.place_order(request.clone()).await.is_ok();
            tokio::time::sleep(Duration::from_millis(if accepted { 0 } else { 100 })).await;
        }
        assert!(accepted, "the other node takes no orders");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_owner_stops_under_load_the_other_settles_what_is_left_once_and_in_line() {
    let Pair { owner: Serving { node, channel, .. }, other } = Pair::start().await;
    let slot = other.on_sale("seat", 150).await;
    let customers: Vec<_> = (0..8).map(|_| tokio::spawn(insist(OrderServiceClient::new(channel.clone()), other.orders(), 40))).collect();
    eventually("orders are coming", || async { other.log().await.len() > 60 }).await;
    node.stop().await;
    for customer in customers {
        customer.await.unwrap();
    }
    let history = other.proved().await;
    assert_eq!((history.count("OrderPlaced"), history.counts(&slot)), (320, (150, 150, 0)));
    eventually("the other settles", || async { other.settler().await == "other" }).await;
    let back = node_on(&other.database, "owner", |_| {}).await;
    eventually("one that comes back stands by", || async { back.settler().await == "other" }).await;
    other.node.stop().await;
    back.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_meets_an_owner_that_stopped_makes_this_node_look_at_the_lease_at_once() {
    // by itself a node would look again in 200 s
    let Pair { owner, other } = Pair::changed(|config| config.settlement.lease_ms = 600_000).await;
    owner.on_sale("seat", 2).await;
    let placed = other.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: placed };
    owner.node.stop().await;
    eventually("it takes what the owner gave back, and does what was asked", || async {
        other.orders().confirm_order(confirm.clone()).await.is_ok()
    })
    .await;
    assert_eq!(other.settler().await, "other");
    other.proved().await;
    other.node.stop().await;
}

/// Whoever holds the settlement lease is an operator from now on, for so many seconds, and answers no calls.
fn taken(seconds: u32) -> String {
    format!(
        "UPDATE leases SET holder = 'operator', address = 'http://127.0.0.1:1', epoch = epoch + 1,
            expires_at = clock_timestamp() + {seconds} * interval '1 second' WHERE name = 'settlement'"
    )
}

const GIVEN_BACK: &str = "UPDATE leases SET expires_at = clock_timestamp() WHERE name = 'settlement'";

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_settles_orders_wait_and_the_next_owner_settles_them_in_line() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 25).await;
    let mut held = pair.owner.orders();
    let first = held.place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    pair.owner.psql(&taken(3_600)).await;
    for node in [&pair.owner, &pair.other] {
        eventually("the node knows that another settles", || async {
            let cancel = CancelOrderRequest { request_id: id(), order_id: "nobody".into(), reason: String::new() };
            let refused = node.orders().cancel_order(cancel).await.unwrap_err();
            reason(&refused).as_deref() == Some("SETTLEMENT_UNAVAILABLE")
        })
        .await;
        let confirm = ConfirmOrderRequest { request_id: id(), order_id: first.clone() };
        let refused = node.orders().confirm_order(confirm).await.unwrap_err();
        assert_eq!((refused.code(), retry_after(&refused).is_some()), (Code::Unavailable, true), "{refused:?}");
    }
    for n in 0..40 {
        let node = if n % 2 == 0 { &pair.owner } else { &pair.other };
        let told = node.orders().place_order(in_passing("seat")).await.unwrap().into_inner().order.unwrap();
        assert_eq!(told.state(), OrderState::Accepted);
    }
    let names: Vec<_> = pair.other.log().await.iter().map(|event| event.event_type.clone()).collect();
    assert_eq!(names.iter().filter(|name| *name == "OrderHeld").count(), 1, "nobody settles");
    pair.owner.psql(GIVEN_BACK).await;
    let history = pair.other.proved().await;
    assert_eq!((history.count("OrderHeld"), history.count("OrderRejected"), history.counts(&slot)), (25, 16, (25, 25, 0)));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_know_that_it_lost_the_lease_lands_nothing_more() {
    let pair = Pair::with_sure_owner(600_000).await;
    let slot = pair.owner.on_sale("seat", 5).await;
    pair.owner.psql(&taken(3_600)).await;
    let mut accepted = Vec::new();
    for _ in 0..8 {
        let told = pair.owner.orders().place_order(in_passing("seat")).await.unwrap().into_inner();
        accepted.push(told.order.unwrap().order_id);
    }
    // the owner appends what comes after its tries to settle, so those have been answered
    let hold =
        HoldUnitsRequest { request_id: id(), slot_id: slot.clone(), hold_id: "a".into(), quantity: 1, expires_at: Some(wire(in_seconds(3_000))) };
    pair.owner.inventory().hold_units(hold).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let settled = pair.other.log().await.iter().filter(|event| matches!(&*event.event_type, "OrderHeld" | "OrderRejected")).count();
    assert_eq!(settled, 0, "what was sent under the old epoch fell");
    let parked = pair.other.status().await.settlement.unwrap().parked_orders;
    assert_eq!(parked, 0, "and is parked by nobody: to lose a lease is no order's fault");
    pair.owner.psql(GIVEN_BACK).await;
    eventually("the other node settles", || async { pair.other.settler().await == "other" }).await;
    assert_eq!(pair.other.status().await.settlement.unwrap().epoch, 3, "each owner has an epoch of its own");
    // one more, at the node that still takes itself for the owner
    pair.owner.orders().place_order(in_passing("seat")).await.unwrap();
    let history = pair.other.proved().await;
    assert_eq!((history.count("OrderHeld"), history.count("OrderRejected"), history.counts(&slot)), (4, 5, (5, 5, 0)));
    let held: Vec<&str> = accepted.iter().map(|order| history.story(order)[1]).collect();
    assert_eq!(held, [["OrderHeld"; 4], ["OrderRejected"; 4]].concat(), "in line");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_connections_are_cut_again_and_again_settles_each_order_once() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 60).await;
    let customers: Vec<_> = (0..6).map(|_| tokio::spawn(insist(pair.owner.orders(), pair.other.orders(), 30))).collect();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'owner'";
    let psql = raw::client(&pair.other.database).await;
    for _ in 0..10 {
        psql.batch_execute(cut).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for customer in customers {
        customer.await.unwrap();
    }
    let history = pair.other.proved().await;
    assert_eq!((history.count("OrderPlaced"), history.counts(&slot)), (180, (60, 60, 0)));
    pair.stop().await;
}
