//! Every aggregate, listed once: the sum types in which the engine and the projections carry states and events.
//!
//! To add an aggregate, add a line to `aggregates!` and whatever the compiler asks for.

use crate::{Decider, EventFormat, StreamId, order::Order, product::Product, slot::InventorySlot};

/// A stored event that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No aggregate of that type.
    #[error("no aggregate is called {0:?}")]
    UnknownAggregate(String),
    /// Type or version that this program does not know.
    #[error("event {event_type:?} version {event_version:?} of {aggregate_type} is not known to this program")]
    UnknownEvent {
        /// The aggregate.
        aggregate_type: &'static str,
        /// As stored.
        event_type: String,
        /// As stored.
        event_version: String,
    },
    /// The payload does not fit its type.
    #[error("payload of {event_type:?} version {event_version:?}: {reason}")]
    Payload {
        /// As stored.
        event_type: String,
        /// As stored.
        event_version: String,
        /// From the JSON reader.
        reason: String,
    },
}

fn decode_event<A: Decider>(event_type: &str, event_version: &str, payload: &str) -> Result<A::Event, DecodeError> {
    let bad =
        |e: serde_json::Error| DecodeError::Payload { event_type: event_type.into(), event_version: event_version.into(), reason: e.to_string() };
    let event: A::Event = if A::Event::is_current(event_type, event_version) {
        serde_json::from_str(payload).map_err(bad)?
    } else {
        let old = serde_json::from_str(payload).map_err(bad)?;
        serde_json::from_value(A::Event::upcast(event_type, event_version, old)?).map_err(bad)?
    };
    if event.event_type() != event_type {
        return Err(DecodeError::Payload {
            event_type: event_type.into(),
            event_version: event_version.into(),
            reason: format!("is a {}", event.event_type()),
        });
    }
    Ok(event)
}

macro_rules! aggregates {
    ($($name:ident),* $(,)?) => {
        /// The state of any aggregate.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyState { $(#[doc = concat!("A ", stringify!($name), ".")] $name(Box<$name>),)* }

        /// An event of any aggregate.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyEvent { $(#[doc = concat!("Of a ", stringify!($name), ".")] $name(<$name as Decider>::Event),)* }

        $(crate::cqrs::adapt!($name);)*

        $(impl AsAggregate for $name {
            fn of(state: &AnyState) -> Option<&Self> { if let AnyState::$name(s) = state { Some(s) } else { None } }
            fn wrap(event: Self::Event) -> AnyEvent { AnyEvent::$name(event) }
            fn event_of(event: AnyEvent) -> Option<Self::Event> { if let AnyEvent::$name(e) = event { Some(e) } else { None } }
        })*

        impl AnyState {
            /// The state of a stream without events; `None` for a type that is not ours.
            #[must_use]
            pub fn new(aggregate_type: &str) -> Option<Self> {
                match aggregate_type { $($name::TYPE => Some(Self::$name(Box::default())),)* _ => None }
            }
            /// Folds an event in. An event of another aggregate cannot be in this stream; it would be ignored.
            pub fn apply(&mut self, event: &AnyEvent) {
                match (self, event) { $((Self::$name(s), AnyEvent::$name(e)) => s.apply(e),)* ($(Self::$name(_))|*, _) => debug_assert!(false, "an event of another aggregate") }
            }
            /// See [`Decider::SNAPSHOT_VERSION`].
            #[must_use]
            pub fn snapshot_version(&self) -> u32 { match self { $(Self::$name(_) => $name::SNAPSHOT_VERSION,)* } }
            /// See [`Decider::weight`].
            #[must_use]
            pub fn weight(&self) -> usize { match self { $(Self::$name(s) => s.weight(),)* } }
            /// See [`Decider::bytes`].
            #[must_use]
            pub fn bytes(&self) -> usize { match self { $(Self::$name(s) => s.bytes(),)* } }
            /// The state as JSON.
            ///
            /// # Errors
            /// None in practice: states are plain data.
            pub fn to_snapshot(&self) -> Result<String, serde_json::Error> { match self { $(Self::$name(s) => serde_json::to_string(s),)* } }
            /// Reads a snapshot that was written with the same [`Decider::SNAPSHOT_VERSION`].
            ///
            /// # Errors
            /// [`DecodeError`] for a type that is not ours, or text that does not fit.
            pub fn from_snapshot(aggregate_type: &str, json: &str) -> Result<Self, DecodeError> {
                let bad = |e: serde_json::Error| DecodeError::Payload { event_type: "snapshot".into(), event_version: String::new(), reason: e.to_string() };
                match aggregate_type { $($name::TYPE => Ok(Self::$name(serde_json::from_str(json).map_err(bad)?)),)* other => Err(DecodeError::UnknownAggregate(other.into())) }
            }
        }

        impl AnyEvent {
            /// [`Decider::TYPE`] of its aggregate.
            #[must_use]
            pub fn aggregate_type(&self) -> &'static str { match self { $(Self::$name(_) => $name::TYPE,)* } }
            /// The variant's name.
            #[must_use]
            pub fn event_type(&self) -> &'static str { match self { $(Self::$name(e) => e.event_type(),)* } }
            /// The version that is written today.
            #[must_use]
            pub fn event_version(&self) -> &'static str { match self { $(Self::$name(e) => e.event_version(),)* } }
            /// About how many bytes it takes in memory beyond a fixed size, by what can be large in it.
            #[must_use]
            pub fn bytes(&self) -> usize { match self { $(Self::$name(e) => e.bytes(),)* } }
            /// The payload as it is stored: JSON, externally tagged.
            ///
            /// # Errors
            /// None in practice: events are plain data.
            pub fn to_payload(&self) -> Result<String, serde_json::Error> { match self { $(Self::$name(e) => serde_json::to_string(e),)* } }
            /// Reads a stored event, lifting older versions.
            ///
            /// # Errors
            /// [`DecodeError`].
            pub fn decode(aggregate_type: &str, event_type: &str, event_version: &str, payload: &str) -> Result<Self, DecodeError> {
                match aggregate_type { $($name::TYPE => decode_event::<$name>(event_type, event_version, payload).map(Self::$name),)* other => Err(DecodeError::UnknownAggregate(other.into())) }
            }
        }

        /// The types of all aggregates, as stored.
        pub const AGGREGATE_TYPES: &[&str] = &[$($name::TYPE),*];

        /// The events of every aggregate: its type, and the type and version of each event that is written today.
        pub const EVENT_TYPES: &[(&str, &[(&str, &str)])] = &[$(($name::TYPE, <<$name as Decider>::Event as EventFormat>::CURRENT)),*];

        /// [`Decider::TYPE`] for a stored type; `None` when it is not ours.
        #[must_use]
        pub fn static_type(aggregate_type: &str) -> Option<&'static str> {
            match aggregate_type { $($name::TYPE => Some($name::TYPE),)* _ => None }
        }
    };
}

/// Between an aggregate and the sum types.
pub trait AsAggregate: Decider {
    /// The state, when it is this aggregate's.
    fn of(state: &AnyState) -> Option<&Self>;
    /// An event of this aggregate.
    fn wrap(event: Self::Event) -> AnyEvent;
    /// The event, when it is this aggregate's.
    fn event_of(event: AnyEvent) -> Option<Self::Event>;
}

aggregates!(Product, InventorySlot, Order);

impl StreamId {
    /// A stream by its stored names; `None` for a type that is not ours.
    #[must_use]
    pub fn parse(aggregate_type: &str, aggregate_id: &str) -> Option<Self> {
        static_type(aggregate_type).map(|aggregate_type| Self { aggregate_type, aggregate_id: aggregate_id.into() })
    }
}
