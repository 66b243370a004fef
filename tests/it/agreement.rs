//! What must hold wherever something was sold: the log proves itself, every decision on an order included, and the views say what the log says.

use std::collections::BTreeMap;

use jari::proof::Proof;
use jari_domain::{
    AnyState, Decider, StreamId, Timestamp,
    ids::{OrderId, SlotId},
    order::{Order, OrderStatus},
    registry::AsAggregate,
    slot::{Counts, InventorySlot},
};
use jari_event_store::RecordedEvent;
use jari_proto::{
    availability::v1::GetSlotRequest,
    order::v1::{GetOrderRequest, OrderState},
};

use crate::serving::Serving;

/// A log, and what it comes to.
pub struct History {
    pub events: Vec<RecordedEvent>,
    states: BTreeMap<StreamId, AnyState>,
}

impl History {
    fn of(events: Vec<RecordedEvent>) -> Self {
        let mut states = BTreeMap::new();
        for event in &events {
            let stream = event.stream().unwrap();
            let state = states.entry(stream).or_insert_with_key(|stream| AnyState::new(stream.aggregate_type).unwrap());
            state.apply(event.event().unwrap());
        }
        Self { events, states }
    }

    pub fn head(&self) -> i64 {
        self.events.len().try_into().unwrap()
    }

    /// How many events bear the name.
    pub fn count(&self, event_type: &str) -> usize {
        self.events.iter().filter(|event| &*event.event_type == event_type).count()
    }

    pub fn orders(&self) -> impl Iterator<Item = (OrderId, &Order)> {
        self.states.iter().filter_map(|(stream, state)| Some((OrderId::parse(&stream.aggregate_id).ok()?, Order::of(state)?)))
    }

    pub fn order(&self, id: &str) -> &Order {
        self.orders().find(|(order, _)| order.as_str() == id).map(|(_, order)| order).unwrap()
    }

    pub fn slots(&self) -> impl Iterator<Item = (SlotId, &InventorySlot)> {
        self.states.iter().filter_map(|(stream, state)| Some((SlotId::parse(&stream.aggregate_id).ok()?, InventorySlot::of(state)?)))
    }

    /// What a slot has, what is held of it by the record, and what is sold.
    pub fn counts(&self, slot: &str) -> (u32, u32, u32) {
        self.slots().find(|(id, _)| id.as_str() == slot).map(|(_, slot)| numbers(slot.counts())).unwrap()
    }

    /// Names of the order's own events, in order.
    pub fn story(&self, order: &str) -> Vec<&str> {
        let own = self.events.iter().filter(|event| event.aggregate_type == Order::TYPE && &*event.aggregate_id == order);
        own.map(|event| &*event.event_type).collect()
    }
}

impl Serving {
    /// The history, once no order waits in line.
    pub async fn settled(&self) -> History {
        for _ in 0..2_400 {
            let history = History::of(self.log().await);
            if history.orders().all(|(_, order)| order.status() != OrderStatus::Placed) {
                return history;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("orders still wait after two minutes");
    }

    /// The history once no order waits in line, after all of this file has been held against it. Nothing else may be under way.
    pub async fn proved(&self) -> History {
        let history = self.settled().await;
        let mut proof = Proof::default();
        history.events.iter().for_each(|event| proof.take(event));
        assert!(proof.finish().is_empty(), "{:#?}", proof.finish());
        crate::harness::eventually("the views have seen all of it", || async {
            self.status().await.projections.iter().all(|view| view.position >= history.head())
        })
        .await;
        self.agree(&history).await;
        assert_eq!(self.status().await.settlement.unwrap().parked_orders, 0, "nothing that was settled is set aside");
        history
    }

    /// Every order and every slot is told as the log has it.
    async fn agree(&self, history: &History) {
        let (mut orders, mut slots) = (self.order_queries(), self.availability());
        let min_position = history.head();
        for (id, order) in history.orders() {
            let get = GetOrderRequest { order_id: id.to_string(), min_position };
            let told = orders.get_order(get).await.unwrap().into_inner().order.unwrap();
            assert_eq!(told.state(), shown(order.status_at(Timestamp::now())), "{id}");
            assert_eq!(told.failures.len(), order.failures().len(), "{id}");
        }
        for (id, slot) in history.slots() {
            let get = GetSlotRequest { slot_id: id.to_string(), min_position };
            let told = slots.get_slot(get).await.unwrap().into_inner().slot.unwrap().counts.unwrap();
            let told = (told.capacity.unsigned_abs(), told.held.unsigned_abs(), told.confirmed.unsigned_abs());
            assert_eq!(told, numbers(slot.counts_at(Timestamp::now())), "{id}");
        }
    }
}

/// Capacity, held, confirmed.
fn numbers(counts: Counts) -> (u32, u32, u32) {
    (counts.capacity.get(), counts.held.get(), counts.confirmed.get())
}

fn shown(status: OrderStatus) -> OrderState {
    match status {
        OrderStatus::Absent => OrderState::Unspecified,
        OrderStatus::Placed => OrderState::Accepted,
        OrderStatus::Held => OrderState::Held,
        OrderStatus::Rejected => OrderState::Rejected,
        OrderStatus::Confirmed => OrderState::Confirmed,
        OrderStatus::Expired => OrderState::Expired,
        OrderStatus::Cancelled => OrderState::Cancelled,
    }
}
