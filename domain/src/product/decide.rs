//! What follows from a command to a product.
//!
//! Which refusal wins when several apply, by command:
//!
//! - `DraftProduct`: 1 `PRODUCT_EXISTS`, 2 `PRODUCT_TITLE_INVALID`, 3 `PRODUCT_TIME_ZONE_INVALID`, 4 `PRODUCT_HOLD_SECONDS_INVALID`,
//!   5 `PRODUCT_CUT_OFF_INVALID`.
//! - `DefineOption`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_DRAFT`, 3 `PRODUCT_TITLE_INVALID` (the option's), 4 `OPTION_UNITS_INVALID`;
//!   then unit by unit 5 `PRODUCT_TITLE_INVALID` (the unit's), 6 `OPTION_HEADS_INVALID`, 7 `OPTION_PRICE_INVALID`,
//!   8 `OPTION_PRICE_CURRENCY`; then 9 `OPTION_DRAWS_INVALID`, 10 `PRODUCT_TOO_MANY_OPTIONS`.
//! - `WithdrawOption`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_DRAFT`, 3 `OPTION_NOT_FOUND`.
//! - `LaunchProduct`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_DRAFT` (suspended, ended), 3 `PRODUCT_WITHOUT_OPTIONS`.
//! - `SuspendProduct`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_ON_SALE` (draft) or `PRODUCT_ENDED`, 3 `PRODUCT_REASON_INVALID`.
//! - `ResumeProduct`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_ON_SALE` (draft) or `PRODUCT_ENDED`.
//! - `EndProduct`: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_ON_SALE` (draft).
//!
//! What is so already is not recorded again and not refused: defining an option as it is, launching, suspending, resuming or ending
//! what is on sale, suspended, on sale or ended.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Draw, HOLD_SECONDS, MAX_CUT_OFF_SECONDS, MAX_DRAWS, MAX_HEADS, MAX_OPTIONS, MAX_PER_HEAD, MAX_UNITS, MAX_ZONE_BYTES, Product, ProductCommand,
    ProductError, ProductEvent, ProductOption, ProductStatus, SaleMode, Terms, Unit,
};
use crate::{Currency, Decider, Money, ids::OptionId, text};

impl Decider for Product {
    const TYPE: &'static str = "Product";
    const SNAPSHOT_VERSION: u32 = 1;
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductError;

    fn decide(&self, command: &ProductCommand, _now: Timestamp) -> Result<Vec<ProductEvent>, ProductError> {
        match command {
            ProductCommand::DraftProduct { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } => self.draft(Terms {
                title: title.clone(),
                sale_mode: *sale_mode,
                time_zone: time_zone.clone(),
                currency: *currency,
                hold_seconds: *hold_seconds,
                cut_off_seconds: *cut_off_seconds,
            }),
            ProductCommand::DefineOption(option) => self.define_option(option),
            ProductCommand::WithdrawOption(option_id) => self.withdraw_option(option_id),
            ProductCommand::LaunchProduct => self.launch(),
            ProductCommand::SuspendProduct { reason } => self.suspend(reason),
            ProductCommand::ResumeProduct => self.resume(),
            ProductCommand::EndProduct => self.end(),
        }
    }

    fn apply(&mut self, event: &ProductEvent) {
        self.fold(event);
    }

    fn bytes(&self) -> usize {
        self.options.iter().map(ProductOption::bytes).sum()
    }
}

impl Product {
    fn draft(&self, terms: Terms) -> Result<Vec<ProductEvent>, ProductError> {
        if self.status != ProductStatus::Absent {
            return Err(ProductError::Exists);
        }
        check_title(&terms.title, "title")?;
        if !is_zone_name(&terms.time_zone) {
            return Err(ProductError::TimeZoneInvalid);
        }
        let Terms { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds } = terms;
        if !HOLD_SECONDS.contains(&hold_seconds) {
            return Err(ProductError::HoldSecondsInvalid { hold_seconds });
        }
        let longest = match sale_mode {
            SaleMode::Reservation => MAX_CUT_OFF_SECONDS,
            SaleMode::Realtime => 0,
        };
        if cut_off_seconds > longest {
            return Err(ProductError::CutOffInvalid { cut_off_seconds });
        }
        Ok(vec![ProductEvent::ProductDrafted { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds }])
    }

    fn define_option(&self, option: &ProductOption) -> Result<Vec<ProductEvent>, ProductError> {
        let terms = self.must_be_draft()?;
        check_title(&option.title, "option.title")?;
        check_units(&option.units, terms.currency)?;
        check_draws(&option.draws)?;
        match self.option(&option.option_id) {
            Some(before) if before == option => return Ok(vec![]),
            None if self.options.len() >= MAX_OPTIONS => return Err(ProductError::TooManyOptions),
            Some(_) | None => {}
        }
        Ok(vec![ProductEvent::OptionDefined { option: option.clone() }])
    }

    fn withdraw_option(&self, option_id: &OptionId) -> Result<Vec<ProductEvent>, ProductError> {
        self.must_be_draft()?;
        if self.option(option_id).is_none() {
            return Err(ProductError::OptionNotFound { option_id: option_id.clone() });
        }
        Ok(vec![ProductEvent::OptionWithdrawn { option_id: option_id.clone() }])
    }

    fn launch(&self) -> Result<Vec<ProductEvent>, ProductError> {
        if self.status == ProductStatus::OnSale {
            return Ok(vec![]);
        }
        self.must_be_draft()?;
        if self.options.is_empty() {
            return Err(ProductError::WithoutOptions);
        }
        Ok(vec![ProductEvent::ProductLaunched {}])
    }

    fn suspend(&self, reason: &str) -> Result<Vec<ProductEvent>, ProductError> {
        self.must_be_launched()?;
        if self.status == ProductStatus::Ended {
            return Err(ProductError::Ended);
        }
        if !text::is_plain(reason, 1, text::MAX_REASON) {
            return Err(ProductError::ReasonInvalid);
        }
        if self.status == ProductStatus::Suspended {
            return Ok(vec![]);
        }
        Ok(vec![ProductEvent::ProductSuspended { reason: reason.to_owned() }])
    }

    fn resume(&self) -> Result<Vec<ProductEvent>, ProductError> {
        self.must_be_launched()?;
        match self.status {
            ProductStatus::Ended => Err(ProductError::Ended),
            ProductStatus::Suspended => Ok(vec![ProductEvent::ProductResumed {}]),
            ProductStatus::Absent | ProductStatus::Draft | ProductStatus::OnSale => Ok(vec![]),
        }
    }

    fn end(&self) -> Result<Vec<ProductEvent>, ProductError> {
        self.must_be_launched()?;
        Ok(if self.status == ProductStatus::Ended { vec![] } else { vec![ProductEvent::ProductEnded {}] })
    }

    fn must_be_draft(&self) -> Result<&Terms, ProductError> {
        match (self.status, &self.terms) {
            (ProductStatus::Draft, Some(terms)) => Ok(terms),
            (ProductStatus::Absent, _) | (_, None) => Err(ProductError::NotFound),
            (status, Some(_)) => Err(ProductError::NotDraft { status }),
        }
    }

    fn must_be_launched(&self) -> Result<(), ProductError> {
        match self.status {
            ProductStatus::Absent => Err(ProductError::NotFound),
            status @ ProductStatus::Draft => Err(ProductError::NotOnSale { status }),
            ProductStatus::OnSale | ProductStatus::Suspended | ProductStatus::Ended => Ok(()),
        }
    }
}

fn check_title(title: &str, field: &'static str) -> Result<(), ProductError> {
    if text::is_plain(title, 1, text::MAX_TITLE) { Ok(()) } else { Err(ProductError::TitleInvalid { field }) }
}

/// The shape only: which zones exist changes with the tz database, and a decision must not depend on what is installed.
fn is_zone_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    (1..=MAX_ZONE_BYTES).contains(&name.len()) && name.split('/').all(part)
}

fn check_units(units: &[Unit], currency: Currency) -> Result<(), ProductError> {
    let ids: BTreeSet<_> = units.iter().map(|unit| &unit.unit_id).collect();
    if !(1..=MAX_UNITS).contains(&units.len()) || ids.len() < units.len() {
        return Err(ProductError::UnitsInvalid);
    }
    for Unit { unit_id, title, price, heads } in units {
        check_title(title, "unit.title")?;
        if !(1..=MAX_HEADS).contains(heads) {
            return Err(ProductError::HeadsInvalid { unit_id: unit_id.clone(), heads: *heads });
        }
        if price.minor > Money::MAX_MINOR {
            return Err(ProductError::PriceInvalid { unit_id: unit_id.clone() });
        }
        if price.currency != currency {
            return Err(ProductError::PriceCurrency { unit_id: unit_id.clone(), currency });
        }
    }
    Ok(())
}

fn check_draws(draws: &[Draw]) -> Result<(), ProductError> {
    let pools: BTreeSet<_> = draws.iter().map(|draw| &draw.pool_id).collect();
    let in_bounds = draws.iter().all(|draw| (1..=MAX_PER_HEAD).contains(&draw.per_head));
    if (1..=MAX_DRAWS).contains(&draws.len()) && pools.len() == draws.len() && in_bounds { Ok(()) } else { Err(ProductError::DrawsInvalid) }
}
