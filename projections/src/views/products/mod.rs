//! Products with their options: by id.

use jari_domain::{
    AnyEvent, Currency, Decider,
    ids::OptionId,
    product::{Product, ProductEvent, ProductOption, ProductStatus, SaleMode},
};
use jari_event_store::RecordedEvent;
use jiff::Timestamp;

use crate::{
    projection::{Projection, Write},
    rows::{Rows, instant},
};

pub(crate) const GET_PRODUCT: &str = include_str!("get_product.sql");
pub(crate) const LIST_PRODUCTS: &str = include_str!("list_products.sql");

/// The view.
pub(crate) struct Products;

impl Projection for Products {
    fn name(&self) -> &'static str {
        "products"
    }
    fn version(&self) -> i32 {
        1
    }
    fn lease(&self) -> &'static str {
        "view/products/1"
    }
    fn schema(&self) -> &'static str {
        include_str!("schema.sql")
    }
    fn reads(&self) -> &'static [&'static str] {
        &[Product::TYPE]
    }
    fn fold<'a>(&self, events: &[&'a RecordedEvent]) -> Vec<Write<'a>> {
        let mut changes = Changes { products: Rows::new(), options: Rows::new() };
        for event in events {
            if let Some(AnyEvent::Product(said)) = event.event() {
                changes.take(&event.aggregate_id, said, event.decided_at());
            }
        }
        changes.writes()
    }
}

struct Draft<'a> {
    title: &'a str,
    sale_mode: SaleMode,
    time_zone: &'a str,
    currency: Currency,
    hold_seconds: u32,
    cut_off_seconds: u32,
    created_at: Timestamp,
}

struct Change<'a> {
    draft: Option<Draft<'a>>,
    /// The last change of status, and the reason when it is a suspension.
    status: Option<(ProductStatus, &'a str)>,
    changed_at: Timestamp,
}

struct Changes<'a> {
    products: Rows<&'a str, Change<'a>>,
    /// `None`: withdrawn.
    options: Rows<(&'a str, &'a OptionId), Option<&'a ProductOption>>,
}

impl<'a> Changes<'a> {
    fn take(&mut self, id: &'a str, said: &'a ProductEvent, at: Timestamp) {
        let change = self.products.row(id, || Change { draft: None, status: None, changed_at: at });
        change.changed_at = at;
        match said {
            ProductEvent::ProductDrafted { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } => {
                let (sale_mode, currency, hold_seconds, cut_off_seconds) = (*sale_mode, *currency, *hold_seconds, *cut_off_seconds);
                change.draft = Some(Draft { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds, created_at: at });
                change.status = Some((ProductStatus::Draft, ""));
            }
            ProductEvent::OptionDefined { option } => *self.options.row((id, &option.option_id), || None) = Some(option),
            ProductEvent::OptionWithdrawn { option_id } => *self.options.row((id, option_id), || None) = None,
            ProductEvent::ProductLaunched {} | ProductEvent::ProductResumed {} => change.status = Some((ProductStatus::OnSale, "")),
            ProductEvent::ProductSuspended { reason } => change.status = Some((ProductStatus::Suspended, reason)),
            ProductEvent::ProductEnded {} => change.status = Some((ProductStatus::Ended, "")),
        }
    }

    fn writes(&self) -> Vec<Write<'a>> {
        let drafted = self.products.pick(|id, change| Some((*id, change.draft.as_ref()?, change.status?, change.changed_at)));
        let changed = self.products.pick(|id, change| change.draft.is_none().then_some((*id, change.status, change.changed_at)));
        let defined = self.options.pick(|key, option| option.map(|option| (*key, option)));
        let withdrawn = self.options.pick(|key, option| option.is_none().then_some(*key));
        let mut writes = Vec::new();
        if !drafted.is_empty() {
            writes.push(draft_write(&drafted));
        }
        if !changed.is_empty() {
            let write = Write::new(include_str!("change.sql"))
                .column(changed.iter().map(|(id, ..)| *id))
                .column(changed.iter().map(|(_, status, _)| status.map(|(status, _)| status.as_str())))
                .column(changed.iter().map(|(_, status, _)| status.map(|(_, reason)| reason)))
                .column(changed.iter().map(|(.., at)| instant(*at)));
            writes.push(write);
        }
        if !withdrawn.is_empty() {
            let write = Write::new(include_str!("withdraw_options.sql"));
            writes.push(write.column(withdrawn.iter().map(|(id, _)| *id)).column(withdrawn.iter().map(|(_, option)| option.as_str())));
        }
        if !defined.is_empty() {
            let write = Write::new(include_str!("define_options.sql"))
                .column(defined.iter().map(|((id, _), _)| *id))
                .column(defined.iter().map(|((_, option_id), _)| option_id.as_str()))
                .column(defined.iter().map(|(_, option)| json(option)));
            writes.push(write);
        }
        writes
    }
}

fn draft_write<'a>(drafted: &[(&'a str, &Draft<'a>, (ProductStatus, &'a str), Timestamp)]) -> Write<'a> {
    Write::new(include_str!("draft.sql"))
        .column(drafted.iter().map(|(id, ..)| *id))
        .column(drafted.iter().map(|(_, draft, ..)| draft.title))
        .column(drafted.iter().map(|(_, draft, ..)| draft.sale_mode.as_str()))
        .column(drafted.iter().map(|(_, draft, ..)| draft.time_zone))
        .column(drafted.iter().map(|(_, draft, ..)| String::from(draft.currency)))
        .column(drafted.iter().map(|(_, draft, ..)| draft.hold_seconds.cast_signed()))
        .column(drafted.iter().map(|(_, draft, ..)| draft.cut_off_seconds.cast_signed()))
        .column(drafted.iter().map(|(_, _, (status, _), _)| status.as_str()))
        .column(drafted.iter().map(|(_, _, (_, reason), _)| *reason))
        .column(drafted.iter().map(|(_, draft, ..)| instant(draft.created_at)))
        .column(drafted.iter().map(|(.., at)| instant(*at)))
}

/// The columns of this crate that hold JSON are read by the program that wrote them: a change of the shape is a new version of the view.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys always becomes JSON")
}

#[cfg(test)]
mod tests;
