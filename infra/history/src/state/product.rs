//! A product as it stood.

use jari_domain::{
    ids::ProductId,
    product::{Draw, Product, ProductEvent, ProductOption, ProductStatus, SaleMode, Unit},
};
use jari_event_store::RecordedEvent;
use jari_proto::product::v1::{self as wire, ProductState};
use jiff::Timestamp;

use super::money;
use crate::service::timestamp;

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
pub(super) fn told(id: &ProductId, product: &Product, beside: &Beside) -> Option<wire::Product> {
    let terms = product.terms()?;
    let state = match product.status() {
        ProductStatus::Absent => return None,
        ProductStatus::Draft => ProductState::Draft,
        ProductStatus::OnSale => ProductState::OnSale,
        ProductStatus::Suspended => ProductState::Suspended,
        ProductStatus::Ended => ProductState::Ended,
    };
    let sale_mode = match terms.sale_mode {
        SaleMode::Reservation => wire::SaleMode::Reservation,
        SaleMode::Realtime => wire::SaleMode::Realtime,
    };
    let mut options: Vec<_> = product.options().iter().map(option).collect();
    options.sort_by(|one, other| one.option_id.cmp(&other.option_id));
    Some(wire::Product {
        product_id: id.to_string(),
        title: terms.title.clone(),
        sale_mode: sale_mode.into(),
        time_zone: terms.time_zone.clone(),
        currency: terms.currency.into(),
        hold_seconds: terms.hold_seconds.cast_signed(),
        cut_off_seconds: terms.cut_off_seconds.cast_signed(),
        state: state.into(),
        options,
        suspension_reason: beside.suspension_reason.clone(),
        created_at: beside.created_at.map(timestamp),
        changed_at: beside.changed_at.map(timestamp),
    })
}

fn option(option: &ProductOption) -> wire::Option {
    let unit = |unit: &Unit| wire::Unit {
        unit_id: unit.unit_id.to_string(),
        title: unit.title.clone(),
        price: Some(money(unit.price)),
        heads: unit.heads.cast_signed(),
    };
    let draw = |draw: &Draw| wire::Draw { pool_id: draw.pool_id.to_string(), per_head: draw.per_head.cast_signed() };
    wire::Option {
        option_id: option.option_id.to_string(),
        title: option.title.clone(),
        units: option.units.iter().map(unit).collect(),
        draws: option.draws.iter().map(draw).collect(),
    }
}
