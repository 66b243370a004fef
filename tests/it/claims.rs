//! Whose the topics are: nobody writes to those of another log, tells everything twice, or acts on what was sent to another.

use jari_contract::Topic;
use jari_proto::operations::v1::{IntakeState, RelayState};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use crate::{
    harness::{database, eventually},
    intake::taking,
    relay::{cluster, kafka, prefix, relaying},
    sender::Sender,
    serving::id,
};

const CHECKPOINTS: &str = "reservation.relay-checkpoint.v1";

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_lose_the_checkpoint_stops_the_relay_before_it_tells_anything() {
    let brokers = kafka().await;
    for (partitions, policy) in [(3, "compact"), (1, "delete")] {
        let prefix = prefix();
        let topic = format!("{prefix}{CHECKPOINTS}");
        let made = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)).set("cleanup.policy", policy);
        admin(&brokers).create_topics(&[made], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let shop = relaying(database().await, &brokers, &prefix).await;
        shop.on_sale("poster", 5).await;
        let halted = shop.until_relay_says(RelayState::Halted, "RELAY_CHECKPOINT_TOPIC").await;
        assert!(halted.message.contains(&topic) && halted.message.contains(policy), "{halted:?}");
        assert_eq!(cluster(&brokers, &prefix).newest_checkpoint().await.unwrap(), None);
        shop.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_gone_is_not_taken_for_a_new_beginning() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    shop.on_sale("poster", 5).await;
    shop.until_relayed().await;
    let database = shop.database.clone();
    shop.node.stop().await;
    let topic = format!("{prefix}{CHECKPOINTS}");
    admin(&brokers).delete_topics(&[&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let shop = relaying(database, &brokers, &prefix).await;
    let halted = shop.until_relay_says(RelayState::Halted, "RELAY_CHECKPOINT_MISSING").await;
    assert!(halted.message.contains("kafka.topic_prefix"), "it says what to do: {halted:?}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_taken_before_the_first_event_and_whoever_comes_second_disturbs_nobody() {
    let (brokers, prefix) = (kafka().await, prefix());
    let first = relaying(database().await, &brokers, &prefix).await;
    eventually("it relays nothing yet", || async { first.relay().await.state() == RelayState::Running }).await;
    let second = relaying(database().await, &brokers, &prefix).await;
    second.on_sale("mug", 5).await;
    second.until_relay_says(RelayState::Halted, "RELAY_OTHER_LOG").await;
    first.on_sale("poster", 50).await;
    // long enough for the second to try again in between
    for _ in 0..40 {
        first.book("poster", 1).await;
        assert_ne!(first.relay().await.state(), RelayState::Halted);
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    first.until_relayed().await;
    assert_eq!(first.audited(&brokers, &prefix).await[2].records, 80);
    first.node.stop().await;
    second.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_were_sent_to_another_log_are_not_executed() {
    let (brokers, prefix) = (kafka().await, prefix());
    let owner = relaying(database().await, &brokers, &prefix).await;
    eventually("the topics are taken", || async { owner.relay().await.state() == RelayState::Running }).await;
    owner.node.stop().await;
    let sender = Sender::new(&brokers, &prefix);
    sender.place(&id(), "o-1", "poster", 1).await;
    let stranger = taking(database().await, &brokers, &prefix).await;
    stranger.on_sale("poster", 5).await;
    eventually("it stands still", || async { stranger.intake().await == (IntakeState::Halted, "RELAY_OTHER_LOG".into()) }).await;
    assert!(stranger.history_of("o-1").await.is_empty());
    assert_eq!(stranger.refused().await, [], "{}", Topic::RefusedOrderCommand.name());
    stranger.node.stop().await;
}
