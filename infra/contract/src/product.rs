//! What happened to products, as integrators see it.

use std::sync::Arc;

use jari_domain::product::ProductEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Told, events_of, tell},
    error::Unfit,
    value::{Count, Money},
};

events_of! { "reservation.product.v1" on Product {
    ProductDrafted "1.0",
    OptionDefined "1.0",
    OptionWithdrawn "1.0",
    ProductLaunched "1.0",
    ProductSuspended "1.0",
    ProductResumed "1.0",
    ProductEnded "1.0",
}}

/// A draft was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductDrafted {
    /// The product.
    pub product_id: Arc<str>,
    /// Shown to customers.
    pub title: String,
    /// How it is sold; never changes.
    pub sale_mode: SaleMode,
    /// IANA zone in which its days are counted: "Asia/Seoul".
    pub time_zone: String,
    /// ISO 4217 code of every price in it.
    pub currency: String,
    /// How long the holds of an order last once it is settled, in seconds.
    pub hold_seconds: Count,
    /// Sales of a slot end so many seconds before it starts; 0 for stock.
    pub cut_off_seconds: Count,
}

/// How a product is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaleMode {
    /// For a time slot: every line of an order names the slot's start.
    #[serde(rename = "SALE_MODE_RESERVATION")]
    Reservation,
    /// From stock, at once: no line names a start.
    #[serde(rename = "SALE_MODE_REALTIME")]
    Realtime,
}

impl From<jari_domain::product::SaleMode> for SaleMode {
    fn from(mode: jari_domain::product::SaleMode) -> Self {
        match mode {
            jari_domain::product::SaleMode::Reservation => Self::Reservation,
            jari_domain::product::SaleMode::Realtime => Self::Realtime,
        }
    }
}

/// An option was added, or took the place of the one with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionDefined {
    /// The product.
    pub product_id: Arc<str>,
    /// As it is from now on.
    pub option: ProductOption,
}

/// One way to buy a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Option")]
pub struct ProductOption {
    /// Unique within the product.
    pub option_id: Arc<str>,
    /// Shown to customers.
    pub title: String,
    /// What a customer counts; ids unique.
    pub units: Vec<Unit>,
    /// What every head of it takes; each pool once.
    pub draws: Vec<Draw>,
}

/// What a customer counts: adult, child, family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// Unique within the option.
    pub unit_id: Arc<str>,
    /// Shown to customers.
    pub title: String,
    /// Of one, in the product's currency.
    pub price: Money,
    /// How many heads one of it is: a family of four is 4.
    pub heads: Count,
}

/// How much one head takes of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draw {
    /// The pool.
    pub pool_id: Arc<str>,
    /// Units of capacity a head.
    pub per_head: Count,
}

/// An option was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionWithdrawn {
    /// The product.
    pub product_id: Arc<str>,
    /// Which option.
    pub option_id: Arc<str>,
}

/// The product went on sale; its options are fixed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductLaunched {
    /// The product.
    pub product_id: Arc<str>,
}

/// New orders are refused from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductSuspended {
    /// The product.
    pub product_id: Arc<str>,
    /// The operator's words.
    pub reason: String,
}

/// New orders are taken again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductResumed {
    /// The product.
    pub product_id: Arc<str>,
}

/// The product is sold no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductEnded {
    /// The product.
    pub product_id: Arc<str>,
}

/// What integrators are told of an event of the product `id`.
pub(crate) fn told(id: &Arc<str>, event: &ProductEvent) -> Result<Told, Unfit> {
    let product_id = id.clone();
    Ok(match event {
        ProductEvent::ProductDrafted { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } => tell(&ProductDrafted {
            product_id,
            title: title.clone(),
            sale_mode: (*sale_mode).into(),
            time_zone: time_zone.clone(),
            currency: currency.to_string(),
            hold_seconds: Count::new(*hold_seconds, "hold_seconds has at most 31 bits")?,
            cut_off_seconds: Count::new(*cut_off_seconds, "cut_off_seconds has at most 31 bits")?,
        }),
        ProductEvent::OptionDefined { option } => tell(&OptionDefined { product_id, option: option.try_into()? }),
        ProductEvent::OptionWithdrawn { option_id } => tell(&OptionWithdrawn { product_id, option_id: option_id.shared() }),
        ProductEvent::ProductLaunched {} => tell(&ProductLaunched { product_id }),
        ProductEvent::ProductSuspended { reason } => tell(&ProductSuspended { product_id, reason: reason.clone() }),
        ProductEvent::ProductResumed {} => tell(&ProductResumed { product_id }),
        ProductEvent::ProductEnded {} => tell(&ProductEnded { product_id }),
    })
}

impl TryFrom<&jari_domain::product::ProductOption> for ProductOption {
    type Error = Unfit;
    fn try_from(option: &jari_domain::product::ProductOption) -> Result<Self, Unfit> {
        let unit = |unit: &jari_domain::product::Unit| -> Result<_, Unfit> {
            Ok(Unit {
                unit_id: unit.unit_id.shared(),
                title: unit.title.clone(),
                price: unit.price.try_into()?,
                heads: Count::new(unit.heads, "heads have at most 31 bits")?,
            })
        };
        let draw = |draw: &jari_domain::product::Draw| -> Result<_, Unfit> {
            Ok(Draw { pool_id: draw.pool_id.shared(), per_head: Count::new(draw.per_head, "per_head has at most 31 bits")? })
        };
        Ok(Self {
            option_id: option.option_id.shared(),
            title: option.title.clone(),
            units: option.units.iter().map(unit).collect::<Result<_, _>>()?,
            draws: option.draws.iter().map(draw).collect::<Result<_, _>>()?,
        })
    }
}
