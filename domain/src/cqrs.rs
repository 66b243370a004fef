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
#[derive(Debug, Clone, Copy)]
pub struct Upcaster<E>(PhantomData<E>);

impl<E> Default for Upcaster<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use cqrs_es::{AggregateError, CqrsFramework, DomainEvent, EventStore, mem_store::MemStore};

    use super::*;
    use crate::{
        Decider, Quantity,
        given::t,
        ids::{HoldId, PoolId},
        product::{Product, ProductEvent},
        slot::{InventorySlot, SlotCommand, SlotError, SlotEvent},
    };

    fn hold(id: &str, quantity: u32) -> SlotCommand {
        SlotCommand::HoldUnits { hold_id: HoldId::parse(id).unwrap(), quantity: Quantity::new(quantity), expires_at: t(60) }
    }

    #[tokio::test]
    async fn an_unchanged_framework_decides_stores_and_replays_as_we_do() {
        let store = MemStore::<InventorySlot>::default();
        let framework = CqrsFramework::new(store.clone(), vec![], DecisionTime(|| t(0)));
        let open = SlotCommand::OpenSlot { pool_id: PoolId::parse("poster").unwrap(), window: None, capacity: Quantity::new(5) };
        let id = "poster@stock";
        for command in [open, hold("a", 3)] {
            framework.execute(id, command).await.unwrap();
        }
        let refused = framework.execute(id, hold("b", 3)).await.unwrap_err();
        assert!(matches!(refused, AggregateError::UserError(SlotError::HeldByOthers { .. })), "{refused}");

        let stored = store.load_events(id).await.unwrap();
        let mut replayed = InventorySlot::default();
        stored.iter().for_each(|event| Decider::apply(&mut replayed, &event.payload));
        assert_eq!(stored.iter().map(|e| DomainEvent::event_type(&e.payload)).collect::<Vec<_>>(), ["SlotOpened", "UnitsHeld"]);
        assert_eq!((replayed.counts().held.get(), replayed.open_holds()), (3, 1));
    }

    #[tokio::test]
    async fn a_refusal_leaves_the_aggregate_of_the_framework_unchanged() {
        let (mut slot, sink) = (InventorySlot::default(), cqrs_es::event_sink::EventSink::default());
        cqrs_es::Aggregate::handle(&mut slot, hold("a", 1), &DecisionTime(|| t(0)), &sink).await.unwrap_err();
        assert_eq!(slot, InventorySlot::default());
        assert_eq!(sink.collect().await, Vec::<SlotEvent>::new());
    }

    #[test]
    fn the_upcaster_of_the_library_lifts_what_ours_lifts() {
        let stored = |event_type: &str, event_version: &str, payload: &str| SerializedEvent {
            aggregate_id: "museum".into(),
            sequence: 1,
            aggregate_type: <Product as Decider>::TYPE.into(),
            event_type: event_type.into(),
            event_version: event_version.into(),
            payload: serde_json::from_str(payload).unwrap(),
            metadata: serde_json::to_value(HashMap::<String, String>::new()).unwrap(),
        };
        let upcaster = Upcaster::<ProductEvent>::default();
        assert!(!upcaster.can_upcast("ProductDrafted", "1.1"), "what is current needs no lifting");
        assert!(upcaster.can_upcast("ProductDrafted", "1.0"));
        let old = include_str!("../golden/Product/ProductDrafted.1.0.json");
        let lifted = upcaster.upcast(stored("ProductDrafted", "1.0", old));
        assert_eq!(lifted.event_version, "1.1");
        let event: ProductEvent = serde_json::from_value(lifted.payload).unwrap();
        assert!(matches!(event, ProductEvent::ProductDrafted { cut_off_seconds: 0, .. }));
        let unknown = stored("ProductRenamed", "1.0", "{}");
        assert_eq!(upcaster.upcast(unknown.clone()), unknown, "what nobody knows stays as it is");
    }
}
