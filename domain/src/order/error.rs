//! Why an order refuses.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::{MAX_FAILURES, MAX_LINES, MAX_QUANTITY, OrderStatus};
use crate::{
    Money, Quantity,
    ids::SlotId,
    refusal::{facts, refusals},
    slot::{MAX_CAPACITY, MAX_HOLD_SECONDS},
    text::{MAX_REASON, PLAIN},
};

/// Each has a page in `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Never placed.
    #[error("the order does not exist")]
    NotFound,
    /// Placed before, under another command id.
    #[error("the order exists already")]
    Exists,
    /// No lines.
    #[error("an order has at least one line")]
    Empty,
    /// Out of bounds.
    #[error("an order has at most {MAX_LINES} lines, not {lines}")]
    TooManyLines {
        /// As asked.
        lines: usize,
    },
    /// Out of bounds.
    #[error("the holds of an order last 1 to {MAX_HOLD_SECONDS} seconds, not {hold_seconds}")]
    HoldSecondsInvalid {
        /// As asked.
        hold_seconds: u32,
    },
    /// A line that contradicts itself.
    #[error("line {line} cannot be used: {fault}")]
    LineInvalid {
        /// Counted from 0.
        line: usize,
        /// What is wrong.
        fault: LineFault,
    },
    /// Out of bounds.
    #[error("line {line} asks for {quantity} of one unit; 1 to {MAX_QUANTITY} are possible")]
    QuantityInvalid {
        /// Counted from 0.
        line: usize,
        /// As asked.
        quantity: Quantity,
    },
    /// All lines together take more of one slot than any slot has.
    #[error("the lines together take more than {MAX_CAPACITY} units of slot {slot_id}")]
    DrawTooLarge {
        /// Which.
        slot_id: SlotId,
    },
    /// Two currencies.
    #[error("line {line} is priced in another currency than the lines before it")]
    CurrencyMixed {
        /// Counted from 0.
        line: usize,
    },
    /// Out of bounds.
    #[error("the total is above {} minor units", Money::MAX_MINOR)]
    TotalTooLarge,
    /// It is settled already.
    #[error("the order is {status}: only a placed one can be settled")]
    NotPlaced {
        /// Where it stands.
        status: OrderStatus,
    },
    /// Not after now, or too far ahead.
    #[error("the holds of an order end after now ({now}) and at most {MAX_HOLD_SECONDS} seconds later, not at {expires_at}")]
    ExpiryInvalid {
        /// As asked.
        expires_at: Timestamp,
        /// The time of the decision.
        now: Timestamp,
    },
    /// None, too many, or for lines that do not exist.
    #[error("a rejection names 1 to {MAX_FAILURES} failures of lines that the order has")]
    FailuresInvalid,
    /// It is in line, not held yet.
    #[error("the order is {status}: it can be confirmed once it is held")]
    NotHeld {
        /// Where it stands.
        status: OrderStatus,
    },
    /// It could not be served.
    #[error("the order was rejected")]
    Rejected,
    /// Its holds lapsed.
    #[error("the order expired at {expired_at}")]
    Expired {
        /// When.
        expired_at: Timestamp,
    },
    /// It was given back.
    #[error("the order was cancelled")]
    Cancelled,
    /// It was bought before, under another command id.
    #[error("the order is confirmed already")]
    AlreadyConfirmed,
    /// Out of bounds, or not plain.
    #[error("a reason has at most {MAX_REASON} characters, {PLAIN}")]
    ReasonInvalid,
}

/// What is wrong with a line, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// It asks for nothing.
    NoUnits,
    /// More kinds of units than an option has.
    TooManyUnits,
    /// It takes nothing of any slot.
    NoDraws,
    /// More slots than an option draws on.
    TooManyDraws,
    /// It takes 0 of a slot.
    DrawOfNothing,
    /// A slot stands in it twice.
    SlotTwice,
    /// Its total is not the sum of its units.
    TotalWrong,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUnits => "it has no units",
            Self::TooManyUnits => "it has more kinds of units than an option can have",
            Self::NoDraws => "it draws on no slot",
            Self::TooManyDraws => "it draws on more slots than an option can",
            Self::DrawOfNothing => "it draws 0 units of a slot",
            Self::SlotTwice => "a slot stands in it twice",
            Self::TotalWrong => "its total is not the sum of its units",
        })
    }
}

refusals! { OrderError, details: details, {
    NotFound           => "ORDER_NOT_FOUND",            NotFound,           false;
    Exists             => "ORDER_EXISTS",               AlreadyExists,      false;
    Empty              => "ORDER_EMPTY",                InvalidArgument,    false;
    TooManyLines       => "ORDER_TOO_MANY_LINES",       InvalidArgument,    false;
    HoldSecondsInvalid => "ORDER_HOLD_SECONDS_INVALID", InvalidArgument,    false;
    LineInvalid        => "ORDER_LINE_INVALID",         InvalidArgument,    false;
    QuantityInvalid    => "ORDER_QUANTITY_INVALID",     InvalidArgument,    false;
    DrawTooLarge       => "ORDER_DRAW_TOO_LARGE",       InvalidArgument,    false;
    CurrencyMixed      => "ORDER_CURRENCY_MIXED",       InvalidArgument,    false;
    TotalTooLarge      => "ORDER_TOTAL_TOO_LARGE",      InvalidArgument,    false;
    NotPlaced          => "ORDER_NOT_PLACED",           FailedPrecondition, false;
    ExpiryInvalid      => "HOLD_EXPIRY_INVALID",        InvalidArgument,    false;
    FailuresInvalid    => "ORDER_FAILURES_INVALID",     InvalidArgument,    false;
    NotHeld            => "ORDER_NOT_HELD",             FailedPrecondition, true;
    Rejected           => "ORDER_REJECTED",             FailedPrecondition, false;
    Expired            => "ORDER_EXPIRED",              FailedPrecondition, false;
    Cancelled          => "ORDER_CANCELLED",            FailedPrecondition, false;
    AlreadyConfirmed   => "ORDER_ALREADY_CONFIRMED",    FailedPrecondition, false;
    ReasonInvalid      => "ORDER_REASON_INVALID",       InvalidArgument,    false;
}}

fn details(error: &OrderError) -> BTreeMap<String, String> {
    match error {
        OrderError::NotFound
        | OrderError::Exists
        | OrderError::Empty
        | OrderError::Rejected
        | OrderError::Cancelled
        | OrderError::AlreadyConfirmed
        | OrderError::ReasonInvalid => BTreeMap::new(),
        OrderError::TooManyLines { lines } => facts([("lines", lines), ("max_lines", &MAX_LINES)]),
        OrderError::HoldSecondsInvalid { hold_seconds } => facts([("hold_seconds", hold_seconds), ("max_hold_seconds", &MAX_HOLD_SECONDS)]),
        OrderError::LineInvalid { line, fault } => facts([("line", line), ("fault", fault)]),
        OrderError::QuantityInvalid { line, quantity } => facts([("line", line), ("quantity", quantity), ("max_quantity", &MAX_QUANTITY)]),
        OrderError::DrawTooLarge { slot_id } => facts([("slot_id", slot_id), ("max_quantity", &MAX_CAPACITY)]),
        OrderError::CurrencyMixed { line } => facts([("line", line)]),
        OrderError::TotalTooLarge => facts([("max_minor", &Money::MAX_MINOR)]),
        OrderError::NotPlaced { status } | OrderError::NotHeld { status } => facts([("status", status)]),
        OrderError::ExpiryInvalid { expires_at, now } => facts([("expires_at", expires_at), ("now", now), ("max_hold_seconds", &MAX_HOLD_SECONDS)]),
        OrderError::FailuresInvalid => facts([("max_failures", &MAX_FAILURES)]),
        OrderError::Expired { expired_at } => facts([("expired_at", expired_at)]),
    }
}
