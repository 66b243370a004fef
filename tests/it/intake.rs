//! Commands that arrive by Kafka: each executed once, in order for one order, and told with its reason when it is refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jari_contract::Topic;
use jari_event_store::{Database, RecordedEvent};
use jari_proto::{
    operations::v1::{GetStatusRequest, IntakeState, ListRefusedCommandsRequest, RedriveCommandRequest, RefusedCommand},
    order::v1::ConfirmOrderRequest,
    status::reason,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    producer::Producer,
};
use serde_json::{Value, json};
use tonic::Request;

use crate::{
    harness::{database, eventually},
    relay::{kafka, prefix},
    sender::{SOURCE, Sender, placing},
    serving::{Serving, id},
};

pub const DAY: Duration = Duration::from_secs(86_400);

/// A node that takes commands from topics that begin with `prefix`.
pub async fn taking(database: Database, brokers: &str, prefix: &str) -> Serving {
    let prefix = prefix.to_owned();
    let mut shop = Serving::on(database, |config| {
        config.kafka.topic_prefix = prefix;
        config.kafka.patience_ms = 10_000;
    })
    .await;
    shop.node.relay_to(brokers);
    shop.node.take_commands_from(brokers);
    shop
}

pub async fn running(shop: &Serving) {
    eventually("commands are taken", || async { shop.intake().await == (IntakeState::Running, String::new()) }).await;
}

impl Serving {
    pub async fn intake(&self) -> (IntakeState, String) {
        let intake = self.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner().intake.unwrap();
        (intake.state(), intake.code)
    }

    pub async fn refused(&self) -> Vec<RefusedCommand> {
        let (mut all, mut token) = (Vec::new(), String::new());
        // ends with the last page; pages of two, so that there are several
        loop {
            let asked = ListRefusedCommandsRequest { page_size: 2, page_token: token, min_position: 0 };
            let page = self.operations().list_refused_commands(asked).await.unwrap().into_inner();
            all.extend(page.refused_commands);
            token = page.next_page_token;
            if token.is_empty() {
                return all;
            }
        }
    }

    async fn codes(&self) -> Vec<String> {
        self.refused().await.into_iter().map(|command| command.refused.unwrap().code).collect()
    }

    pub async fn history_of(&self, order: &str) -> Vec<String> {
        let of = |event: &RecordedEvent| &*event.aggregate_id == order;
        self.log().await.iter().filter(|event| of(event)).map(|event| event.event_type.to_string()).collect()
    }

    pub async fn until(&self, order: &str, last: &str) {
        eventually(&format!("{order}: {last}"), || async { self.history_of(order).await.last().is_some_and(|event| event == last) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_by_topic_is_executed_once_however_often_and_wherever_it_is_sent() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    let (sender, placing, confirming) = (Sender::new(&brokers, &prefix), id(), id());
    for _ in 0..3 {
        sender.place(&placing, "o-1", "poster", 2).await;
    }
    shop.until("o-1", "OrderHeld").await;
    sender.confirm(&confirming, "o-1").await;
    sender.confirm(&confirming, "o-1").await;
    shop.until("o-1", "OrderConfirmed").await;
    // the same sender under the same id, by gRPC: the same command
    let mut again = Request::new(ConfirmOrderRequest { request_id: confirming.clone(), order_id: "o-1".into() });
    again.metadata_mut().insert("x-jari-caller", SOURCE.parse().unwrap());
    let log = shop.log().await;
    let confirmed = log.iter().rev().find(|event| event.event_type == "OrderConfirmed").unwrap();
    let position = shop.orders().confirm_order(again).await.unwrap().into_inner().position;
    assert!((confirmed.position.to_i64()..=log.len() as i64).contains(&position), "{position}");
    // a marker behind all of them: what was sent before it was worked on before it
    sender.cancel(&id(), "o-1").await;
    shop.until("o-1", "OrderCancelled").await;
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld", "OrderConfirmed", "OrderCancelled"]);
    let placed = log.iter().find(|event| event.event_type == "OrderPlaced").unwrap();
    assert_eq!(placed.metadata.correlation_id.as_deref(), Some(&*placing), "events answer by the command's id");
    assert_eq!(placed.metadata.actor.as_deref(), Some(SOURCE));
    assert_eq!(shop.refused().await, []);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_right_behind_its_order_finds_it_settled() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 100).await;
    running(&shop).await;
    let sender = Arc::new(Sender::new(&brokers, &prefix));
    let mut sending = tokio::task::JoinSet::new();
    for n in 0..40 {
        let sender = sender.clone();
        sending.spawn(async move {
            let order = format!("o-{n}");
            sender.place(&id(), &order, "poster", 1).await;
            sender.confirm(&id(), &order).await;
        });
    }
    while sending.join_next().await.transpose().unwrap().is_some() {}
    let confirmed = || async { shop.log().await.iter().filter(|event| event.event_type == "OrderConfirmed").count() == 40 };
    eventually("all of them are confirmed", confirmed).await;
    assert_eq!(shop.refused().await, []);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_is_told_with_its_reason_and_sent_again_by_a_command() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    let (sender, early) = (Sender::new(&brokers, &prefix), id());
    sender.confirm(&early, "o-1").await;
    eventually("it is refused", || async { shop.refused().await.len() == 1 }).await;
    let first = shop.refused().await.remove(0);
    let refused = first.refused.clone().unwrap();
    assert_eq!((refused.code.as_str(), refused.command_id.as_str(), refused.command_source.as_str()), ("ORDER_NOT_FOUND", &*early, SOURCE));
    assert_eq!((refused.order_id.as_str(), refused.command_type.as_str()), ("o-1", "reservation.order.v1.ConfirmOrderCommand"));
    assert_eq!(refused.command, r#"{"orderId":"o-1"}"#);
    sender.place(&id(), "o-1", "poster", 1).await;
    shop.until("o-1", "OrderHeld").await;
    // the refused one is remembered as refused: the same id again is the same answer
    sender.confirm(&early, "o-1").await;
    eventually("it is refused again", || async { shop.refused().await.len() == 2 }).await;
    // sent again it is a new command; twice is once
    let redrive = RedriveCommandRequest { request_id: id(), offset: first.offset };
    let sent = shop.operations().redrive_command(redrive.clone()).await.unwrap().into_inner().command_id;
    assert_eq!(shop.operations().redrive_command(redrive).await.unwrap().into_inner().command_id, sent);
    shop.until("o-1", "OrderConfirmed").await;
    let log = shop.log().await;
    assert_eq!(log.last().unwrap().metadata.correlation_id.as_deref(), Some(&*sent));
    sender.cancel(&id(), "o-1").await;
    shop.until("o-1", "OrderCancelled").await;
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld", "OrderConfirmed", "OrderCancelled"]);
    assert_eq!(shop.codes().await, ["ORDER_NOT_FOUND", "ORDER_NOT_FOUND"]);
    // where the transaction of the first one ends no command stands, and the one behind it is another
    assert!(shop.refused().await[1].offset > first.offset + 1, "an end of a transaction has an offset of its own");
    for offset in [first.offset + 1, 4_711] {
        let unknown = shop.operations().redrive_command(RedriveCommandRequest { request_id: id(), offset }).await.unwrap_err();
        assert_eq!(reason(&unknown).as_deref(), Some("REFUSED_COMMAND_UNKNOWN"), "{offset}");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_refused_or_executed_and_stops_nobody_behind_it() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    let sender = Sender::new(&brokers, &prefix);
    let kind = "reservation.order.v1.PlaceOrderCommand";
    let good = placing("o-1", "poster", 1);
    let with = |name: &str, value: Value| {
        let mut command = good.clone();
        command[name] = value;
        command
    };
    sender.record("o-1", &[], b"hello").await;
    sender.send("no-uuid", kind, "o-1", &good).await;
    sender.send(&id(), "reservation.order.v1.PlaceOrderRequest", "o-1", &good).await;
    sender.send(&id(), kind, "o-1", &with("note", json!("Hong Gildong"))).await;
    sender.send(&id(), kind, "o-1", &with("contact", json!({ "name": "Hong Gildong" }))).await;
    sender.send(&id(), kind, "o-2", &good).await;
    // an order without an id, under a key that is as empty
    sender.send(&id(), kind, "", &with("orderId", json!(""))).await;
    sender.send(&id(), kind, "o-1", &with("lines", json!([]))).await;
    sender.send(&id(), kind, "o-1", &with("customer", json!("hong@Gildong.example"))).await;
    sender.place(&id(), "o-1", "nothing", 1).await;
    sender.place(&id(), "o-1", "poster", -1).await;
    // many lines, more than an answer has room to complain of
    sender.send(&id(), kind, "o-1", &with("lines", Value::Array(vec![json!({}); 10_000]))).await;
    // as long as a record may be, and longer when it is told as a string: its key is another order's
    let units = Value::Array(vec![json!({ "unitId": "piece", "quantity": 1 }); 24_000]);
    let long = with("lines", json!([{ "productId": "poster", "optionId": "one", "units": units }]));
    sender.send(&id(), kind, "o-2", &long).await;
    sender.place(&id(), "o-1", "poster", 1).await;
    shop.until("o-1", "OrderHeld").await;
    eventually("all that is wrong was told", || async { shop.refused().await.len() == 13 }).await;
    let count = shop.codes().await.into_iter().fold(BTreeMap::<String, usize>::new(), |mut count, code| {
        *count.entry(code).or_default() += 1;
        count
    });
    let expected = [
        ("COMMAND_HEADERS_INVALID", 2),
        ("COMMAND_TYPE_UNKNOWN", 1),
        ("COMMAND_UNREADABLE", 1),
        ("COMMAND_PERSONAL_DATA", 1),
        ("COMMAND_KEY_INVALID", 3),
        ("REQUEST_INVALID", 4),
        ("PRODUCT_NOT_FOUND", 1),
    ];
    assert_eq!(count, expected.map(|(code, n)| (code.to_owned(), n)).into());
    let refused = shop.refused().await;
    assert!(!format!("{refused:?}").contains("Gildong"), "what could not be read, or may name a person, is told to nobody");
    for command in refused {
        let told = command.refused.unwrap();
        let again = shop.operations().redrive_command(RedriveCommandRequest { request_id: id(), offset: command.offset }).await;
        let unread = ["COMMAND_HEADERS_INVALID", "COMMAND_TYPE_UNKNOWN", "COMMAND_UNREADABLE", "COMMAND_PERSONAL_DATA"].contains(&told.code.as_str());
        // the long one is told without its command
        assert!(told.command.is_empty() == unread || told.code == "COMMAND_KEY_INVALID", "{told:?}");
        // one that names no order, or no customer that can be one, would be refused again
        match told.command.is_empty() || [r#""orderId":"""#, r#""customer":"""#].iter().any(|blank| told.command.contains(blank)) {
            true => assert_eq!(reason(&again.unwrap_err()).as_deref(), Some("COMMAND_NOT_KEPT")),
            false => assert!(!again.unwrap().into_inner().command_id.is_empty()),
        }
    }
    // under the right key the one with the wrong one is a command, and refused for what it asks
    eventually("they are refused anew", || async { shop.codes().await.len() == 18 }).await;
    assert!(shop.codes().await[13..].contains(&"ORDER_EXISTS".to_owned()));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_taken_in_whatever_way_its_sender_packs_it() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    for packed in ["gzip", "snappy", "lz4", "zstd"] {
        let (sender, id) = (Sender::with(&brokers, &prefix, &[("compression.type", packed)]), id());
        let headers = [("ce_specversion", "1.0"), ("ce_id", &*id), ("ce_source", SOURCE), ("ce_type", "reservation.order.v1.PlaceOrderCommand")];
        // a client sends as it is what does not become shorter
        let value = " ".repeat(10_000) + &placing(packed, "poster", 1).to_string();
        sender.record(packed, &headers, value.as_bytes()).await;
        shop.until(packed, "OrderHeld").await;
    }
    assert_eq!(shop.refused().await, []);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_transaction_that_was_given_up_is_none() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    running(&shop).await;
    let sender = Sender::with(&brokers, &prefix, &[("transactional.id", &format!("{prefix}kiosk"))]);
    let patience = Duration::from_secs(60);
    sender.producer.init_transactions(patience).unwrap();
    sender.producer.begin_transaction().unwrap();
    sender.place(&id(), "o-1", "poster", 1).await;
    sender.producer.abort_transaction(patience).unwrap();
    sender.producer.begin_transaction().unwrap();
    sender.place(&id(), "o-1", "poster", 2).await;
    sender.producer.commit_transaction(patience).unwrap();
    shop.until("o-1", "OrderHeld").await;
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld"]);
    assert_eq!(shop.refused().await, [], "the one that was given up would have come first");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_keeps_commands_beyond_their_ids_stops_the_intake_until_it_is_set_right() {
    let (brokers, prefix) = (kafka().await, prefix());
    let admin = make_commands_topic(&brokers, &prefix, 12, 40 * DAY).await;
    let topic = format!("{prefix}{}", Topic::OrderCommand.name());
    let shop = taking(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10).await;
    eventually("it stands still", || async { shop.intake().await == (IntakeState::Halted, "COMMANDS_KEPT_TOO_LONG".into()) }).await;
    Sender::new(&brokers, &prefix).place(&id(), "o-1", "poster", 1).await;
    let week = (7 * DAY).as_millis().to_string();
    let right = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", &week).set("segment.ms", "3600000");
    admin.alter_configs(&[right], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    shop.until("o-1", "OrderHeld").await;
    shop.node.stop().await;
}

/// A topic of commands with so many partitions, which keeps them for this long.
pub async fn make_commands_topic(brokers: &str, prefix: &str, partitions: i32, kept: Duration) -> AdminClient<DefaultClientContext> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let (topic, kept) = (format!("{prefix}{}", Topic::OrderCommand.name()), kept.as_millis().to_string());
    let made = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", &kept).set("segment.ms", "3600000");
    admin.create_topics(&[made], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    admin
}
