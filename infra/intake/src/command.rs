//! From a record to a typed command, or to the reason why it is none. Which refusal wins when several apply: 1 headers, 2 type, 3 personal data,
//! 4 the data, 5 the order and the key, 6 the age.

use std::{collections::BTreeMap, sync::OnceLock};

use jari_proto::order::v1 as pb;
use jiff::{SignedDuration, Timestamp};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, prost::Message};
use uuid::Uuid;

use crate::{
    error::{COMMAND_HEADERS_INVALID, COMMAND_KEY_INVALID, COMMAND_PERSONAL_DATA, COMMAND_TOO_OLD, COMMAND_TYPE_UNKNOWN, COMMAND_UNREADABLE},
    record::Record,
};

/// The longest `ce_source`, in bytes.
const MAX_SOURCE: usize = 512;
/// Where a sender may think that persons go, as proto3 JSON may spell it.
const PERSONAL: [&str; 4] = ["contact", "guests", "personalData", "personal_data"];

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Place(pb::PlaceOrderCommand),
    Confirm(pb::ConfirmOrderCommand),
    Cancel(pb::CancelOrderCommand),
}

impl Command {
    pub fn order_id(&self) -> &str {
        match self {
            Self::Place(command) => &command.order_id,
            Self::Confirm(command) => &command.order_id,
            Self::Cancel(command) => &command.order_id,
        }
    }
}

/// A command that can be executed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub id: Uuid,
    pub source: String,
    pub trace: Option<String>,
    pub command: Command,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: String,
    pub message: String,
    pub details: BTreeMap<String, String>,
    pub retryable: bool,
}

impl Refusal {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: BTreeMap::new(), retryable: false }
    }
}

/// The id that always comes of these two.
pub(crate) fn derived(of: &Uuid, name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::Hasher::new().update(of.as_bytes()).update(name.as_bytes()).finalize().as_bytes()[..16]);
    Uuid::new_v8(bytes)
}

/// Reads a record that was taken at `now`, when the ids of commands are remembered for `remembered`.
///
/// What a refusal says quotes nothing of the value: what could not be read may hold anything.
pub(crate) fn read(record: &Record, now: Timestamp, remembered: SignedDuration) -> Result<Known, Refusal> {
    let (id, source) = headers(record)?;
    let command = command(record)?;
    // The service would choose an id for an order that has none. Here nobody would hear of it, and the empty key would be the key of many orders.
    if command.order_id().is_empty() {
        let message = "the value names no order: its sender chooses the order's id, names it in orderId, and sends the record under it as the key";
        return Err(Refusal::new(COMMAND_KEY_INVALID, message));
    }
    if record.key != command.order_id().as_bytes() {
        let message = "the record's key must be the order's id: without that, commands of one order would overtake each other";
        return Err(Refusal::new(COMMAND_KEY_INVALID, message));
    }
    let written = record.time_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    if written.is_some_and(|at| now.duration_since(at) > remembered) {
        let message = "the record is older than ids of commands are remembered: nobody can say whether it was executed before";
        return Err(Refusal::new(COMMAND_TOO_OLD, message));
    }
    let trace = record.header("ce_traceparent").or_else(|| record.header("traceparent")).map(str::to_owned);
    Ok(Known { id, source, trace, command })
}

/// The sender's id for the command, and the sender.
fn headers(record: &Record) -> Result<(Uuid, String), Refusal> {
    let mut wrong = BTreeMap::new();
    if record.header("content-type").is_some_and(|kind| kind.starts_with("application/cloudevents")) {
        wrong.insert("content-type", "CloudEvents come in Kafka's binary mode: attributes in headers, the data as the value");
    }
    if record.header("ce_specversion") != Some("1.0") {
        wrong.insert("ce_specversion", "must be 1.0");
    }
    let id = record.header("ce_id").and_then(|id| Uuid::try_parse(id).ok()).filter(|id| !id.is_nil());
    if id.is_none() {
        wrong.insert("ce_id", "must be a UUID, best of version 7: the sender's id for this command");
    }
    let source = record.header("ce_source").filter(|source| (1..=MAX_SOURCE).contains(&source.len()) && !source.chars().any(char::is_control));
    if source.is_none() {
        wrong.insert("ce_source", "must name the program that sends, in 1 to 512 bytes");
    }
    if let (true, Some(id), Some(source)) = (wrong.is_empty(), id, source) {
        return Ok((id, source.to_owned()));
    }
    let fields: Vec<&str> = wrong.keys().copied().collect();
    let mut refusal = Refusal::new(COMMAND_HEADERS_INVALID, format!("headers that cannot be used: {}", fields.join(", ")));
    refusal.details = wrong.into_iter().map(|(field, what)| (field.to_owned(), what.to_owned())).collect();
    Err(refusal)
}

fn command(record: &Record) -> Result<Command, Refusal> {
    let named = record.header("ce_type").unwrap_or_default();
    match named.strip_prefix("reservation.order.v1.") {
        Some("PlaceOrderCommand") => data(named, &record.value).map(Command::Place).map_err(|refusal| persons_first(record, refusal)),
        Some("ConfirmOrderCommand") => data(named, &record.value).map(Command::Confirm),
        Some("CancelOrderCommand") => data(named, &record.value).map(Command::Cancel),
        _ => Err(Refusal::new(
            COMMAND_TYPE_UNKNOWN,
            "ce_type must be reservation.order.v1. and one of PlaceOrderCommand, ConfirmOrderCommand, CancelOrderCommand",
        )),
    }
}

/// An order with persons in it is unreadable for that reason, and its sender should hear it.
fn persons_first(record: &Record, refusal: Refusal) -> Refusal {
    let value: Option<serde_json::Value> = serde_json::from_slice(&record.value).ok();
    if value.is_some_and(|value| PERSONAL.iter().any(|name| value.get(name).is_some())) {
        let message = "a command on a topic must not carry a contact or names of guests, which everybody who reads the topic would see: place the order by OrderService";
        return Refusal::new(COMMAND_PERSONAL_DATA, message);
    }
    refusal
}

/// The value as a message of the contract: proto3 JSON, without anything that the message does not know.
fn data<M: Message + Default>(named: &str, value: &[u8]) -> Result<M, Refusal> {
    let unreadable = |line: usize, column: usize| {
        Refusal::new(COMMAND_UNREADABLE, format!("the value is not the proto3 JSON of {named}: see line {line}, column {column}"))
    };
    let mut reader = serde_json::Deserializer::from_slice(value);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let read = match pool().get_message_by_name(named) {
        Some(message) => DynamicMessage::deserialize_with_options(message, &mut reader, &options),
        None => return Err(unreadable(0, 0)),
    };
    let read = read.and_then(|read| reader.end().map(|()| read)).map_err(|error| unreadable(error.line(), error.column()))?;
    M::decode(read.encode_to_vec().as_slice()).map_err(|_| unreadable(0, 0))
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(jari_proto::FILE_DESCRIPTOR_SET).expect("the contract's own descriptors can be read: a test reads them")
    })
}
