//! A product.

use jari_domain::product::{Draw, ProductOption, ProductStatus, SaleMode, Unit};
use jari_proto::product::v1 as pb;

use crate::{count, money};

/// Its state; `None` before it was drafted.
#[must_use]
pub fn state(status: ProductStatus) -> Option<pb::ProductState> {
    Some(match status {
        ProductStatus::Absent => return None,
        ProductStatus::Draft => pb::ProductState::Draft,
        ProductStatus::OnSale => pb::ProductState::OnSale,
        ProductStatus::Suspended => pb::ProductState::Suspended,
        ProductStatus::Ended => pb::ProductState::Ended,
    })
}

/// How it is sold.
#[must_use]
pub fn sale_mode(mode: SaleMode) -> pb::SaleMode {
    match mode {
        SaleMode::Reservation => pb::SaleMode::Reservation,
        SaleMode::Realtime => pb::SaleMode::Realtime,
    }
}

/// An option of it.
#[must_use]
pub fn option(option: &ProductOption) -> pb::Option {
    let unit = |unit: &Unit| pb::Unit {
        unit_id: unit.unit_id.to_string(),
        title: unit.title.clone(),
        price: Some(money(unit.price)),
        heads: count(unit.heads),
    };
    let draw = |draw: &Draw| pb::Draw { pool_id: draw.pool_id.to_string(), per_head: count(draw.per_head) };
    pb::Option {
        option_id: option.option_id.to_string(),
        title: option.title.clone(),
        units: option.units.iter().map(unit).collect(),
        draws: option.draws.iter().map(draw).collect(),
    }
}
