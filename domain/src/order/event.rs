//! What happened to an order.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LineFailure, OrderLine};
use crate::{
    DecodeError, Money,
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

event_format! { OrderEvent, upcast: upcast, {
    OrderPlaced "1.0",
    OrderHeld "1.0",
    OrderRejected "1.0",
    OrderConfirmed "1.0",
    OrderExpired "1.0",
    OrderCancelled "1.0",
}}

fn upcast(event_type: &str, event_version: &str, _: serde_json::Value) -> Result<serde_json::Value, DecodeError> {
    Err(unknown_event::<super::Order>(event_type, event_version))
}
