//! What follows from a command to an order.
//!
//! Which refusal wins when several apply, by command:
//!
//! - `PlaceOrder`: 1 `ORDER_EXISTS`, 2 `ORDER_EMPTY`, 3 `ORDER_TOO_MANY_LINES`, 4 `ORDER_HOLD_SECONDS_INVALID`; then line by line, the
//!   first line first: 5 `ORDER_LINE_INVALID` (its faults in the order of [`LineFault`], but the total), 6 `ORDER_QUANTITY_INVALID`,
//!   7 `ORDER_CURRENCY_MIXED`, 8 `ORDER_TOTAL_TOO_LARGE`, 9 `ORDER_LINE_INVALID` (the total); then over all of them:
//!   10 `ORDER_DRAW_TOO_LARGE`.
//! - `RecordHold`: 1 `ORDER_NOT_FOUND`, 2 `ORDER_NOT_PLACED`, 3 `HOLD_EXPIRY_INVALID`.
//! - `RejectOrder`: 1 `ORDER_NOT_FOUND`, 2 `ORDER_NOT_PLACED`, 3 `ORDER_FAILURES_INVALID`.
//! - `ConfirmOrder`: one by where the order stands: `ORDER_NOT_FOUND`, `ORDER_NOT_HELD`, `ORDER_REJECTED`, `ORDER_EXPIRED`,
//!   `ORDER_CANCELLED`, `ORDER_ALREADY_CONFIRMED`.
//! - `CancelOrder`: 1 by where the order stands: `ORDER_NOT_FOUND`, `ORDER_REJECTED`, `ORDER_EXPIRED`, `ORDER_CANCELLED`;
//!   2 `ORDER_REASON_INVALID`.
//! - `ExpireOrder`: none. A timer that comes too early or too late finds nothing to do.
//!
//! An order stands where it stands at the time of the decision: a held one that has lapsed is expired, whether that is recorded or not.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    FAILURE_BYTES, LineFailure, LineUnit, MAX_FAILURES, MAX_LINES, MAX_QUANTITY, Order, OrderCommand, OrderError, OrderEvent, OrderLine, OrderStatus,
    draws_of, error::LineFault,
};
use crate::{
    Decider, Money, Quantity, Sealed,
    ids::CustomerRef,
    product::{MAX_DRAWS, MAX_UNITS},
    slot::{self, MAX_CAPACITY, MAX_HOLD_SECONDS},
    text,
};

impl Decider for Order {
    const TYPE: &'static str = "Order";
    const SNAPSHOT_VERSION: u32 = 2;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;

    fn decide(&self, command: &OrderCommand, now: Timestamp) -> Result<Vec<OrderEvent>, OrderError> {
        match command {
            OrderCommand::PlaceOrder { customer, lines, hold_seconds, personal } => self.place(customer, lines, *hold_seconds, personal),
            OrderCommand::RecordHold { expires_at } => self.record_hold(*expires_at, now),
            OrderCommand::RejectOrder { failures } => self.reject(failures),
            OrderCommand::ConfirmOrder => self.confirm(now),
            OrderCommand::CancelOrder { reason } => self.cancel(reason, now),
            OrderCommand::ExpireOrder => Ok(self.expire(now)),
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        self.fold(event);
    }

    fn bytes(&self) -> usize {
        let personal = self.personal.as_ref().map_or(0, |sealed| sealed.as_str().len());
        self.lines.iter().map(OrderLine::bytes).sum::<usize>() + self.failures.len() * FAILURE_BYTES + personal
    }
}

impl Order {
    fn place(
        &self,
        customer: &CustomerRef,
        lines: &[OrderLine],
        hold_seconds: u32,
        personal: &Option<Sealed>,
    ) -> Result<Vec<OrderEvent>, OrderError> {
        if self.status != OrderStatus::Absent {
            return Err(OrderError::Exists);
        }
        if lines.len() > MAX_LINES {
            return Err(OrderError::TooManyLines { lines: lines.len() });
        }
        let first = lines.first().ok_or(OrderError::Empty)?;
        if !(1..=MAX_HOLD_SECONDS).contains(&hold_seconds) {
            return Err(OrderError::HoldSecondsInvalid { hold_seconds });
        }
        let mut total = Money { minor: 0, currency: first.total.currency };
        for (index, line) in lines.iter().enumerate() {
            total = add_line(total, index, line)?;
        }
        let draws = draws_of(lines);
        if let Some((slot_id, _)) = draws.into_iter().find(|(_, quantity)| *quantity > MAX_CAPACITY) {
            return Err(OrderError::DrawTooLarge { slot_id });
        }
        Ok(vec![OrderEvent::OrderPlaced { customer: customer.clone(), lines: lines.into(), total, hold_seconds, personal: personal.clone() }])
    }

    fn record_hold(&self, expires_at: Timestamp, now: Timestamp) -> Result<Vec<OrderEvent>, OrderError> {
        self.must_be_placed()?;
        if !slot::may_hold_until(expires_at, now) {
            return Err(OrderError::ExpiryInvalid { expires_at, now });
        }
        Ok(vec![OrderEvent::OrderHeld { expires_at }])
    }

    fn reject(&self, failures: &[LineFailure]) -> Result<Vec<OrderEvent>, OrderError> {
        self.must_be_placed()?;
        let known = |failure: &LineFailure| usize::try_from(failure.line).is_ok_and(|line| line < self.lines.len());
        if !(1..=MAX_FAILURES).contains(&failures.len()) || !failures.iter().all(known) {
            return Err(OrderError::FailuresInvalid);
        }
        Ok(vec![OrderEvent::OrderRejected { failures: failures.to_vec() }])
    }

    fn confirm(&self, now: Timestamp) -> Result<Vec<OrderEvent>, OrderError> {
        match self.status_at(now) {
            OrderStatus::Absent => Err(OrderError::NotFound),
            OrderStatus::Placed => Err(OrderError::NotHeld { status: OrderStatus::Placed }),
            OrderStatus::Held => Ok(vec![OrderEvent::OrderConfirmed {}]),
            OrderStatus::Rejected => Err(OrderError::Rejected),
            OrderStatus::Confirmed => Err(OrderError::AlreadyConfirmed),
            OrderStatus::Expired => Err(self.expired(now)),
            OrderStatus::Cancelled => Err(OrderError::Cancelled),
        }
    }

    fn cancel(&self, reason: &str, now: Timestamp) -> Result<Vec<OrderEvent>, OrderError> {
        match self.status_at(now) {
            OrderStatus::Absent => return Err(OrderError::NotFound),
            OrderStatus::Placed | OrderStatus::Held | OrderStatus::Confirmed => {}
            OrderStatus::Rejected => return Err(OrderError::Rejected),
            OrderStatus::Expired => return Err(self.expired(now)),
            OrderStatus::Cancelled => return Err(OrderError::Cancelled),
        }
        if !text::is_plain(reason, 0, text::MAX_REASON) {
            return Err(OrderError::ReasonInvalid);
        }
        Ok(vec![OrderEvent::OrderCancelled { reason: reason.to_owned(), was: self.status }])
    }

    fn expire(&self, now: Timestamp) -> Vec<OrderEvent> {
        match (self.status, self.expires_at) {
            (OrderStatus::Held, Some(expired_at)) if expired_at <= now => vec![OrderEvent::OrderExpired { expired_at }],
            (
                OrderStatus::Absent
                | OrderStatus::Placed
                | OrderStatus::Held
                | OrderStatus::Rejected
                | OrderStatus::Confirmed
                | OrderStatus::Expired
                | OrderStatus::Cancelled,
                _,
            ) => vec![],
        }
    }

    fn must_be_placed(&self) -> Result<(), OrderError> {
        match self.status {
            OrderStatus::Absent => Err(OrderError::NotFound),
            OrderStatus::Placed => Ok(()),
            status @ (OrderStatus::Held | OrderStatus::Rejected | OrderStatus::Confirmed | OrderStatus::Expired | OrderStatus::Cancelled) => {
                Err(OrderError::NotPlaced { status })
            }
        }
    }

    fn expired(&self, now: Timestamp) -> OrderError {
        OrderError::Expired { expired_at: self.expires_at.unwrap_or(now) }
    }
}

/// Checks one line and adds it to `total`. What is quoted passes; this holds whoever makes the lines.
fn add_line(total: Money, index: usize, line: &OrderLine) -> Result<Money, OrderError> {
    let invalid = |fault| OrderError::LineInvalid { line: index, fault };
    if let Some(fault) = fault_of(line) {
        return Err(invalid(fault));
    }
    if let Some(unit) = line.units.iter().find(|unit| !(Quantity::ONE..=MAX_QUANTITY).contains(&unit.quantity)) {
        return Err(OrderError::QuantityInvalid { line: index, quantity: unit.quantity });
    }
    if line.total.currency != total.currency || line.units.iter().any(|unit| unit.price.currency != total.currency) {
        return Err(OrderError::CurrencyMixed { line: index });
    }
    let sum = LineUnit::sum(&line.units, total.currency).ok_or(OrderError::TotalTooLarge)?;
    if sum != line.total {
        return Err(invalid(LineFault::TotalWrong));
    }
    total.plus(sum).ok_or(OrderError::TotalTooLarge)
}

fn fault_of(line: &OrderLine) -> Option<LineFault> {
    if line.units.is_empty() {
        Some(LineFault::NoUnits)
    } else if line.units.len() > MAX_UNITS {
        Some(LineFault::TooManyUnits)
    } else if line.draws.is_empty() {
        Some(LineFault::NoDraws)
    } else if line.draws.len() > MAX_DRAWS {
        Some(LineFault::TooManyDraws)
    } else if line.draws.iter().any(|draw| draw.quantity == Quantity::ZERO) {
        Some(LineFault::DrawOfNothing)
    } else if line.draws.iter().map(|draw| &draw.slot_id).collect::<BTreeSet<_>>().len() < line.draws.len() {
        Some(LineFault::SlotTwice)
    } else {
        None
    }
}
