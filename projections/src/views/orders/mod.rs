//! Orders as they stand: by id, and by customer, newest first.

use jari_domain::{
    AnyEvent, Decider, Money, Position, Sealed,
    ids::CustomerRef,
    order::{LineFailure, Order, OrderEvent, OrderLine, OrderStatus},
};
use jari_event_store::RecordedEvent;
use jiff::Timestamp;

use crate::{
    builds::signed,
    projection::{Projection, Write},
    rows::{Rows, instant},
    views::products::json,
};

pub(crate) const GET_ORDER: &str = include_str!("get_order.sql");
pub(crate) const LIST_ORDERS: &str = include_str!("list_orders.sql");

/// The view.
pub(crate) struct Orders;

impl Projection for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }
    fn version(&self) -> i32 {
        2
    }
    fn lease(&self) -> &'static str {
        "view/orders/2"
    }
    fn schema(&self) -> &'static str {
        include_str!("schema.sql")
    }
    fn reads(&self) -> &'static [&'static str] {
        &[Order::TYPE]
    }
    fn fold<'a>(&self, events: &[&'a RecordedEvent]) -> Vec<Write<'a>> {
        let mut orders = Rows::new();
        for event in events {
            if let Some(AnyEvent::Order(said)) = event.event() {
                orders.row(&*event.aggregate_id, Change::default).take(event, said);
            }
        }
        let placed = orders.pick(|id, change| Some((*id, change.placed.as_ref()?, change)));
        let changed = orders.pick(|id, change| change.placed.is_none().then_some((*id, change)));
        let mut writes = Vec::new();
        if !placed.is_empty() {
            writes.push(place(&placed));
        }
        if !changed.is_empty() {
            let write = Write::new(include_str!("change.sql")).column(changed.iter().map(|(id, _)| *id));
            writes.push(later(write, changed.iter().map(|(_, change)| *change)));
        }
        writes
    }
}

struct Placed<'a> {
    customer: &'a CustomerRef,
    position: Position,
    at: Timestamp,
    lines: &'a [OrderLine],
    total: Money,
    personal: Option<&'a Sealed>,
}

/// What became of one order in the run: the last of each.
#[derive(Default)]
struct Change<'a> {
    placed: Option<Placed<'a>>,
    status: OrderStatus,
    settled_at: Option<Timestamp>,
    hold_expires_at: Option<Timestamp>,
    confirmed_at: Option<Timestamp>,
    expired_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    cancel_reason: Option<&'a str>,
    failures: Option<&'a [LineFailure]>,
}

impl<'a> Change<'a> {
    fn take(&mut self, event: &RecordedEvent, said: &'a OrderEvent) {
        let at = event.decided_at();
        match said {
            OrderEvent::OrderPlaced { customer, lines, total, personal, .. } => {
                let placed = Placed { customer, position: event.position, at, lines, total: *total, personal: personal.as_ref() };
                *self = Self { placed: Some(placed), status: OrderStatus::Placed, ..Self::default() };
            }
            OrderEvent::OrderHeld { expires_at } => {
                (self.status, self.settled_at, self.hold_expires_at) = (OrderStatus::Held, Some(at), Some(*expires_at));
            }
            OrderEvent::OrderRejected { failures } => {
                (self.status, self.settled_at, self.failures) = (OrderStatus::Rejected, Some(at), Some(failures.as_slice()));
            }
            OrderEvent::OrderConfirmed {} => (self.status, self.confirmed_at) = (OrderStatus::Confirmed, Some(at)),
            OrderEvent::OrderExpired { expired_at } => (self.status, self.expired_at) = (OrderStatus::Expired, Some(*expired_at)),
            OrderEvent::OrderCancelled { reason, .. } => {
                (self.status, self.cancelled_at, self.cancel_reason) = (OrderStatus::Cancelled, Some(at), Some(reason.as_str()));
            }
        }
    }
}

fn place<'a>(placed: &[(&'a str, &Placed<'a>, &Change<'a>)]) -> Write<'a> {
    let write = Write::insert(include_str!("place.sql"), include_str!("place_again.sql"))
        .column(placed.iter().map(|(id, ..)| *id))
        .column(placed.iter().map(|(_, placed, _)| placed.customer.as_str()))
        .column(placed.iter().map(|(_, placed, _)| placed.position.to_i64()))
        .column(placed.iter().map(|(_, placed, _)| instant(placed.at)))
        .column(placed.iter().map(|(_, placed, _)| json(placed.lines)))
        .column(placed.iter().map(|(_, placed, _)| signed(placed.total.minor)))
        .column(placed.iter().map(|(_, placed, _)| String::from(placed.total.currency)))
        .column(placed.iter().map(|(_, placed, _)| placed.personal.map(Sealed::as_str)));
    later(write, placed.iter().map(|(.., change)| *change))
}

/// The columns that both statements end with.
fn later<'a, 'c>(write: Write<'a>, changes: impl Iterator<Item = &'c Change<'a>> + Clone) -> Write<'a>
where
    'a: 'c,
{
    write
        .column(changes.clone().map(|change| change.status.as_str()))
        .column(changes.clone().map(|change| change.settled_at.map(instant)))
        .column(changes.clone().map(|change| change.hold_expires_at.map(instant)))
        .column(changes.clone().map(|change| change.confirmed_at.map(instant)))
        .column(changes.clone().map(|change| change.expired_at.map(instant)))
        .column(changes.clone().map(|change| change.cancelled_at.map(instant)))
        .column(changes.clone().map(|change| change.cancel_reason))
        .column(changes.map(|change| change.failures.map(json)))
}

#[cfg(test)]
mod tests;
