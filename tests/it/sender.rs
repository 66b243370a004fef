//! A program that sends commands by Kafka, as an integrator's does.

use std::{sync::Arc, time::Duration};

use jari_contract::Topic;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::{Value, json};

/// How it names itself.
pub const SOURCE: &str = "urn:example:kiosk-7";

/// A program that sends commands.
pub struct Sender {
    pub producer: Arc<ThreadedProducer<DefaultProducerContext>>,
    pub topic: String,
}

impl Sender {
    pub fn new(brokers: &str, prefix: &str) -> Self {
        Self::with(brokers, prefix, &[])
    }

    pub fn with(brokers: &str, prefix: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "1");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        Self { producer: Arc::new(config.create().unwrap()), topic: format!("{prefix}{}", Topic::OrderCommand.name()) }
    }

    /// Sends a command under this id, as a CloudEvent.
    pub async fn send(&self, id: &str, kind: &str, order: &str, value: &Value) {
        self.record(order, &[("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", SOURCE), ("ce_type", kind)], value.to_string().as_bytes()).await;
    }

    pub async fn record(&self, key: &str, headers: &[(&str, &str)], value: &[u8]) {
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        self.producer.send(BaseRecord::to(&self.topic).key(key).payload(value).headers(headers)).map_err(|(error, _)| error).unwrap();
        let producer = self.producer.clone();
        tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30))).await.unwrap().unwrap();
    }

    pub async fn place(&self, id: &str, order: &str, product: &str, quantity: i32) {
        self.send(id, "reservation.order.v1.PlaceOrderCommand", order, &placing(order, product, quantity)).await;
    }

    pub async fn confirm(&self, id: &str, order: &str) {
        self.send(id, "reservation.order.v1.ConfirmOrderCommand", order, &json!({ "orderId": order })).await;
    }

    pub async fn cancel(&self, id: &str, order: &str) {
        self.send(id, "reservation.order.v1.CancelOrderCommand", order, &json!({ "orderId": order, "reason": "rain" })).await;
    }
}

/// An order of one line, as a command has it.
pub fn placing(order: &str, product: &str, quantity: i32) -> Value {
    let line = json!({ "productId": product, "optionId": "one", "units": [{ "unitId": "piece", "quantity": quantity }] });
    json!({ "orderId": order, "customer": "customer-1", "lines": [line] })
}
