//! What happened to an order.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FAILURE_BYTES, LineFailure, OrderLine};
use crate::{
    DecodeError, Money, Sealed,
    aggregate::{event_format, unknown_event},
    ids::CustomerRef,
};

/// Past tense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OrderEvent {
    /// It was accepted: a place in line.
    OrderPlaced {
        /// For whom.
        customer: CustomerRef,
        /// With the prices of that moment.
        lines: Arc<[OrderLine]>,
        /// The sum of the lines.
        total: Money,
        /// Seconds.
        hold_seconds: u32,
        /// Contact and names of guests, when any were given. Unreadable for good once the person's key is destroyed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        personal: Option<Sealed>,
    },
    /// Every line is held.
    OrderHeld {
        /// The holds are good before this instant.
        expires_at: Timestamp,
    },
    /// It could not be served.
    OrderRejected {
        /// Every line that failed, and why.
        failures: Vec<LineFailure>,
    },
    /// It was bought.
    OrderConfirmed {},
    /// Its holds lapsed.
    OrderExpired {
        /// When they lapsed.
        expired_at: Timestamp,
    },
    /// It was given back.
    OrderCancelled {
        /// The caller's words.
        reason: String,
        /// What it was before: placed, held or confirmed.
        was: super::OrderStatus,
    },
}

impl OrderEvent {
    /// See [`crate::AnyEvent::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::OrderPlaced { lines, personal, .. } => {
                lines.iter().map(OrderLine::bytes).sum::<usize>() + personal.as_ref().map_or(0, |sealed| sealed.as_str().len())
            }
            Self::OrderRejected { failures } => failures.len() * FAILURE_BYTES,
            Self::OrderCancelled { reason, .. } => reason.len(),
            Self::OrderHeld { .. } | Self::OrderConfirmed {} | Self::OrderExpired { .. } => 0,
        }
    }
}

event_format! { OrderEvent, upcast: upcast, {
    OrderPlaced "1.1",
    OrderHeld "1.0",
    OrderRejected "1.0",
    OrderConfirmed "1.0",
    OrderExpired "1.0",
    OrderCancelled "1.0",
}}

fn upcast(event_type: &str, event_version: &str, payload: serde_json::Value) -> Result<serde_json::Value, DecodeError> {
    match (event_type, event_version) {
        // 1.0 knew no personal data: the same without it
        ("OrderPlaced", "1.0") => Ok(payload),
        _ => Err(unknown_event::<super::Order>(event_type, event_version)),
    }
}
