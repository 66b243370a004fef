//! Commands that were refused: told on their topic, listed, and sent again under another id.

use jari_contract::{
    OrderCommandRefused, Topic, order_command,
    value::{Count, Int64},
};
use jari_relay::{Cluster, Message, Quiet, RelayError, blocking};
use jiff::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use uuid::Uuid;

use crate::{
    RedriveError,
    command::{Refusal, derived},
    error::{COMMAND_FAILED, COMMAND_HEADERS_INVALID, COMMAND_PERSONAL_DATA, COMMAND_TYPE_UNKNOWN, COMMAND_UNREADABLE},
    record::Record,
};

/// The topic has one partition: whoever repairs has one order.
const PARTITION: i32 = 0;

/// Bytes of a text that the sender chose and that is no use when it is longer.
const MAX_TEXT: usize = 512;
/// Bytes of what the engine said, and of the facts to it.
const MAX_MESSAGE: usize = 4_096;
const MAX_DETAILS: usize = 128 << 10;
/// Bytes of a command as JSON text, in which each quotation mark is two. With the rest it stays below the million that a record may have by default: a
/// letter that cannot be sent would hold up every command behind it.
const MAX_COMMAND: usize = 512 << 10;
/// Bytes of the letters that are read at once.
const MAX_PAGE: usize = 2 << 20;
/// Where a command names its customer and its order, as proto3 JSON may spell it: references that the sender chose, and where it may have put a person.
const REFERENCES: [&str; 3] = ["customer", "orderId", "order_id"];
/// The command that names a customer.
const PLACE: &str = "reservation.order.v1.PlaceOrderCommand";
/// Codes of commands that were not decided: no refusal is recorded under their ids.
const UNDECIDED: [&str; 4] = ["STREAM_UNREADABLE", "DECISION_FAILED", "LOG_REFUSED", COMMAND_FAILED];

/// What is told of a refused record. The same record gives the same id, whoever refuses it and however often.
pub(crate) fn of(record: &Record, refusal: Refusal, log_id: Uuid, at: Timestamp) -> Message {
    let text = |header: &str| cut(record.header(header).unwrap_or_default(), MAX_TEXT);
    // what could not be read may hold anything, and what holds persons does not go on
    let unread = matches!(refusal.code.as_str(), COMMAND_HEADERS_INVALID | COMMAND_TYPE_UNKNOWN | COMMAND_UNREADABLE | COMMAND_PERSONAL_DATA);
    let order_id = String::from_utf8(record.key.clone()).ok().filter(|key| is_id(key));
    let command = Some(&record.value).filter(|_| !unread).and_then(|value| copy(value)).filter(|command| json_bytes(command) <= MAX_COMMAND);
    let mut room = MAX_DETAILS;
    let fits = |(name, fact): &(String, String)| {
        let left = room.checked_sub(json_bytes(name) + json_bytes(fact));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let refused = OrderCommandRefused {
        order_id: order_id.unwrap_or_default(),
        code: refusal.code,
        message: cut(&refusal.message, MAX_MESSAGE),
        details: refusal.details.into_iter().take_while(fits).collect(),
        retryable: refusal.retryable,
        command_id: Uuid::try_parse(&text("ce_id")).map(|id| id.to_string()).unwrap_or_default(),
        command_source: text("ce_source"),
        command_type: text("ce_type"),
        command: command.unwrap_or_default(),
        partition: Count::at_most(record.partition.unsigned_abs()),
        offset: Int64::offset(record.offset.unsigned_abs()),
        refused_at: at.into(),
    };
    let name = format!("{}/{}/{}/{}", record.partition, record.offset, record.time_ms.unwrap_or_default(), refused.command_id);
    Message { public: refused.publish(derived(&log_id, &name), log_id), recorded_ms: at.as_millisecond() }
}

/// A command as it is copied: the value as it was read, without references that are none, since an address or a name may stand there and nobody would
/// erase it. Written anew, so that what stands twice, of which the last counts, is not copied either.
fn copy(value: &[u8]) -> Option<String> {
    let mut command: serde_json::Value = serde_json::from_slice(value).ok()?;
    for name in REFERENCES {
        if let Some(reference) = command.get_mut(name).filter(|reference| !reference.as_str().is_some_and(is_id)) {
            *reference = "".into();
        }
    }
    Some(command.to_string())
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// The length of a text in JSON, at most: a control character is six bytes.
fn json_bytes(text: &str) -> usize {
    text.bytes().map(|byte| if byte < b' ' { 6 } else { 1 + usize::from(matches!(byte, b'"' | b'\\')) }).sum()
}

/// As ids of orders and references to customers are: 1 to 64 characters of a small alphabet, the first a letter or digit.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A refused command, as it stands on its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands: names it in lists.
    pub offset: i64,
    /// Names it for ever.
    pub id: Uuid,
    /// What is told of it.
    pub refused: OrderCommandRefused,
}

impl DeadLetter {
    /// The id under which the command is sent again, the same however often. Refused once more, it bears this id in its next letter.
    ///
    /// Under its own a refusal would be found that is recorded there, so it is another, which comes of the letter's. What was not decided keeps its own:
    /// that is not used up, and should the command have been done after all, by a node that answered too late, it is known and not done again.
    #[must_use]
    pub fn id_again(&self) -> Uuid {
        let own = Uuid::try_parse(&self.refused.command_id).ok().filter(|_| UNDECIDED.contains(&&*self.refused.code));
        own.unwrap_or_else(|| derived(&self.id, "again"))
    }

    /// The order that the command is sent again for. `None` of one that was not kept, and of one that would be refused again as often as it is sent: it
    /// names no order, or asks for one without saying for whom.
    fn order_again(&self) -> Option<String> {
        // a record under another key was refused for that: its value says which order it meant
        let command: serde_json::Value = serde_json::from_str(&self.refused.command).ok()?;
        let is_named = |value: &serde_json::Value| value.as_str().is_some_and(|name| !name.is_empty());
        let order_id = command.get("orderId").or_else(|| command.get("order_id")).filter(|id| is_named(id))?;
        let is_for_nobody = self.refused.command_type == PLACE && !command.get("customer").is_some_and(is_named);
        order_id.as_str().filter(|_| !is_for_nobody).map(str::to_owned)
    }
}

/// Some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// As they stand.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` at the end of the topic.
    pub next: Option<i64>,
}

/// The topic of refused commands.
#[derive(Debug, Clone)]
pub struct DeadLetters(Cluster);

impl DeadLetters {
    /// Of this cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }

    /// Those that stand at `from` or behind it: at most `most`, and at most about 2 MiB of them.
    ///
    /// # Errors
    /// [`RelayError::Kafka`].
    pub async fn list(&self, from: i64, most: usize) -> Result<Page, RelayError> {
        let cluster = self.0.clone();
        blocking(move || read(&cluster, from, most)).await
    }

    /// Sends a refused command again, and gives the id under which it is: sent again twice, it is still one command.
    ///
    /// # Errors
    /// [`RedriveError`].
    pub async fn redrive(&self, offset: i64) -> Result<Uuid, RedriveError> {
        let letter = self.list(offset, 1).await?.letters.into_iter().next().filter(|letter| letter.offset == offset);
        let letter = letter.ok_or(RedriveError::Unknown(offset))?;
        let OrderCommandRefused { command_type, command_source, command, .. } = &letter.refused;
        let (id, at) = (letter.id_again(), Timestamp::now());
        let order_id = letter.order_again();
        let again = order_id.and_then(|order_id| order_command::send_again(command_type, &order_id, command, id, command_source, at));
        let message = Message { public: again.ok_or(RedriveError::NothingToSend)?, recorded_ms: at.as_millisecond() };
        let cluster = self.0.clone();
        // under an id of this process's own, so that two who send at once do not fence each other
        blocking(move || {
            let transactions = jari_relay::Transactions::begin(&cluster, &format!("jari-redrive-{}", Uuid::now_v7()))?;
            transactions.transact(&[message], |_| Ok(()))
        })
        .await?;
        Ok(id)
    }
}

fn read(cluster: &Cluster, from: i64, most: usize) -> Result<Page, RelayError> {
    let failed = || RelayError::kafka("reading refused commands");
    let consumer: BaseConsumer<Quiet> = cluster
        .client()
        .set("group.id", cluster.topic("jari-refused-commands"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create_with_context(Quiet)
        .map_err(failed())?;
    let topic = cluster.topic(Topic::RefusedOrderCommand.name());
    let (low, high) = consumer.fetch_watermarks(&topic, PARTITION, cluster.patience()).map_err(failed())?;
    if from >= high {
        return Ok(Page::default());
    }
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&topic, PARTITION, Offset::Offset(from.max(low))).map_err(failed())?;
    consumer.assign(&place).map_err(failed())?;
    let (mut page, mut bytes) = (Page::default(), 0);
    // Ends with enough, with the end of what is committed, or with the first wait that is too long.
    while page.letters.len() < most && bytes < MAX_PAGE {
        match consumer.poll(cluster.patience()) {
            Some(Ok(record)) => {
                let record = Record::from(&record);
                bytes += record.value.len();
                page.letters.extend(letter(&record));
                page.next = Some(record.offset + 1);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                page.next = None;
                break;
            }
            Some(Err(error)) => return Err(failed()(error)),
            None => return Err(failed()(KafkaError::NoMessageReceived)),
        }
    }
    Ok(page)
}

/// What we wrote; what others may have put there is passed over.
fn letter(record: &Record) -> Option<DeadLetter> {
    let id = Uuid::try_parse(record.header("ce_id")?).ok()?;
    let refused = serde_json::from_slice(&record.value).ok()?;
    Some(DeadLetter { offset: record.offset, id, refused })
}
