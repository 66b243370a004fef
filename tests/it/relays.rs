//! Several relays on one log, where the records of one key go, and what a topic does not take.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    harness::{database, eventually, in_seconds},
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

/// A committed record.
struct Told {
    key: String,
    partition: i32,
    time_ms: i64,
}

/// All that is committed in a topic.
async fn records_of(brokers: &str, topic: &str, partitions: i32) -> Vec<Told> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", format!("{topic}-keys")).set("enable.partition.eof", "true");
    let reading: BaseConsumer = config.set("enable.auto.commit", "false").set("isolation.level", "read_committed").create().unwrap();
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    let read = move || {
        reading.assign(&places).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match reading.poll(Duration::from_secs(60)).expect("the topic answers") {
                Ok(record) => {
                    let (key, time_ms) = (String::from_utf8(record.key().unwrap().to_vec()).unwrap(), record.timestamp().to_millis().unwrap());
                    found.push(Told { key, partition: record.partition(), time_ms });
                }
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found
    };
    tokio::task::spawn_blocking(read).await.unwrap()
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
        let records = records_of(&brokers, &format!("{prefix}{}", topic.name()), topic.settings().partitions).await;
        // a key with two of them is told as -1
        let found = records.into_iter().fold(BTreeMap::<String, i32>::new(), |mut found, Told { key, partition, .. }| {
            found.entry(key).and_modify(|known| *known = if *known == partition { partition } else { -1 }).or_insert(partition);
            found
        });
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
    set(&brokers, &topic, ("max.message.bytes", "4000000")).await;
    shop.until_relayed().await;
    assert_eq!(shop.audited(&brokers, &prefix).await[2].records, 12);
    shop.node.stop().await;
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

/// Changes a topic's setting, as its operator does.
async fn set(brokers: &str, topic: &str, (name, value): (&str, &str)) {
    let changed = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    admin(brokers).alter_configs(&[changed], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

/// Adds harmless events of a slot that were recorded two days from now, as by a database whose clock is wrong, or was.
async fn days_ahead(shop: &Serving, slot: &str, events: u64) {
    let dated = |n| raw::values(slot, n).replace("'{}')", "'{}', clock_timestamp() + interval '2 days')");
    let values: Vec<String> = (1..=events).map(dated).collect();
    raw::client(&shop.database)
        .await
        .batch_execute(&format!("{} {}", INSERT.replace("metadata)", "metadata, recorded_at)"), values.join(", ")))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_dated_days_ahead_of_the_brokers_clock_is_told_like_any_other() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000).await;
    shop.until_relayed().await;
    days_ahead(&shop, "ahead@stock", 1).await;
    // time of recording never runs back: what follows is dated so as well
    shop.book("poster", 3).await;
    shop.until_relayed().await;
    assert_eq!(shop.audited(&brokers, &prefix).await[2].records, 6);
    let last = shop.log().await.last().unwrap().recorded_at;
    assert!(last > in_seconds(47 * 3_600), "{last}");
    let orders = records_of(&brokers, &format!("{prefix}{}", Topic::Order.name()), Topic::Order.settings().partitions).await;
    assert_eq!(orders.iter().map(|told| told.time_ms).max(), Some(last.as_millisecond()), "a record has the time of its event");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_time_its_topic_refuses_stops_the_relay_at_its_place_until_the_topic_takes_it() {
    let (brokers, prefix) = (kafka().await, prefix());
    // made by somebody, with what Kafka has by default: nothing is dated more than an hour ahead
    let topic = format!("{prefix}{}", Topic::Slot.name());
    let made = NewTopic::new(&topic, Topic::Slot.settings().partitions, TopicReplication::Fixed(1));
    admin(&brokers).create_topics(&[made], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000).await;
    shop.book("poster", 3).await;
    shop.until_relayed().await;
    raw::client(&shop.database).await.batch_execute(&format!("{INSERT} {}", raw::values("today@stock", 1))).await.unwrap();
    let place = shop.head().await.next().to_i64();
    // one alone in its partition, and several together in others
    for (slot, events) in [("one@stock", 1), ("many@stock", 20), ("another@stock", 1), ("more@stock", 20)] {
        days_ahead(&shop, slot, events).await;
    }
    eventually("the first of them is named", || async {
        let relay = shop.relay().await;
        let named = relay.message.contains(&format!("the event at position {place} is dated 20"));
        relay.state() == RelayState::Halted && relay.code == "KAFKA_TIMESTAMP_REFUSED" && named
    })
    .await;
    let halted = shop.relay().await.message;
    assert!(halted.contains(&topic) && halted.contains("message.timestamp.after.max.ms"), "it says what to do: {halted}");
    eventually("all before it is told", || async { shop.relay().await.position == place - 1 }).await;
    shop.book("poster", 3).await;
    shop.until_relay_says(RelayState::Halted, "KAFKA_TIMESTAMP_REFUSED").await;
    assert_eq!(shop.relay().await.position, place - 1, "it is not skipped");
    set(&brokers, &topic, ("message.timestamp.after.max.ms", "9223372036854775807")).await;
    shop.until_relayed().await;
    assert_eq!(shop.audited(&brokers, &prefix).await[2].records, 12);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_head_has_the_time_of_the_event_that_it_is_told_behind() {
    let (brokers, prefix, folder) = (kafka().await, prefix(), tempfile::tempdir().unwrap());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000).await;
    shop.until_relayed().await;
    let database = shop.database.clone();
    shop.node.stop().await;
    // whoever takes over has read no event when the first head is due
    let mut shop = Serving::on(database, |config| {
        config.kafka.topic_prefix.clone_from(&prefix);
        config.heads.every_seconds = 1;
        config.heads.file = folder.path().join("heads.jsonl");
        config.heads.key_file = folder.path().join("heads.key");
    })
    .await;
    shop.node.sign_heads();
    shop.node.relay_to(&brokers);
    for told in [0, 1] {
        shop.book("poster", told).await;
        eventually("the newest head is told", || async {
            let head = shop.head().await.to_i64();
            shop.newest_told_head(&brokers, &prefix).await == Some(head)
        })
        .await;
    }
    let heads = records_of(&brokers, &format!("{prefix}{}", Topic::LogHead.name()), 1).await;
    let recorded: BTreeSet<i64> = shop.log().await.iter().map(|event| event.recorded_at.as_millisecond()).collect();
    assert!(heads.len() >= 2 && heads.iter().all(|head| recorded.contains(&head.time_ms)), "no clock but the database's dates what is told");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_begins_waits_for_every_checkpoint_that_was_committed_and_tells_nothing_twice() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000).await;
    shop.until_relayed().await;
    // somebody else's transaction keeps all that is committed behind it in that partition from being told
    let (topic, id) = (format!("{prefix}reservation.relay-checkpoint.v1"), format!("{prefix}another"));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers).set("transactional.id", &id).set("transaction.timeout.ms", "600000");
    let another: BaseProducer = config.create().unwrap();
    another.init_transactions(Duration::from_secs(60)).unwrap();
    another.begin_transaction().unwrap();
    another.send(BaseRecord::<str, str>::to(&topic).partition(0).key("another").payload("x")).unwrap();
    another.flush(Duration::from_secs(60)).unwrap();
    shop.book("poster", 20).await;
    shop.until_relayed().await;
    let told = shop.relay().await.position;
    let database = shop.database.clone();
    shop.node.stop().await;

    let mut shop = Serving::on(database, |config| {
        config.kafka.topic_prefix.clone_from(&prefix);
        config.kafka.patience_ms = 3_000;
        config.relay.lease_ms = 15_000;
    })
    .await;
    shop.node.relay_to(&brokers);
    shop.until_relay_says(RelayState::Waiting, "KAFKA_UNAVAILABLE").await;
    shop.book("poster", 5).await;
    another.abort_transaction(Duration::from_secs(60)).unwrap();
    shop.until_relayed().await;
    assert!(shop.relay().await.position > told);
    shop.audited(&brokers, &prefix).await;
    shop.node.stop().await;
}
