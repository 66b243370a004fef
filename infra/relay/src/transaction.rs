//! A producer under a transactional id, and what it sends: messages and what goes with them, whole or not at all.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use jari_contract::{PublicMessage, Topic};
use jiff::Timestamp;
use rdkafka::{
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{Checkpoint, Cluster, Deliveries, RelayError, checkpoint, refused::refusal};

/// How long one look at what was delivered lasts.
const LOOK: Duration = Duration::from_millis(1);
/// How long what else was on its way is waited for, once a transaction has failed: the client gives it up at once, and a broker that answered answers again.
const EXPLAINED: Duration = Duration::from_secs(1);

/// Bytes of a record's value, at most: a broker hangs up on whoever sends it a request of more than 100 MiB (`socket.request.max.bytes`), and would be
/// taken for one that is away. Below that it is for the topic to say what is too large.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// What the client is told that a record may have: more than ever comes, with key, headers and frame. Its own million would be a second bound beside the
/// topic's, which nobody could raise. How many small records travel together is `batch.size`.
const CLIENT_BYTES: &str = "100000000";

/// A message and when its event was recorded, in milliseconds since 1970: the record's time.
#[derive(Debug, Clone)]
pub struct Message {
    /// What is told.
    pub public: PublicMessage,
    /// When, in milliseconds since 1970.
    pub recorded_ms: i64,
}

/// What goes in one transaction.
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    pub(crate) checkpoint: Checkpoint,
    /// It is a single event that was refused before.
    pub(crate) is_doubtful: bool,
}

/// The two producers of the one relay of these topics, used in turns. Kafka goes on writing the end of a transaction after it has said that it is committed, and
/// takes the producer's next one only after that; the client asks again after some 20 ms, which would be half of a transaction's time. By then the
/// other one's end is long written. There is one transaction at a time all the same: the next begins when the one before is committed.
pub(crate) struct Pair {
    producers: [Transactions; 2],
    next: AtomicUsize,
}

impl Pair {
    /// Fences whoever relayed to these topics before, of whichever log: both of theirs, before the checkpoint is read.
    pub fn begin(cluster: &Cluster) -> Result<Self, RelayError> {
        let one = Transactions::begin(cluster, "jari-relay-1")?;
        let other = Transactions::begin(cluster, "jari-relay-2")?;
        Ok(Self { producers: [one, other], next: AtomicUsize::new(0) })
    }

    /// Has each of the two commit a record of no meaning behind all that they and those before them wrote to the checkpoints' topic, and gives the offset of
    /// the last. Brokers that were killed right after a commit, and are back, have been seen to tell of such a topic as if it ended before that
    /// commit, long after they let the producers begin; why is not known. What was told would be told again. Who reads up to a record of the same
    /// producers that is committed has read all before it.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub fn barrier(&self) -> Result<i64, RelayError> {
        self.producers.iter().try_fold(0, |behind, producer| Ok(producer.barrier()?.max(behind)))
    }

    /// Commits a batch. After an error nobody knows whether it was committed: begin anew, and read the checkpoint.
    pub fn commit(&self, batch: &Batch) -> Result<(), RelayError> {
        self.producers[self.next.fetch_add(1, Ordering::Relaxed) % 2].commit(batch)
    }
}

/// A producer under a transactional id of which there is one at a time. Blocks: called on threads for that, one call at a time.
pub struct Transactions {
    producer: BaseProducer<Deliveries>,
    topics: HashMap<Topic, String>,
    checkpoints: String,
    patience: Duration,
}

impl Transactions {
    /// Fences whoever had the transactional id, and aborts what they had open. The cluster's prefix comes before it.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub fn begin(cluster: &Cluster, id: &str) -> Result<Self, RelayError> {
        let patience = cluster.patience();
        let limit = patience.as_millis().to_string();
        let mut config = cluster.client();
        config
            .set("transactional.id", cluster.topic(id))
            .set("transaction.timeout.ms", &limit)
            .set("message.timeout.ms", &limit)
            .set("message.max.bytes", CLIENT_BYTES)
            .set("compression.type", "lz4")
            // keys keep the partition that the JVM's clients would give them
            .set("partitioner", "murmur2_random")
            // a transaction is a batch already: a moment is enough for its records to travel together
            .set("linger.ms", "1")
            // A broker may still be writing the end of the transaction before when it is asked to begin the next, and says so. The usual pause of a
            // tenth of a second between two questions would be most of a transaction's time.
            .set("retry.backoff.ms", "1")
            .set("retry.backoff.max.ms", "20");
        let producer = BaseProducer::from_config_and_context(&config, Deliveries::default()).map_err(RelayError::kafka("connecting"))?;
        producer.init_transactions(patience).map_err(RelayError::kafka("taking over"))?;
        let topics = Topic::ALL.iter().map(|topic| (*topic, cluster.topic(topic.name()))).collect();
        Ok(Self { producer, topics, checkpoints: cluster.topic(checkpoint::TOPIC), patience })
    }

    fn barrier(&self) -> Result<i64, RelayError> {
        let record = BaseRecord::<[u8], [u8]>::to(&self.checkpoints).partition(checkpoint::PARTITION).key(checkpoint::BARRIER.as_bytes());
        self.transact(&[], |_| self.send(record))?;
        Ok(self.producer.context().newest_offset())
    }

    fn commit(&self, batch: &Batch) -> Result<(), RelayError> {
        let checkpoint = serde_json::to_vec(&batch.checkpoint).map_err(|e| RelayError::Broken(e.to_string()))?;
        self.transact(&batch.messages, |_| {
            // One that is refused again and again, as often as it is tried, leaves no heap of checkpoints that count for nothing.
            if batch.is_doubtful {
                self.deliver()?;
            }
            self.send(
                BaseRecord::to(&self.checkpoints).partition(checkpoint::PARTITION).key(checkpoint::KEY.as_bytes()).payload(checkpoint.as_slice()),
            )
        })
    }

    /// Commits messages, and what `more` does within the same transaction.
    ///
    /// # Errors
    /// After any, nobody knows whether it was committed: begin anew, and look.
    pub fn transact(&self, messages: &[Message], more: impl FnOnce(&BaseProducer<Deliveries>) -> Result<(), RelayError>) -> Result<(), RelayError> {
        if let Some(Message { public, .. }) = messages.iter().find(|message| message.public.data.len() > MOST_BYTES) {
            let topic = self.topics.get(&public.topic).cloned().unwrap_or_default();
            return Err(RelayError::too_large(&public.attributes.id, topic, public.data.len()));
        }
        self.producer.begin_transaction().map_err(RelayError::kafka("beginning a transaction"))?;
        self.fill_and_commit(messages, more).map_err(|error| self.explained(error, messages))
    }

    fn fill_and_commit(
        &self,
        messages: &[Message],
        more: impl FnOnce(&BaseProducer<Deliveries>) -> Result<(), RelayError>,
    ) -> Result<(), RelayError> {
        for message in messages {
            let PublicMessage { topic, key, attributes, data } = &message.public;
            let headers = attributes.headers().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
            let topic = self.topics.get(topic).map_or("", String::as_str);
            self.send(BaseRecord::to(topic).key(key.as_bytes()).payload(data.as_slice()).headers(headers).timestamp(message.recorded_ms))?;
        }
        more(&self.producer)?;
        self.deliver()?;
        self.producer.commit_transaction(self.patience).map_err(RelayError::kafka("committing"))
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<(), RelayError> {
        let (mut record, until) = (record, Instant::now() + self.patience);
        // Ends when there is room in the client's queue, or when there was none for too long.
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) if Instant::now() < until => {
                    record = again;
                    self.producer.poll(LOOK);
                }
                Err((error, _)) => return Err(self.why("sending", error)),
            }
        }
    }

    /// Waits until everything was delivered: a commit that finds something under way waits in steps of a tenth of a second.
    fn deliver(&self) -> Result<(), RelayError> {
        // Each message is delivered or given up within `message.timeout.ms`, and the first that is given up ends the wait.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(LOOK);
            let failed = self.producer.context().failed().first().map(|failed| failed.error.clone());
            if let Some(error) = failed {
                return Err(self.why("delivering", error));
            }
        }
        Ok(())
    }

    /// The record that a broker does not take, if that is why the transaction failed; else `error`. Whatever is called after a refusal fails as well, and
    /// says less.
    fn explained(&self, error: RelayError, messages: &[Message]) -> RelayError {
        let until = Instant::now() + EXPLAINED;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(LOOK);
        }
        // no other transaction can begin within this one, and the client answers with what ended it
        let ended = || self.producer.begin_transaction().err().and_then(|ended| ended.rdkafka_error_code());
        refusal(&self.producer.context().failed(), ended, messages, Timestamp::now().as_millisecond()).unwrap_or(error)
    }

    /// A producer that was fenced says of its messages only that they were purged.
    fn why(&self, doing: &'static str, error: KafkaError) -> RelayError {
        match self.producer.client().fatal_error() {
            Some((RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch, _)) => RelayError::Fenced,
            Some((code, _)) => RelayError::kafka(doing)(KafkaError::Global(code)),
            None => RelayError::kafka(doing)(error),
        }
    }
}
