//! Why a slot refuses.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::{Counts, MAX_CAPACITY, MAX_HOLD_SECONDS, MAX_OPEN_HOLDS, MAX_WINDOW_DAYS};
use crate::{
    Quantity,
    ids::{HoldId, OrderId},
    refusal::{facts, refusals},
    text::{MAX_REASON, PLAIN},
};

/// Each has a page in `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Never opened.
    #[error("the slot does not exist")]
    NotFound,
    /// Opened before.
    #[error("the slot exists already")]
    Exists,
    /// Closed for good.
    #[error("the slot is closed")]
    Closed,
    /// Suspended by its operator.
    #[error("the slot is suspended: it takes no new holds until its operator resumes it")]
    Suspended,
    /// Its window has begun.
    #[error("the slot started at {starts_at}: it takes no new holds")]
    Started {
        /// When.
        starts_at: Timestamp,
    },
    /// No window that a slot can have.
    #[error("the window cannot be used: {0}")]
    WindowInvalid(WindowFault),
    /// Out of bounds.
    #[error("a capacity is 0 to {MAX_CAPACITY} units, not {capacity}")]
    CapacityInvalid {
        /// As asked.
        capacity: Quantity,
    },
    /// Out of bounds.
    #[error("a quantity is 1 to {MAX_CAPACITY} units, not {quantity}")]
    QuantityInvalid {
        /// As asked.
        quantity: Quantity,
    },
    /// Out of bounds, or not plain.
    #[error("a reason has 1 to {MAX_REASON} characters, {PLAIN}")]
    ReasonInvalid,
    /// Not after now, or too far ahead.
    #[error("a hold ends after now ({now}) and at most {MAX_HOLD_SECONDS} seconds later, not at {expires_at}")]
    ExpiryInvalid {
        /// As asked.
        expires_at: Timestamp,
        /// The time of the decision.
        now: Timestamp,
    },
    /// A live hold has this id.
    #[error("hold {hold_id} exists already and is live until {expires_at}")]
    HoldExists {
        /// Which.
        hold_id: HoldId,
        /// Its end.
        expires_at: Timestamp,
    },
    /// No hold has this id: it never was, or is confirmed, released or expired.
    #[error("hold {hold_id} does not exist: it never did, or was confirmed, released, or expired")]
    HoldNotFound {
        /// Which.
        hold_id: HoldId,
    },
    /// The hold is an order's: a caller's command would tear it away from the order.
    #[error("hold {order_id} is of the order with this id: it is confirmed, given back and ended with the order, by OrderService")]
    HoldOfOrder {
        /// Which order.
        order_id: OrderId,
    },
    /// Its end has come.
    #[error("hold {hold_id} expired at {expired_at}")]
    HoldExpired {
        /// Which.
        hold_id: HoldId,
        /// When.
        expired_at: Timestamp,
    },
    /// The state must stay bounded.
    #[error("the slot has {MAX_OPEN_HOLDS} open holds, which is the most it can have, and none of them has lapsed")]
    HoldsExhausted {
        /// When the first of them ends.
        retry_at: Option<Timestamp>,
    },
    /// Nothing unsold is left.
    #[error("the slot is sold out: all of its {} units are sold", room.counts.capacity)]
    SoldOut {
        /// The facts.
        room: Room,
    },
    /// Something is left, but less than was asked for, even if every hold came back.
    #[error("{} units were asked for, and only {} are not sold", room.requested, room.counts.unsold())]
    InsufficientUnits {
        /// The facts.
        room: Room,
    },
    /// It would fit if live holds came back.
    #[error("{} units were asked for and {} are free; others hold {}, which may come back", room.requested, room.counts.available(), room.counts.held)]
    HeldByOthers {
        /// The facts.
        room: Room,
        /// When the first of those holds ends, if nobody extends it.
        retry_at: Option<Timestamp>,
    },
    /// More than was sold.
    #[error("{requested} units cannot be cancelled: {confirmed} are sold, {sold_to_orders} of them to orders, with which they come back")]
    CancelExceedsSold {
        /// As asked.
        requested: Quantity,
        /// Sold units.
        confirmed: Quantity,
        /// Of them.
        sold_to_orders: Quantity,
    },
}

/// How much room there was when a hold was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// As asked.
    pub requested: Quantity,
    /// At the time of the decision, lapsed holds counted as free.
    pub counts: Counts,
}

/// What is wrong with a window, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFault {
    /// A time has a fraction of a second.
    NotWholeSeconds,
    /// It begins at or before now.
    StartsInThePast,
    /// It ends at or before its start.
    EndsBeforeItStarts,
    /// Longer than [`MAX_WINDOW_DAYS`].
    TooLong,
}

impl fmt::Display for WindowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWholeSeconds => f.write_str("its times must be whole seconds"),
            Self::StartsInThePast => f.write_str("it must start in the future"),
            Self::EndsBeforeItStarts => f.write_str("it must end after it starts"),
            Self::TooLong => write!(f, "it may last {MAX_WINDOW_DAYS} days at most"),
        }
    }
}

refusals! { SlotError, details: details, {
    NotFound          => "SLOT_NOT_FOUND",           NotFound,           false;
    Exists            => "SLOT_EXISTS",              AlreadyExists,      false;
    Closed            => "SLOT_CLOSED",              FailedPrecondition, false;
    Suspended         => "SLOT_SUSPENDED",           FailedPrecondition, false;
    Started           => "SLOT_STARTED",             FailedPrecondition, false;
    WindowInvalid     => "SLOT_WINDOW_INVALID",      InvalidArgument,    false;
    CapacityInvalid   => "SLOT_CAPACITY_INVALID",    InvalidArgument,    false;
    QuantityInvalid   => "SLOT_QUANTITY_INVALID",    InvalidArgument,    false;
    ReasonInvalid     => "SLOT_REASON_INVALID",      InvalidArgument,    false;
    ExpiryInvalid     => "HOLD_EXPIRY_INVALID",      InvalidArgument,    false;
    HoldExists        => "HOLD_EXISTS",              AlreadyExists,      false;
    HoldNotFound      => "HOLD_NOT_FOUND",           NotFound,           false;
    HoldOfOrder       => "HOLD_OF_ORDER",            FailedPrecondition, false;
    HoldExpired       => "HOLD_EXPIRED",             FailedPrecondition, false;
    HoldsExhausted    => "SLOT_HOLDS_EXHAUSTED",     ResourceExhausted,  true;
    SoldOut           => "SLOT_SOLD_OUT",            ResourceExhausted,  false;
    InsufficientUnits => "SLOT_INSUFFICIENT_UNITS",  ResourceExhausted,  false;
    HeldByOthers      => "SLOT_HELD_BY_OTHERS",      ResourceExhausted,  true;
    CancelExceedsSold => "SLOT_CANCEL_EXCEEDS_SOLD", FailedPrecondition, false;
}}

fn details(error: &SlotError) -> BTreeMap<String, String> {
    match error {
        SlotError::NotFound | SlotError::Exists | SlotError::Closed | SlotError::Suspended | SlotError::ReasonInvalid => BTreeMap::new(),
        SlotError::Started { starts_at } => facts([("starts_at", starts_at)]),
        SlotError::WindowInvalid(fault) => facts([("fault", fault)]),
        SlotError::CapacityInvalid { capacity } => facts([("capacity", capacity), ("max_capacity", &MAX_CAPACITY)]),
        SlotError::QuantityInvalid { quantity } => facts([("quantity", quantity), ("max_quantity", &MAX_CAPACITY)]),
        SlotError::ExpiryInvalid { expires_at, now } => facts([("expires_at", expires_at), ("now", now), ("max_hold_seconds", &MAX_HOLD_SECONDS)]),
        SlotError::HoldExists { hold_id, expires_at } => facts([("hold_id", hold_id), ("expires_at", expires_at)]),
        SlotError::HoldNotFound { hold_id } => facts([("hold_id", hold_id)]),
        SlotError::HoldOfOrder { order_id } => facts([("order_id", order_id)]),
        SlotError::HoldExpired { hold_id, expired_at } => facts([("hold_id", hold_id), ("expired_at", expired_at)]),
        SlotError::HoldsExhausted { retry_at } => with_retry_at(facts([("max_live_holds", &MAX_OPEN_HOLDS)]), *retry_at),
        SlotError::SoldOut { room } | SlotError::InsufficientUnits { room } => room_facts(room),
        SlotError::HeldByOthers { room, retry_at } => with_retry_at(room_facts(room), *retry_at),
        SlotError::CancelExceedsSold { requested, confirmed, sold_to_orders } => {
            facts([("requested", requested), ("confirmed", confirmed), ("sold_to_orders", sold_to_orders)])
        }
    }
}

fn room_facts(Room { requested, counts }: &Room) -> BTreeMap<String, String> {
    facts([
        ("requested", requested),
        ("available", &counts.available()),
        ("held", &counts.held),
        ("confirmed", &counts.confirmed),
        ("capacity", &counts.capacity),
    ])
}

fn with_retry_at(mut facts: BTreeMap<String, String>, retry_at: Option<Timestamp>) -> BTreeMap<String, String> {
    if let Some(at) = retry_at {
        facts.insert("retry_at".to_owned(), at.to_string());
    }
    facts
}
