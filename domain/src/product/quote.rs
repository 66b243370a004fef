//! From what a customer asks for to an order's line: prices of this moment, and what it takes of which slots.
//!
//! Which refusal wins when several apply: 1 `PRODUCT_NOT_FOUND`, 2 `PRODUCT_NOT_ON_SALE`, `PRODUCT_SUSPENDED` or `PRODUCT_ENDED`,
//! 3 `OPTION_NOT_FOUND`, 4 `UNIT_NOT_FOUND`, 5 `ORDER_QUANTITY_INVALID`, 6 `START_REQUIRED` or `START_NOT_ALLOWED`, 7 `START_INVALID`,
//! 8 `START_IN_PAST`, 9 `CUT_OFF_PASSED`, 10 `ORDER_TOTAL_TOO_LARGE`, 11 `ORDER_DRAW_TOO_LARGE`.

use jiff::{SignedDuration, Timestamp};

use super::{Draw, Product, ProductError, ProductOption, ProductStatus, SaleMode, Terms};
use crate::{
    Quantity,
    ids::{OptionId, ProductId, SlotId, UnitId},
    order::{LineUnit, MAX_QUANTITY, OrderLine, SlotDraw},
    slot::MAX_CAPACITY,
};

/// A line as a customer asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRequest {
    /// Which option.
    pub option_id: OptionId,
    /// Which slot; none for stock.
    pub starts_at: Option<Timestamp>,
    /// How many of what; a unit that stands here twice is summed.
    pub units: Vec<UnitRequest>,
}

/// So many of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitRequest {
    /// Which.
    pub unit_id: UnitId,
    /// 1 to [`MAX_QUANTITY`].
    pub quantity: Quantity,
}

impl Product {
    /// Prices `request` and names the slots that it takes.
    ///
    /// # Errors
    /// The first that applies of the list at the head of this page.
    pub fn quote(&self, product_id: &ProductId, request: &LineRequest, now: Timestamp) -> Result<OrderLine, ProductError> {
        let terms = self.must_be_on_sale()?;
        let option = self.option(&request.option_id).ok_or_else(|| ProductError::OptionNotFound { option_id: request.option_id.clone() })?;
        let units = count_units(product_id, option, &request.units)?;
        check_start(product_id, terms, request.starts_at, now)?;

        let heads = option.units.iter().zip(&units).map(|(unit, quantity)| u64::from(unit.heads) * u64::from(*quantity)).sum::<u64>();
        let units: Vec<LineUnit> = option
            .units
            .iter()
            .zip(units)
            .filter(|(_, quantity)| *quantity > Quantity::ZERO)
            .map(|(unit, quantity)| LineUnit { unit_id: unit.unit_id.clone(), quantity, price: unit.price })
            .collect();
        let total = LineUnit::sum(&units, terms.currency).ok_or(ProductError::TotalTooLarge)?;
        let draws = option.draws.iter().map(|draw| slot_draw(draw, request.starts_at, heads)).collect::<Result<_, _>>()?;
        Ok(OrderLine { product_id: product_id.clone(), option_id: option.option_id.clone(), starts_at: request.starts_at, units, draws, total })
    }

    fn must_be_on_sale(&self) -> Result<&Terms, ProductError> {
        match self.status {
            ProductStatus::OnSale => self.terms.as_ref().ok_or(ProductError::NotFound),
            ProductStatus::Absent => Err(ProductError::NotFound),
            status @ ProductStatus::Draft => Err(ProductError::NotOnSale { status }),
            ProductStatus::Suspended => Err(ProductError::Suspended),
            ProductStatus::Ended => Err(ProductError::Ended),
        }
    }
}

/// How many of each unit of `option`, in its order, 0 included.
fn count_units(product_id: &ProductId, option: &ProductOption, requests: &[UnitRequest]) -> Result<Vec<Quantity>, ProductError> {
    let invalid = |quantity: u64| ProductError::QuantityInvalid { product_id: product_id.clone(), quantity };
    let place = |unit_id: &UnitId| option.units.iter().position(|unit| unit.unit_id == *unit_id);
    if let Some(unknown) = requests.iter().find(|request| place(&request.unit_id).is_none()) {
        return Err(ProductError::UnitNotFound { option_id: option.option_id.clone(), unit_id: unknown.unit_id.clone() });
    }
    let mut counts = vec![Quantity::ZERO; option.units.len()];
    for UnitRequest { unit_id, quantity } in requests {
        let Some(count) = place(unit_id).and_then(|place| counts.get_mut(place)) else { continue };
        let sum = u64::from(*count) + u64::from(*quantity);
        if *quantity == Quantity::ZERO || sum > u64::from(MAX_QUANTITY) {
            return Err(invalid(sum));
        }
        *count = count.saturating_add(*quantity);
    }
    if requests.is_empty() { Err(invalid(0)) } else { Ok(counts) }
}

/// What so many heads take of the slot. They are at most [`super::MAX_UNITS`] times [`MAX_QUANTITY`] times [`super::MAX_HEADS`]: far from the end of 64 bits.
fn slot_draw(draw: &Draw, starts_at: Option<Timestamp>, heads: u64) -> Result<SlotDraw, ProductError> {
    let slot_id = SlotId::of(&draw.pool_id, starts_at);
    let quantity = heads.saturating_mul(u64::from(draw.per_head));
    match u32::try_from(quantity).map(Quantity::new) {
        Ok(quantity) if quantity <= MAX_CAPACITY => Ok(SlotDraw { slot_id, quantity }),
        _ => Err(ProductError::DrawTooLarge { slot_id, quantity }),
    }
}

fn check_start(product_id: &ProductId, terms: &Terms, starts_at: Option<Timestamp>, now: Timestamp) -> Result<(), ProductError> {
    let starts_at = match (terms.sale_mode, starts_at) {
        (SaleMode::Realtime, None) => return Ok(()),
        (SaleMode::Realtime, Some(_)) => return Err(ProductError::StartNotAllowed { product_id: product_id.clone() }),
        (SaleMode::Reservation, None) => return Err(ProductError::StartRequired { product_id: product_id.clone() }),
        (SaleMode::Reservation, Some(starts_at)) => starts_at,
    };
    if starts_at.subsec_nanosecond() != 0 {
        return Err(ProductError::StartInvalid { starts_at });
    }
    let left = starts_at.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Err(ProductError::StartInPast { starts_at });
    }
    let cut_off_seconds = terms.cut_off_seconds;
    if left <= SignedDuration::from_secs(i64::from(cut_off_seconds)) {
        return Err(ProductError::CutOffPassed { starts_at, cut_off_seconds });
    }
    Ok(())
}
