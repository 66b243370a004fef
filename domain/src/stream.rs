//! The name of a stream of events.

use std::{fmt, sync::Arc};

use crate::{
    Decider,
    ids::{OrderId, ProductId, SlotId},
    order::Order,
    product::Product,
    slot::InventorySlot,
};

/// One aggregate's stream: its type and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// [`Decider::TYPE`].
    pub aggregate_type: &'static str,
    /// The aggregate's own id.
    pub aggregate_id: Arc<str>,
}

impl From<&ProductId> for StreamId {
    fn from(id: &ProductId) -> Self {
        Self { aggregate_type: Product::TYPE, aggregate_id: id.shared() }
    }
}
impl From<&SlotId> for StreamId {
    fn from(id: &SlotId) -> Self {
        Self { aggregate_type: InventorySlot::TYPE, aggregate_id: id.shared() }
    }
}
impl From<&OrderId> for StreamId {
    fn from(id: &OrderId) -> Self {
        Self { aggregate_type: Order::TYPE, aggregate_id: id.shared() }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}
