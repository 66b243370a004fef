//! Events on their way to a caller, in bunches: a message for each would cost more than what is in it.

use jari_contract::{PublicMessage, Publisher};
use jari_event_store::RecordedEvent;
use jari_proto::history::v1 as wire;
use jari_wire::{signed, timestamp};
use prost::Message;

use crate::{filter::Types, refusal::HistoryError};

/// Events of one answer.
const MOST_EVENTS: usize = 500;
/// Bytes after which an answer is closed. Clients take messages of 4 MiB unless told otherwise; one event has at most some 100 KiB.
const ENOUGH_BYTES: usize = 256 << 10;

/// What is told of one event of the log: nothing, when `types` do not name it.
pub(crate) fn told(publisher: &Publisher, event: &RecordedEvent, types: &Types) -> Result<Vec<wire::Event>, HistoryError> {
    let messages = publisher.publish(event)?;
    Ok(messages.into_iter().filter(|message| types.have(message.attributes.event_type)).map(|message| on_the_wire(event, message)).collect())
}

fn on_the_wire(event: &RecordedEvent, PublicMessage { attributes, data, .. }: PublicMessage) -> wire::Event {
    wire::Event {
        id: attributes.id,
        source: attributes.source.to_string(),
        r#type: attributes.event_type.to_owned(),
        subject: attributes.subject.unwrap_or_default(),
        time: Some(timestamp(event.recorded_at)),
        data_schema: attributes.data_schema.to_owned(),
        data_json: String::from_utf8(data).expect("a JSON writer writes UTF-8"),
        position: event.position.to_i64(),
        stream_version: signed(event.sequence),
        correlation_id: attributes.correlation_id.unwrap_or_default(),
        causation_id: attributes.causation_id.unwrap_or_default(),
        trace_parent: attributes.trace_parent.unwrap_or_default(),
    }
}

/// An answer that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    events: Vec<wire::Event>,
    bytes: usize,
}

impl Chunk {
    pub fn take(&mut self, events: Vec<wire::Event>) {
        self.bytes += events.iter().map(Message::encoded_len).sum::<usize>();
        self.events.extend(events);
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Two messages are told of one event at most, so that one more must find room.
    pub fn is_full(&self) -> bool {
        self.events.len() + 1 >= MOST_EVENTS || self.bytes >= ENOUGH_BYTES
    }

    /// What was taken; empty after it.
    pub fn close(&mut self) -> Vec<wire::Event> {
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }
}
