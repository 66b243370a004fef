//! The one adapter to cqrs-es: an unchanged `CqrsFramework` runs every aggregate.
//!
//! `handle` decides first and writes to the sink only when the decision stands: the sink applies what it is given, so a refusal half
//! way through would leave a changed aggregate behind. Nothing here applies an event that went into the sink.

use std::marker::PhantomData;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use jiff::Timestamp;

use crate::EventFormat;

/// Where the time of a decision comes from, since cqrs-es hands over no time: the `Services` of every aggregate.
#[derive(Debug, Clone, Copy)]
pub struct DecisionTime(pub fn() -> Timestamp);

/// Implements `cqrs_es::Aggregate` for an aggregate, and `cqrs_es::DomainEvent` for its events. `aggregates!` calls it for each.
macro_rules! adapt {
    ($aggregate:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = <Self as $crate::Decider>::TYPE;
            type Command = <Self as $crate::Decider>::Command;
            type Event = <Self as $crate::Decider>::Event;
            type Error = <Self as $crate::Decider>::Error;
            type Services = $crate::cqrs::DecisionTime;

            async fn handle(
                &mut self,
                command: Self::Command,
                time: &Self::Services,
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $crate::Decider::decide(self, &command, (time.0)())? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::Decider::apply(self, &event);
            }
        }

        impl cqrs_es::DomainEvent for <$aggregate as $crate::Decider>::Event {
            fn event_type(&self) -> String {
                $crate::EventFormat::event_type(self).to_owned()
            }
            fn event_version(&self) -> String {
                $crate::EventFormat::event_version(self).to_owned()
            }
        }
    };
}
pub(crate) use adapt;

/// Lifts older stored events for cqrs-es' own repositories, by the same [`EventFormat::upcast`] that we use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upcaster<E>(PhantomData<E>);

impl<E: EventFormat> EventUpcaster for Upcaster<E> {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        !E::is_current(event_type, event_version)
    }

    /// An event that cannot be lifted stays as it is: the trait has no way to refuse, and the reader after it says what does not fit.
    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        if let Ok(lifted) = E::upcast(&event.event_type, &event.event_version, event.payload.clone()) {
            event.payload = lifted;
            if let Some((_, current)) = E::CURRENT.iter().find(|(event_type, _)| *event_type == event.event_type) {
                event.event_version = (*current).to_owned();
            }
        }
        event
    }
}
