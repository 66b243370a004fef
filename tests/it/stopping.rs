//! A node that stops on purpose: what it has taken in it settles and answers, and it says beforehand that it goes.

use std::time::Duration;

use jari_commands::engine::ExecuteError;
use jari_domain::{Position, slot::InventorySlot};
use jari_event_store::Reader;
use jari_proto::order::v1::{OrderState, PlaceOrderRequest};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use crate::{
    harness::{Node, command, eventually, hold, patient},
    raw::client,
    serving::{Serving, order},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_settles_and_answers_what_it_has_taken_in() {
    let node = Node::start().await;
    let slot = node.open_stock("seats", 10).await;
    let log = client(&node.database).await;
    log.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    let (engine, work) = (node.engine.clone(), hold(&slot, "taken", 1));
    let taken = tokio::spawn(async move { engine.execute(work, command(Uuid::now_v7())).await });
    eventually("it is taken in", || async { node.engine.status().units == 1 }).await;
    let engine = node.engine.clone();
    node.stop.cancel();
    let late = engine.execute(hold(&slot, "late", 1), command(Uuid::now_v7())).await;
    assert!(matches!(late, Err(ExecuteError::ShuttingDown)), "{late:?}");
    let stopped = tokio::spawn(node.stop());
    // the loop sees that it is to stop while there is nothing else to see
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!taken.is_finished(), "nobody knows yet what becomes of it");
    log.batch_execute("COMMIT").await.unwrap();
    assert_eq!(taken.await.unwrap().expect("what was taken in is answered").refusal, None);
    let next = Node::on(stopped.await.unwrap(), patient()).await;
    assert_eq!(next.state::<InventorySlot>(&slot).await.counts().held.get(), 1);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_so_to_who_sends_it_calls_before_the_last_call_is_over() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let mut health = HealthClient::new(shop.channel.clone());
    let mut told = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let log = client(&shop.database).await;
    log.batch_execute("BEGIN; SELECT lock_log_head()").await.unwrap();
    let mut orders = shop.orders();
    let under_way = tokio::spawn(async move { orders.place_order(PlaceOrderRequest { wait: None, ..order(&[("poster", 1)]) }).await });
    eventually("a call is under way", || async { shop.node.engine.status().units > 0 }).await;
    let Serving { node, database, channel } = shop;
    let stopped = tokio::spawn(node.stop());
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(!under_way.is_finished(), "a balancer has heard of it while it still works");
    // a stream that nobody ends would hold up the stop
    drop((told, health, channel));
    log.batch_execute("COMMIT").await.unwrap();
    assert_eq!(under_way.await.unwrap().unwrap().into_inner().order.unwrap().state(), OrderState::Accepted);
    stopped.await.unwrap();
    let events = Reader::new(database).log_after(Position::START, 1_000).await.unwrap();
    assert_eq!(events.iter().filter(|event| &*event.event_type == "OrderPlaced").count(), 1);
}
