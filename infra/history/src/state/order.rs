//! An order as it stood.

use jari_domain::{
    ids::OrderId,
    order::{LineFailure, LineUnit, Order, OrderEvent, OrderLine, OrderStatus, SlotDraw},
};
use jari_event_store::RecordedEvent;
use jari_proto::order::v1::{self as wire, OrderState};
use jiff::Timestamp;

use super::money;
use crate::service::{signed, timestamp};

/// When what happened, in the words of its events.
#[derive(Debug, Default)]
pub(super) struct Beside {
    position: u64,
    placed_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    confirmed_at: Option<Timestamp>,
    expired_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    cancel_reason: String,
}

impl Beside {
    pub fn take(&mut self, event: &RecordedEvent, said: &OrderEvent) {
        let at = Some(event.decided_at());
        match said {
            OrderEvent::OrderPlaced { .. } => (self.position, self.placed_at) = (event.position, at),
            OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } => self.settled_at = at,
            OrderEvent::OrderConfirmed {} => self.confirmed_at = at,
            OrderEvent::OrderExpired { expired_at } => self.expired_at = Some(*expired_at),
            OrderEvent::OrderCancelled { reason, .. } => (self.cancelled_at, self.cancel_reason) = (at, reason.clone()),
        }
    }
}

/// `None` before it was placed. A held order whose time had come is expired, whether or not that was recorded by then.
pub(super) fn told(id: &OrderId, order: &Order, beside: &Beside, at: Timestamp) -> Option<wire::Order> {
    let state = match order.status_at(at) {
        OrderStatus::Absent => return None,
        OrderStatus::Placed => OrderState::Accepted,
        OrderStatus::Held => OrderState::Held,
        OrderStatus::Rejected => OrderState::Rejected,
        OrderStatus::Confirmed => OrderState::Confirmed,
        OrderStatus::Expired => OrderState::Expired,
        OrderStatus::Cancelled => OrderState::Cancelled,
    };
    let lapsed_at = order.expires_at().filter(|_| state == OrderState::Expired);
    Some(wire::Order {
        order_id: id.to_string(),
        customer: order.customer().map(ToString::to_string).unwrap_or_default(),
        state: state.into(),
        lines: order.lines().iter().map(line).collect(),
        total: order.total().map(money),
        accepted_position: signed(beside.position),
        placed_at: beside.placed_at.map(timestamp),
        settled_at: beside.settled_at.map(timestamp),
        hold_expires_at: order.expires_at().map(timestamp),
        confirmed_at: beside.confirmed_at.map(timestamp),
        expired_at: beside.expired_at.or(lapsed_at).map(timestamp),
        cancelled_at: beside.cancelled_at.map(timestamp),
        cancel_reason: beside.cancel_reason.clone(),
        failures: order.failures().iter().map(failure).collect(),
        // analysts are told what happened, not to whom
        personal_data: None,
    })
}

fn line(line: &OrderLine) -> wire::OrderLine {
    let unit = |unit: &LineUnit| wire::PricedUnit {
        unit_id: unit.unit_id.to_string(),
        quantity: unit.quantity.cast_signed(),
        price: Some(money(unit.price)),
    };
    let draw = |draw: &SlotDraw| wire::SlotDraw { slot_id: draw.slot_id.to_string(), quantity: draw.quantity.cast_signed() };
    wire::OrderLine {
        product_id: line.product_id.to_string(),
        option_id: line.option_id.to_string(),
        starts_at: line.starts_at.map(timestamp),
        units: line.units.iter().map(unit).collect(),
        draws: line.draws.iter().map(draw).collect(),
        total: Some(money(line.total)),
    }
}

fn failure(failure: &LineFailure) -> wire::LineFailure {
    wire::LineFailure {
        line: failure.line.cast_signed(),
        slot_id: failure.slot_id.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        details: failure.details.clone(),
        retryable: failure.retryable,
    }
}
