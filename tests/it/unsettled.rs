//! Confirmations by topic whose order is still in line: they wait for its settlement, and come to one end however often they are sent.

use std::time::Duration;

use jari_event_store::{Database, Reader};
use jari_intake::{DeadLetter, DeadLetters, Intake, IntakeSettings};
use jari_proto::status::reason;
use jari_relay::Claim;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use uuid::Uuid;

use crate::{
    harness::{database, eventually},
    intake::running,
    raw,
    relay::{cluster, kafka, prefix},
    sender::Sender,
    serving::{Serving, id, order},
};

/// A node that relays, and settles nothing.
async fn unsettling(database: Database, brokers: &str, prefix: &str) -> Serving {
    let prefix = prefix.to_owned();
    let mut shop = Serving::on(database, |config| {
        config.kafka.topic_prefix = prefix;
        config.kafka.patience_ms = 10_000;
        config.settlement.enabled = false;
    })
    .await;
    shop.node.relay_to(brokers);
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_behind_its_order_waits_while_settlement_moves_to_another_node() {
    let (brokers, prefix) = (kafka().await, prefix());
    let mut shop = unsettling(database().await, &brokers, &prefix).await;
    shop.node.take_commands_from(&brokers);
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    // a confirmation is tried for half a minute, in which a slow machine may start no node: this one is there, and cannot have the lease
    let settling = Serving::on(shop.database.clone(), |config| config.settlement.lease_ms = 1_500).await;
    // where no lease stands yet there is nothing to lock
    eventually("it settles", || async { !shop.settler().await.is_empty() }).await;
    let lease = raw::client(&shop.database).await;
    lease.batch_execute("BEGIN; SELECT 1 FROM leases WHERE name = 'settlement' FOR UPDATE").await.unwrap();
    eventually("nobody settles", || async { shop.settler().await.is_empty() }).await;
    let (sender, confirming) = (Sender::new(&brokers, &prefix), id());
    sender.place(&id(), "o-1", "poster", 1).await;
    sender.confirm(&confirming, "o-1").await;
    let (client, command) = (raw::client(&shop.database).await, Uuid::parse_str(&confirming).unwrap());
    let refused = "SELECT 1 FROM commands WHERE command_id = $1 AND refusal IS NOT NULL";
    eventually("it was refused under the sender's id", || async { client.query_opt(refused, &[&command]).await.unwrap().is_some() }).await;
    lease.batch_execute("COMMIT").await.unwrap();
    shop.until("o-1", "OrderConfirmed").await;
    let log = shop.log().await;
    let confirmed = log.iter().find(|event| event.event_type == "OrderConfirmed").unwrap();
    assert_eq!(confirmed.metadata.correlation_id.as_deref(), Some(&*confirming), "events answer by the sender's id all the same");
    assert_ne!(confirmed.metadata.command_id.as_deref(), Some(&*confirming));
    // a repeat is confirmed already, and refused as little as the first
    sender.confirm(&confirming, "o-1").await;
    sender.cancel(&id(), "o-1").await;
    shop.until("o-1", "OrderCancelled").await;
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld", "OrderConfirmed", "OrderCancelled"]);
    assert_eq!(shop.refused().await, []);
    shop.node.stop().await;
    settling.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_that_was_refused_in_line_stays_refused_when_its_order_is_held() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = unsettling(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    let mut config = jari::config::Config::default();
    config.kafka.topic_prefix = prefix.clone();
    let (log_id, server, month) = (shop.node.identity.log_id, format!("http://{}", shop.node.address), Duration::from_secs(30 * 86_400));
    // a second for the settlement, and not half a minute
    let usual = IntakeSettings::new(config.relay_settings(&brokers).kafka, server, log_id, month);
    let settings = IntakeSettings { try_for: Duration::from_secs(2), ..usual };
    let (cluster, stop) = (cluster(&brokers, &prefix), CancellationToken::new());
    let claim = Claim::new(cluster.clone(), Reader::new(shop.database.clone()), log_id);
    let (_, working) = Intake::start(settings, claim, stop.clone());
    let letters = DeadLetters::new(cluster);
    let told = async || -> Vec<DeadLetter> { letters.list(0, 100).await.map(|page| page.letters).unwrap_or_default() };
    eventually("the topics are there", || async { letters.list(0, 100).await.is_ok() }).await;
    let (sender, [one, other]) = (Sender::new(&brokers, &prefix), [id(), id()]);
    sender.place(&id(), "o-1", "poster", 1).await;
    for confirming in [&one, &other] {
        sender.confirm(confirming, "o-1").await;
    }
    eventually("both are refused", || async { told().await.len() == 2 }).await;
    let settling = Serving::on(shop.database.clone(), |_| {}).await;
    shop.until("o-1", "OrderHeld").await;
    sender.confirm(&one, "o-1").await;
    eventually("the repeat is refused as before", || async { told().await.len() == 3 }).await;
    let refused: Vec<(String, String)> = told().await.into_iter().map(|letter| (letter.refused.code, letter.refused.command_id)).collect();
    assert_eq!(refused, [&one, &other, &one].map(|id| ("ORDER_NOT_HELD".to_owned(), id.clone())));
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld"]);
    sender.confirm(&id(), "o-1").await;
    shop.until("o-1", "OrderConfirmed").await;
    stop.cancel();
    working.await.unwrap();
    shop.node.stop().await;
    settling.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_the_first_of_its_chain_by_no_uuid_is_refused_and_not_executed() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let place = |first: &str| {
        let mut request = Request::new(order(&[("poster", 1)]));
        request.metadata_mut().insert("x-jari-correlation-id", first.parse().unwrap());
        request
    };
    for first in ["the first", "00000000-0000-0000-0000-000000000000"] {
        let refused = shop.orders().place_order(place(first)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::InvalidArgument, Some("REQUEST_INVALID")));
    }
    let first = id();
    shop.orders().place_order(place(&first.to_uppercase())).await.unwrap();
    let orders: Vec<_> = shop.log().await.into_iter().filter(|event| event.event_type.starts_with("Order")).collect();
    assert_eq!(orders.len(), 2, "placed and held, once");
    assert!(orders.iter().all(|event| event.metadata.correlation_id.as_deref() == Some(&*first)), "its settlement is of the same chain");
    shop.node.stop().await;
}
