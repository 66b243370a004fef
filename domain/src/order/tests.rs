//! Given an order's past, when a command, then events or a refusal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    LineFailure, LineUnit, MAX_FAILURES, MAX_LINES, MAX_QUANTITY, Order, OrderCommand as C, OrderEvent as E, OrderLine, OrderStatus, SlotDraw,
};
use crate::{
    Currency, Decider, Money, Quantity, Sealed,
    given::{Given, given, t},
    ids::{CustomerRef, OptionId, ProductId, SlotId, UnitId},
    slot::{MAX_CAPACITY, MAX_HOLD_SECONDS},
};

/// The longest hold, in seconds.
const LONGEST: i64 = MAX_HOLD_SECONDS as i64;

fn won(minor: u64) -> Money {
    Money { minor, currency: Currency::parse("KRW").unwrap() }
}

fn euro(minor: u64) -> Money {
    Money { minor, currency: Currency::parse("EUR").unwrap() }
}

fn slot_id(pool: &str) -> SlotId {
    SlotId::parse(&format!("{pool}@20270101T000000Z")).unwrap()
}

fn draw(pool: &str, quantity: u32) -> SlotDraw {
    SlotDraw { slot_id: slot_id(pool), quantity: Quantity::new(quantity) }
}

fn units(quantity: u32, price: Money) -> Vec<LineUnit> {
    vec![LineUnit { unit_id: UnitId::parse("adult").unwrap(), quantity: Quantity::new(quantity), price }]
}

/// Two at 12,000 won each.
fn line(draws: Vec<SlotDraw>) -> OrderLine {
    OrderLine {
        product_id: ProductId::parse("museum").unwrap(),
        option_id: OptionId::parse("guided").unwrap(),
        starts_at: Some(t(0)),
        units: units(2, won(12_000)),
        draws,
        total: won(24_000),
    }
}

fn place(lines: Vec<OrderLine>) -> C {
    C::PlaceOrder { customer: CustomerRef::parse("c-1").unwrap(), lines, hold_seconds: 600, personal: None }
}

fn failure(line: u32) -> LineFailure {
    LineFailure {
        line,
        slot_id: slot_id("gallery"),
        code: "SLOT_SOLD_OUT".into(),
        message: "the slot is sold out".into(),
        details: BTreeMap::new(),
        retryable: false,
    }
}

fn reject() -> C {
    C::RejectOrder { failures: vec![failure(0)] }
}

fn hold(expires_at: Timestamp) -> C {
    C::RecordHold { expires_at }
}

fn cancel() -> C {
    C::CancelOrder { reason: "Changed my mind".into() }
}

fn placed() -> Given<Order> {
    given().done(t(0), &place(vec![line(vec![draw("gallery", 2)])]))
}

fn held() -> Given<Order> {
    placed().done(t(0), &hold(t(600)))
}

/// One order in each status that is not absent; the expired one is recorded as such.
fn one_of_each() -> [(OrderStatus, Given<Order>); 6] {
    [
        (OrderStatus::Placed, placed()),
        (OrderStatus::Held, held()),
        (OrderStatus::Rejected, placed().done(t(0), &reject())),
        (OrderStatus::Confirmed, held().done(t(0), &C::ConfirmOrder)),
        (OrderStatus::Expired, held().done(t(600), &C::ExpireOrder)),
        (OrderStatus::Cancelled, held().done(t(0), &cancel())),
    ]
}

#[test]
fn an_order_is_placed_once_with_the_sum_of_its_lines() {
    let lines = vec![line(vec![draw("gallery", 2), draw("headset", 4)]), line(vec![draw("gallery", 3)])];
    let event = E::OrderPlaced {
        customer: CustomerRef::parse("c-1").unwrap(),
        lines: lines.clone().into(),
        total: won(48_000),
        hold_seconds: 600,
        personal: None,
    };
    given::<Order>().when(t(0), &place(lines.clone())).then(&[event]);
    for (_, order) in one_of_each() {
        order.when(t(0), &place(vec![])).refused("ORDER_EXISTS");
    }
    let order = given::<Order>().done(t(0), &place(lines)).state;
    assert_eq!(
        order.draws(),
        BTreeMap::from([(slot_id("gallery"), Quantity::new(5)), (slot_id("headset"), Quantity::new(4))]),
        "the same slot in two lines is summed"
    );
}

#[test]
fn personal_data_is_carried_sealed_and_kept_as_it_came() {
    let sealed = Sealed::parse("sealed:v1:0f:AbC").unwrap();
    let place = |personal| C::PlaceOrder {
        customer: CustomerRef::parse("c-1").unwrap(),
        lines: vec![line(vec![draw("gallery", 2)])],
        hold_seconds: 600,
        personal,
    };
    let with = given::<Order>().done(t(0), &place(Some(sealed.clone()))).done(t(0), &cancel());
    assert_eq!(with.state.personal(), Some(&sealed), "whatever becomes of the order");
    assert_eq!(given::<Order>().done(t(0), &place(None)).state.personal(), None);
}

#[test]
fn lines_that_contradict_themselves_are_refused_by_number() {
    let good = || line(vec![draw("gallery", 2)]);
    let with = |change: fn(&mut OrderLine)| {
        let mut line = good();
        change(&mut line);
        line
    };
    for (bad, code) in [
        (with(|l| l.units.clear()), "ORDER_LINE_INVALID"),
        (with(|l| l.units = vec![units(1, won(1)).remove(0); 21]), "ORDER_LINE_INVALID"),
        (with(|l| l.draws.clear()), "ORDER_LINE_INVALID"),
        (with(|l| l.draws = (0..9).map(|n| draw(&format!("p{n}"), 1)).collect()), "ORDER_LINE_INVALID"),
        (with(|l| l.draws = vec![draw("gallery", 0)]), "ORDER_LINE_INVALID"),
        (with(|l| l.draws = vec![draw("gallery", 1), draw("gallery", 1)]), "ORDER_LINE_INVALID"),
        (with(|l| l.units = units(0, won(12_000))), "ORDER_QUANTITY_INVALID"),
        (with(|l| l.units = units(MAX_QUANTITY.get() + 1, euro(1))), "ORDER_QUANTITY_INVALID"),
        (with(|l| l.units = units(u32::MAX, won(u64::MAX))), "ORDER_QUANTITY_INVALID"),
        (with(|l| l.total = euro(24_000)), "ORDER_CURRENCY_MIXED"),
        (with(|l| l.units = units(2, euro(12_000))), "ORDER_CURRENCY_MIXED"),
        (with(|l| l.total = won(23_999)), "ORDER_LINE_INVALID"),
        (with(|l| l.units = units(2, won(u64::MAX))), "ORDER_TOTAL_TOO_LARGE"),
    ] {
        let details = given::<Order>().when(t(0), &place(vec![good(), bad])).refused(code);
        assert_eq!(details.get("line").map_or("1", |line| line), "1", "the line is named, counted from 0");
    }
}

#[test]
fn an_order_stays_within_its_bounds() {
    let dear = |total| {
        let mut line = line(vec![draw("gallery", 2)]);
        (line.units, line.total) = (units(1, won(total)), won(total));
        line
    };
    let none = given::<Order>();
    none.when(t(0), &place(vec![])).refused("ORDER_EMPTY");
    none.clone().done(t(0), &place(vec![dear(1); MAX_LINES]));
    assert_eq!(none.when(t(0), &place(vec![dear(1); MAX_LINES + 1])).refused("ORDER_TOO_MANY_LINES")["lines"], "101");
    none.clone().done(t(0), &place(vec![dear(Money::MAX_MINOR)]));
    none.when(t(0), &place(vec![dear(Money::MAX_MINOR), dear(1)])).refused("ORDER_TOTAL_TOO_LARGE");
    let (much, most) = (|quantity| line(vec![draw("gallery", quantity)]), MAX_CAPACITY.get());
    none.clone().done(t(0), &place(vec![much(most - 1), much(1)]));
    for lines in [vec![much(most), much(1)], vec![much(u32::MAX), much(u32::MAX)]] {
        assert_eq!(none.when(t(0), &place(lines)).refused("ORDER_DRAW_TOO_LARGE")["slot_id"], slot_id("gallery").as_str());
    }
    for hold_seconds in [0, MAX_HOLD_SECONDS + 1, u32::MAX] {
        let command = C::PlaceOrder { customer: CustomerRef::parse("c-1").unwrap(), lines: vec![much(0)], hold_seconds, personal: None };
        none.when(t(0), &command).refused("ORDER_HOLD_SECONDS_INVALID");
    }
}

#[test]
fn only_a_placed_order_is_settled_and_only_once() {
    placed().when(t(0), &hold(t(600))).then(&[E::OrderHeld { expires_at: t(600) }]);
    placed().when(t(0), &reject()).then(&[E::OrderRejected { failures: vec![failure(0)] }]);
    for (status, order) in one_of_each().into_iter().skip(1) {
        for command in [hold(t(0)), C::RejectOrder { failures: vec![] }] {
            assert_eq!(order.when(t(0), &command).refused("ORDER_NOT_PLACED")["status"], status.as_str());
        }
    }
    for command in [hold(t(0)), C::RejectOrder { failures: vec![] }, C::ConfirmOrder, cancel()] {
        given::<Order>().when(t(0), &command).refused("ORDER_NOT_FOUND");
    }
    for expires_at in [t(0), t(-1), t(LONGEST + 1), Timestamp::MIN, Timestamp::MAX] {
        placed().when(t(0), &hold(expires_at)).refused("HOLD_EXPIRY_INVALID");
    }
    for failures in [vec![], vec![failure(1)], vec![failure(0); MAX_FAILURES + 1]] {
        placed().when(t(0), &C::RejectOrder { failures }).refused("ORDER_FAILURES_INVALID");
    }
    assert_eq!(placed().done(t(0), &reject()).state.failures(), [failure(0)]);
}

#[test]
fn only_a_held_order_is_confirmed_and_others_say_where_they_stand() {
    for (status, order) in one_of_each() {
        let outcome = order.when(t(599), &C::ConfirmOrder);
        match status {
            OrderStatus::Held => outcome.then(&[E::OrderConfirmed {}]),
            OrderStatus::Placed => assert_eq!(outcome.refused("ORDER_NOT_HELD")["status"], "PLACED"),
            OrderStatus::Rejected => drop(outcome.refused("ORDER_REJECTED")),
            OrderStatus::Confirmed => drop(outcome.refused("ORDER_ALREADY_CONFIRMED")),
            OrderStatus::Expired => drop(outcome.refused("ORDER_EXPIRED")),
            OrderStatus::Cancelled => drop(outcome.refused("ORDER_CANCELLED")),
            OrderStatus::Absent => unreachable!("none of each"),
        }
    }
}

#[test]
fn what_is_placed_held_or_bought_is_cancelled_and_its_past_is_kept() {
    for (status, order) in one_of_each() {
        let outcome = order.when(t(599), &cancel());
        match status {
            OrderStatus::Placed | OrderStatus::Held | OrderStatus::Confirmed => {
                outcome.then(&[E::OrderCancelled { reason: "Changed my mind".into(), was: status }]);
                let wordless = C::CancelOrder { reason: String::new() };
                order.when(t(0), &wordless).then(&[E::OrderCancelled { reason: String::new(), was: status }]);
                for reason in ["x".repeat(501), "a\u{7}".into(), "a\u{2066}".into()] {
                    order.when(t(0), &C::CancelOrder { reason }).refused("ORDER_REASON_INVALID");
                }
            }
            OrderStatus::Rejected => drop(outcome.refused("ORDER_REJECTED")),
            OrderStatus::Expired => drop(outcome.refused("ORDER_EXPIRED")),
            OrderStatus::Cancelled => drop(outcome.refused("ORDER_CANCELLED")),
            OrderStatus::Absent => unreachable!("none of each"),
        }
    }
    held()
        .done(t(599), &C::ConfirmOrder)
        .when(t(10_000), &cancel())
        .then(&[E::OrderCancelled { reason: "Changed my mind".into(), was: OrderStatus::Confirmed }]);
}

#[test]
fn a_lapsed_order_is_expired_whether_that_is_recorded_or_not() {
    let order = held();
    assert_eq!((order.state.status_at(t(599)), order.state.status_at(t(600))), (OrderStatus::Held, OrderStatus::Expired));
    assert_eq!(order.when(t(600), &C::ConfirmOrder).refused("ORDER_EXPIRED")["expired_at"], t(600).to_string());
    order.when(t(600), &cancel()).refused("ORDER_EXPIRED");
    order.when(t(900), &C::ExpireOrder).then(&[E::OrderExpired { expired_at: t(600) }]);
}

#[test]
fn a_timer_that_comes_early_or_late_finds_no_order_to_expire() {
    held().when(t(599), &C::ExpireOrder).then(&[]);
    given::<Order>().when(t(600), &C::ExpireOrder).then(&[]);
    for (status, order) in one_of_each() {
        if status != OrderStatus::Held {
            order.when(t(600), &C::ExpireOrder).then(&[]);
        }
    }
}

fn command() -> impl Strategy<Value = C> {
    let far = || prop_oneof![4 => 1_i64..1_000, 1 => Just(LONGEST)];
    prop_oneof![
        Just(place(vec![line(vec![draw("gallery", 2)])])),
        far().prop_map(|s| hold(t(s))),
        Just(reject()),
        Just(C::ConfirmOrder),
        Just(cancel()),
        Just(C::ExpireOrder),
    ]
}

proptest! {
    #[test]
    fn no_order_ever_leaves_a_final_status_or_goes_a_way_that_is_not_there(
        commands in prop::collection::vec((0_i64..200, command()), 0..40)
    ) {
        use OrderStatus::{Absent, Cancelled, Confirmed, Expired, Held, Placed, Rejected};
        let (mut live, mut log, mut now) = (Order::default(), vec![], 0);
        for (later, command) in commands {
            now += later;
            for event in live.decide(&command, t(now)).unwrap_or_default() {
                let before = live.status();
                live.apply(&event);
                let step = (before, live.status());
                prop_assert!(!before.is_final(), "{:?} left a final status", step);
                prop_assert!(matches!(
                    step,
                    (Absent, Placed) | (Placed, Held | Rejected | Cancelled) | (Held, Confirmed | Expired | Cancelled) | (Confirmed, Cancelled)
                ), "{:?}", step);
                log.push(event);
            }
        }
        let mut replayed = Order::default();
        log.iter().for_each(|event| replayed.apply(event));
        prop_assert_eq!(&replayed, &live);
        let restored: Order = serde_json::from_str(&serde_json::to_string(&live).unwrap()).unwrap();
        prop_assert_eq!(&restored, &live);
    }

    #[test]
    fn no_quantity_price_or_time_makes_an_order_panic(
        (quantity, price, total, taken) in (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>()),
        (hold_seconds, second) in (any::<u32>(), Timestamp::MIN.as_second()..Timestamp::MAX.as_second())
    ) {
        let at = Timestamp::from_second(second).unwrap();
        let mut line = line(vec![draw("gallery", taken), draw("headset", taken)]);
        (line.units, line.total) = (units(quantity, won(price)), won(total));
        let lines = vec![line.clone(), line];
        let _ = Order::default().decide(&C::PlaceOrder { customer: CustomerRef::parse("c-1").unwrap(), lines, hold_seconds, personal: None }, at);
        for command in [hold(Timestamp::MAX), hold(Timestamp::MIN), hold(at), C::ConfirmOrder, cancel(), C::ExpireOrder] {
            for now in [at, Timestamp::MIN, Timestamp::MAX] {
                let _ = placed().state.decide(&command, now);
                let _ = held().state.decide(&command, now);
            }
        }
    }
}
