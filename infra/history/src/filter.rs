//! Which events of the log a reader wants.

use std::collections::BTreeSet;

use jari_contract::public_events;
use jari_domain::{
    AnyEvent, Decider,
    ids::{OrderId, ProductId, SlotId},
    order::{Order, OrderEvent},
    product::Product,
    slot::InventorySlot,
};
use jari_event_store::RecordedEvent;
use jari_proto::history::v1::{AggregateKind, ReadLogRequest};

use crate::refusal::{ENUM_INVALID, EVENT_TYPE_UNKNOWN, HistoryError};

/// Types that a filter names at most.
const MOST_TYPES: usize = 64;
/// Told beside events of slots, and only to those who ask for it.
const BESIDE: &str = "AvailabilityChanged";

/// Public types, by their full names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Types(BTreeSet<&'static str>);

impl Types {
    /// All but what is told beside.
    pub fn usual() -> Self {
        Self(public_events().filter(|of| of.name != BESIDE).map(|of| of.event_type).collect())
    }

    fn named(names: &[String]) -> Result<Self, HistoryError> {
        let refused = |what: String| HistoryError::Field { field: "event_types", code: EVENT_TYPE_UNKNOWN, what };
        if names.is_empty() {
            return Ok(Self::usual());
        }
        if names.len() > MOST_TYPES {
            return Err(refused(format!("at most {MOST_TYPES} types")));
        }
        let find = |name: &String| public_events().find(|of| of.name == name || of.event_type == name).map(|of| of.event_type);
        let found = names.iter().map(|name| find(name).ok_or_else(|| refused(format!("{name:?} is no public event")))).collect::<Result<_, _>>()?;
        Ok(Self(found))
    }

    pub fn have(&self, event_type: &str) -> bool {
        self.0.contains(event_type)
    }
}

/// Filters of a log; all are to hold.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub types: Types,
    /// As stored; empty: any.
    kinds: BTreeSet<&'static str>,
    product: Option<ProductId>,
    slot: Option<SlotId>,
    order: Option<OrderId>,
}

impl Filter {
    pub fn parse(asked: &ReadLogRequest) -> Result<Self, HistoryError> {
        let given = |text: &'_ str| !text.is_empty();
        let product = Some(&*asked.product_id).filter(|id| given(id)).map(ProductId::parse).transpose();
        let slot = Some(&*asked.slot_id).filter(|id| given(id)).map(SlotId::parse).transpose();
        let order = Some(&*asked.order_id).filter(|id| given(id)).map(OrderId::parse).transpose();
        Ok(Self {
            types: Types::named(&asked.event_types)?,
            kinds: asked.kinds.iter().map(|kind| stored(*kind)).collect::<Result<_, _>>()?,
            product: product.map_err(|e| HistoryError::id("product_id", &e))?,
            slot: slot.map_err(|e| HistoryError::id("slot_id", &e))?,
            order: order.map_err(|e| HistoryError::id("order_id", &e))?,
        })
    }

    /// Whether the event is wanted, but for the types of what is told of it. One that cannot be read is: nobody knows what it names, and the reader
    /// must hear of it.
    pub fn wants(&self, event: &RecordedEvent) -> bool {
        if !self.kinds.is_empty() && !self.kinds.contains(&*event.aggregate_type) {
            return false;
        }
        let Some(said) = event.event() else { return true };
        let is = |kind: &str, id: &str| event.aggregate_type == kind && *event.aggregate_id == *id;
        self.product.as_ref().is_none_or(|id| is(Product::TYPE, id.as_str()) || names_product(said, id))
            && self.slot.as_ref().is_none_or(|id| is(InventorySlot::TYPE, id.as_str()) || names_slot(said, id))
            && self.order.as_ref().is_none_or(|id| is(Order::TYPE, id.as_str()) || names_order(said, id))
    }
}

fn stored(kind: i32) -> Result<&'static str, HistoryError> {
    match AggregateKind::try_from(kind) {
        Ok(AggregateKind::Product) => Ok(Product::TYPE),
        Ok(AggregateKind::Slot) => Ok(InventorySlot::TYPE),
        Ok(AggregateKind::Order) => Ok(Order::TYPE),
        Ok(AggregateKind::Unspecified) | Err(_) => {
            Err(HistoryError::Field { field: "kinds", code: ENUM_INVALID, what: format!("{kind} is not a kind that can be asked for") })
        }
    }
}

fn names_product(event: &AnyEvent, id: &ProductId) -> bool {
    match event {
        AnyEvent::Order(OrderEvent::OrderPlaced { lines, .. }) => lines.iter().any(|line| line.product_id == *id),
        AnyEvent::Order(
            OrderEvent::OrderHeld { .. }
            | OrderEvent::OrderRejected { .. }
            | OrderEvent::OrderConfirmed {}
            | OrderEvent::OrderExpired { .. }
            | OrderEvent::OrderCancelled { .. },
        )
        | AnyEvent::Product(_)
        | AnyEvent::InventorySlot(_) => false,
    }
}

fn names_slot(event: &AnyEvent, id: &SlotId) -> bool {
    match event {
        AnyEvent::Order(OrderEvent::OrderPlaced { lines, .. }) => lines.iter().flat_map(|line| &line.draws).any(|draw| draw.slot_id == *id),
        AnyEvent::Order(OrderEvent::OrderRejected { failures }) => failures.iter().any(|failure| failure.slot_id == *id),
        AnyEvent::Order(
            OrderEvent::OrderHeld { .. } | OrderEvent::OrderConfirmed {} | OrderEvent::OrderExpired { .. } | OrderEvent::OrderCancelled { .. },
        )
        | AnyEvent::Product(_)
        | AnyEvent::InventorySlot(_) => false,
    }
}

/// The holds of an order bear its id.
fn names_order(event: &AnyEvent, id: &OrderId) -> bool {
    let AnyEvent::InventorySlot(change) = event else { return false };
    change.hold_id().is_some_and(|hold_id| hold_id.as_str() == id.as_str())
}
