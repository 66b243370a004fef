//! Many users over gRPC at two nodes: one slot, or baskets of many; what there is is sold, in line, and nothing stands still.

use std::time::Duration;

use jari_domain::{Quantity, order::OrderStatus};
use jari_proto::order::v1::{
    CancelOrderRequest, ConfirmOrderRequest, Order, OrderState, PlaceOrderRequest, order_service_client::OrderServiceClient,
};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    raw,
    serving::{Serving, id, order},
    two_nodes::Pair,
};

/// A generous bound that turns standing still into a failure.
const AT_MOST: Duration = Duration::from_secs(120);

/// Numbers that look like chance and come from the seed alone.
pub struct Dice(u64);

impl Dice {
    /// The seed is printed: a test that fails shows it.
    pub fn new() -> Self {
        let seed = Uuid::new_v4().as_u64_pair().0;
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// One of `0..sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

async fn place(mut orders: OrderServiceClient<Channel>, request: PlaceOrderRequest) -> Order {
    orders.place_order(request).await.unwrap().into_inner().order.unwrap()
}

impl Pair {
    /// A client of one node or the other.
    fn some(&self, n: usize) -> OrderServiceClient<Channel> {
        if n.is_multiple_of(2) { self.owner.orders() } else { self.other.orders() }
    }
}

/// What the callers were told is what the log says, as far as they were told.
fn assert_told(history: &crate::agreement::History, told: &[Order]) {
    for order in told {
        let stands = history.order(&order.order_id);
        match order.state() {
            OrderState::Held => assert_ne!(stands.status(), OrderStatus::Rejected),
            OrderState::Rejected => assert_eq!((stands.status(), stands.failures().len()), (OrderStatus::Rejected, order.failures.len())),
            state => assert_eq!(state, OrderState::Accepted),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slot_sells_exactly_what_it_has_to_those_who_came_first_at_either_node() {
    let pair = Pair::start().await;
    let slot = pair.owner.on_sale("seat", 97).await;
    let customers = (0..400_usize).map(|n| tokio::spawn(place(pair.some(n), order(&[("seat", if n % 3 == 0 { 2 } else { 1 })]))));
    let told = tokio::time::timeout(AT_MOST, futures::future::join_all(customers)).await.expect("nothing stands still");
    let told: Vec<Order> = told.into_iter().map(Result::unwrap).collect();
    let history = pair.other.proved().await;
    assert_told(&history, &told);
    assert_eq!(history.counts(&slot), (97, 97, 0), "exactly what there is");
    assert_eq!(history.count("OrderPlaced"), 400);
    let held = history.orders().filter(|(_, order)| order.status() == OrderStatus::Held);
    let sold: u32 = held.flat_map(|(_, order)| order.draws().into_values()).map(Quantity::get).sum();
    assert_eq!(sold, 97, "every unit belongs to one order");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baskets_over_shared_slots_settle_whole_or_not_at_all_in_whatever_order_their_lines_stand() {
    const PRODUCTS: [&str; 6] = ["ant", "bee", "cat", "dog", "eel", "fox"];
    let pair = Pair::start().await;
    for (n, product) in PRODUCTS.iter().enumerate() {
        pair.owner.on_sale(product, 20 + 5 * i32::try_from(n).unwrap()).await;
    }
    let mut dice = Dice::new();
    let customers: Vec<_> = (0..240)
        .map(|n| {
            // slots in any order, some of them twice
            let lines: Vec<(&str, i32)> = (0..=dice.roll(5)).map(|_| (PRODUCTS[dice.roll(6)], 1 + i32::from(dice.roll(4) == 0))).collect();
            let (placing, mut after, then) = (pair.some(n), pair.some(n + dice.roll(2)), dice.roll(3));
            tokio::spawn(async move {
                let told = place(placing, order(&lines)).await;
                let order_id = told.order_id.clone();
                if told.state() == OrderState::Held && then == 0 {
                    after.confirm_order(ConfirmOrderRequest { request_id: id(), order_id }).await.unwrap();
                } else if told.state() == OrderState::Held && then == 1 {
                    after.cancel_order(CancelOrderRequest { request_id: id(), order_id, reason: String::new() }).await.unwrap();
                }
                told
            })
        })
        .collect();
    let told = tokio::time::timeout(AT_MOST, futures::future::join_all(customers)).await.expect("nobody waits for each other for ever");
    let told: Vec<Order> = told.into_iter().map(Result::unwrap).collect();
    let history = pair.other.proved().await;
    assert_told(&history, &told);
    let by = |status| history.orders().filter(|(_, order)| order.status() == status).count();
    assert!(by(OrderStatus::Rejected) > 0 && by(OrderStatus::Confirmed) > 0 && by(OrderStatus::Cancelled) > 0, "every end occurs");
    for (slot, state) in history.slots() {
        let owed = |status: OrderStatus| -> u32 {
            let of = history.orders().filter(|(_, order)| order.status() == status);
            of.map(|(_, order)| order.draws().get(&slot).map_or(0, |units| units.get())).sum()
        };
        assert_eq!((state.counts().held.get(), state.counts().confirmed.get()), (owed(OrderStatus::Held), owed(OrderStatus::Confirmed)), "{slot}");
    }
    pair.stop().await;
}

/// Orders one at a time, each settled: the codes of what failed.
async fn failures(shop: &Serving, quantity: i32) -> Vec<(String, bool)> {
    let told = place(shop.orders(), order(&[("seat", quantity)])).await;
    told.failures.into_iter().map(|failure| (failure.code, failure.retryable)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sold_out_is_told_apart_from_held_by_others_and_what_is_given_back_is_sold_again() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 4).await;
    let mut orders = shop.orders();
    let told = |code: &str, retryable: bool| vec![(code.to_owned(), retryable)];
    let first = place(shop.orders(), order(&[("seat", 3)])).await.order_id;
    assert_eq!(failures(&shop, 2).await, told("SLOT_HELD_BY_OTHERS", true), "one is free, and the other three may come back");
    assert_eq!(failures(&shop, 5).await, told("SLOT_INSUFFICIENT_UNITS", false), "so many there never were");
    orders.confirm_order(ConfirmOrderRequest { request_id: id(), order_id: first.clone() }).await.unwrap();
    assert_eq!(failures(&shop, 2).await, told("SLOT_INSUFFICIENT_UNITS", false), "three are sold and do not come back by themselves");
    let last = place(shop.orders(), order(&[("seat", 1)])).await;
    assert_eq!(last.state(), OrderState::Held);
    assert_eq!(failures(&shop, 1).await, told("SLOT_HELD_BY_OTHERS", true));
    orders.confirm_order(ConfirmOrderRequest { request_id: id(), order_id: last.order_id }).await.unwrap();
    assert_eq!(failures(&shop, 1).await, told("SLOT_SOLD_OUT", false));
    orders.cancel_order(CancelOrderRequest { request_id: id(), order_id: first, reason: "rain".into() }).await.unwrap();
    let next = place(shop.orders(), order(&[("seat", 3)])).await;
    assert_eq!(next.state(), OrderState::Held, "what was bought and given back is sold again");
    orders.cancel_order(CancelOrderRequest { request_id: id(), order_id: next.order_id, reason: String::new() }).await.unwrap();
    assert_eq!(place(shop.orders(), order(&[("seat", 3)])).await.state(), OrderState::Held, "and so is what was only held");
    assert_eq!(shop.proved().await.counts(&slot), (4, 3, 1));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_falls_to_another_writer_keeps_its_place_also_where_it_takes_nothing() {
    let shop = Serving::start().await;
    shop.on_sale("full", 1).await;
    let moved = shop.on_sale("moved", 1_000).await;
    assert_eq!(place(shop.orders(), order(&[("full", 1)])).await.state(), OrderState::Held);
    let psql = raw::client(&shop.database).await;
    for round in 0..25 {
        // of this the node hears when it polls the log, or when what it decided on the slot as it was before falls
        psql.batch_execute(&format!("{} {}", raw::INSERT, raw::values(&moved, 2 + round))).await.unwrap();
        let both = |n: usize| if n.is_multiple_of(2) { order(&[("full", 1), ("moved", 1)]) } else { order(&[("full", 1)]) };
        let customers = (0..10).map(|n| place(shop.orders(), both(n)));
        for told in futures::future::join_all(customers).await {
            assert_eq!(told.state(), OrderState::Rejected);
        }
    }
    assert_eq!(shop.proved().await.count("OrderRejected"), 250);
    shop.node.stop().await;
}
