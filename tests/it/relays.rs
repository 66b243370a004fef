//! Several relays on one log, and where the records of one key go.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_contract::Topic;
use jari_event_store::Database;
use jari_proto::operations::v1::RelayState;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::{
    harness::{database, eventually},
    raw::{self, INSERT},
    relay::{kafka, prefix, relaying},
    serving::{Serving, order},
};

/// A node of this name whose relay looks at its lease each third of so many milliseconds.
async fn relaying_as((name, lease_ms): (&str, u64), database: Database, brokers: &str, prefix: &str) -> Serving {
    let mut shop = Serving::on(database, |config| {
        config.node.id = name.to_owned();
        config.kafka.topic_prefix = prefix.to_owned();
        config.relay.lease_ms = lease_ms;
    })
    .await;
    shop.node.relay_to(brokers);
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_takes_over_from_one_that_still_commits_tells_nothing_twice() {
    let (brokers, prefix) = (kafka().await, prefix());
    // it does not look at its lease again while this test lasts
    let one = relaying_as(("one", 600_000), database().await, &brokers, &prefix).await;
    one.until_relay_says(RelayState::Running, "").await;
    let other = relaying_as(("other", 1_500), one.database.clone(), &brokers, &prefix).await;
    one.on_sale("poster", 1_000_000).await;
    let (mut customers, enough) = (tokio::task::JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..8 {
        let (mut orders, enough) = (other.orders(), enough.clone());
        customers.spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                orders.place_order(order(&[("poster", 1)])).await.unwrap();
            }
        });
    }
    // The lease is the other's, who sees so at once. Whoever has had it does not, and takes back what was taken from it: each takes over from one that is
    // in the middle of its work, again and again.
    let client = one.database.connection().await.unwrap();
    let given = "UPDATE leases SET holder = 'other', address = $1, expires_at = clock_timestamp() + interval '1 minute' WHERE name = 'relay'";
    client.execute(given, &[&format!("http://{}", other.node.address)]).await.unwrap();
    for _ in 0..3 {
        other.until_relay_says(RelayState::Running, "").await;
        assert_eq!(one.relay().await.owner, "one", "it goes on, and keeps nobody from taking over");
        one.until_relay_says(RelayState::Running, "").await;
    }
    enough.store(true, Ordering::Relaxed);
    while let Some(customer) = customers.join_next().await {
        customer.unwrap();
    }
    one.node.stop().await;
    other.until_relayed().await;
    let placed = other.log().await.iter().filter(|event| event.event_type == "OrderPlaced").count();
    assert_eq!(other.audited(&brokers, &prefix).await[2].records, 2 * placed as u64);
    other.node.stop().await;
}

/// The partition of each key in a topic; a key with two of them is told as -1.
fn partitions_of_keys(brokers: &str, topic: &str, partitions: i32) -> BTreeMap<String, i32> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", format!("{topic}-keys")).set("enable.partition.eof", "true");
    let reading: BaseConsumer = config.set("enable.auto.commit", "false").set("isolation.level", "read_committed").create().unwrap();
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    reading.assign(&places).unwrap();
    let (mut found, mut ended) = (BTreeMap::new(), 0);
    while ended < partitions {
        match reading.poll(Duration::from_secs(60)).expect("the topic answers") {
            Ok(record) => {
                let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
                let partition = record.partition();
                found.entry(key).and_modify(|known| *known = if *known == partition { partition } else { -1 }).or_insert(partition);
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_key_go_to_the_partition_that_every_client_of_kafka_computes() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    for product in ["poster", "mug", "print", "map"] {
        shop.on_sale(product, 10).await;
        shop.book(product, 2).await;
    }
    shop.until_relayed().await;
    // murmur2 of the key as Kafka's own clients have it, without the sign, modulo 12 and 3: who reads by partition relies on it, and so does whoever
    // moves to another client
    for (topic, expected) in [
        (Topic::Slot, [("map@stock", 4), ("mug@stock", 3), ("poster@stock", 8), ("print@stock", 6)]),
        (Topic::Availability, [("map@stock", 4), ("mug@stock", 3), ("poster@stock", 8), ("print@stock", 6)]),
        (Topic::Product, [("map", 2), ("mug", 0), ("poster", 0), ("print", 0)]),
    ] {
        let (brokers, name) = (brokers.clone(), format!("{prefix}{}", topic.name()));
        let found = tokio::task::spawn_blocking(move || partitions_of_keys(&brokers, &name, topic.settings().partitions)).await.unwrap();
        assert_eq!(found, expected.map(|(key, partition)| (key.to_owned(), partition)).into(), "{topic:?}");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_its_topic_stops_the_relay_at_its_place_until_the_topic_takes_it() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000).await;
    shop.book("poster", 3).await;
    shop.until_relayed().await;
    // text without a pattern, 2.6 MB of it: packed it is as large; and an event before it, in the same batch
    let reason = "(SELECT string_agg(encode(sha256(n::text::bytea), 'base64'), '') FROM generate_series(1, 60000) n)";
    let payload = format!("json_build_object('SlotSuspended', json_build_object('reason', {reason}))");
    let large = format!("('InventorySlot', 'large@stock', 1, 'SlotSuspended', '1.0', {payload}, '{{}}')");
    raw::client(&shop.database).await.batch_execute(&format!("{INSERT} {}, {large}", raw::values("small@stock", 1))).await.unwrap();
    let place = i64::try_from(shop.log().await.len()).unwrap();
    let halted = shop.until_relay_says(RelayState::Halted, "KAFKA_RECORD_TOO_LARGE").await;
    let topic = format!("{prefix}{}", Topic::Slot.name());
    for part in [&format!("position {place} has 26"), &topic, "max.message.bytes"] {
        assert!(halted.message.contains(part), "{part}: {halted:?}");
    }
    eventually("all before it is told", || async { shop.relay().await.position == place - 1 }).await;
    shop.book("poster", 3).await;
    shop.until_relay_says(RelayState::Halted, "KAFKA_RECORD_TOO_LARGE").await;
    assert_eq!(shop.relay().await.position, place - 1, "it is not skipped");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let raised = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "4000000");
    admin.alter_configs(&[raised], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    shop.until_relayed().await;
    assert_eq!(shop.audited(&brokers, &prefix).await[2].records, 12);
    shop.node.stop().await;
}
