//! The topics as they are made, and what the user of the nodes must be allowed on a cluster that gives nobody anything.

use std::{fs, path::Path, time::Duration};

use jari_contract::{Settings as Kept, Topic};
use jari_kafka::{DataFolder, PrivateKafka, Settings};
use jari_proto::operations::v1::{IntakeState, RedriveCommandRequest, RelayState};
use rdkafka::{
    ClientConfig,
    admin::ConfigSource,
    consumer::{BaseConsumer, Consumer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{database, eventually},
    relay::{cluster, kafka, prefix, programs, relaying},
    sender::Sender,
    serving::{Serving, id},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_has_defaults_for_is_stated_for_each_topic_all_the_same() {
    let (brokers, prefix) = (kafka().await, prefix());
    let shop = relaying(database().await, &brokers, &prefix).await;
    eventually("the topics are there", || async { shop.relay().await.state() == RelayState::Running }).await;
    // as integrators are told; the relay's own checkpoints stand in one partition, for ever
    let checkpoints = ("reservation.relay-checkpoint.v1", Kept { partitions: 1, retention_ms: -1, compacted: true });
    let stated: Vec<(&str, Kept)> = Topic::ALL.iter().map(|topic| (topic.name(), topic.settings())).chain([checkpoints]).collect();
    let names: Vec<String> = stated.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    let asking: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let known = tokio::task::spawn_blocking(move || asking.fetch_metadata(None, Duration::from_secs(60))).await.unwrap().unwrap();
    for ((name, kept), config) in stated.iter().zip(cluster(&brokers, &prefix).configs(&names).await.unwrap()) {
        let config = config.unwrap();
        let arrives = [Topic::OrderCommand, Topic::RefusedOrderCommand].iter().any(|topic| topic.name() == *name);
        let times = if arrives { "LogAppendTime" } else { "CreateTime" };
        let (cleanup, retention) = (if kept.compacted { "compact" } else { "delete" }, kept.retention_ms.to_string());
        // what has the broker's own time is never refused for it
        let bounds = ["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"].map(|key| (key, "9223372036854775807"));
        let bounds = bounds.into_iter().filter(|_| !arrives);
        let stated = [
            ("compression.type", "producer"),
            ("retention.bytes", "-1"),
            ("message.timestamp.type", times),
            ("cleanup.policy", cleanup),
            ("retention.ms", &retention),
        ];
        for (key, stated) in stated.into_iter().chain(bounds) {
            let entry = config.get(key).unwrap();
            assert_eq!((entry.value.as_deref(), &entry.source), (Some(stated), &ConfigSource::DynamicTopic), "{name}: {key}");
        }
        let made = known.topics().iter().find(|topic| topic.name() == format!("{prefix}{name}")).unwrap();
        assert_eq!(made.partitions().len(), usize::try_from(kept.partitions).unwrap(), "{name}");
    }
    shop.node.stop().await;
}

/// Kafka's numbers for what may be done, and to what.
const OPERATIONS: [(&str, u8); 4] = [("READ", 3), ("WRITE", 4), ("CREATE", 5), ("DESCRIBE", 8)];
const KINDS: [(&str, u8); 3] = [("Topic", 2), ("Group", 3), ("Transactional id", 5)];

/// The rights that the page for operators names: kind, name, operation.
fn documented() -> Vec<(u8, String, u8)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md")).unwrap();
    let rows = page.lines().skip_while(|line| *line != "| What | Name | Operations |").skip(2).take_while(|line| line.starts_with('|'));
    let number = |of: &[(&str, u8)], name: &str| of.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not known")).1;
    let mut rights = Vec::new();
    for row in rows {
        let [_, kind, names, operations, _] = row.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        for name in names.split('`').skip(1).step_by(2) {
            rights.extend(operations.split(", ").map(|operation| (number(&KINDS, kind), name.to_owned(), number(&OPERATIONS, operation))));
        }
    }
    assert!(rights.len() > 20, "{rights:?}");
    rights
}

/// Allows `user` what `rights` say, with `prefix` before each name: CreateAcls, version 1, as Kafka's protocol has it.
async fn allow(brokers: &str, user: &str, prefix: &str, rights: &[(u8, String, u8)]) {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let mut request = [&30_u16.to_be_bytes()[..], &1_u16.to_be_bytes(), &7_u32.to_be_bytes(), &text("test")].concat();
    request.extend(u32::try_from(rights.len()).unwrap().to_be_bytes());
    for (kind, name, operation) in rights {
        let pattern = if name.ends_with('-') { 4 } else { 3 };
        request.push(*kind);
        request.extend(text(&format!("{prefix}{name}")));
        request.push(pattern);
        request.extend(text(&format!("User:{user}")));
        request.extend(text("*"));
        request.extend([*operation, 3]);
    }
    let mut stream = TcpStream::connect(brokers).await.unwrap();
    stream.write_all(&[&u32::try_from(request.len()).unwrap().to_be_bytes()[..], &request].concat()).await.unwrap();
    let length = stream.read_u32().await.unwrap();
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.unwrap();
    // its number, how long it was throttled, how many results; of each the number of its error, and an empty message
    assert_eq!(answer[12..], vec![0; 4 * rights.len()], "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_rights_and_no_others_relays_takes_commands_and_sends_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("kafka.crt"), folder.path().join("kafka.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem() + &made.cert.pem()).unwrap();
    let properties = [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        // whoever comes without TLS has no name: this test, and the broker itself
        "super.users=User:ANONYMOUS",
        "listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SASL_SSL",
        "listener.name.tls.sasl.enabled.mechanisms=PLAIN",
        "listener.name.tls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_jari=\"secret\";",
    ];
    let settings =
        Settings { tls: Some(key), properties: properties.map(str::to_owned).to_vec(), ..Settings::new(DataFolder::new(folder.path()), programs()) };
    let kafka = PrivateKafka::start(settings).await.unwrap();
    let (brokers, prefix) = (kafka.brokers(), prefix());
    allow(&brokers, "jari", &prefix, &documented()).await;
    let mut shop = Serving::on(database().await, |config| {
        config.kafka.topic_prefix.clone_from(&prefix);
        config.kafka.patience_ms = 10_000;
        config.kafka.security_protocol = "sasl_ssl".into();
        config.kafka.ca_file = certificate.display().to_string();
        (config.kafka.sasl_mechanism, config.kafka.username) = ("PLAIN".into(), "jari".into());
        config.kafka.password = "secret".into();
    })
    .await;
    shop.node.relay_to(&kafka.tls_brokers());
    shop.node.take_commands_from(&kafka.tls_brokers());
    shop.on_sale("poster", 10).await;
    shop.until_relayed().await;
    eventually("commands are taken", || async { shop.intake().await == (IntakeState::Running, String::new()) }).await;
    let sender = Sender::new(&brokers, &prefix);
    sender.confirm(&id(), "o-1").await;
    eventually("it is refused", || async { shop.refused().await.len() == 1 }).await;
    sender.place(&id(), "o-1", "poster", 1).await;
    eventually("it is held", || async { shop.history_of("o-1").await.len() == 2 }).await;
    let offset = shop.refused().await[0].offset;
    shop.operations().redrive_command(RedriveCommandRequest { request_id: id(), offset }).await.unwrap();
    eventually("it is confirmed", || async { shop.history_of("o-1").await.len() == 3 }).await;
    shop.until_relayed().await;
    shop.node.stop().await;
    kafka.stop();
}
