//! What a line costs, what it takes, and why it may not be ordered.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    Quantity, Refuse,
    ids::{ProductId, SlotId},
    order::{LineUnit, MAX_QUANTITY, OrderLine, SlotDraw},
    product::{LineRequest, ProductError, UnitRequest},
    slot::MAX_CAPACITY,
};

/// When the slot of these tests starts; sales end half an hour before.
const START: i64 = 86_400;
/// The most of one unit in a line.
const MOST: u32 = MAX_QUANTITY.get();

fn request(units: &[(&str, u32)]) -> LineRequest {
    let units =
        units.iter().map(|(unit, quantity)| UnitRequest { unit_id: UnitId::parse(unit).unwrap(), quantity: Quantity::new(*quantity) }).collect();
    LineRequest { option_id: OptionId::parse("guided").unwrap(), starts_at: Some(t(START)), units }
}

fn quote(product: &Given<Product>, request: &LineRequest, now: Timestamp) -> Result<OrderLine, ProductError> {
    product.state.quote(&ProductId::parse("museum").unwrap(), request, now)
}

fn refused(product: &Given<Product>, request: &LineRequest, now: Timestamp) -> &'static str {
    quote(product, request, now).map_or_else(|e| e.code(), |line| panic!("{request:?} should be refused, but is {line:?}"))
}

fn shop() -> Given<Product> {
    given()
        .done(t(0), &draft(|d| (d.sale_mode, d.cut_off) = (SaleMode::Realtime, 0)))
        .done(t(0), &C::DefineOption(ProductOption { draws: draws(&[("poster", 1)]), ..option("guided") }))
        .done(t(0), &C::LaunchProduct)
}

#[test]
fn a_line_has_the_price_of_its_units_and_takes_what_its_heads_need() {
    let line = quote(&on_sale(), &request(&[("family", 1), ("adult", 2), ("family", 1)]), t(0)).unwrap();
    let bought =
        |unit: &str, quantity, price| LineUnit { unit_id: UnitId::parse(unit).unwrap(), quantity: Quantity::new(quantity), price: won(price) };
    assert_eq!(line.units, [bought("adult", 2, 12_000), bought("family", 2, 36_000)], "a unit that stands there twice is summed");
    assert_eq!(line.total, won(96_000));
    let taken = |slot: &str, quantity| SlotDraw { slot_id: SlotId::parse(slot).unwrap(), quantity: Quantity::new(quantity) };
    assert_eq!(line.draws, [taken("gallery@20270102T000000Z", 10), taken("headset@20270102T000000Z", 20)]);
    assert_eq!(line.starts_at, Some(t(START)));

    let stock = quote(&shop(), &LineRequest { starts_at: None, ..request(&[("adult", 3)]) }, t(0)).unwrap();
    assert_eq!(stock.draws, [taken("poster@stock", 3)]);
}

#[test]
fn only_what_is_on_sale_is_priced_and_others_say_why_not() {
    let unknown = LineRequest { option_id: OptionId::parse("nothing").unwrap(), ..request(&[("nobody", 0)]) };
    for (product, code) in [
        (given(), "PRODUCT_NOT_FOUND"),
        (drafted(), "PRODUCT_NOT_ON_SALE"),
        (suspended(), "PRODUCT_SUSPENDED"),
        (ended(), "PRODUCT_ENDED"),
        (on_sale(), "OPTION_NOT_FOUND"),
    ] {
        assert_eq!(refused(&product, &unknown, t(START)), code);
    }
    assert_eq!(refused(&on_sale(), &request(&[("adult", 0), ("nobody", 0)]), t(START)), "UNIT_NOT_FOUND");
    let in_draft = quote(&drafted(), &unknown, t(0)).unwrap_err().details();
    assert_eq!(in_draft["status"], "DRAFT");
}

#[test]
fn quantities_outside_their_bounds_are_refused_without_overflow() {
    let bad: [&[(&str, u32)]; 6] = [
        &[],
        &[("adult", 0)],
        &[("adult", 1), ("family", 0)],
        &[("adult", MOST + 1)],
        &[("adult", MOST), ("adult", 1)],
        &[("adult", u32::MAX), ("adult", u32::MAX), ("family", u32::MAX)],
    ];
    for units in bad {
        let no_start = LineRequest { starts_at: None, ..request(units) };
        assert_eq!(refused(&on_sale(), &no_start, t(0)), "ORDER_QUANTITY_INVALID", "{units:?}");
    }
    let heavy = ProductOption { units: vec![unit("bus", Money::MAX_MINOR, 100)], draws: draws(&[("gallery", 100)]), ..option("guided") };
    let heavy_on = |heavy: ProductOption| given().done(t(0), &draft(|_| {})).done(t(0), &C::DefineOption(heavy)).done(t(0), &C::LaunchProduct);
    assert_eq!(refused(&heavy_on(heavy.clone()), &request(&[("bus", MOST)]), t(0)), "ORDER_TOTAL_TOO_LARGE");
    let heavier = heavy_on(ProductOption { units: vec![unit("bus", 0, 100), unit("coach", 0, 100)], ..heavy });
    let full = quote(&heavier, &request(&[("bus", MOST)]), t(0)).unwrap();
    assert_eq!(full.draws[0].quantity, MAX_CAPACITY);
    let refusal = quote(&heavier, &request(&[("bus", MOST), ("coach", 1)]), t(0)).unwrap_err().to_refusal();
    let told = ["slot_id", "quantity", "max_quantity"].map(|name| refusal.details[name].as_str());
    assert_eq!((refusal.code.as_str(), told), ("ORDER_DRAW_TOO_LARGE", ["gallery@20270102T000000Z", "100010000", "100000000"]));
    let too_late = request(&[("bus", MOST), ("coach", 1)]);
    assert_eq!(refused(&heavier, &too_late, t(START)), "START_IN_PAST", "the slot that it names is one that could be sold");
}

#[test]
fn a_reservation_names_a_start_that_can_still_be_sold_and_stock_names_none() {
    let at = |starts_at| LineRequest { starts_at, ..request(&[("adult", 1)]) };
    assert_eq!(refused(&on_sale(), &at(None), t(0)), "START_REQUIRED");
    assert_eq!(refused(&shop(), &at(Some(t(-1))), t(0)), "START_NOT_ALLOWED");
    assert_eq!(refused(&on_sale(), &at(Some(t(-1) + SignedDuration::from_nanos(1))), t(0)), "START_INVALID");
    for past in [t(0), t(-1), Timestamp::MIN] {
        assert_eq!(refused(&on_sale(), &at(Some(past)), t(0)), "START_IN_PAST", "{past}");
    }
    assert_eq!(refused(&on_sale(), &at(Some(t(1_800))), t(0)), "CUT_OFF_PASSED");
    assert!(quote(&on_sale(), &at(Some(t(1_801))), t(0)).is_ok(), "sales end with the cut-off, not before");
}

proptest! {
    #[test]
    fn no_request_makes_a_quote_panic(
        quantities in prop::collection::vec(any::<u32>(), 0..5),
        starts in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        now in Timestamp::MIN.as_second()..Timestamp::MAX.as_second()
    ) {
        let units: Vec<(&str, u32)> = quantities.into_iter().zip(["adult", "family"].into_iter().cycle()).map(|(q, u)| (u, q)).collect();
        let starts_at = Some(Timestamp::from_second(starts).unwrap());
        let _ = quote(&on_sale(), &LineRequest { starts_at, ..request(&units) }, Timestamp::from_second(now).unwrap());
    }
}
