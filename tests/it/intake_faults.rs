//! Commands by topic when something is broken: a stream, Kafka, a node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jari_contract::Topic;
use jari_event_store::{Position, Reader};
use jari_intake::{DeadLetters, Intake, IntakeSettings};
use jari_proto::{
    operations::v1::{GetStatusRequest, IntakeState, ListRefusedCommandsRequest},
    status::reason,
};
use jari_relay::Claim;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{database, eventually},
    intake::{DAY, make_commands_topic, running, taking},
    processes::{Folder, free_address, start},
    raw,
    relay::{cluster, kafka, prefix, relaying},
    sender::Sender,
    serving::{Serving, id, order},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_stream_cannot_be_read_is_told_after_a_while_and_those_behind_it_are_executed() {
    let (brokers, prefix) = (kafka().await, prefix());
    make_commands_topic(&brokers, &prefix, 1, 7 * DAY).await;
    let shop = relaying(database().await, &brokers, &prefix).await;
    for product in ["poster", "mug"] {
        shop.on_sale(product, 10).await;
    }
    shop.until_relayed().await;
    // drafted, its option defined, launched
    shop.scrawl("Product", "poster", 4).await;
    let refused =
        || async { shop.orders().place_order(order(&[("poster", 1)])).await.is_err_and(|e| reason(&e).as_deref() == Some("STREAM_UNREADABLE")) };
    eventually("the poster cannot be read", refused).await;
    // one command at a time, and two seconds for each that is not taken
    let mut config = jari::config::Config::default();
    config.kafka.topic_prefix.clone_from(&prefix);
    let log_id = shop.node.identity.log_id;
    let settings = config.intake_settings(&brokers, shop.node.address, log_id);
    let settings = IntakeSettings { try_for: Duration::from_secs(2), batch_commands: 1, ..settings };
    let (cluster, stop) = (cluster(&brokers, &prefix), CancellationToken::new());
    let (_, working) = Intake::start(settings, Claim::new(cluster.clone(), Reader::new(shop.database.clone()), log_id), stop.clone());
    let (sender, unread) = (Sender::new(&brokers, &prefix), id());
    sender.place(&unread, "o-1", "poster", 1).await;
    sender.place(&id(), "o-2", "mug", 1).await;
    shop.until("o-2", "OrderHeld").await;

    let letters = DeadLetters::new(cluster);
    let told = letters.list(0, 10).await.unwrap().letters;
    let codes: Vec<(&str, &str, bool)> = told.iter().map(|l| (&*l.refused.command_id, &*l.refused.code, l.refused.retryable)).collect();
    assert_eq!(codes, [(&*unread, "STREAM_UNREADABLE", true)]);
    assert_eq!(shop.history_of("o-1").await, [""; 0], "nothing was done");
    let mend = "ALTER TABLE events DISABLE TRIGGER USER;
        UPDATE events SET event_type = 'ProductResumed', payload = '{\"ProductResumed\":{}}' WHERE event_type = 'Scrawled';
        ALTER TABLE events ENABLE TRIGGER USER";
    raw::client(&shop.database).await.batch_execute(mend).await.unwrap();
    // under its own id, twice; and once more by its sender
    for _ in 0..2 {
        assert_eq!(letters.redrive(told[0].offset).await.unwrap().to_string(), unread);
    }
    sender.place(&unread, "o-1", "poster", 1).await;
    shop.until("o-1", "OrderHeld").await;
    // a marker behind all of them: what was sent before it was worked on before it
    sender.cancel(&id(), "o-1").await;
    shop.until("o-1", "OrderCancelled").await;
    assert_eq!(shop.history_of("o-1").await, ["OrderPlaced", "OrderHeld", "OrderCancelled"]);
    assert_eq!(letters.list(0, 10).await.unwrap().letters.len(), 1);
    stop.cancel();
    working.await.unwrap();
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_kafka_says_that_nothing_is_taken_and_why() {
    let shop = Serving::start().await;
    let intake = shop.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner().intake.unwrap();
    assert_eq!((intake.state(), intake.message.as_str()), (IntakeState::Off, "no Kafka is known to this node"));
    let listed = shop.operations().list_refused_commands(ListRefusedCommandsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&listed).as_deref(), Some("INTAKE_OFF"));
    shop.node.stop().await;
}

/// Three hundred orders placed and then cancelled by topic, each command sent twice, some of them refused, while two nodes share the work and are
/// killed in turns.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_while_they_take_commands_lose_none_and_do_none_twice() {
    const ORDERS: usize = 300;
    let (database, brokers, prefix, folder) = (database().await, kafka().await, prefix(), Folder::new());
    let shop = Serving::on(database.clone(), |config| config.settlement.enabled = true).await;
    shop.on_sale("poster", 1_000_000).await;
    let config = |name: &str| {
        let rest = format!(
            "[node]\nid = \"{name}\"\n[server]\nlisten = \"{}\"\n[settlement]\nenabled = false\n[projections]\nenabled = false\n[relay]\nlease_ms = 1000\n\
             [kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\npatience_ms = 10_000\n[intake]\nbatch_commands = 20\n",
            free_address()
        );
        folder.config(name, &database, &rest)
    };
    let configs = [config("first"), config("second")];
    let mut nodes = configs.each_ref().map(|config| start(config, &["serve"]));
    let topic_is_there = || async {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let topic = format!("{prefix}{}", Topic::OrderCommand.name());
        let known = admin.inner().fetch_metadata(None, Duration::from_secs(10));
        known.is_ok_and(|known| known.topics().iter().any(|known| known.name() == topic))
    };
    eventually("a node has made the topic", topic_is_there).await;
    let (sender, mut wrong) = (Sender::new(&brokers, &prefix), BTreeSet::new());
    let mut sending = tokio::task::JoinSet::new();
    let sender = Arc::new(sender);
    for n in 0..ORDERS {
        let (place, cancel, stray) = (id(), id(), id());
        wrong.extend((n % 3 == 0).then(|| stray.clone()));
        let sender = sender.clone();
        sending.spawn(async move {
            let order = format!("o-{n}");
            for _ in 0..2 {
                sender.place(&place, &order, "poster", 1).await;
                sender.cancel(&cancel, &order).await;
                if n % 3 == 0 {
                    sender.confirm(&stray, &order).await;
                }
            }
        });
        if n % 60 == 59 {
            while sending.join_next().await.transpose().unwrap().is_some() {}
            let victim = n / 60 % 2;
            nodes[victim].kill();
            nodes[victim] = start(&configs[victim], &["serve"]);
        }
    }
    let reader = Reader::new(database.clone());
    let cancelled = || async {
        let log = reader.log_after(Position::START, 1_000_000).await.unwrap();
        log.iter().filter(|event| event.event_type == "OrderCancelled").count() == ORDERS
    };
    eventually("all of them were placed and cancelled", cancelled).await;
    let log = shop.log().await;
    for kind in ["OrderPlaced", "OrderCancelled"] {
        let orders: Vec<&str> = log.iter().filter(|event| event.event_type == kind).map(|event| &*event.aggregate_id).collect();
        assert_eq!((orders.len(), orders.iter().collect::<BTreeSet<_>>().len()), (ORDERS, ORDERS), "{kind}");
    }
    // every record of a refused command is told once: as often as it was sent
    let watcher = taking(database.clone(), &brokers, &prefix).await;
    eventually("what was refused is told", || async { watcher.refused().await.len() >= 2 * wrong.len() }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = watcher.refused().await;
    let told: BTreeSet<&str> = refused.iter().map(|command| command.id.as_str()).collect();
    assert_eq!((refused.len(), told.len()), (2 * wrong.len(), 2 * wrong.len()), "none twice");
    assert_eq!(refused.iter().map(|command| command.refused.clone().unwrap().command_id).collect::<BTreeSet<_>>(), wrong);
    watcher.node.stop().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_whose_time_their_topic_refuses_stop_the_intake_until_it_takes_them() {
    let (brokers, prefix) = (kafka().await, prefix());
    // made by somebody, so that a letter has the time of the node that tells it, which is always a little behind the broker's
    let topic = format!("{prefix}{}", Topic::RefusedOrderCommand.name());
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let made = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "CreateTime");
    let made = made.set("message.timestamp.before.max.ms", "0");
    admin.create_topics(&[made], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let shop = taking(database().await, &brokers, &prefix).await;
    running(&shop).await;
    let sender = Sender::new(&brokers, &prefix);
    for order in ["o-1", "o-2", "o-3"] {
        sender.confirm(&id(), order).await;
    }
    eventually("it stands still", || async { shop.intake().await == (IntakeState::Halted, "KAFKA_TIMESTAMP_REFUSED".into()) }).await;
    assert_eq!(shop.refused().await, []);
    let right = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("message.timestamp.type", "LogAppendTime");
    admin.alter_configs(&[right], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    eventually("all are told", || async { shop.refused().await.len() == 3 }).await;
    shop.node.stop().await;
}
