//! What an order knows.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LineFailure, OrderEvent, OrderLine, draws_of};
use crate::{
    Money, Quantity, Sealed,
    ids::{CustomerRef, SlotId},
    words::words,
};

/// Where an order stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Never placed.
    #[default]
    Absent,
    /// Accepted: in line, not settled.
    Placed,
    /// Every line is held, until the order's expiry.
    Held,
    /// Could not be served.
    Rejected,
    /// Bought.
    Confirmed,
    /// Its holds lapsed.
    Expired,
    /// Given back.
    Cancelled,
}

words! { OrderStatus {
    Absent => "ABSENT",
    Placed => "PLACED",
    Held => "HELD",
    Rejected => "REJECTED",
    Confirmed => "CONFIRMED",
    Expired => "EXPIRED",
    Cancelled => "CANCELLED",
}}

impl OrderStatus {
    /// Whether nothing can happen to the order any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Absent | Self::Placed | Self::Held | Self::Confirmed => false,
            Self::Rejected | Self::Expired | Self::Cancelled => true,
        }
    }
}

/// The state. Lines are shared, so that copying it is cheap.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub(super) status: OrderStatus,
    pub(super) customer: Option<CustomerRef>,
    pub(super) lines: Arc<[OrderLine]>,
    pub(super) total: Option<Money>,
    pub(super) hold_seconds: u32,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) failures: Arc<[LineFailure]>,
    pub(super) personal: Option<Sealed>,
}

impl Order {
    /// Where it stands by the record. A held order may have lapsed: see [`Order::status_at`].
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        self.status
    }

    /// Where it stands at `now`: a held order whose expiry has come is expired, recorded or not.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> OrderStatus {
        match (self.status, self.expires_at) {
            (OrderStatus::Held, Some(expires_at)) if expires_at <= now => OrderStatus::Expired,
            (status, _) => status,
        }
    }

    /// For whom; `None` while absent.
    #[must_use]
    pub fn customer(&self) -> Option<&CustomerRef> {
        self.customer.as_ref()
    }

    /// What was asked for.
    #[must_use]
    pub fn lines(&self) -> &[OrderLine] {
        &self.lines
    }

    /// The sum of the lines; `None` while absent.
    #[must_use]
    pub fn total(&self) -> Option<Money> {
        self.total
    }

    /// How long its holds last once it is settled, in seconds.
    #[must_use]
    pub fn hold_seconds(&self) -> u32 {
        self.hold_seconds
    }

    /// The end of its holds; `None` unless it was held.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Why it was rejected; empty unless it was.
    #[must_use]
    pub fn failures(&self) -> &[LineFailure] {
        &self.failures
    }

    /// Contact and names of guests, sealed; `None` when none were given.
    #[must_use]
    pub fn personal(&self) -> Option<&Sealed> {
        self.personal.as_ref()
    }

    /// What it takes of which slots: the same slot in two lines is summed. In the order of slot ids.
    #[must_use]
    pub fn draws(&self) -> BTreeMap<SlotId, Quantity> {
        draws_of(&self.lines)
    }

    /// Takes an event as true.
    pub(super) fn fold(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderPlaced { customer, lines, total, hold_seconds, personal } => {
                self.status = OrderStatus::Placed;
                self.customer = Some(customer.clone());
                self.lines = lines.clone();
                self.total = Some(*total);
                self.hold_seconds = *hold_seconds;
                self.personal = personal.clone();
            }
            OrderEvent::OrderHeld { expires_at } => {
                self.status = OrderStatus::Held;
                self.expires_at = Some(*expires_at);
            }
            OrderEvent::OrderRejected { failures } => {
                self.status = OrderStatus::Rejected;
                self.failures = failures.as_slice().into();
            }
            OrderEvent::OrderConfirmed {} => self.status = OrderStatus::Confirmed,
            OrderEvent::OrderExpired { .. } => self.status = OrderStatus::Expired,
            OrderEvent::OrderCancelled { .. } => self.status = OrderStatus::Cancelled,
        }
    }
}
