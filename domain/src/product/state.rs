//! What a product knows.

use serde::{Deserialize, Serialize};

use super::{ProductEvent, ProductOption, SaleMode};
use crate::{Currency, ids::OptionId, words::words};

/// Where a product stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProductStatus {
    /// Never drafted.
    #[default]
    Absent,
    /// Being written; not for sale.
    Draft,
    /// For sale.
    OnSale,
    /// Takes no new orders for a while.
    Suspended,
    /// Takes no new orders ever.
    Ended,
}

words! { ProductStatus { Absent => "ABSENT", Draft => "DRAFT", OnSale => "ON_SALE", Suspended => "SUSPENDED", Ended => "ENDED" } }

/// What a draft fixes for all options of the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Shown to customers.
    pub title: String,
    /// How it is sold.
    pub sale_mode: SaleMode,
    /// IANA zone in which its days are counted.
    pub time_zone: String,
    /// Of every price.
    pub currency: Currency,
    /// How long a hold lasts, in seconds.
    pub hold_seconds: u32,
    /// Sales of a slot end so long before it starts, in seconds; 0 for stock.
    pub cut_off_seconds: u32,
}

/// The state: at most [`super::MAX_OPTIONS`] options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    pub(super) status: ProductStatus,
    pub(super) terms: Option<Terms>,
    pub(super) options: Vec<ProductOption>,
}

impl Product {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ProductStatus {
        self.status
    }

    /// What the draft fixed; `None` while absent.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// The options, in the order in which they were first defined.
    #[must_use]
    pub fn options(&self) -> &[ProductOption] {
        &self.options
    }

    /// One option.
    #[must_use]
    pub fn option(&self, id: &OptionId) -> Option<&ProductOption> {
        self.options.iter().find(|option| option.option_id == *id)
    }

    /// Takes an event as true.
    pub(super) fn fold(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::ProductDrafted { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } => {
                self.status = ProductStatus::Draft;
                self.terms = Some(Terms {
                    title: title.clone(),
                    sale_mode: *sale_mode,
                    time_zone: time_zone.clone(),
                    currency: *currency,
                    hold_seconds: *hold_seconds,
                    cut_off_seconds: *cut_off_seconds,
                });
            }
            ProductEvent::OptionDefined { option } => match self.options.iter_mut().find(|before| before.option_id == option.option_id) {
                Some(before) => before.clone_from(option),
                None => self.options.push(option.clone()),
            },
            ProductEvent::OptionWithdrawn { option_id } => self.options.retain(|option| option.option_id != *option_id),
            ProductEvent::ProductLaunched {} | ProductEvent::ProductResumed {} => self.status = ProductStatus::OnSale,
            ProductEvent::ProductSuspended { .. } => self.status = ProductStatus::Suspended,
            ProductEvent::ProductEnded {} => self.status = ProductStatus::Ended,
        }
    }
}
