//! Products, each folded, and each of its events held against what its state allowed.

use std::{collections::HashMap, sync::Arc};

use jari_domain::{
    Decider, EventFormat, RefusalKind, Refuse,
    product::{Product, ProductCommand, ProductError, ProductEvent},
};
use jari_event_store::RecordedEvent;

/// The walk so far: a log has few products, and what each grows to is bounded.
#[derive(Debug, Default)]
pub(super) struct ProductBook {
    products: HashMap<Arc<str>, Product>,
}

impl ProductBook {
    /// Takes the next event of a product. Says when the product would have refused the command that it answers.
    pub fn note(&mut self, event: &RecordedEvent, change: &ProductEvent) -> Option<String> {
        let product = self.products.entry(event.aggregate_id.clone()).or_default();
        let status = product.status();
        let refused = product.decide(&command_of(change), event.decided_at()).err().filter(is_objection);
        product.apply(change);
        let what = change.event_type();
        refused.map(|refused| format!("position {}: product {} was {status}: {what} ({})", event.position, event.aggregate_id, refused.code()))
    }

    /// No more is asked of a product with an event that cannot be read.
    pub fn forget(&mut self, product_id: &str) {
        self.products.remove(product_id);
    }
}

/// Whether the product itself speaks against it. What is bad input to any product is not looked at: those bounds need not have been the same in every
/// version. One currency for all prices is more than a bound.
fn is_objection(refused: &ProductError) -> bool {
    refused.kind() != RefusalKind::InvalidArgument || matches!(refused, ProductError::PriceCurrency { .. })
}

/// The command that has this event for an answer.
fn command_of(change: &ProductEvent) -> ProductCommand {
    match change.clone() {
        ProductEvent::ProductDrafted { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } => {
            ProductCommand::DraftProduct { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds }
        }
        ProductEvent::OptionDefined { option } => ProductCommand::DefineOption(option),
        ProductEvent::OptionWithdrawn { option_id } => ProductCommand::WithdrawOption(option_id),
        ProductEvent::ProductLaunched {} => ProductCommand::LaunchProduct,
        ProductEvent::ProductSuspended { reason } => ProductCommand::SuspendProduct { reason },
        ProductEvent::ProductResumed {} => ProductCommand::ResumeProduct,
        ProductEvent::ProductEnded {} => ProductCommand::EndProduct,
    }
}
