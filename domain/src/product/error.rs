//! Why a product refuses, as an aggregate and as the one that prices a line.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{HOLD_SECONDS, MAX_CUT_OFF_SECONDS, MAX_DRAWS, MAX_HEADS, MAX_OPTIONS, MAX_PER_HEAD, MAX_UNITS, MAX_ZONE_BYTES, ProductStatus};
use crate::{
    Currency, Money,
    ids::{OptionId, ProductId, SlotId, UnitId},
    order::MAX_QUANTITY,
    refusal::{facts, refusals},
    slot::MAX_CAPACITY,
    text::{MAX_REASON, MAX_TITLE, PLAIN},
};

/// Each has a page in `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProductError {
    /// Never drafted.
    #[error("the product does not exist")]
    NotFound,
    /// Drafted before.
    #[error("the product exists already")]
    Exists,
    /// Options change in a draft only.
    #[error("the product is {status}: only a draft can be changed or launched")]
    NotDraft {
        /// Where it stands.
        status: ProductStatus,
    },
    /// Not launched.
    #[error("the product is {status}: it is not on sale")]
    NotOnSale {
        /// Where it stands.
        status: ProductStatus,
    },
    /// Suspended by its operator.
    #[error("the product is suspended: it takes no orders until its operator resumes it")]
    Suspended,
    /// Ended for good.
    #[error("the sale of the product has ended")]
    Ended,
    /// Launched with nothing to buy.
    #[error("a product needs at least one option to go on sale")]
    WithoutOptions,
    /// Out of bounds, or not plain.
    #[error("{field} has 1 to {MAX_TITLE} characters, {PLAIN}")]
    TitleInvalid {
        /// Whose title.
        field: &'static str,
    },
    /// Not the shape of an IANA zone.
    #[error("a time zone is an IANA name of 1 to {MAX_ZONE_BYTES} characters, as in Asia/Seoul")]
    TimeZoneInvalid,
    /// Out of bounds.
    #[error("a hold lasts {} to {} seconds, not {hold_seconds}", HOLD_SECONDS.start(), HOLD_SECONDS.end())]
    HoldSecondsInvalid {
        /// As asked.
        hold_seconds: u32,
    },
    /// Out of bounds.
    #[error("a cut-off is 0 to {MAX_CUT_OFF_SECONDS} seconds, and 0 for stock, not {cut_off_seconds}")]
    CutOffInvalid {
        /// As asked.
        cut_off_seconds: u32,
    },
    /// Out of bounds, or not plain.
    #[error("a reason has 1 to {MAX_REASON} characters, {PLAIN}")]
    ReasonInvalid,
    /// Too many.
    #[error("a product has at most {MAX_OPTIONS} options")]
    TooManyOptions,
    /// None, too many, or an id twice.
    #[error("an option has 1 to {MAX_UNITS} units with ids of their own")]
    UnitsInvalid,
    /// Out of bounds.
    #[error("one {unit_id} is 1 to {MAX_HEADS} heads, not {heads}")]
    HeadsInvalid {
        /// Which.
        unit_id: UnitId,
        /// As asked.
        heads: u32,
    },
    /// Out of bounds.
    #[error("the price of {unit_id} is above {} minor units", Money::MAX_MINOR)]
    PriceInvalid {
        /// Which.
        unit_id: UnitId,
    },
    /// Another currency than the product's.
    #[error("the price of {unit_id} must be in {currency}")]
    PriceCurrency {
        /// Which.
        unit_id: UnitId,
        /// The product's.
        currency: Currency,
    },
    /// None, too many, a pool twice, or out of bounds.
    #[error("an option draws on 1 to {MAX_DRAWS} pools, each once, 1 to {MAX_PER_HEAD} units a head")]
    DrawsInvalid,
    /// No such option.
    #[error("product has no option {option_id}")]
    OptionNotFound {
        /// As asked.
        option_id: OptionId,
    },
    /// No such unit.
    #[error("option {option_id} has no unit {unit_id}")]
    UnitNotFound {
        /// Of which option.
        option_id: OptionId,
        /// As asked.
        unit_id: UnitId,
    },
    /// No units, or out of bounds.
    #[error("a line of {product_id} takes 1 to {MAX_QUANTITY} of each unit that it names, and names at least one")]
    QuantityInvalid {
        /// Of what.
        product_id: ProductId,
        /// As asked, summed.
        quantity: u64,
    },
    /// A reservation without a start.
    #[error("{product_id} is sold by time slot: name the start")]
    StartRequired {
        /// Of what.
        product_id: ProductId,
    },
    /// Stock with a start.
    #[error("{product_id} is sold from stock: name no start")]
    StartNotAllowed {
        /// Of what.
        product_id: ProductId,
    },
    /// A fraction of a second.
    #[error("a slot starts at a whole second, not at {starts_at}")]
    StartInvalid {
        /// As asked.
        starts_at: Timestamp,
    },
    /// It began already.
    #[error("the slot started at {starts_at}, which is past")]
    StartInPast {
        /// As asked.
        starts_at: Timestamp,
    },
    /// Too late to buy.
    #[error("sales for {starts_at} ended {cut_off_seconds} seconds before it")]
    CutOffPassed {
        /// As asked.
        starts_at: Timestamp,
        /// The product's.
        cut_off_seconds: u32,
    },
    /// Out of bounds.
    #[error("the total of the line is above {} minor units", Money::MAX_MINOR)]
    TotalTooLarge,
    /// More of one slot than any slot has.
    #[error("the line takes {quantity} units of slot {slot_id}, and no slot has more than {MAX_CAPACITY}")]
    DrawTooLarge {
        /// Which.
        slot_id: SlotId,
        /// As asked: what all of its heads take.
        quantity: u64,
    },
}

refusals! { ProductError, details: details, {
    NotFound           => "PRODUCT_NOT_FOUND",            NotFound,           false;
    Exists             => "PRODUCT_EXISTS",               AlreadyExists,      false;
    NotDraft           => "PRODUCT_NOT_DRAFT",            FailedPrecondition, false;
    NotOnSale          => "PRODUCT_NOT_ON_SALE",          FailedPrecondition, false;
    Suspended          => "PRODUCT_SUSPENDED",            FailedPrecondition, false;
    Ended              => "PRODUCT_ENDED",                FailedPrecondition, false;
    WithoutOptions     => "PRODUCT_WITHOUT_OPTIONS",      FailedPrecondition, false;
    TitleInvalid       => "PRODUCT_TITLE_INVALID",        InvalidArgument,    false;
    TimeZoneInvalid    => "PRODUCT_TIME_ZONE_INVALID",    InvalidArgument,    false;
    HoldSecondsInvalid => "PRODUCT_HOLD_SECONDS_INVALID", InvalidArgument,    false;
    CutOffInvalid      => "PRODUCT_CUT_OFF_INVALID",      InvalidArgument,    false;
    ReasonInvalid      => "PRODUCT_REASON_INVALID",       InvalidArgument,    false;
    TooManyOptions     => "PRODUCT_TOO_MANY_OPTIONS",     FailedPrecondition, false;
    UnitsInvalid       => "OPTION_UNITS_INVALID",         InvalidArgument,    false;
    HeadsInvalid       => "OPTION_HEADS_INVALID",         InvalidArgument,    false;
    PriceInvalid       => "OPTION_PRICE_INVALID",         InvalidArgument,    false;
    PriceCurrency      => "OPTION_PRICE_CURRENCY",        InvalidArgument,    false;
    DrawsInvalid       => "OPTION_DRAWS_INVALID",         InvalidArgument,    false;
    OptionNotFound     => "OPTION_NOT_FOUND",             NotFound,           false;
    UnitNotFound       => "UNIT_NOT_FOUND",               NotFound,           false;
    QuantityInvalid    => "ORDER_QUANTITY_INVALID",       InvalidArgument,    false;
    StartRequired      => "START_REQUIRED",               InvalidArgument,    false;
    StartNotAllowed    => "START_NOT_ALLOWED",            InvalidArgument,    false;
    StartInvalid       => "START_INVALID",                InvalidArgument,    false;
    StartInPast        => "START_IN_PAST",                FailedPrecondition, false;
    CutOffPassed       => "CUT_OFF_PASSED",               FailedPrecondition, false;
    TotalTooLarge      => "ORDER_TOTAL_TOO_LARGE",        InvalidArgument,    false;
    DrawTooLarge       => "ORDER_DRAW_TOO_LARGE",         InvalidArgument,    false;
}}

fn details(error: &ProductError) -> BTreeMap<String, String> {
    match error {
        ProductError::NotFound
        | ProductError::Exists
        | ProductError::WithoutOptions
        | ProductError::TimeZoneInvalid
        | ProductError::ReasonInvalid => BTreeMap::new(),
        ProductError::NotDraft { status } | ProductError::NotOnSale { status } => facts([("status", status)]),
        ProductError::Suspended => facts([("status", &ProductStatus::Suspended)]),
        ProductError::Ended => facts([("status", &ProductStatus::Ended)]),
        ProductError::TitleInvalid { field } => facts([("field", field), ("max_characters", &MAX_TITLE)]),
        ProductError::HoldSecondsInvalid { hold_seconds } => {
            facts([("hold_seconds", hold_seconds), ("min", HOLD_SECONDS.start()), ("max", HOLD_SECONDS.end())])
        }
        ProductError::CutOffInvalid { cut_off_seconds } => facts([("cut_off_seconds", cut_off_seconds), ("max", &MAX_CUT_OFF_SECONDS)]),
        ProductError::TooManyOptions => facts([("max_options", &MAX_OPTIONS)]),
        ProductError::UnitsInvalid => facts([("max_units", &MAX_UNITS)]),
        ProductError::HeadsInvalid { unit_id, heads } => facts([("unit_id", unit_id), ("heads", heads), ("max_heads", &MAX_HEADS)]),
        ProductError::PriceInvalid { unit_id } => facts([("unit_id", unit_id), ("max_minor", &Money::MAX_MINOR)]),
        ProductError::PriceCurrency { unit_id, currency } => facts([("unit_id", unit_id), ("currency", currency)]),
        ProductError::DrawsInvalid => facts([("max_draws", &MAX_DRAWS), ("max_per_head", &MAX_PER_HEAD)]),
        ProductError::OptionNotFound { option_id } => facts([("option_id", option_id)]),
        ProductError::UnitNotFound { option_id, unit_id } => facts([("option_id", option_id), ("unit_id", unit_id)]),
        ProductError::QuantityInvalid { product_id, quantity } => {
            facts([("product_id", product_id), ("quantity", quantity), ("max_quantity", &MAX_QUANTITY)])
        }
        ProductError::StartRequired { product_id } | ProductError::StartNotAllowed { product_id } => facts([("product_id", product_id)]),
        ProductError::StartInvalid { starts_at } | ProductError::StartInPast { starts_at } => facts([("starts_at", starts_at)]),
        ProductError::CutOffPassed { starts_at, cut_off_seconds } => facts([("starts_at", starts_at), ("cut_off_seconds", cut_off_seconds)]),
        ProductError::TotalTooLarge => facts([("max_minor", &Money::MAX_MINOR)]),
        ProductError::DrawTooLarge { slot_id, quantity } => facts([("slot_id", slot_id), ("quantity", quantity), ("max_quantity", &MAX_CAPACITY)]),
    }
}
