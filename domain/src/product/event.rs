//! What happened to a product.

use serde::{Deserialize, Serialize};

use super::{ProductOption, SaleMode};
use crate::{Currency, DecodeError, EventFormat, ids::OptionId};

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
