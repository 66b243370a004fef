//! Whole topics beside the whole log: whether every public event is there once, in order for its key, byte for byte.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jari_contract::{LogHeadSigned, PublicMessage, Publisher, Topic};
use jari_event_store::{Position, Reader};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use uuid::Uuid;

use crate::{
    Cluster, RelayError,
    cluster::{Quiet, blocking},
};

/// Events read at once.
const PAGE: usize = 10_000;
/// How long one wait for a record lasts.
const WAIT: Duration = Duration::from_secs(20);

/// What one topic holds, beside what it should hold. All but the first three should be 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicAudit {
    /// Its name.
    pub topic: String,
    /// Records that a `read_committed` consumer sees.
    pub records: u64,
    /// Records that were written in transactions that were aborted: nobody sees them but who asks for everything.
    pub aborted: u64,
    /// Events of the log that are not there. Of a compacted topic: keys whose latest record is not the latest event.
    pub missing: u64,
    /// Events that are there more than once.
    pub doubled: u64,
    /// Records that stand behind a later event of their key.
    pub disordered: u64,
    /// Records that are of no event of the log, or say something else than it does.
    pub foreign: u64,
}

impl TopicAudit {
    /// How many things do not hold.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.missing + self.doubled + self.disordered + self.foreign
    }
}

/// An expected record: its place in the log's order, what it says, and how often it was seen.
struct Expected {
    position: Position,
    key: Arc<str>,
    content: u64,
    seen: u64,
}

type Events = HashMap<String, Expected>;

/// Compares every topic with the log up to position `until`. Holds some 200 bytes an event in memory, and reads whole topics: for proofs and for
/// operators in doubt, not for every day. Events that a topic has let go by its retention count as missing.
///
/// # Errors
/// [`RelayError`] when log or cluster do not answer, or the log holds an event that cannot be published.
pub async fn audit(cluster: &Cluster, reader: &Reader, log_id: Uuid, until: Position) -> Result<Vec<TopicAudit>, RelayError> {
    let mut expected: HashMap<Topic, Events> = Topic::OF_EVENTS.iter().map(|topic| (*topic, Events::new())).collect();
    let (publisher, mut after) = (Publisher::new(log_id), Position::START);
    // Ends at `until`, or with the log.
    while after < until {
        let page = reader.log_after(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in page.iter().filter(|event| event.position <= until) {
            let messages = publisher.publish(event).map_err(|source| RelayError::Unpublishable { position: event.position, source })?;
            for message in messages {
                let (position, content) = (event.position, content(&message));
                let PublicMessage { topic, key, attributes, .. } = message;
                expected.entry(topic).or_default().insert(attributes.id, Expected { position, key, content, seen: 0 });
            }
        }
    }
    let mut audits = Vec::new();
    for topic in Topic::OF_EVENTS {
        let (cluster, events) = (cluster.clone(), expected.remove(&topic).unwrap_or_default());
        audits.push(blocking(move || one(&cluster, topic, events)).await?);
    }
    let cluster = cluster.clone();
    audits.push(blocking(move || heads(&cluster, &publisher)).await?);
    Ok(audits)
}

/// Of the signed heads: each once, in order, as the publisher of this log tells it. Which there should be nobody knows.
fn heads(cluster: &Cluster, publisher: &Publisher) -> Result<TopicAudit, RelayError> {
    let name = cluster.topic(Topic::LogHead.name());
    let mut audit = TopicAudit { topic: name.clone(), ..TopicAudit::default() };
    let mut latest = Position::START;
    read(cluster, &name, "read_committed", |record| {
        audit.records += 1;
        let head = record.payload().and_then(|payload| serde_json::from_slice::<LogHeadSigned>(payload).ok());
        let Some(head) = head.filter(|head| Some(content(&publisher.publish_head(head))) == content_of(record)) else {
            audit.foreign += 1;
            return;
        };
        let position = head.position.to_position();
        audit.doubled += u64::from(position == latest);
        audit.disordered += u64::from(position < latest);
        latest = latest.max(position);
    })?;
    let mut written = 0_u64;
    read(cluster, &name, "read_uncommitted", |_| written += 1)?;
    audit.aborted = written.saturating_sub(audit.records);
    Ok(audit)
}

fn content(message: &PublicMessage) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.key.as_bytes().hash(&mut hasher);
    message.data.hash(&mut hasher);
    message.attributes.headers().for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// As [`content`], of a record. `None` when its headers are no text.
fn content_of(record: &BorrowedMessage<'_>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    record.key()?.hash(&mut hasher);
    record.payload()?.to_vec().hash(&mut hasher);
    for header in record.headers()?.iter() {
        (header.key, std::str::from_utf8(header.value?).ok()?).hash(&mut hasher);
    }
    Some(hasher.finish())
}

fn id_of(record: &BorrowedMessage<'_>) -> Option<String> {
    let id = record.headers()?.iter().find(|header| header.key == "ce_id")?.value?;
    String::from_utf8(id.to_vec()).ok()
}

fn one(cluster: &Cluster, topic: Topic, mut events: Events) -> Result<TopicAudit, RelayError> {
    let name = cluster.topic(topic.name());
    let mut audit = TopicAudit { topic: name.clone(), ..TopicAudit::default() };
    let mut latest: HashMap<Vec<u8>, Position> = HashMap::new();
    read(cluster, &name, "read_committed", |record| {
        audit.records += 1;
        let (Some(key), Some(id)) = (record.key(), id_of(record)) else {
            audit.foreign += 1;
            return;
        };
        let Some(event) = events.get_mut(&id).filter(|event| Some(event.content) == content_of(record)) else {
            audit.foreign += 1;
            return;
        };
        event.seen += 1;
        audit.doubled += u64::from(event.seen > 1);
        let before = latest.insert(key.to_vec(), event.position).unwrap_or_default();
        audit.disordered += u64::from(before > event.position);
    })?;
    let mut written = 0_u64;
    read(cluster, &name, "read_uncommitted", |_| written += 1)?;
    audit.aborted = written.saturating_sub(audit.records);
    audit.missing = if topic.settings().compacted {
        let mut newest: HashMap<&str, Position> = HashMap::new();
        for event in events.values() {
            let position = newest.entry(&event.key).or_default();
            *position = event.position.max(*position);
        }
        newest.iter().filter(|(key, position)| latest.get(key.as_bytes()) != Some(*position)).count() as u64
    } else {
        events.values().filter(|event| event.seen == 0).count() as u64
    };
    Ok(audit)
}

/// Reads a topic from its beginning to its present end.
fn read(cluster: &Cluster, topic: &str, isolation: &str, mut take: impl FnMut(&BorrowedMessage<'_>)) -> Result<(), RelayError> {
    let failed = || RelayError::kafka("reading a topic");
    let mut config = cluster.client();
    config
        .set("group.id", cluster.topic("jari-audit"))
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).map_err(failed())?;
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).map_err(failed())?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut place = TopicPartitionList::new();
    for partition in 0..partitions {
        place.add_partition_offset(topic, i32::try_from(partition).unwrap_or(i32::MAX), Offset::Beginning).map_err(failed())?;
    }
    consumer.assign(&place).map_err(failed())?;
    let mut open = partitions;
    // Ends when each partition has told its end, or with the first wait that is too long.
    while open > 0 {
        match consumer.poll(WAIT) {
            Some(Ok(record)) => take(&record),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(RelayError::kafka("reading a topic")(error)),
            None => return Err(RelayError::Kafka { doing: "reading a topic", source: KafkaError::NoMessageReceived }),
        }
    }
    Ok(())
}
