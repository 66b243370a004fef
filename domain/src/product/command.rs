//! What one may ask of a product.

use super::{ProductOption, SaleMode};
use crate::ids::OptionId;

/// Imperative; the product's id is the stream's.
#[derive(Debug, Clone, PartialEq)]
pub enum ProductCommand {
    /// Begins a draft.
    DraftProduct {
        /// Shown to customers: 1 to 200 characters ([`crate::text::is_plain`]).
        title: String,
        /// How it is sold; fixed for ever.
        sale_mode: SaleMode,
        /// IANA zone in which its days are counted.
        time_zone: String,
        /// Of every price in it.
        currency: crate::Currency,
        /// How long a hold lasts, in seconds: within [`super::HOLD_SECONDS`].
        hold_seconds: u32,
        /// Sales of a slot end so long before it starts, in seconds; 0 for stock.
        cut_off_seconds: u32,
    },
    /// Adds an option to a draft, or replaces the one with its id.
    DefineOption(ProductOption),
    /// Takes an option out of a draft.
    WithdrawOption(OptionId),
    /// Puts a draft on sale.
    LaunchProduct,
    /// Stops new orders for a while.
    SuspendProduct {
        /// For operators, 1 to 500 characters ([`crate::text::is_plain`]).
        reason: String,
    },
    /// Ends a suspension.
    ResumeProduct,
    /// Ends the sale for good.
    EndProduct,
}
