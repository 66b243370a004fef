//! Given a product's past, when a command, then events or a refusal.

mod quote;

use proptest::prelude::*;

use super::{Draw, MAX_CUT_OFF_SECONDS, MAX_OPTIONS, Product, ProductCommand as C, ProductEvent as E, ProductOption, ProductStatus, SaleMode, Unit};
use crate::{
    Currency, Decider, Money,
    given::{Given, given, t},
    ids::{OptionId, PoolId, UnitId},
    slot::MAX_HOLD_SECONDS,
};

fn won(minor: u64) -> Money {
    Money { minor, currency: Currency::parse("KRW").unwrap() }
}

/// A valid draft, changed.
fn draft(change: impl FnOnce(&mut Draft)) -> C {
    let mut draft = Draft { title: "Museum".into(), sale_mode: SaleMode::Reservation, time_zone: "Asia/Seoul".into(), hold: 600, cut_off: 1_800 };
    change(&mut draft);
    C::DraftProduct {
        title: draft.title,
        sale_mode: draft.sale_mode,
        time_zone: draft.time_zone,
        currency: Currency::parse("KRW").unwrap(),
        hold_seconds: draft.hold,
        cut_off_seconds: draft.cut_off,
    }
}

struct Draft {
    title: String,
    sale_mode: SaleMode,
    time_zone: String,
    hold: u32,
    cut_off: u32,
}

fn unit(id: &str, price: u64, heads: u32) -> Unit {
    Unit { unit_id: UnitId::parse(id).unwrap(), title: id.into(), price: won(price), heads }
}

fn draws(pools: &[(&str, u32)]) -> Vec<Draw> {
    pools.iter().map(|(pool, per_head)| Draw { pool_id: PoolId::parse(pool).unwrap(), per_head: *per_head }).collect()
}

/// Adults and families of four, each head one place in the gallery and two of a headset's ears.
fn option(id: &str) -> ProductOption {
    ProductOption {
        option_id: OptionId::parse(id).unwrap(),
        title: "Guided tour".into(),
        units: vec![unit("adult", 12_000, 1), unit("family", 36_000, 4)],
        draws: draws(&[("gallery", 1), ("headset", 2)]),
    }
}

fn drafted() -> Given<Product> {
    given().done(t(0), &draft(|_| {})).done(t(0), &C::DefineOption(option("guided")))
}

fn on_sale() -> Given<Product> {
    drafted().done(t(0), &C::LaunchProduct)
}

fn suspend() -> C {
    C::SuspendProduct { reason: "Flood in the east wing".into() }
}

fn suspended() -> Given<Product> {
    on_sale().done(t(0), &suspend())
}

fn ended() -> Given<Product> {
    on_sale().done(t(0), &C::EndProduct)
}

#[test]
fn a_draft_begins_once_and_within_its_bounds() {
    let long = "가".repeat(200);
    let fine: [fn(&mut Draft); 9] = [
        |_| {},
        |d| d.title = "가".repeat(200),
        |d| d.hold = 30,
        |d| d.hold = MAX_HOLD_SECONDS,
        |d| d.cut_off = MAX_CUT_OFF_SECONDS,
        |d| (d.sale_mode, d.cut_off) = (SaleMode::Realtime, 0),
        |d| d.time_zone = "UTC".into(),
        |d| d.time_zone = "America/Argentina/Buenos_Aires".into(),
        |d| d.time_zone = "Etc/GMT+9".into(),
    ];
    for change in fine {
        given::<Product>().done(t(0), &draft(change));
    }
    let refused = |code: &str, change: &dyn Fn(&mut Draft)| drop(given::<Product>().when(t(0), &draft(change)).refused(code));
    for title in ["", "a\nb", "\u{0}", "a\u{202e}b", &format!("{long}가")] {
        refused("PRODUCT_TITLE_INVALID", &|d| (d.title, d.time_zone) = (title.into(), String::new()));
    }
    for zone in ["", "/", "Asia/", "/Seoul", "Asia/Se oul", "../etc/passwd", "아시아/서울", "+09:00", &"x".repeat(65)] {
        refused("PRODUCT_TIME_ZONE_INVALID", &|d| (d.time_zone, d.hold) = (zone.into(), 0));
    }
    for hold in [0, 29, MAX_HOLD_SECONDS + 1, u32::MAX] {
        refused("PRODUCT_HOLD_SECONDS_INVALID", &|d| (d.hold, d.cut_off) = (hold, u32::MAX));
    }
    refused("PRODUCT_CUT_OFF_INVALID", &|d| d.cut_off = MAX_CUT_OFF_SECONDS + 1);
    refused("PRODUCT_CUT_OFF_INVALID", &|d| d.sale_mode = SaleMode::Realtime);
    drafted().when(t(0), &draft(|d| d.title.clear())).refused("PRODUCT_EXISTS");
}

#[test]
fn an_option_is_defined_replaced_and_withdrawn_while_the_product_is_a_draft() {
    let define = |option: &ProductOption| C::DefineOption(option.clone());
    drafted().when(t(0), &define(&option("free"))).then(&[E::OptionDefined { option: option("free") }]);
    drafted().when(t(0), &define(&option("guided"))).then(&[]);
    let cheaper = ProductOption { units: vec![unit("adult", 9_000, 1)], ..option("guided") };
    drafted().when(t(0), &define(&cheaper)).then(&[E::OptionDefined { option: cheaper.clone() }]);
    let replaced = drafted().done(t(0), &define(&option("free"))).done(t(0), &define(&cheaper));
    assert_eq!(replaced.state.options(), [cheaper, option("free")], "an option that is replaced keeps its place");

    let withdraw = C::WithdrawOption(OptionId::parse("guided").unwrap());
    drafted().when(t(0), &withdraw).then(&[E::OptionWithdrawn { option_id: OptionId::parse("guided").unwrap() }]);
    drafted().done(t(0), &withdraw).when(t(0), &withdraw).refused("OPTION_NOT_FOUND");
    for (product, status) in [(on_sale(), "ON_SALE"), (suspended(), "SUSPENDED"), (ended(), "ENDED")] {
        for command in [define(&ProductOption { title: String::new(), ..option("x") }), C::WithdrawOption(OptionId::parse("x").unwrap())] {
            assert_eq!(product.when(t(0), &command).refused("PRODUCT_NOT_DRAFT")["status"], status);
            given::<Product>().when(t(0), &command).refused("PRODUCT_NOT_FOUND");
        }
    }
}

#[test]
fn the_refusals_of_an_option_win_in_their_numbered_order() {
    let mut full = drafted();
    for n in 1..MAX_OPTIONS {
        full = full.done(t(0), &C::DefineOption(option(&format!("o{n}"))));
    }
    let mut bad = option("one-more");
    bad.title = String::new();
    bad.units = vec![];
    bad.draws = draws(&[("gallery", 1), ("gallery", 1)]);
    let refused = |option: &ProductOption, code: &str| full.when(t(0), &C::DefineOption(option.clone())).refused(code);
    assert_eq!(refused(&bad, "PRODUCT_TITLE_INVALID")["field"], "option.title");
    bad.title = "One more".into();
    refused(&bad, "OPTION_UNITS_INVALID");
    bad.units = (0..21).map(|n| unit(&format!("u{n}"), 0, 1)).collect();
    refused(&bad, "OPTION_UNITS_INVALID");
    bad.units = vec![unit("adult", 0, 1), unit("adult", 0, 1)];
    refused(&bad, "OPTION_UNITS_INVALID");
    bad.units = vec![Unit { title: "\t".into(), price: Money { minor: u64::MAX, currency: Currency::parse("EUR").unwrap() }, ..unit("adult", 0, 0) }];
    assert_eq!(refused(&bad, "PRODUCT_TITLE_INVALID")["field"], "unit.title");
    bad.units[0].title = "Adult".into();
    for heads in [0, 101, u32::MAX] {
        bad.units[0].heads = heads;
        refused(&bad, "OPTION_HEADS_INVALID");
    }
    bad.units[0].heads = 100;
    refused(&bad, "OPTION_PRICE_INVALID");
    bad.units[0].price.minor = Money::MAX_MINOR;
    assert_eq!(refused(&bad, "OPTION_PRICE_CURRENCY")["currency"], "KRW");
    bad.units[0].price = won(Money::MAX_MINOR);
    let nine: Vec<String> = (0..9).map(|n| format!("p{n}")).collect();
    let nine: Vec<(&str, u32)> = nine.iter().map(|pool| (pool.as_str(), 1)).collect();
    for pools in [&[][..], &nine, &[("gallery", 0)], &[("gallery", 101)], &[("gallery", 1), ("gallery", 2)]] {
        bad.draws = draws(pools);
        refused(&bad, "OPTION_DRAWS_INVALID");
    }
    bad.draws = draws(&[("gallery", 100)]);
    refused(&bad, "PRODUCT_TOO_MANY_OPTIONS");
    full.done(t(0), &C::DefineOption(ProductOption { title: "Replaced".into(), ..option("guided") }));
}

#[test]
fn a_product_goes_on_sale_with_something_to_buy_and_never_comes_back_from_its_end() {
    let none = given::<Product>();
    let empty = given::<Product>().done(t(0), &draft(|_| {}));
    empty.when(t(0), &C::LaunchProduct).refused("PRODUCT_WITHOUT_OPTIONS");
    drafted().when(t(0), &C::LaunchProduct).then(&[E::ProductLaunched {}]);
    on_sale().when(t(0), &C::LaunchProduct).then(&[]);
    suspended().when(t(0), &C::LaunchProduct).refused("PRODUCT_NOT_DRAFT");
    ended().when(t(0), &C::LaunchProduct).refused("PRODUCT_NOT_DRAFT");

    on_sale().when(t(0), &suspend()).then(&[E::ProductSuspended { reason: "Flood in the east wing".into() }]);
    suspended().when(t(0), &suspend()).then(&[]);
    on_sale().when(t(0), &C::SuspendProduct { reason: String::new() }).refused("PRODUCT_REASON_INVALID");
    suspended().when(t(0), &C::ResumeProduct).then(&[E::ProductResumed {}]);
    on_sale().when(t(0), &C::ResumeProduct).then(&[]);
    on_sale().when(t(0), &C::EndProduct).then(&[E::ProductEnded {}]);
    suspended().when(t(0), &C::EndProduct).then(&[E::ProductEnded {}]);
    ended().when(t(0), &C::EndProduct).then(&[]);

    for command in [C::SuspendProduct { reason: String::new() }, C::ResumeProduct] {
        ended().when(t(0), &command).refused("PRODUCT_ENDED");
    }
    for command in [C::SuspendProduct { reason: String::new() }, C::ResumeProduct, C::EndProduct] {
        assert_eq!(empty.when(t(0), &command).refused("PRODUCT_NOT_ON_SALE")["status"], "DRAFT");
        none.when(t(0), &command).refused("PRODUCT_NOT_FOUND");
    }
    none.when(t(0), &C::LaunchProduct).refused("PRODUCT_NOT_FOUND");
}

proptest! {
    #[test]
    fn a_replayed_or_restored_product_equals_the_live_one(commands in prop::collection::vec(0_u8..9, 0..40)) {
        let (mut live, mut log) = (Product::default(), vec![]);
        for which in commands {
            let command = match which {
                0 => draft(|_| {}),
                1 => C::DefineOption(option("guided")),
                2 => C::DefineOption(option("free")),
                3 => C::WithdrawOption(OptionId::parse("free").unwrap()),
                4 => C::LaunchProduct,
                5 => suspend(),
                6 => C::ResumeProduct,
                7 => C::DefineOption(ProductOption { title: "Other".into(), ..option("guided") }),
                _ => C::EndProduct,
            };
            let before = live.status();
            for event in live.decide(&command, t(0)).unwrap_or_default() {
                prop_assert!(before != ProductStatus::Ended, "{:?} came back", event);
                live.apply(&event);
                log.push(event);
            }
        }
        let mut replayed = Product::default();
        log.iter().for_each(|event| replayed.apply(event));
        prop_assert_eq!(&replayed, &live);
        let restored: Product = serde_json::from_str(&serde_json::to_string(&live).unwrap()).unwrap();
        prop_assert_eq!(&restored, &live);
    }
}
