//! An order.

use jari_domain::{
    Position,
    ids::OrderId,
    order::{LineFailure, LineUnit, Order, OrderEvent, OrderLine, OrderStatus, SlotDraw},
};
use jari_proto::order::v1 as pb;
use jiff::Timestamp;

use crate::{count, money, timestamp};

/// When what happened to an order, which its state does not keep because no decision needs it.
#[derive(Debug, Clone, Default)]
pub struct OrderTimes {
    placed: Option<(Position, Timestamp)>,
    settled_at: Option<Timestamp>,
    confirmed_at: Option<Timestamp>,
    expired_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    cancel_reason: String,
}

impl OrderTimes {
    /// Takes the order's next event, at its position in the log, decided at `at`.
    pub fn apply(&mut self, event: &OrderEvent, position: Position, at: Timestamp) {
        match event {
            OrderEvent::OrderPlaced { .. } => self.placed = Some((position, at)),
            OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } => self.settled_at = Some(at),
            OrderEvent::OrderConfirmed {} => self.confirmed_at = Some(at),
            OrderEvent::OrderExpired { expired_at } => self.expired_at = Some(*expired_at),
            OrderEvent::OrderCancelled { reason, .. } => (self.cancelled_at, self.cancel_reason) = (Some(at), reason.clone()),
        }
    }
}

/// An order as it stands at `now`; `None` before it was placed. A held order whose time has come is expired, whether or not that is recorded yet. Without
/// what is personal in it: whoever may tell that adds it.
#[must_use]
pub fn order(id: &OrderId, order: &Order, times: &OrderTimes, now: Timestamp) -> Option<pb::Order> {
    let state = state(order.status_at(now))?;
    let lapsed_at = order.expires_at().filter(|_| state == pb::OrderState::Expired);
    let (position, placed_at) = times.placed.unzip();
    Some(pb::Order {
        order_id: id.to_string(),
        customer: order.customer().map(ToString::to_string).unwrap_or_default(),
        state: state.into(),
        lines: order.lines().iter().map(line).collect(),
        total: order.total().map(money),
        accepted_position: position.unwrap_or_default().to_i64(),
        placed_at: placed_at.map(timestamp),
        settled_at: times.settled_at.map(timestamp),
        hold_expires_at: order.expires_at().map(timestamp),
        confirmed_at: times.confirmed_at.map(timestamp),
        expired_at: times.expired_at.or(lapsed_at).map(timestamp),
        cancelled_at: times.cancelled_at.map(timestamp),
        cancel_reason: times.cancel_reason.clone(),
        failures: order.failures().iter().map(failure).collect(),
        personal_data: None,
    })
}

/// Its state; `None` before it was placed.
#[must_use]
pub fn state(status: OrderStatus) -> Option<pb::OrderState> {
    Some(match status {
        OrderStatus::Absent => return None,
        OrderStatus::Placed => pb::OrderState::Accepted,
        OrderStatus::Held => pb::OrderState::Held,
        OrderStatus::Rejected => pb::OrderState::Rejected,
        OrderStatus::Confirmed => pb::OrderState::Confirmed,
        OrderStatus::Expired => pb::OrderState::Expired,
        OrderStatus::Cancelled => pb::OrderState::Cancelled,
    })
}

/// A line of it.
#[must_use]
pub fn line(line: &OrderLine) -> pb::OrderLine {
    let unit =
        |unit: &LineUnit| pb::PricedUnit { unit_id: unit.unit_id.to_string(), quantity: count(unit.quantity.get()), price: Some(money(unit.price)) };
    let draw = |draw: &SlotDraw| pb::SlotDraw { slot_id: draw.slot_id.to_string(), quantity: count(draw.quantity.get()) };
    pb::OrderLine {
        product_id: line.product_id.to_string(),
        option_id: line.option_id.to_string(),
        starts_at: line.starts_at.map(timestamp),
        units: line.units.iter().map(unit).collect(),
        draws: line.draws.iter().map(draw).collect(),
        total: Some(money(line.total)),
    }
}

/// Why a line failed.
#[must_use]
pub fn failure(failure: &LineFailure) -> pb::LineFailure {
    pb::LineFailure {
        line: count(failure.line),
        slot_id: failure.slot_id.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        details: failure.details.clone(),
        retryable: failure.retryable,
    }
}
