//! What happened to a product.

use serde::{Deserialize, Serialize};

use super::{ProductOption, SaleMode};
use crate::{
    Currency, DecodeError,
    aggregate::{event_format, unknown_event},
    ids::OptionId,
};

/// Past tense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ProductEvent {
    /// A draft was begun.
    ProductDrafted {
        /// Shown to customers.
        title: String,
        /// How it is sold.
        sale_mode: SaleMode,
        /// IANA zone.
        time_zone: String,
        /// Of every price.
        currency: Currency,
        /// Seconds.
        hold_seconds: u32,
        /// Seconds.
        cut_off_seconds: u32,
    },
    /// An option was added or replaced.
    OptionDefined {
        /// As it is from now on.
        option: ProductOption,
    },
    /// An option was taken out.
    OptionWithdrawn {
        /// Which.
        option_id: OptionId,
    },
    /// It went on sale.
    ProductLaunched {},
    /// New orders are refused from now on.
    ProductSuspended {
        /// For operators.
        reason: String,
    },
    /// New orders are taken again.
    ProductResumed {},
    /// It is sold no more.
    ProductEnded {},
}

impl ProductEvent {
    /// See [`crate::AnyEvent::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::OptionDefined { option } => option.bytes(),
            Self::ProductDrafted { title: text, .. } | Self::ProductSuspended { reason: text } => text.len(),
            Self::OptionWithdrawn { .. } | Self::ProductLaunched {} | Self::ProductResumed {} | Self::ProductEnded {} => 0,
        }
    }
}

event_format! { ProductEvent, upcast: upcast, {
    ProductDrafted "1.1",
    OptionDefined "1.0",
    OptionWithdrawn "1.0",
    ProductLaunched "1.0",
    ProductSuspended "1.0",
    ProductResumed "1.0",
    ProductEnded "1.0",
}}

/// `ProductDrafted` 1.0 knew no cut-off: slots were sold until they started, which is a cut-off of 0.
fn upcast(event_type: &str, event_version: &str, mut payload: serde_json::Value) -> Result<serde_json::Value, DecodeError> {
    match (event_type, event_version) {
        ("ProductDrafted", "1.0") => {
            if let Some(drafted) = payload.get_mut("ProductDrafted").and_then(serde_json::Value::as_object_mut) {
                drafted.entry("cut_off_seconds").or_insert_with(|| 0.into());
            }
            Ok(payload)
        }
        _ => Err(unknown_event::<super::Product>(event_type, event_version)),
    }
}
