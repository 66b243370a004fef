//! The proof that `jari verify` makes of orders: each settled in its turn, and in its slots what it says of them.

use std::sync::Arc;

use jari_domain::{
    AnyEvent, Currency, Money, Quantity,
    ids::{CustomerRef, OptionId, OrderId, PoolId, ProductId, SlotId, UnitId},
    order::{LineFailure, LineUnit, OrderEvent, OrderLine, OrderStatus, SlotDraw},
    slot::Holder,
};

use crate::{
    seal::tamper,
    verify::{Log, Row, at, counts, extended, given_back, held, held_by, lapsed, opened, released, sold},
};

/// An event of that order.
fn of(order: &str, event: OrderEvent) -> Row {
    Row::new(&OrderId::parse(order).unwrap(), AnyEvent::Order(event))
}

/// It asks for so many units of the stock of each pool, two in a line of its own when there are more.
fn placed(order: &str, draws: &[(&str, u32)]) -> Row {
    let nothing = Money { minor: 0, currency: Currency::parse("KRW").unwrap() };
    let line = |(pool, quantity): &(&str, u32)| OrderLine {
        product_id: ProductId::parse("p").unwrap(),
        option_id: OptionId::parse("one").unwrap(),
        starts_at: None,
        units: vec![],
        draws: vec![SlotDraw { slot_id: SlotId::of(&PoolId::parse(pool).unwrap(), None), quantity: Quantity::new(*quantity) }],
        total: nothing,
    };
    let lines: Arc<[OrderLine]> = draws.iter().map(line).collect();
    let customer = CustomerRef::parse("c").unwrap();
    of(order, OrderEvent::OrderPlaced { customer, lines, total: nothing, hold_seconds: 600, personal: None })
}

fn is_held(order: &str) -> Row {
    of(order, OrderEvent::OrderHeld { expires_at: at(600) })
}
/// For want of room for these lines at the stock of these pools.
fn rejected(order: &str, short: &[(u32, &str)]) -> Row {
    let failure = |(line, pool): &(u32, &str)| LineFailure {
        line: *line,
        slot_id: SlotId::of(&PoolId::parse(pool).unwrap(), None),
        code: "SLOT_SOLD_OUT".into(),
        message: String::new(),
        details: Default::default(),
        retryable: false,
    };
    of(order, OrderEvent::OrderRejected { failures: short.iter().map(failure).collect() })
}
fn confirmed(order: &str) -> Row {
    of(order, OrderEvent::OrderConfirmed {})
}
fn expired(order: &str) -> Row {
    of(order, OrderEvent::OrderExpired { expired_at: at(600) }).decided(600)
}
fn cancelled(order: &str, was: OrderStatus) -> Row {
    of(order, OrderEvent::OrderCancelled { reason: String::new(), was })
}

/// Two slots of ten; order `a` wants 2 of `s`, in two lines, and 1 of `t`.
fn begun() -> Vec<Row> {
    vec![opened("s", 10), opened("t", 10), placed("a", &[("s", 1), ("t", 1), ("s", 1)])]
}
/// The same, but there is nothing of `t`.
fn begun_in_vain() -> Vec<Row> {
    vec![opened("s", 10), opened("t", 0), placed("a", &[("s", 1), ("t", 1), ("s", 1)])]
}
/// It has them; four events follow on the three of [`begun`] and end at position 6.
fn begun_and_held() -> Vec<Row> {
    with(begun(), [is_held("a"), held("s", "a", 2, counts(10, 2, 0)), held("t", "a", 1, counts(10, 1, 0))])
}
/// It bought them, up to position 9.
fn bought() -> Vec<Row> {
    with(begun_and_held(), [confirmed("a"), sold("s", "a", 2, counts(10, 0, 2)), sold("t", "a", 1, counts(10, 0, 1))])
}

fn with<const N: usize>(mut rows: Vec<Row>, more: [Row; N]) -> Vec<Row> {
    rows.extend(more);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_order_may_go_through_by_whichever_writer_is_no_finding() {
    let back_of_s = || given_back("s", "a", 2, counts(10, 0, 0));
    let back_of_t = || given_back("t", "a", 1, counts(10, 0, 0));
    let log = Log::new().await;
    for sound in [
        bought(),
        with(bought(), [cancelled("a", OrderStatus::Confirmed), back_of_s(), back_of_t()]),
        with(begun(), [cancelled("a", OrderStatus::Placed)]),
        with(begun_in_vain(), [rejected("a", &[(1, "t")]), placed("b", &[("s", 1)])]),
        with(begun_and_held(), [cancelled("a", OrderStatus::Held), released("s", "a", 2, counts(10, 0, 0)), lapsed("t", "a", 1, counts(10, 0, 0))]),
        with(begun_and_held(), [expired("a"), lapsed("s", "a", 2, counts(10, 0, 0)), lapsed("t", "a", 1, counts(10, 0, 0))]),
        // another booking needed the units of the hold that had lapsed; a caller made the other hold longer
        with(begun_and_held(), [extended("t", "a", 900), lapsed("s", "a", 2, counts(10, 0, 0)), expired("a")]),
        // a caller held under the order's name, in a call of its own
        with(begun_in_vain(), [rejected("a", &[(1, "t")]), Row { metadata: r#"{"command_id":"other"}"#, ..held("s", "a", 2, counts(10, 2, 0)) }]),
        // the slots first, by another writer
        with(
            begun(),
            [
                held("s", "a", 2, counts(10, 2, 0)),
                held("t", "a", 1, counts(10, 1, 0)),
                is_held("a"),
                sold("s", "a", 2, counts(10, 0, 2)),
                sold("t", "a", 1, counts(10, 0, 1)),
                confirmed("a"),
                back_of_s(),
                back_of_t(),
                cancelled("a", OrderStatus::Confirmed),
            ],
        ),
    ] {
        log.write(&sound).await;
        let walk = log.walked().await;
        assert_eq!(walk.proof.finish(), Vec::<String>::new());
        assert!(walk.proof.orders() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_orders_bought_and_somebody_else_gave_back_is_found() {
    let log = Log::new().await;
    let own = || with(bought(), [held("s", "own", 3, counts(10, 3, 2)), sold("s", "own", 3, counts(10, 0, 5))]);
    let twice = with(own(), [given_back("s", "own", 3, counts(10, 0, 2)), given_back("s", "own", 1, counts(10, 0, 1))]);
    let over =
        with(own(), [cancelled("a", OrderStatus::Confirmed), given_back("s", "a", 2, counts(10, 0, 3)), given_back("t", "a", 1, counts(10, 0, 0))]);
    log.find(vec![
        (own(), &[]),
        (twice, &["position 13: slot s@stock takes back what orders bought: 1 are sold, and 2 were to them"]),
        // an order that is over has nothing left there
        (with(over, [given_back("s", "own", 3, counts(10, 0, 0))]), &[]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_does_not_hold_all_that_it_asked_for_is_found() {
    let (s, t) =
        ("position 4: order a is held, and slot s@stock does not hold its 2", "position 4: order a is held, and slot t@stock does not hold its 1");
    let log = Log::new().await;
    log.find(vec![
        (with(begun(), [is_held("a")]), &[s, t]),
        (with(begun(), [is_held("a"), held("s", "a", 2, counts(10, 2, 0))]), &[t]),
        (with(begun(), [is_held("a"), held("s", "b", 2, counts(10, 2, 0)), held("t", "a", 1, counts(10, 1, 0))]), &[s]),
        (with(begun(), [is_held("a"), held("s", "a", 1, counts(10, 1, 0)), held("t", "a", 1, counts(10, 1, 0))]), &[s]),
        // in other slots than its own
        (with(begun(), [is_held("a"), held("s", "a", 2, counts(10, 2, 0)), opened("u", 10), held("u", "a", 1, counts(10, 1, 0))]), &[t]),
        // only once another order had come
        (with(begun(), [is_held("a"), placed("b", &[("s", 1)]), held("s", "a", 2, counts(10, 2, 0)), held("t", "a", 1, counts(10, 1, 0))]), &[s, t]),
        // its holds end before it does
        (
            with(
                begun(),
                [of("a", OrderEvent::OrderHeld { expires_at: at(601) }), held("s", "a", 2, counts(10, 2, 0)), held("t", "a", 1, counts(10, 1, 0))],
            ),
            &[s, t],
        ),
        (
            with(
                vec![opened("s", 10), placed("a", &[("s", 2)])],
                [held("s", "a", 2, counts(10, 2, 0)), of("a", OrderEvent::OrderHeld { expires_at: at(601) })],
            ),
            &["position 4: order a is held, and slot s@stock does not hold its 2"],
        ),
        (
            with(vec![opened("s", 10), placed("a", &[("s", 2)])], [held("s", "a", 1, counts(10, 1, 0)), is_held("a")]),
            &["position 4: order a is held, and slot s@stock does not hold its 2"],
        ),
        (
            with(begun_in_vain(), [rejected("a", &[(1, "t")]), held("s", "a", 2, counts(10, 2, 0))]),
            &["position 5: slot s@stock holds 2 for order a, which is rejected"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_moves_on_without_its_slots_is_found() {
    let log = Log::new().await;
    log.find(vec![
        (
            with(begun_and_held(), [confirmed("a"), sold("t", "a", 1, counts(10, 0, 1))]),
            &["position 7: order a was confirmed, and slot s@stock did not sell its 2"],
        ),
        (
            with(begun_and_held(), [cancelled("a", OrderStatus::Held), released("s", "a", 2, counts(10, 0, 0))]),
            &["position 7: order a has ended, and slot t@stock still holds its 1"],
        ),
        (
            with(begun_and_held(), [expired("a"), lapsed("t", "a", 1, counts(10, 0, 0))]),
            &["position 7: order a has ended, and slot s@stock still holds its 2"],
        ),
        (
            with(bought(), [cancelled("a", OrderStatus::Confirmed), given_back("t", "a", 1, counts(10, 0, 0))]),
            &["position 10: order a was cancelled, and slot s@stock did not take back its 2"],
        ),
        (
            with(
                bought(),
                [cancelled("a", OrderStatus::Confirmed), given_back("t", "a", 1, counts(10, 0, 0)), given_back("s", "a", 1, counts(10, 0, 1))],
            ),
            &["position 10: order a was cancelled, and slot s@stock did not take back its 2"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_goes_where_no_order_may_go_is_found() {
    let log = Log::new().await;
    log.find(vec![
        (
            with(begun_in_vain(), [rejected("a", &[(1, "t")]), rejected("a", &[(1, "t")])]),
            &["position 5: order a had ended or never was placed: OrderRejected"],
        ),
        (vec![expired("a")], &["position 1: order a had ended or never was placed: OrderExpired"]),
        (with(begun_and_held(), [rejected("a", &[])]), &["position 7: order a was HELD: OrderRejected"]),
        (
            with(begun(), [confirmed("a")]),
            &[
                "position 4: order a was PLACED: OrderConfirmed",
                "position 4: order a was confirmed, and slot s@stock did not sell its 2",
                "position 4: order a was confirmed, and slot t@stock did not sell its 1",
            ],
        ),
        (with(bought(), [expired("a")]), &["position 10: order a was CONFIRMED: OrderExpired"]),
        (with(begun(), [cancelled("a", OrderStatus::Held)]), &["position 4: order a was PLACED: OrderCancelled"]),
        (with(begun(), [placed("a", &[("s", 2)])]), &["position 4: order a was placed twice"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_outlives_its_hold_or_ends_before_it_is_found() {
    let (lapse, early) = (at(600), at(599));
    let (confirmed_late, cancelled_late) =
        (format!("position 7: order a had lapsed at {lapse}: OrderConfirmed"), format!("position 7: order a had lapsed at {lapse}: OrderCancelled"));
    let ended_early = format!("position 7: order a expires as lapsed at {lapse}, and is held until {lapse}");
    let misdated = format!("position 7: order a expires as lapsed at {early}, and is held until {lapse}");
    // by callers' commands the holds last longer than the order
    let longer = || {
        let mut rows = begun();
        rows.push(is_held("a"));
        rows.extend([held_by(Holder::Caller, 900, "s", "a", 2, counts(10, 2, 0)), held_by(Holder::Caller, 900, "t", "a", 1, counts(10, 1, 0))]);
        rows
    };
    let confirmed_at =
        |second| with(longer(), [confirmed("a").decided(second), sold("s", "a", 2, counts(10, 0, 2)), sold("t", "a", 1, counts(10, 0, 1))]);
    let cancelled_at = |second| {
        let back = [released("s", "a", 2, counts(10, 0, 0)), released("t", "a", 1, counts(10, 0, 0))];
        with(with(longer(), [cancelled("a", OrderStatus::Held).decided(second)]), back)
    };
    let expired_at = |second, expired_at| with(longer(), [of("a", OrderEvent::OrderExpired { expired_at }).decided(second)]);
    let log = Log::new().await;
    log.find(vec![
        (confirmed_at(599), &[]),
        (confirmed_at(600), &[&confirmed_late]),
        (cancelled_at(599), &[]),
        (cancelled_at(600), &[&cancelled_late]),
        (expired_at(600, lapse), &[]),
        (expired_at(599, lapse), &[&ended_early]),
        (expired_at(600, early), &[&misdated]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_rejected_for_other_lines_than_those_without_room_is_found() {
    let no_reason = "position 4: order a was rejected, and there was room for all of it";
    let wrong_lines = "position 4: order a was rejected for its lines [0 at s@stock], and those without room were [1 at t@stock]";
    let log = Log::new().await;
    log.find(vec![
        (with(begun(), [rejected("a", &[(0, "s"), (2, "s")])]), &[no_reason]),
        (with(begun_in_vain(), [rejected("a", &[(0, "s")])]), &[wrong_lines]),
        // all of its lines together are too many for `s`, and no one of them is
        (vec![opened("s", 1), opened("t", 10), placed("a", &[("s", 1), ("t", 1), ("s", 1)]), rejected("a", &[(0, "s"), (2, "s")])], &[]),
        // nobody has opened it
        (vec![opened("s", 10), placed("a", &[("s", 1), ("t", 1)]), rejected("a", &[(1, "t")])], &[]),
        // a hold that has lapsed is room, though its end is not recorded; one that lasts is none
        (
            vec![opened("s", 10), held("s", "b", 10, counts(10, 10, 0)), placed("a", &[("s", 1)]), rejected("a", &[(0, "s")]).decided(600)],
            &[no_reason],
        ),
        (vec![opened("s", 10), held("s", "b", 10, counts(10, 10, 0)), placed("a", &[("s", 1)]), rejected("a", &[(0, "s")]).decided(599)], &[]),
        // a caller has a hold of the order's name there
        (vec![opened("s", 10), held("s", "a", 1, counts(10, 1, 0)), placed("a", &[("s", 1)]), rejected("a", &[(0, "s")])], &[]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_holds_and_moves_without_the_order_is_found() {
    let own = |holder: Holder| {
        with(begun(), [is_held("a"), held_by(holder, 600, "s", "a", 2, counts(10, 2, 0)), held_by(holder, 600, "t", "a", 1, counts(10, 1, 0))])
    };
    let (sold_s, sold_t) = (|| sold("s", "a", 2, counts(10, 0, 2)), || sold("t", "a", 1, counts(10, 0, 1)));
    let log = Log::new().await;
    log.find(vec![
        (with(own(Holder::Order), [confirmed("a"), sold_s(), sold_t()]), &[]),
        // by another writer, the slots first
        (with(own(Holder::Order), [sold_s(), sold_t(), confirmed("a")]), &[]),
        // whoever needs the units of what has lapsed records its end
        (with(own(Holder::Order), [lapsed("s", "a", 2, counts(10, 0, 0)), expired("a"), lapsed("t", "a", 1, counts(10, 0, 0))]), &[]),
        (
            with(own(Holder::Order), [released("s", "a", 2, counts(10, 0, 0)), placed("b", &[("s", 1)])]),
            &["position 7: slot s@stock moves what order a has, without it: HoldReleased"],
        ),
        (with(own(Holder::Order), [sold_t()]), &["position 7: slot t@stock moves what order a has, without it: HoldConfirmed"]),
        // from before holds said whose they are
        (with(own(Holder::Caller), [released("s", "a", 2, counts(10, 0, 0)), placed("b", &[("s", 1)])]), &[]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_lines_do_not_come_to_what_it_costs_is_found() {
    let money = |minor, currency: &str| Money { minor, currency: Currency::parse(currency).unwrap() };
    let costs = |price: Money, line_total: Money, total: Money| {
        let units = vec![LineUnit { unit_id: UnitId::parse("piece").unwrap(), quantity: Quantity::new(2), price }];
        let Row { event: AnyEvent::Order(OrderEvent::OrderPlaced { customer, lines, hold_seconds, personal, .. }), .. } = placed("a", &[("s", 2)])
        else {
            unreachable!("it is placed")
        };
        let lines = lines.iter().map(|line| OrderLine { units: units.clone(), total: line_total, ..line.clone() }).collect();
        vec![of("a", OrderEvent::OrderPlaced { customer, lines, total, hold_seconds, personal })]
    };
    let wrong = |total: &str| format!("position 1: order a costs {total}, and its lines come to something else");
    let log = Log::new().await;
    log.find(vec![
        (costs(money(1_000, "KRW"), money(2_000, "KRW"), money(2_000, "KRW")), &[]),
        (costs(money(1_000, "KRW"), money(2_000, "KRW"), money(1_000, "KRW")), &[&wrong("1000 KRW")]),
        (costs(money(1_000, "KRW"), money(1_000, "KRW"), money(1_000, "KRW")), &[&wrong("1000 KRW")]),
        (costs(money(1_000, "USD"), money(2_000, "KRW"), money(2_000, "KRW")), &[&wrong("2000 KRW")]),
        (costs(money(1_000, "KRW"), money(2_000, "KRW"), money(2_000, "USD")), &[&wrong("2000 USD")]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_settled_before_one_that_came_earlier_is_found() {
    let late = |metadata| {
        vec![
            opened("s", 10),
            placed("a", &[("s", 2)]),
            placed("b", &[("s", 11)]),
            rejected("b", &[(0, "s")]),
            Row { metadata, ..is_held("a") },
            held("s", "a", 2, counts(10, 2, 0)),
        ]
    };
    let log = Log::new().await;
    log.find(vec![(late("{}"), &["position 5: order a was decided at slot s@stock after one that came later"])]).await;
    // one that was parked and tried again has lost its place, and that is counted
    log.write(&late(r#"{"actor":"engine/settlement/retry"}"#)).await;
    let walk = log.walked().await;
    assert_eq!((walk.proof.finish(), walk.proof.passed()), (vec![], 1));
    // who leaves the line is in nobody's way
    log.find(vec![(
        vec![opened("s", 10), placed("a", &[("s", 2)]), placed("b", &[("s", 11)]), rejected("b", &[(0, "s")]), cancelled("a", OrderStatus::Placed)],
        &[],
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_order_or_a_slot_that_cannot_be_read_no_more_is_asked() {
    let log = Log::new().await;
    // its hold came first, and may be in what cannot be read
    let slots_first = || with(begun(), [held("s", "a", 2, counts(10, 2, 0)), held("t", "a", 1, counts(10, 1, 0)), is_held("a")]);
    for (rows, unreadable, whose) in [
        (bought(), 3, "sequence 1 of Order/a"),
        (bought(), 5, "sequence 2 of InventorySlot/s@stock"),
        (slots_first(), 4, "sequence 2 of InventorySlot/s@stock"),
    ] {
        log.write(&rows).await;
        tamper(&log.client, &format!("UPDATE events SET event_version = '7.0' WHERE position = {unreadable}")).await;
        let found = log.findings().await;
        let expected = format!("position {unreadable}: the event cannot be read, {whose}");
        assert_eq!((found.len(), &found[0]), (2, &expected), "and the chain: {found:?}");
    }
}
