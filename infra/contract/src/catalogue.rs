//! What is said of every public event: its name, its schema, and the topic that it stands on. Each module of events has its table.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use crate::{availability, order, product, slot, topic::Topic};

/// What the catalogue says of a public event.
#[derive(Debug, Clone, Copy)]
pub struct PublicType {
    /// Its short name: `OrderHeld`.
    pub name: &'static str,
    /// CloudEvents' `type`: the full name of its message in `proto/`.
    pub event_type: &'static str,
    /// CloudEvents' `dataschema`, and the `$id` of its JSON Schema: a name, not an address.
    pub data_schema: &'static str,
    /// Where it is published.
    pub topic: Topic,
    pub(crate) schema: fn(SchemaGenerator) -> Schema,
    /// Reads data and writes it again, by the type that the code serialises.
    #[cfg(test)]
    pub(crate) read_and_write: fn(&[u8]) -> serde_json::Result<Vec<u8>>,
}

/// A type whose values are published. Implemented by the tables and nowhere else.
pub(crate) trait PublicEvent: Serialize + DeserializeOwned + JsonSchema {
    const TYPE: &'static PublicType;
}

/// The public events of one module: the package of their messages, and their topic; then each with the version of its schema.
///
/// To change an event so that consumers who know the old one are not hurt (a new property), raise the second number of its version. Whatever hurts
/// them is a new event, on a new topic: the comparison with what was published says which is which.
macro_rules! events_of {
    ($package:literal on $topic:ident { $($event:ident $version:literal),* $(,)? }) => {
        $(impl $crate::catalogue::PublicEvent for $event {
            const TYPE: &'static $crate::PublicType = &$crate::PublicType {
                name: stringify!($event),
                event_type: concat!($package, ".", stringify!($event)),
                data_schema: concat!("urn:jari:schema:", $package, ".", stringify!($event), ":", $version),
                topic: $crate::Topic::$topic,
                schema: |generator| generator.into_root_schema_for::<$event>(),
                #[cfg(test)]
                read_and_write: |data| serde_json::to_vec(&serde_json::from_slice::<$event>(data)?),
            };
        })*

        pub(crate) const EVENTS: &[&$crate::PublicType] = &[$(<$event as $crate::catalogue::PublicEvent>::TYPE),*];
    };
}
pub(crate) use events_of;

/// Every public event, by topic.
pub fn public_events() -> impl Iterator<Item = &'static PublicType> {
    [product::EVENTS, slot::EVENTS, order::EVENTS, availability::EVENTS].into_iter().flatten().copied()
}

/// Every type that stands on a topic, by topic.
#[cfg(test)]
pub(crate) fn public_types() -> impl Iterator<Item = &'static PublicType> {
    let commands = crate::order_command::COMMANDS.iter().copied();
    public_events().chain([crate::log_head::TYPE]).chain(commands).chain([crate::order_command::REFUSED])
}

/// A public event as bytes, with what the catalogue says of it.
pub(crate) struct Told {
    pub(crate) of: &'static PublicType,
    pub(crate) data: Vec<u8>,
}

/// The event as proto3 JSON.
pub(crate) fn tell<E: PublicEvent>(event: &E) -> Told {
    let data = serde_json::to_vec(event).expect("a public event is plain data whose keys are text: nothing in it can fail to be written");
    Told { of: E::TYPE, data }
}
