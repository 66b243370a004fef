//! From an event of the log to what the public is told of it.

use std::sync::Arc;

use jari_domain::AnyEvent;
use jari_event_store::{Body, RecordedEvent};
use uuid::Uuid;

use crate::{
    Attributes, ContractError, LogHeadSigned, Topic, availability,
    catalogue::{self, Told},
    error::Unfit,
    order, product, slot,
};

/// What stands behind the position in the id of a message that is told beside an event.
const BESIDE: &str = ".1";

/// Tells the events of one log. Depends on nothing but the event: the same event gives the same bytes, whoever asks and whenever.
#[derive(Debug, Clone)]
pub struct Publisher {
    source: Arc<str>,
}

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicMessage {
    /// Where it goes.
    pub topic: Topic,
    /// The record's key: the id of what it is about.
    pub key: Arc<str>,
    /// The record's headers.
    pub attributes: Attributes,
    /// The record's value: JSON.
    pub data: Vec<u8>,
}

impl Publisher {
    /// Of the log with this id.
    #[must_use]
    pub fn new(log_id: Uuid) -> Self {
        Self { source: log_id.urn().to_string().into() }
    }

    /// The public messages of one event of the log, in their order; none for a stream that is not ours.
    ///
    /// # Errors
    /// [`ContractError`] when the event is of ours and cannot be told: it is never skipped.
    pub fn publish(&self, event: &RecordedEvent) -> Result<Vec<PublicMessage>, ContractError> {
        let known = match &event.body {
            Body::Known(known) => known,
            Body::Unreadable { .. } if event.stream().is_none() => return Ok(Vec::new()),
            Body::Unreadable { error, .. } => {
                return Err(ContractError::Unreadable {
                    position: event.position,
                    aggregate_type: event.aggregate_type.to_string(),
                    event_type: event.event_type.to_string(),
                    event_version: event.event_version.to_string(),
                    reason: error.to_string(),
                });
            }
        };
        self.tell(event, known).map_err(|Unfit(what)| ContractError::OutOfRange { position: event.position, what })
    }

    /// The public message of a signed head.
    #[must_use]
    pub fn publish_head(&self, head: &LogHeadSigned) -> PublicMessage {
        PublicMessage {
            topic: Topic::LogHead,
            key: head.log_id.as_str().into(),
            attributes: Attributes::of_head(head, &self.source),
            data: catalogue::tell(head).data,
        }
    }

    fn tell(&self, event: &RecordedEvent, known: &AnyEvent) -> Result<Vec<PublicMessage>, Unfit> {
        let id = &event.aggregate_id;
        let message = |folder, suffix, Told { of, data }: Told| PublicMessage {
            topic: of.topic,
            key: id.clone(),
            attributes: Attributes::new(event, &self.source, folder, of, suffix),
            data,
        };
        Ok(match known {
            AnyEvent::Product(known) => vec![message("products", "", product::told(id, known)?)],
            AnyEvent::InventorySlot(known) => {
                let mut messages = vec![message("slots", "", slot::told(id, known)?)];
                let beside = availability::told(id, known, event.position)?;
                messages.extend(beside.map(|told| message("slots", BESIDE, told)));
                messages
            }
            AnyEvent::Order(known) => vec![message("orders", "", order::told(id, known)?)],
        })
    }
}
