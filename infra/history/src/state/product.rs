//! A product as it stood.

use jari_domain::{
    ids::ProductId,
    product::{Product, ProductEvent},
};
use jari_event_store::RecordedEvent;
use jari_proto::product::v1 as pb;
use jari_wire::{
    count,
    product::{option, sale_mode, state},
    timestamp,
};
use jiff::Timestamp;

/// When it began and last changed, and why it is suspended.
#[derive(Debug, Default)]
pub(super) struct Beside {
    created_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    suspension_reason: String,
}

impl Beside {
    pub fn take(&mut self, event: &RecordedEvent, said: &ProductEvent) {
        let at = Some(event.decided_at());
        self.changed_at = at;
        match said {
            ProductEvent::ProductDrafted { .. } => self.created_at = at,
            ProductEvent::ProductSuspended { reason } => self.suspension_reason.clone_from(reason),
            ProductEvent::ProductLaunched {} | ProductEvent::ProductResumed {} | ProductEvent::ProductEnded {} => self.suspension_reason.clear(),
            ProductEvent::OptionDefined { .. } | ProductEvent::OptionWithdrawn { .. } => {}
        }
    }
}

/// `None` before it was drafted.
pub(super) fn told(id: &ProductId, product: &Product, beside: &Beside) -> Option<pb::Product> {
    let (state, terms) = (state(product.status())?, product.terms()?);
    let mut options: Vec<_> = product.options().iter().map(option).collect();
    options.sort_by(|one, other| one.option_id.cmp(&other.option_id));
    Some(pb::Product {
        product_id: id.to_string(),
        title: terms.title.clone(),
        sale_mode: sale_mode(terms.sale_mode).into(),
        time_zone: terms.time_zone.clone(),
        currency: terms.currency.into(),
        hold_seconds: count(terms.hold_seconds),
        cut_off_seconds: count(terms.cut_off_seconds),
        state: state.into(),
        options,
        suspension_reason: beside.suspension_reason.clone(),
        created_at: beside.created_at.map(timestamp),
        changed_at: beside.changed_at.map(timestamp),
    })
}
