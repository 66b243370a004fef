//! The relay, on a real Kafka: one server for all tests but those that break it, topics of its own for each.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_event_store::{Database, PoolSettings, Position, Reader};
use jari_kafka::PrivateKafka;
use jari_proto::{
    inventory::v1::SuspendSlotRequest,
    operations::v1::{GetStatusRequest, RelayState, RelayStatus},
    order::v1::{CancelOrderRequest, ConfirmOrderRequest},
};
use jari_relay::{Checkpoint, Cluster, TopicAudit, audit};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    harness::{database, eventually},
    raw,
    serving::{Serving, id, order},
};

static KAFKA: OnceCell<Mutex<PrivateKafka>> = OnceCell::const_new();

/// What is fetched is kept here for the next run.
pub fn programs() -> PathBuf {
    std::env::temp_dir().join("jari-test-programs")
}

/// The Kafka that the tests share; it ends with this process.
pub async fn kafka() -> String {
    let shared = KAFKA.get_or_init(|| async { Mutex::new(PrivateKafka::temporary(&programs(), None).await.unwrap()) }).await;
    shared.lock().unwrap().brokers()
}

pub fn prefix() -> String {
    format!("t{}.", Uuid::now_v7().simple())
}

/// A node on `database` that relays to topics that begin with `prefix`.
pub async fn relaying(database: Database, brokers: &str, prefix: &str) -> Serving {
    let prefix = prefix.to_owned();
    let mut shop = Serving::on(database, |config| {
        config.kafka.topic_prefix = prefix;
        config.kafka.patience_ms = 5_000;
        config.relay.lease_ms = 15_000;
    })
    .await;
    shop.node.relay_to(brokers);
    shop
}

pub fn cluster(brokers: &str, prefix: &str) -> Cluster {
    let mut config = jari::config::Config::default();
    config.kafka.topic_prefix = prefix.to_owned();
    config.kafka.patience_ms = 60_000;
    let settings = config.relay_settings(brokers);
    Cluster::new(settings.kafka, settings.patience)
}

impl Serving {
    pub async fn relay(&self) -> RelayStatus {
        self.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner().relay.unwrap()
    }

    pub async fn head(&self) -> Position {
        Reader::new(self.database.clone()).head().await.unwrap()
    }

    pub async fn until_relayed(&self) {
        eventually("everything is relayed", || async {
            let (status, head) = (self.relay().await, self.head().await);
            status.state() == RelayState::Running && status.position == head.to_i64()
        })
        .await;
    }

    pub async fn until_relay_says(&self, state: RelayState, code: &str) -> RelayStatus {
        eventually(code, || async {
            let status = self.relay().await;
            status.state() == state && status.code == code
        })
        .await;
        self.relay().await
    }

    /// The position of the newest signed head that was relayed.
    pub async fn newest_told_head(&self, brokers: &str, prefix: &str) -> Option<i64> {
        let checkpoint = cluster(brokers, prefix).newest_checkpoint().await.ok().flatten()?;
        let checkpoint: Checkpoint = serde_json::from_slice(&checkpoint).unwrap();
        Some(checkpoint.head.to_i64())
    }

    /// Whole topics beside the whole log.
    pub async fn audited(&self, brokers: &str, prefix: &str) -> Vec<TopicAudit> {
        let cluster = cluster(brokers, prefix);
        let audits = audit(&cluster, &Reader::new(self.database.clone()), self.node.identity.log_id, self.head().await).await.unwrap();
        for audit in &audits {
            assert_eq!(audit.faults(), 0, "{audit:?}");
        }
        audits
    }

    pub async fn book(&self, product: &str, orders: usize) {
        for _ in 0..orders {
            self.orders().place_order(order(&[(product, 1)])).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_public_event_is_in_its_topic_once_and_in_order_for_its_key() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    let slot = shop.on_sale("poster", 30).await;
    shop.on_sale("mug", 30).await;
    let both = shop.orders().place_order(order(&[("mug", 2), ("poster", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: both.clone() }).await.unwrap();
    shop.orders().cancel_order(CancelOrderRequest { request_id: id(), order_id: both, reason: "rain".into() }).await.unwrap();
    shop.book("poster", 40).await;
    shop.inventory().suspend_slot(SuspendSlotRequest { request_id: id(), slot_id: slot, reason: "storm".into() }).await.unwrap();
    shop.until_relayed().await;
    let audits = shop.audited(&brokers, &prefix).await;
    let records: Vec<u64> = audits.iter().map(|audit| audit.records).collect();
    // drafted, defined, launched; two slots opened, 32 holds, confirmed and cancelled twice, suspended; 41 orders placed and settled, one of them more
    assert_eq!(records[..3], [6, 2 + 32 + 4 + 1, 41 * 2 + 2], "{audits:?}");
    assert!(records[3] >= 2, "each slot has its latest record: {audits:?}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_far_the_relay_is_behind_a_transaction_takes_no_more_events_than_it_may() {
    let (brokers, prefix) = (kafka().await, prefix());
    let mut shop = Serving::on(database().await, |config| {
        config.kafka.topic_prefix.clone_from(&prefix);
        config.relay.batch_events = 10;
    })
    .await;
    shop.on_sale("poster", 1_000).await;
    let placing = (0..200).map(|_| {
        let mut orders = shop.orders();
        async move { orders.place_order(order(&[("poster", 1)])).await.unwrap() }
    });
    futures::future::join_all(placing).await;
    shop.node.relay_to(&brokers);
    shop.until_relayed().await;
    let (transactions, head) = (shop.relay().await.transactions, shop.head().await.to_i64());
    assert!(head > 600 && transactions >= head / 10, "{transactions} transactions for {head} events");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_heads_follow_the_events_that_they_stand_for_and_are_told_once() {
    let (brokers, prefix, folder) = (kafka().await, prefix(), tempfile::tempdir().unwrap());
    let start = async |database| {
        let mut shop = Serving::on(database, |config| {
            config.kafka.topic_prefix.clone_from(&prefix);
            config.relay.lease_ms = 15_000;
            config.heads.every_seconds = 1;
            config.heads.file = folder.path().join("heads.jsonl");
            config.heads.key_file = folder.path().join("heads.key");
        })
        .await;
        shop.node.sign_heads();
        shop.node.relay_to(&brokers);
        shop
    };
    let signed = || jari_heads::newest_in(&folder.path().join("heads.jsonl")).unwrap();
    let mut database = database().await;
    for round in 1..=2 {
        let shop = start(database).await;
        if round == 1 {
            shop.on_sale("poster", 100).await;
        }
        shop.book("poster", 2).await;
        shop.until_relayed().await;
        // nothing more happens: the head is told without an event that would take it along
        eventually("the newest head is in its topic", || async {
            let head = shop.head().await.to_i64();
            let told = shop.newest_told_head(&brokers, &prefix).await;
            told.is_some_and(|told| told == head) && signed().is_some_and(|signed| signed.position.to_position().to_i64() == head)
        })
        .await;
        let audits = shop.audited(&brokers, &prefix).await;
        assert!(audits[4].records >= round, "{audits:?}");
        database = shop.database.clone();
        shop.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_take_over_from_each_other_again_and_again_repeat_and_lose_nothing() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 1_000_000).await;
    let (mut customers, enough) = (tokio::task::JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..8 {
        let (mut orders, enough) = (shop.orders(), enough.clone());
        customers.spawn(async move {
            let mut placed = 0;
            while placed < 200 || !enough.load(Ordering::Relaxed) {
                orders.place_order(order(&[("poster", 1)])).await.unwrap();
                placed += 1;
            }
            placed
        });
    }
    // Each of these fences whoever relays now, in whatever it is doing, as a node does whose lease another took while it was paused.
    let (mut takeovers, mut placed) = (0, 0);
    while !customers.is_empty() {
        cluster(&brokers, &prefix).fence().await.unwrap();
        takeovers += 1;
        enough.store(takeovers >= 5, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        while let Some(customer) = customers.try_join_next() {
            placed += customer.unwrap();
        }
    }
    shop.until_relayed().await;
    let audits = shop.audited(&brokers, &prefix).await;
    assert_eq!(audits[2].records, 2 * placed, "{audits:?}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_relaying_node_stops_another_goes_on_where_it_ended() {
    let (brokers, prefix) = (kafka().await, prefix());
    let one = relaying(database().await, &brokers, &prefix).await;
    one.on_sale("poster", 1_000).await;
    one.book("poster", 20).await;
    one.until_relayed().await;
    let other = relaying(one.database.clone(), &brokers, &prefix).await;
    eventually("one relays at a time", || async { other.relay().await.state() == RelayState::Standby }).await;
    one.book("poster", 20).await;
    one.node.stop().await;
    other.book("poster", 20).await;
    other.until_relayed().await;
    assert_eq!(other.audited(&brokers, &prefix).await[2].records, 120);
    other.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_or_another_log_stops_the_relay_and_nothing_is_skipped() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    let original = shop.database.clone();
    shop.on_sale("poster", 1_000).await;
    shop.book("poster", 5).await;
    shop.until_relayed().await;
    let relayed = shop.head().await;
    shop.node.stop().await;

    let stranger = relaying(database().await, &brokers, &prefix).await;
    stranger.on_sale("mug", 5).await;
    let halted = stranger.until_relay_says(RelayState::Halted, "RELAY_OTHER_LOG").await;
    assert!(halted.message.contains("kafka.topic_prefix"), "it says what to do: {halted:?}");
    stranger.node.stop().await;

    // a backup, and then more of the history
    let copy = copy_of(&original).await;
    let shop = relaying(original, &brokers, &prefix).await;
    shop.book("poster", 5).await;
    shop.until_relayed().await;
    let head = shop.head().await;
    shop.node.stop().await;

    let restored = relaying(copy, &brokers, &prefix).await;
    let halted = restored.until_relay_says(RelayState::Halted, "RELAY_LOG_BEHIND").await;
    assert!(halted.message.contains(&format!("position {head}")) && halted.message.contains(&relayed.to_string()), "{halted:?}");
    // it goes on differently, past the position that was relayed
    restored.book("poster", 10).await;
    restored.until_relay_says(RelayState::Halted, "RELAY_LOG_DIFFERS").await;
    // topics of its own begin at the first event
    let fresh = self::prefix();
    let database = restored.database.clone();
    restored.node.stop().await;
    let restored = relaying(database, &brokers, &fresh).await;
    restored.until_relayed().await;
    restored.audited(&brokers, &fresh).await;
    restored.node.stop().await;
}

/// The database as it is now, under another name: what a restored backup is.
async fn copy_of(database: &Database) -> Database {
    let mut config = crate::harness::server().await;
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let (from, to) = (database.config().get_dbname().unwrap(), format!("t_{}", Uuid::now_v7().simple()));
    // nobody may be connected to what is copied
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
    client.batch_execute(&end).await.unwrap();
    // those that were told to end may take a moment
    eventually("the copy is made", || async { client.batch_execute(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await.is_ok() }).await;
    config.dbname(&to);
    Database::new(config, PoolSettings::patient()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_stops_the_relay_at_its_place_until_it_can() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    let slot = shop.on_sale("poster", 1_000).await;
    shop.book("poster", 3).await;
    shop.until_relayed().await;
    shop.scrawl("InventorySlot", "scrawled@stock", 1).await;
    let place = shop.head().await;
    shop.scrawl("Weather", "seoul", 1).await;
    let halted = shop.until_relay_says(RelayState::Halted, "RELAY_EVENT_UNREADABLE").await;
    assert!(halted.message.contains(&format!("position {place}")), "{halted:?}");
    shop.book("poster", 3).await;
    let mend = "ALTER TABLE events DISABLE TRIGGER USER;
        UPDATE events SET event_type = 'SlotResumed', payload = '{\"SlotResumed\":{}}' WHERE event_type = 'Scrawled' AND aggregate_type = 'InventorySlot';
        ALTER TABLE events ENABLE TRIGGER USER";
    raw::client(&shop.database).await.batch_execute(mend).await.unwrap();
    shop.until_relayed().await;
    let audits = shop.audited(&brokers, &prefix).await;
    assert_eq!(audits[2].records, 12, "an event of another program is nobody's business: {audits:?}");
    assert!(audits[3].records > 0, "{slot}: {audits:?}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_go_on_while_kafka_is_away_and_are_relayed_when_it_comes_back() {
    let kafka = PrivateKafka::temporary(&programs(), None).await.unwrap();
    let (brokers, prefix) = (kafka.brokers(), prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 10_000).await;
    shop.book("poster", 10).await;
    shop.until_relayed().await;
    let signal = |signal: &str| std::process::Command::new("kill").args([signal, &kafka.pid().unwrap().to_string()]).status().unwrap();
    signal("-STOP");
    shop.book("poster", 50).await;
    let waits = shop.until_relay_says(RelayState::Waiting, "KAFKA_UNAVAILABLE").await;
    assert!(waits.lag_events >= 100, "{waits:?}");
    shop.book("poster", 50).await;
    signal("-CONT");
    shop.until_relayed().await;
    signal("-KILL");
    shop.book("poster", 50).await;
    eventually("it is started again", || async { kafka.answers() }).await;
    shop.until_relayed().await;
    assert_eq!(shop.audited(&brokers, &prefix).await[2].records, 320);
    shop.node.stop().await;
    kafka.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_speaks_tls_is_relayed_to_and_one_with_a_wrong_certificate_is_not() {
    let folder = std::env::temp_dir().join(format!("jari-tls-{}", Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = folder.join(format!("{name}.crt"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), made.signing_key.serialize_pem() + &made.cert.pem()).unwrap();
        certificate.display().to_string()
    };
    let (ours, another) = (made("ours"), made("another"));
    let kafka = PrivateKafka::temporary(&programs(), Some(folder.join("ours.pem"))).await.unwrap();
    let (brokers, prefix) = (kafka.tls_brokers(), prefix());
    let start = |database: Database, ca_file: String, patience_ms| {
        let (brokers, prefix) = (brokers.clone(), prefix.clone());
        async move {
            let mut shop = Serving::on(database, |config| {
                config.kafka.topic_prefix = prefix;
                config.kafka.security_protocol = "ssl".into();
                config.kafka.ca_file = ca_file;
                config.kafka.patience_ms = patience_ms;
                config.relay.lease_ms = 15_000;
            })
            .await;
            shop.node.relay_to(&brokers);
            shop
        }
    };
    let shop = start(database().await, another, 3_000).await;
    shop.on_sale("poster", 10).await;
    shop.until_relay_says(RelayState::Waiting, "KAFKA_UNAVAILABLE").await;
    let database = shop.database.clone();
    shop.node.stop().await;
    let shop = start(database, ours, 20_000).await;
    shop.book("poster", 3).await;
    shop.until_relayed().await;
    assert_eq!(shop.audited(&kafka.brokers(), &prefix).await[2].records, 6, "the same topics without TLS");
    shop.node.stop().await;
    kafka.stop();
    std::fs::remove_dir_all(&folder).unwrap();
}
