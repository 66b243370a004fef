//! The CloudEvents 1.0 attributes of a public event, and how Kafka carries them.

use std::sync::Arc;

use jari_event_store::RecordedEvent;
use jiff::Timestamp;

use crate::{LogHeadSigned, catalogue::PublicType, log_head, order_command};

/// The longest text of another writer that is passed on as an attribute, in bytes.
const MAX_FOREIGN_BYTES: usize = 256;

/// CloudEvents attributes; those after `data_schema` are extensions. What is optional here is left out when the log does not have it, or has what
/// no header should carry: the metadata of an event may be another writer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The event's position in the log, in decimal; with `.1` behind it for what is told beside, `.head` for a head. Unique within `source`.
    pub id: String,
    /// `urn:uuid:` and the log's id. A restored copy of a log has the same.
    pub source: Arc<str>,
    /// The full name of the data's message in `proto/`: `reservation.order.v1.OrderHeld`.
    pub event_type: &'static str,
    /// What it happened to: `orders/<id>`, `slots/<id>`, `products/<id>`.
    pub subject: Option<String>,
    /// When it was recorded: RFC 3339 in UTC, with microseconds. Never runs back from one position to the next.
    pub time: String,
    /// The `$id` of the data's JSON Schema.
    pub data_schema: &'static str,
    /// The Kafka key: the id of what it happened to.
    pub partition_key: Option<Arc<str>>,
    /// The position in 20 digits, so that text sorts as the log does.
    ///
    /// Absent where no position is told.
    pub sequence: Option<String>,
    /// Its place in the stream of what it happened to, from 1; absent where no event is told.
    pub stream_version: Option<String>,
    /// The first command of the chain of causes.
    pub correlation_id: Option<String>,
    /// The `id` of the event that caused it; absent when a caller did.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub trace_parent: Option<String>,
}

impl Attributes {
    /// Of what `event` is told as; `suffix` tells a second message of the same event from the first.
    pub(crate) fn new(event: &RecordedEvent, source: &Arc<str>, folder: &'static str, of: &PublicType, suffix: &'static str) -> Self {
        let metadata = &event.metadata;
        let key = Some(&event.aggregate_id).filter(|id| is_header_text(id));
        Self {
            id: format!("{}{suffix}", event.position),
            source: source.clone(),
            event_type: of.event_type,
            subject: key.map(|id| format!("{folder}/{id}")),
            time: format!("{:.6}", event.recorded_at),
            data_schema: of.data_schema,
            partition_key: key.cloned(),
            sequence: Some(format!("{:020}", event.position)),
            stream_version: Some(event.sequence.to_string()),
            correlation_id: metadata.correlation_id.as_ref().filter(|id| is_header_text(id)).cloned(),
            causation_id: metadata.causation_position().map(|position| position.to_string()),
            trace_parent: metadata.trace.as_ref().filter(|trace| is_trace_parent(trace)).cloned(),
        }
    }

    /// Of a signed head.
    pub(crate) fn of_head(head: &LogHeadSigned, source: &Arc<str>) -> Self {
        let position = head.position.to_position();
        Self {
            id: format!("{position}.head"),
            source: source.clone(),
            event_type: log_head::TYPE.event_type,
            subject: Some(format!("logs/{}", head.log_id)),
            time: head.signed_at.clone(),
            data_schema: log_head::TYPE.data_schema,
            partition_key: Some(head.log_id.as_str().into()),
            sequence: Some(format!("{position:020}")),
            stream_version: None,
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
        }
    }

    /// Of what is told of a command that was refused: `id` is its own, for ever; `command_id` that of the command.
    pub(crate) fn of_refused_command(id: String, source: &Arc<str>, order_id: &str, command_id: &str, at: Timestamp) -> Self {
        let order_id = Some(order_id).filter(|id| !id.is_empty());
        Self {
            id,
            source: source.clone(),
            event_type: order_command::REFUSED.event_type,
            subject: order_id.map(|id| format!("orders/{id}")),
            time: format!("{at:.6}"),
            data_schema: order_command::REFUSED.data_schema,
            partition_key: order_id.map(Arc::from),
            sequence: None,
            stream_version: None,
            correlation_id: Some(command_id).filter(|id| !id.is_empty()).map(str::to_owned),
            causation_id: None,
            trace_parent: None,
        }
    }

    /// Of a command, as an integrator sends it.
    #[must_use]
    pub fn of_command(id: String, source: Arc<str>, of: &'static PublicType, order_id: &str, at: Timestamp) -> Self {
        Self {
            id,
            source,
            event_type: of.event_type,
            subject: Some(format!("orders/{order_id}")),
            time: format!("{at:.6}"),
            data_schema: of.data_schema,
            partition_key: Some(order_id.into()),
            sequence: None,
            stream_version: None,
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
        }
    }

    /// The headers of Kafka's binary mode, names and values; the data is the record's value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let always: [(&'static str, &str); 7] = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", self.id.as_str()),
            ("ce_source", &self.source),
            ("ce_type", self.event_type),
            ("ce_time", &self.time),
            ("ce_dataschema", self.data_schema),
        ];
        let optional = [
            ("ce_sequence", self.sequence.as_deref()),
            ("ce_streamversion", self.stream_version.as_deref()),
            ("ce_subject", self.subject.as_deref()),
            ("ce_partitionkey", self.partition_key.as_deref()),
            ("ce_correlationid", self.correlation_id.as_deref()),
            ("ce_causationid", self.causation_id.as_deref()),
            ("ce_traceparent", self.trace_parent.as_deref()),
        ];
        always.into_iter().chain(optional.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// Whether text may stand in a header: visible ASCII that is not too long. Every id of ours is; another writer's may be anything.
fn is_header_text(text: &str) -> bool {
    (1..=MAX_FOREIGN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether text is a W3C `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, lower case, neither id all zeros.
fn is_trace_parent(text: &str) -> bool {
    let is_hex = |part: &str, digits| part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    matches!(parts[..], ["00", trace, parent, flags] if is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2))
}
