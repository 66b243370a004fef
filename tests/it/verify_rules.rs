//! What `jari verify` finds of events that no slot and no product would have come to where they stand.

use jari_domain::{
    AnyEvent, Currency, Money, Quantity, Timestamp,
    ids::{OptionId, PoolId, ProductId, SlotId, UnitId},
    product::{Draw, ProductEvent, ProductOption, SaleMode, Unit},
    slot::{Holder, SlotEvent, Window},
};

use jiff::SignedDuration;

use crate::verify::{
    Log, Row, adjusted, at, closed, counts, extended, held, held_by, hold_id, lapsed, on, opened, released, resumed, sold, suspended, while_closed,
    while_suspended,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_does_what_its_state_forbids_is_found() {
    let sold_out = || vec![opened("s", 10), held("s", "a", 1, counts(10, 1, 0)), closed("s", counts(10, 1, 0))];
    let then = |mut rows: Vec<Row>, row: Row| {
        rows.push(row);
        rows
    };
    let log = Log::new().await;
    log.find(vec![
        (vec![opened("s", 10), opened("s", 10)], &["position 2: slot s@stock is opened a second time"]),
        (vec![suspended("s", None), resumed("s", counts(0, 0, 0))], &["position 1: slot s@stock was never opened: SlotSuspended"]),
        (then(sold_out(), resumed("s", counts(10, 1, 0))), &["position 4: slot s@stock is closed: SlotResumed"]),
        (then(sold_out(), suspended("s", Some(while_suspended(counts(10, 1, 0))))), &["position 4: slot s@stock is closed: SlotSuspended"]),
        (then(sold_out(), adjusted("s", while_closed(counts(9, 1, 0)))), &["position 4: slot s@stock is closed: CapacityAdjusted"]),
        (then(sold_out(), extended("s", "a", 700)), &["position 4: slot s@stock is closed: HoldExtended"]),
        (then(sold_out(), held("s", "b", 1, while_closed(counts(10, 2, 0)))), &["position 4: slot s@stock takes hold b while it is closed"]),
        // what is held may be bought, given back and lapse
        (then(sold_out(), sold("s", "a", 1, while_closed(counts(10, 0, 1)))), &[]),
        (then(sold_out(), lapsed("s", "a", 1, while_closed(counts(10, 0, 0)))), &[]),
        // what is so already is in nobody's way
        (then(sold_out(), closed("s", counts(10, 1, 0))), &[]),
        (
            vec![
                opened("s", 10),
                suspended("s", Some(while_suspended(counts(10, 0, 0)))),
                held("s", "a", 1, while_suspended(counts(10, 1, 0))),
                extended("s", "a", 700),
                sold("s", "a", 1, while_suspended(counts(10, 0, 1))),
            ],
            &["position 3: slot s@stock takes hold a while it is suspended"],
        ),
        (
            vec![opened("s", 10), held_by(Holder::Order, 600, "s", "a", 1, counts(10, 1, 0)), extended("s", "a", 700)],
            &[
                "position 3: slot s@stock extends hold a, which is an order's",
                "position 2: slot s@stock moves what order a has, without it: UnitsHeld",
            ],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_are_held_once_their_window_has_begun_are_found() {
    let window = Window { starts_at: at(300), ends_at: at(400) };
    let slot = SlotId::of(&PoolId::parse("s").unwrap(), Some(window.starts_at));
    let of_window = |event| Row::new(&slot, AnyEvent::InventorySlot(event));
    let begun = |second: i64| {
        let opened = SlotEvent::SlotOpened { pool_id: PoolId::parse("s").unwrap(), window: Some(window), counts: counts(10, 0, 0) };
        let held = SlotEvent::UnitsHeld {
            hold_id: hold_id("a"),
            quantity: Quantity::ONE,
            expires_at: at(600),
            holder: Holder::Caller,
            counts: counts(10, 1, 0),
        };
        vec![of_window(opened), of_window(held).decided(second)]
    };
    let sold = SlotEvent::HoldConfirmed { hold_id: hold_id("a"), quantity: Quantity::ONE, counts: counts(10, 0, 1) };
    let before = [begun(299), vec![of_window(sold).decided(350)]].into_iter().flatten().collect();
    let late = format!("position 2: slot {slot} takes hold a, and started at {}", at(300));
    let log = Log::new().await;
    log.find(vec![(before, &[]), (begun(300), &[&late])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_at_another_time_than_its_own_is_found() {
    let held = || vec![opened("s", 10), held("s", "a", 1, counts(10, 1, 0))];
    let then = |row: Row, second: i64| held().into_iter().chain([row.decided(second)]).collect::<Vec<_>>();
    let (late, early) = (at(600), at(599));
    let sold_late = format!("position 3: slot s@stock sells hold a, which had lapsed at {late}");
    let released_late = format!("position 3: slot s@stock releases hold a, which had lapsed at {late}");
    let extended_late = format!("position 3: slot s@stock extends hold a, which had lapsed at {late}");
    let ended_early = format!("position 3: slot s@stock ends hold a as lapsed at {late}, and it lasts until {late}");
    let misdated = format!("position 3: slot s@stock ends hold a as lapsed at {early}, and it lasts until {late}");
    let lapsed_at =
        |expired_at| on("s", SlotEvent::HoldExpired { hold_id: hold_id("a"), quantity: Quantity::ONE, expired_at, counts: counts(10, 0, 0) });
    let log = Log::new().await;
    log.find(vec![
        (then(sold("s", "a", 1, counts(10, 0, 1)), 599), &[]),
        (then(sold("s", "a", 1, counts(10, 0, 1)), 600), &[&sold_late]),
        (then(released("s", "a", 1, counts(10, 0, 0)), 599), &[]),
        (then(released("s", "a", 1, counts(10, 0, 0)), 600), &[&released_late]),
        (then(extended("s", "a", 700), 600), &[&extended_late]),
        (then(lapsed_at(late), 600), &[]),
        (then(lapsed_at(late), 599), &[&ended_early]),
        (then(lapsed_at(early), 600), &[&misdated]),
    ])
    .await;
    // whoever does not say when it was decided may have been on its way to the log
    for (ago, is_found) in [(5, false), (120, true)] {
        let expires_at = Timestamp::now() - SignedDuration::from_secs(ago);
        let held =
            SlotEvent::UnitsHeld { hold_id: hold_id("a"), quantity: Quantity::ONE, expires_at, holder: Holder::Caller, counts: counts(10, 1, 0) };
        log.write(&[opened("s", 10).untimed(), on("s", held).untimed(), sold("s", "a", 1, counts(10, 0, 1)).untimed()]).await;
        assert_eq!(log.findings().await.len(), usize::from(is_found), "{ago}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_whose_time_runs_back_in_their_stream_are_found() {
    let back = format!("position 3: decided at {}, before what stands before it in InventorySlot/s@stock", at(9));
    let log = Log::new().await;
    let rows = |second: i64| vec![opened("s", 10).decided(10), opened("t", 10).decided(8), adjusted("s", counts(9, 0, 0)).decided(second)];
    log.find(vec![(rows(10), &[]), (rows(9), &[&back])]).await;
    // one that does not say is taken for what it was recorded at, and accuses nobody; what no clock says holds up nobody's time
    let ahead = 7 * 86_400;
    log.find(vec![
        (vec![opened("s", 10).decided(3_600), adjusted("s", counts(9, 0, 0)).untimed(), adjusted("s", counts(8, 0, 0)).decided(3_600)], &[]),
        (vec![opened("s", 10).decided(ahead), adjusted("s", counts(9, 0, 0)).decided(3_600)], &[]),
    ])
    .await;
}

fn of_product(event: ProductEvent) -> Row {
    Row::new(&ProductId::parse("p").unwrap(), AnyEvent::Product(event))
}

fn drafted() -> Row {
    let (time_zone, currency) = ("Asia/Seoul".to_owned(), Currency::parse("KRW").unwrap());
    // shorter than this program lets a hold be; it is of another
    of_product(ProductEvent::ProductDrafted {
        title: "Poster".into(),
        sale_mode: SaleMode::Realtime,
        time_zone,
        currency,
        hold_seconds: 1,
        cut_off_seconds: 0,
    })
}

fn defined(option: &str, currency: &str) -> Row {
    let price = Money { minor: 1_000, currency: Currency::parse(currency).unwrap() };
    let units = vec![Unit { unit_id: UnitId::parse("piece").unwrap(), title: "Piece".into(), price, heads: 1 }];
    let draws = vec![Draw { pool_id: PoolId::parse("p").unwrap(), per_head: 1 }];
    let option = ProductOption { option_id: OptionId::parse(option).unwrap(), title: "One".into(), units, draws };
    of_product(ProductEvent::OptionDefined { option })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_goes_where_no_product_may_go_is_found() {
    let withdrawn = |option: &str| of_product(ProductEvent::OptionWithdrawn { option_id: OptionId::parse(option).unwrap() });
    let launched = || of_product(ProductEvent::ProductLaunched {});
    let suspended = || of_product(ProductEvent::ProductSuspended { reason: "rain".into() });
    let resumed = || of_product(ProductEvent::ProductResumed {});
    let ended = || of_product(ProductEvent::ProductEnded {});
    let on_sale = || vec![drafted(), defined("one", "KRW"), launched()];
    let then = |row: Row| on_sale().into_iter().chain([row]).collect::<Vec<_>>();
    let log = Log::new().await;
    log.find(vec![
        (
            vec![
                drafted(),
                defined("one", "KRW"),
                defined("two", "KRW"),
                withdrawn("one"),
                launched(),
                suspended(),
                resumed(),
                suspended(),
                ended(),
                // what is so already
                ended(),
            ],
            &[],
        ),
        (vec![launched()], &["position 1: product p was ABSENT: ProductLaunched (PRODUCT_NOT_FOUND)"]),
        (vec![drafted(), drafted()], &["position 2: product p was DRAFT: ProductDrafted (PRODUCT_EXISTS)"]),
        (vec![drafted(), launched()], &["position 2: product p was DRAFT: ProductLaunched (PRODUCT_WITHOUT_OPTIONS)"]),
        (vec![drafted(), defined("one", "USD")], &["position 2: product p was DRAFT: OptionDefined (OPTION_PRICE_CURRENCY)"]),
        (vec![drafted(), withdrawn("one")], &["position 2: product p was DRAFT: OptionWithdrawn (OPTION_NOT_FOUND)"]),
        (vec![drafted(), suspended()], &["position 2: product p was DRAFT: ProductSuspended (PRODUCT_NOT_ON_SALE)"]),
        (then(defined("two", "KRW")), &["position 4: product p was ON_SALE: OptionDefined (PRODUCT_NOT_DRAFT)"]),
        (then(withdrawn("one")), &["position 4: product p was ON_SALE: OptionWithdrawn (PRODUCT_NOT_DRAFT)"]),
        (then(ended()).into_iter().chain([resumed()]).collect(), &["position 5: product p was ENDED: ProductResumed (PRODUCT_ENDED)"]),
    ])
    .await;
}
