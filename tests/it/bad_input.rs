//! Bad input of every kind: a clear refusal with a stable code that has its page, and a log that stands as it was.

use std::{future::Future, time::Duration};

use jari_proto::{
    inventory::v1::{
        AdjustCapacityRequest, CancelUnitsRequest, CloseSlotRequest, ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest, OpenSlotRequest,
        ReleaseHoldRequest, ResumeSlotRequest, SuspendSlotRequest,
    },
    operations::v1::{RetryParkedOrderRequest, RetryQuarantinedStreamRequest},
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, LineRequest, PlaceOrderRequest, UnitQuantity},
    product::v1::{
        CreateProductRequest, DefineOptionRequest, Draw, EndProductRequest, LaunchProductRequest, Option as ProductOption, ResumeProductRequest,
        SaleMode, SuspendProductRequest, Unit, WithdrawOptionRequest,
    },
    status::reason,
    r#type::v1::{Money, Window},
};
use prost::Message;
use prost_types::Timestamp;
use tonic::{
    Code, Request, Response, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use uuid::Uuid;

use crate::{
    harness::in_seconds,
    serving::{Serving, draft, id, order, wire, won},
};

/// The refusals so far; each is looked at where it comes.
struct Refusals<'a> {
    shop: &'a Serving,
    head: usize,
}

impl<'a> Refusals<'a> {
    async fn at(shop: &'a Serving) -> Self {
        Self { shop, head: shop.log().await.len() }
    }

    /// The call is refused with `code`, for which there is a page.
    async fn expect<T: std::fmt::Debug>(&self, code: &str, what: &str, call: impl Future<Output = Result<Response<T>, Status>>) {
        let status = tokio::time::timeout(Duration::from_secs(120), call).await.unwrap_or_else(|_| panic!("{what}: no answer"));
        let status = status.map(|answer| panic!("{what}: taken: {answer:?}")).unwrap_err();
        assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::Unimplemented), "{what}: {status:?}");
        assert_eq!(reason(&status).as_deref(), Some(code), "{what}: {status:?}");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors/");
        let page = std::fs::read_to_string(format!("{page}{code}.md")).unwrap_or_else(|_| panic!("{code} has no page"));
        let mut kind = String::new();
        for c in format!("{:?}", status.code()).chars() {
            if c.is_uppercase() && !kind.is_empty() {
                kind.push('_');
            }
            kind.push(c.to_ascii_uppercase());
        }
        let said = page.lines().any(|line| line.contains("gRPC status") && line.contains(&format!("`{kind}`")));
        assert!(said, "{what}: {code} came with {kind}, which its page does not say");
    }

    async fn leave_the_log_as_it_was(self) {
        assert_eq!(self.shop.log().await.len(), self.head, "a refusal writes no event");
    }
}

/// Ids that nobody may use.
fn bad_ids() -> Vec<String> {
    [String::new(), "x".repeat(10_000), "-a".into(), "a b".into(), "a/b".into(), "가".into(), "a\0b".into(), "' OR 1=1 --".into(), "@stock".into()]
        .into()
}

macro_rules! expect {
    ($refusals:ident, $client:ident . $rpc:ident, [$($code:literal: $request:expr),* $(,)?]) => {{
        let mut client = $refusals.shop.$client();
        $(
            let request = $request;
            let mut shown = format!("{} {request:?}", stringify!($rpc));
            shown.truncate(shown.floor_char_boundary(300));
            $refusals.expect($code, &shown, client.$rpc(request)).await;
        )*
    }};
}

fn line(product: &str, change: impl FnOnce(&mut LineRequest)) -> PlaceOrderRequest {
    let mut place = order(&[(product, 1)]);
    change(&mut place.lines[0]);
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_order_is_refused_by_name_and_leaves_no_trace() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let tour = in_seconds(7_200).as_second();
    shop.draft_with("tour", |draft| (draft.sale_mode, draft.cut_off_seconds) = (SaleMode::Reservation.into(), 600)).await;
    shop.draft_with("import", |draft| draft.currency = "USD".into()).await;
    shop.draft("dear").await;
    for (product, price) in [("tour", won(1)), ("import", Money { currency: "USD".into(), minor_units: 1 }), ("dear", won(1_000_000_000_000))] {
        shop.option_at(product, price).await;
        shop.launch(product).await;
    }
    shop.draft("draft").await;
    let refusals = Refusals::at(&shop).await;
    for bad in bad_ids() {
        expect!(refusals, orders.place_order, [
            "REQUEST_INVALID": PlaceOrderRequest { customer: bad.clone(), ..order(&[("poster", 1)]) },
            "REQUEST_INVALID": line("poster", |line| line.product_id = bad.clone()),
            "REQUEST_INVALID": line("poster", |line| line.option_id = bad.clone()),
            "REQUEST_INVALID": line("poster", |line| line.units[0].unit_id = bad.clone()),
        ]);
        expect!(refusals, orders.place_order, [
            "REQUEST_INVALID": PlaceOrderRequest { request_id: bad.clone(), ..order(&[("poster", 1)]) },
        ]);
        // an order without an id of its own has its request's
        if !bad.is_empty() {
            expect!(refusals, orders.place_order, [
                "REQUEST_INVALID": PlaceOrderRequest { order_id: bad.clone(), ..order(&[("poster", 1)]) },
            ]);
        }
    }
    let many = |count: usize| PlaceOrderRequest { lines: vec![order(&[("poster", 1)]).lines.remove(0); count], ..order(&[]) };
    let at = |seconds: i64, nanos: i32| line("tour", move |line| line.starts_at = Some(Timestamp { seconds, nanos }));
    let of = |unit: &str, quantity| UnitQuantity { unit_id: unit.into(), quantity };
    let wait = |seconds, nanos| PlaceOrderRequest { wait: Some(prost_types::Duration { seconds, nanos }), ..order(&[("poster", 1)]) };
    expect!(refusals, orders.place_order, [
        "REQUEST_INVALID": PlaceOrderRequest::default(),
        "REQUEST_INVALID": many(0),
        "REQUEST_INVALID": many(101),
        "REQUEST_INVALID": many(10_000),
        "REQUEST_INVALID": PlaceOrderRequest { request_id: Uuid::nil().to_string(), ..order(&[("poster", 1)]) },
        "REQUEST_INVALID": wait(-1, 0),
        "REQUEST_INVALID": order(&[("poster", 0)]),
        "REQUEST_INVALID": order(&[("poster", -1)]),
        "REQUEST_INVALID": order(&[("poster", i32::MIN)]),
        "ORDER_QUANTITY_INVALID": order(&[("poster", 10_001)]),
        "ORDER_QUANTITY_INVALID": order(&[("poster", i32::MAX)]),
        "ORDER_QUANTITY_INVALID": line("poster", |line| line.units = vec![of("piece", 6_000), of("piece", 6_000)]),
        "REQUEST_INVALID": line("poster", |line| line.units.clear()),
        "REQUEST_INVALID": line("poster", |line| line.units = vec![of("piece", 1); 21]),
        "PRODUCT_NOT_FOUND": order(&[("nothing", 1)]),
        "PRODUCT_NOT_FOUND": order(&[("poster", 1), ("nothing", 1)]),
        "PRODUCT_NOT_ON_SALE": order(&[("draft", 1)]),
        "OPTION_NOT_FOUND": line("poster", |line| line.option_id = "two".into()),
        "UNIT_NOT_FOUND": line("poster", |line| line.units = vec![of("box", 1)]),
        "START_NOT_ALLOWED": line("poster", |line| line.starts_at = Some(Timestamp { seconds: tour, nanos: 0 })),
        "START_REQUIRED": order(&[("tour", 1)]),
        "START_IN_PAST": at(0, 0),
        "START_IN_PAST": at(in_seconds(-1).as_second(), 0),
        "START_IN_PAST": at(-62_135_596_800, 0),
        "CUT_OFF_PASSED": at(in_seconds(300).as_second(), 0),
        "START_INVALID": at(tour, 1),
        "REQUEST_INVALID": at(tour, -1),
        "REQUEST_INVALID": at(tour, 1_000_000_000),
        "REQUEST_INVALID": at(253_402_300_800, 0),
        "REQUEST_INVALID": at(i64::MAX, 0),
        "REQUEST_INVALID": at(i64::MIN, 0),
        "ORDER_CURRENCY_MIXED": order(&[("poster", 1), ("import", 1)]),
        "ORDER_TOTAL_TOO_LARGE": order(&[("dear", 2)]),
        "ORDER_TOTAL_TOO_LARGE": order(&[("dear", 1), ("dear", 1)]),
        "ORDER_TOTAL_TOO_LARGE": order(&[("dear", 10_000)]),
    ]);
    for bad in bad_ids() {
        expect!(refusals, orders.confirm_order, ["REQUEST_INVALID": ConfirmOrderRequest { request_id: id(), order_id: bad.clone() }]);
        expect!(refusals, orders.cancel_order, [
            "REQUEST_INVALID": CancelOrderRequest { request_id: id(), order_id: bad.clone(), reason: String::new() },
        ]);
    }
    expect!(refusals, orders.confirm_order, [
        "ORDER_NOT_FOUND": ConfirmOrderRequest { request_id: id(), order_id: "nobody".into() },
        "REQUEST_INVALID": ConfirmOrderRequest { request_id: "7".into(), order_id: "nobody".into() },
    ]);
    expect!(refusals, orders.cancel_order, [
        "ORDER_NOT_FOUND": CancelOrderRequest { request_id: id(), order_id: "nobody".into(), reason: "x".into() },
    ]);
    // all of it at once: the request id, the customer, the wait and the product
    let wrong = PlaceOrderRequest { request_id: "7".into(), customer: String::new(), ..wait(-1, 0) };
    let wrong = PlaceOrderRequest { lines: line("a b", |_| {}).lines, ..wrong };
    let told = shop.orders().place_order(wrong).await.unwrap_err();
    assert!(told.message().starts_with("request_id: must be a UUID") && told.message().ends_with("(and 3 more)"), "{told:?}");
    refusals.leave_the_log_as_it_was().await;
    let held = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    let refusals = Refusals::at(&shop).await;
    for reason in ["x".repeat(501), "two\nlines".into(), "\0".into()] {
        expect!(refusals, orders.cancel_order, ["ORDER_REASON_INVALID": CancelOrderRequest { request_id: id(), order_id: held.clone(), reason }]);
    }
    refusals.leave_the_log_as_it_was().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_command_to_a_slot_is_refused_by_name_and_leaves_no_trace() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 5).await;
    let soon = || Some(wire(in_seconds(3_000)));
    let hold = |hold: &str, quantity, expires_at| HoldUnitsRequest {
        request_id: id(),
        slot_id: "seat@stock".into(),
        hold_id: hold.into(),
        quantity,
        expires_at,
    };
    shop.inventory().hold_units(hold("taken", 1, soon())).await.unwrap();
    let refusals = Refusals::at(&shop).await;
    for bad in bad_ids().into_iter().chain(["seat@20261324T000000Z".into(), "seat@99999".into(), "seat@".into()]) {
        let (request_id, slot_id) = (id(), bad.clone());
        expect!(refusals, inventory.hold_units, ["REQUEST_INVALID": HoldUnitsRequest { slot_id: bad.clone(), ..hold("h", 1, soon()) }]);
        expect!(refusals, inventory.extend_hold, [
            "REQUEST_INVALID": ExtendHoldRequest { request_id: id(), slot_id: bad.clone(), hold_id: "taken".into(), expires_at: soon() },
        ]);
        expect!(refusals, inventory.confirm_hold, [
            "REQUEST_INVALID": ConfirmHoldRequest { request_id: id(), slot_id: bad.clone(), hold_id: "taken".into() },
            "REQUEST_INVALID": ConfirmHoldRequest { request_id: id(), slot_id: slot.clone(), hold_id: bad.clone() },
        ]);
        expect!(refusals, inventory.release_hold, [
            "REQUEST_INVALID": ReleaseHoldRequest { request_id: id(), slot_id: bad.clone(), hold_id: "taken".into() },
        ]);
        expect!(refusals, inventory.cancel_units, [
            "REQUEST_INVALID": CancelUnitsRequest { request_id: id(), slot_id: slot.clone(), hold_id: bad.clone(), quantity: 1 },
        ]);
        expect!(refusals, inventory.adjust_capacity, [
            "REQUEST_INVALID": AdjustCapacityRequest { request_id: id(), slot_id: bad.clone(), capacity: 1 },
        ]);
        expect!(refusals, inventory.suspend_slot, [
            "REQUEST_INVALID": SuspendSlotRequest { request_id: id(), slot_id: bad.clone(), reason: "x".into() },
        ]);
        expect!(refusals, inventory.resume_slot, ["REQUEST_INVALID": ResumeSlotRequest { request_id: id(), slot_id: bad.clone() }]);
        expect!(refusals, inventory.close_slot, ["REQUEST_INVALID": CloseSlotRequest { request_id, slot_id }]);
        expect!(refusals, inventory.open_slot, [
            "REQUEST_INVALID": OpenSlotRequest { request_id: id(), pool_id: bad.clone(), window: None, capacity: 1 },
        ]);
    }
    let day = 86_400;
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let now = in_seconds(0).as_second();
    let open =
        |starts_at, ends_at| OpenSlotRequest { request_id: id(), pool_id: "pool".into(), window: Some(Window { starts_at, ends_at }), capacity: 1 };
    expect!(refusals, inventory.open_slot, [
        "SLOT_EXISTS": OpenSlotRequest { request_id: id(), pool_id: "seat".into(), window: None, capacity: 1 },
        "REQUEST_INVALID": OpenSlotRequest { request_id: id(), pool_id: "pool".into(), window: None, capacity: -1 },
        "SLOT_CAPACITY_INVALID": OpenSlotRequest { request_id: id(), pool_id: "pool".into(), window: None, capacity: i32::MAX },
        "SLOT_WINDOW_INVALID": open(at(now - 60, 0), at(now + 60, 0)),
        "SLOT_WINDOW_INVALID": open(at(-62_135_596_800, 0), at(now + 60, 0)),
        "SLOT_WINDOW_INVALID": open(at(now + 60, 0), at(now + 60, 0)),
        "SLOT_WINDOW_INVALID": open(at(now + 60, 0), at(now + 30, 0)),
        "SLOT_WINDOW_INVALID": open(at(now + 60, 0), at(now + 61 + 31 * day, 0)),
        "SLOT_WINDOW_INVALID": open(at(now + 60, 1), at(now + 90, 0)),
        "REQUEST_INVALID": open(at(now + 60, -1), at(now + 90, 0)),
        "REQUEST_INVALID": open(None, at(now + 90, 0)),
        "REQUEST_INVALID": open(at(now + 60, 0), None),
        "REQUEST_INVALID": open(at(253_402_300_800, 0), at(253_402_300_900, 0)),
    ]);
    expect!(refusals, inventory.hold_units, [
        "REQUEST_INVALID": HoldUnitsRequest::default(),
        "REQUEST_INVALID": HoldUnitsRequest { request_id: "x".into(), ..hold("h", 1, soon()) },
        "SLOT_NOT_FOUND": HoldUnitsRequest { slot_id: "nothing@stock".into(), ..hold("h", 1, soon()) },
        "SLOT_NOT_FOUND": HoldUnitsRequest { slot_id: "seat@20301224T090000Z".into(), ..hold("h", 1, soon()) },
        "HOLD_EXISTS": hold("taken", 1, soon()),
        "REQUEST_INVALID": hold("h", 0, soon()),
        "REQUEST_INVALID": hold("h", -5, soon()),
        "SLOT_INSUFFICIENT_UNITS": hold("h", 6, soon()),
        "SLOT_HELD_BY_OTHERS": hold("h", 5, soon()),
        "SLOT_QUANTITY_INVALID": hold("h", i32::MAX, soon()),
        "REQUEST_INVALID": hold("h", 1, None),
        "REQUEST_INVALID": hold("h", 1, at(now + 60, 1_000_000_000)),
        "REQUEST_INVALID": hold("h", 1, at(i64::MAX, 0)),
        "HOLD_EXPIRY_INVALID": hold("h", 1, at(now - 1, 0)),
        "HOLD_EXPIRY_INVALID": hold("h", 1, at(now + 2 * day, 0)),
    ]);
    expect!(refusals, inventory.extend_hold, [
        "HOLD_EXPIRY_INVALID": ExtendHoldRequest { request_id: id(), slot_id: slot.clone(), hold_id: "taken".into(), expires_at: at(0, 0) },
        "HOLD_NOT_FOUND": ExtendHoldRequest { request_id: id(), slot_id: slot.clone(), hold_id: "other".into(), expires_at: soon() },
        "REQUEST_INVALID": ExtendHoldRequest { request_id: id(), slot_id: slot.clone(), hold_id: "taken".into(), expires_at: None },
    ]);
    expect!(refusals, inventory.cancel_units, [
        "SLOT_CANCEL_EXCEEDS_SOLD": CancelUnitsRequest { request_id: id(), slot_id: slot.clone(), hold_id: "taken".into(), quantity: 1 },
        "REQUEST_INVALID": CancelUnitsRequest { request_id: id(), slot_id: slot.clone(), hold_id: "taken".into(), quantity: 0 },
    ]);
    expect!(refusals, inventory.adjust_capacity, [
        "REQUEST_INVALID": AdjustCapacityRequest { request_id: id(), slot_id: slot.clone(), capacity: -1 },
        "SLOT_CAPACITY_INVALID": AdjustCapacityRequest { request_id: id(), slot_id: slot.clone(), capacity: 100_000_001 },
    ]);
    for reason in [String::new(), "x".repeat(501), "x".repeat(10_000), "\u{7}".into()] {
        expect!(refusals, inventory.suspend_slot, [
            "SLOT_REASON_INVALID": SuspendSlotRequest { request_id: id(), slot_id: slot.clone(), reason },
        ]);
    }
    refusals.leave_the_log_as_it_was().await;
    shop.node.stop().await;
}

fn unit(price: Money) -> Unit {
    Unit { unit_id: "piece".into(), title: "Piece".into(), price: Some(price), heads: 1 }
}

fn define(change: impl FnOnce(&mut ProductOption)) -> DefineOptionRequest {
    let draws = vec![Draw { pool_id: "pool".into(), per_head: 1 }];
    let mut option = ProductOption { option_id: "one".into(), title: "One".into(), units: vec![unit(won(1))], draws };
    change(&mut option);
    DefineOptionRequest { request_id: id(), product_id: "draft".into(), option: Some(option) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_command_to_a_product_is_refused_by_name_and_leaves_no_trace() {
    let shop = Serving::start().await;
    shop.draft("draft").await;
    shop.on_sale("poster", 1).await;
    let create = |change: fn(&mut CreateProductRequest)| {
        let mut request = draft("new");
        change(&mut request);
        request
    };
    let refusals = Refusals::at(&shop).await;
    expect!(refusals, products.create_product, [
        "REQUEST_INVALID": CreateProductRequest::default(),
        "PRODUCT_EXISTS": create(|r| r.product_id = "draft".into()),
        "PRODUCT_TITLE_INVALID": create(|r| r.title = String::new()),
        "PRODUCT_TITLE_INVALID": create(|r| r.title = "x".repeat(10_000)),
        "REQUEST_INVALID": create(|r| r.sale_mode = 0),
        "REQUEST_INVALID": create(|r| r.sale_mode = 99),
        "PRODUCT_TIME_ZONE_INVALID": create(|r| r.time_zone = "../etc/passwd".into()),
        "PRODUCT_TIME_ZONE_INVALID": create(|r| r.time_zone = "Mars/Olympus_Mons".into()),
        "REQUEST_INVALID": create(|r| r.currency = "krw".into()),
        "REQUEST_INVALID": create(|r| r.hold_seconds = -1),
        "PRODUCT_HOLD_SECONDS_INVALID": create(|r| r.hold_seconds = 0),
        "PRODUCT_HOLD_SECONDS_INVALID": create(|r| r.hold_seconds = i32::MAX),
        "REQUEST_INVALID": create(|r| r.cut_off_seconds = -1),
        "PRODUCT_CUT_OFF_INVALID": create(|r| r.cut_off_seconds = 1),
    ]);
    expect!(refusals, products.define_option, [
        "REQUEST_INVALID": DefineOptionRequest::default(),
        "PRODUCT_NOT_FOUND": DefineOptionRequest { product_id: "nothing".into(), ..define(|_| {}) },
        "PRODUCT_NOT_DRAFT": DefineOptionRequest { product_id: "poster".into(), ..define(|_| {}) },
        "REQUEST_INVALID": define(|o| o.units = vec![unit(won(1)); 21]),
        "REQUEST_INVALID": define(|o| o.draws = vec![o.draws[0].clone(); 9]),
        "OPTION_UNITS_INVALID": define(|o| o.units.clear()),
        "OPTION_UNITS_INVALID": define(|o| o.units = vec![unit(won(1)); 2]),
        "OPTION_DRAWS_INVALID": define(|o| o.draws.clear()),
        "OPTION_DRAWS_INVALID": define(|o| o.draws = vec![o.draws[0].clone(); 2]),
        "OPTION_DRAWS_INVALID": define(|o| o.draws[0].per_head = i32::MAX),
        "REQUEST_INVALID": define(|o| o.draws[0].per_head = 0),
        "OPTION_HEADS_INVALID": define(|o| o.units[0].heads = 101),
        "REQUEST_INVALID": define(|o| o.units[0].heads = 0),
        "REQUEST_INVALID": define(|o| o.units[0].price = None),
        "REQUEST_INVALID": define(|o| o.units[0].price = Some(won(-1))),
        "REQUEST_INVALID": define(|o| o.units[0].price = Some(won(i64::MAX))),
        "OPTION_PRICE_CURRENCY": define(|o| o.units[0].price = Some(Money { currency: "USD".into(), minor_units: 1 })),
        "PRODUCT_TITLE_INVALID": define(|o| o.title = "\n".into()),
    ]);
    for bad in bad_ids() {
        let product_id = bad;
        expect!(refusals, products.create_product, [
            "REQUEST_INVALID": CreateProductRequest { product_id: product_id.clone(), ..create(|_| {}) },
        ]);
        expect!(refusals, products.define_option, [
            "REQUEST_INVALID": define(|o| o.option_id = product_id.clone()),
            "REQUEST_INVALID": define(|o| o.units[0].unit_id = product_id.clone()),
            "REQUEST_INVALID": define(|o| o.draws[0].pool_id = product_id.clone()),
        ]);
        let (request_id, option_id, reason) = (id(), "one".to_owned(), "x".to_owned());
        expect!(refusals, products.withdraw_option, [
            "REQUEST_INVALID": WithdrawOptionRequest { request_id: request_id.clone(), product_id: product_id.clone(), option_id },
        ]);
        expect!(refusals, products.launch_product, ["REQUEST_INVALID": LaunchProductRequest { request_id: id(), product_id: product_id.clone() }]);
        expect!(refusals, products.suspend_product, [
            "REQUEST_INVALID": SuspendProductRequest { request_id: id(), product_id: product_id.clone(), reason },
        ]);
        expect!(refusals, products.resume_product, ["REQUEST_INVALID": ResumeProductRequest { request_id: id(), product_id: product_id.clone() }]);
        expect!(refusals, products.end_product, ["REQUEST_INVALID": EndProductRequest { request_id, product_id }]);
    }
    let draft = || "draft".to_owned();
    expect!(refusals, products.withdraw_option, [
        "OPTION_NOT_FOUND": WithdrawOptionRequest { request_id: id(), product_id: draft(), option_id: "none".into() },
    ]);
    expect!(refusals, products.launch_product, ["PRODUCT_WITHOUT_OPTIONS": LaunchProductRequest { request_id: id(), product_id: draft() }]);
    expect!(refusals, products.suspend_product, [
        "PRODUCT_NOT_ON_SALE": SuspendProductRequest { request_id: id(), product_id: draft(), reason: "x".into() },
        "PRODUCT_REASON_INVALID": SuspendProductRequest { request_id: id(), product_id: "poster".into(), reason: String::new() },
    ]);
    expect!(refusals, products.end_product, ["PRODUCT_NOT_ON_SALE": EndProductRequest { request_id: id(), product_id: draft() }]);
    expect!(refusals, products.resume_product, ["PRODUCT_NOT_FOUND": ResumeProductRequest { request_id: id(), product_id: "no".into() }]);
    refusals.leave_the_log_as_it_was().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_words_to_operators_commands_are_refused_by_name() {
    let shop = Serving::start().await;
    let refusals = Refusals::at(&shop).await;
    let retry = |projection: &str, aggregate_type: &str, aggregate_id: &str| RetryQuarantinedStreamRequest {
        request_id: id(),
        projection: projection.into(),
        aggregate_type: aggregate_type.into(),
        aggregate_id: aggregate_id.into(),
    };
    for bad in bad_ids() {
        expect!(refusals, operations.retry_parked_order, ["REQUEST_INVALID": RetryParkedOrderRequest { request_id: id(), order_id: bad.clone() }]);
        expect!(refusals, operations.retry_quarantined_stream, [
            "REQUEST_INVALID": retry("orders", &bad, "x"),
            "VIEW_UNKNOWN": retry(&bad, "Order", "x"),
        ]);
    }
    for bad in ["", "a\0b", &"x".repeat(10_000)] {
        expect!(refusals, operations.retry_quarantined_stream, ["REQUEST_INVALID": retry("orders", "Order", bad)]);
    }
    expect!(refusals, operations.retry_quarantined_stream, ["STREAM_NOT_QUARANTINED": retry("orders", "Order", "x")]);
    refusals.leave_the_log_as_it_was().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_stands_for_one_command_and_for_as_long_as_it_is_remembered() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("seat", 5).await;
    let hold = HoldUnitsRequest { request_id: id(), slot_id, hold_id: "a".into(), quantity: 1, expires_at: Some(wire(in_seconds(3_000))) };
    let answer = shop.inventory().hold_units(hold.clone()).await.unwrap().into_inner();
    let place = order(&[("seat", 1)]);
    shop.orders().place_order(place.clone()).await.unwrap();
    let refusals = Refusals::at(&shop).await;
    assert_eq!(shop.inventory().hold_units(hold.clone()).await.unwrap().into_inner(), answer);
    expect!(refusals, inventory.hold_units, ["COMMAND_ID_REUSED": HoldUnitsRequest { quantity: 2, ..hold.clone() }]);
    let confirm = ConfirmHoldRequest { request_id: hold.request_id.clone(), slot_id: hold.slot_id.clone(), hold_id: "a".into() };
    expect!(refusals, inventory.confirm_hold, ["COMMAND_ID_REUSED": confirm]);
    expect!(refusals, orders.place_order, [
        "COMMAND_ID_REUSED": PlaceOrderRequest { customer: "another".into(), ..place.clone() },
        "COMMAND_ID_REUSED": PlaceOrderRequest { request_id: hold.request_id.clone(), ..place.clone() },
    ]);
    // a shorter wait is no other command
    let again = PlaceOrderRequest { wait: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..place };
    shop.orders().place_order(again).await.unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(60 * 86_400);
    let long_ago = long_ago.duration_since(std::time::UNIX_EPOCH).unwrap();
    let old = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, long_ago.as_secs(), 0)).to_string();
    expect!(refusals, inventory.hold_units, ["COMMAND_ID_EXPIRED": HoldUnitsRequest { request_id: old.clone(), hold_id: "b".into(), ..hold.clone() }]);
    expect!(refusals, orders.place_order, ["COMMAND_ID_EXPIRED": PlaceOrderRequest { request_id: old, ..order(&[("seat", 1)]) }]);
    let ahead = |hours: u64| {
        let made = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + hours * 3_600;
        Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, made, 0)).to_string()
    };
    expect!(refusals, orders.place_order, ["COMMAND_ID_AHEAD": PlaceOrderRequest { request_id: ahead(25), ..order(&[("seat", 1)]) }]);
    refusals.leave_the_log_as_it_was().await;
    // a clock that is fast by hours is none of the caller's fault
    shop.inventory().hold_units(HoldUnitsRequest { request_id: ahead(23), hold_id: "d".into(), ..hold.clone() }).await.unwrap();
    // another caller's ids are its own
    let mut other = Request::new(HoldUnitsRequest { hold_id: "c".into(), ..hold });
    other.metadata_mut().insert("x-jari-caller", "another-service".parse().unwrap());
    shop.inventory().hold_units(other).await.unwrap();
    shop.node.stop().await;
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; prost::bytes::Buf::remaining(from)];
        prost::bytes::Buf::copy_to_slice(from, &mut item);
        Ok(Some(item))
    }
}

pub async fn send(shop: &Serving, path: &'static str, bytes: Vec<u8>) -> Result<Response<Vec<u8>>, Status> {
    let mut client = tonic::client::Grpc::new(shop.channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(bytes), http::uri::PathAndQuery::from_static(path), Raw).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_told_so_at_every_write_and_the_server_lives_on() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let refusals = Refusals::at(&shop).await;
    // the last field is one that no order goes without: whatever is cut off, the rest is no order
    let order_bytes = PlaceOrderRequest { wait: None, ..order(&[("poster", 1)]) }.encode_to_vec();
    for path in WRITES {
        refusals.expect("REQUEST_TOO_LARGE", path, send(&shop, path, vec![b'x'; 10 << 20])).await;
        // field 1, a string of three bytes that are no UTF-8
        refusals.expect("REQUEST_MALFORMED", path, send(&shop, path, vec![0x0a, 3, 0xff, 0xfe, 0xfd])).await;
        // field 1 says more than there is
        refusals.expect("REQUEST_MALFORMED", path, send(&shop, path, vec![0x0a, 100, b'a'])).await;
        refusals.expect("REQUEST_MALFORMED", path, send(&shop, path, vec![0xff; 64])).await;
        refusals.expect("REQUEST_INVALID", path, send(&shop, path, Vec::new())).await;
    }
    for end in 0..order_bytes.len() {
        let cut = send(&shop, WRITES[0], order_bytes[..end].to_vec()).await.unwrap_err();
        assert_eq!(cut.code(), Code::InvalidArgument, "cut at {end}: {cut:?}");
        assert!(matches!(reason(&cut).as_deref(), Some("REQUEST_MALFORMED" | "REQUEST_INVALID")), "cut at {end}: {cut:?}");
    }
    refusals.leave_the_log_as_it_was().await;
    send(&shop, WRITES[0], order_bytes).await.unwrap();
    shop.node.stop().await;
}

/// Every rpc that writes.
pub const WRITES: [&str; 20] = [
    "/reservation.order.v1.OrderService/PlaceOrder",
    "/reservation.order.v1.OrderService/ConfirmOrder",
    "/reservation.order.v1.OrderService/CancelOrder",
    "/reservation.inventory.v1.InventoryService/OpenSlot",
    "/reservation.inventory.v1.InventoryService/HoldUnits",
    "/reservation.inventory.v1.InventoryService/ExtendHold",
    "/reservation.inventory.v1.InventoryService/ConfirmHold",
    "/reservation.inventory.v1.InventoryService/ReleaseHold",
    "/reservation.inventory.v1.InventoryService/CancelUnits",
    "/reservation.inventory.v1.InventoryService/AdjustCapacity",
    "/reservation.inventory.v1.InventoryService/SuspendSlot",
    "/reservation.inventory.v1.InventoryService/ResumeSlot",
    "/reservation.inventory.v1.InventoryService/CloseSlot",
    "/reservation.product.v1.ProductService/CreateProduct",
    "/reservation.product.v1.ProductService/DefineOption",
    "/reservation.product.v1.ProductService/WithdrawOption",
    "/reservation.product.v1.ProductService/LaunchProduct",
    "/reservation.product.v1.ProductService/SuspendProduct",
    "/reservation.product.v1.ProductService/ResumeProduct",
    "/reservation.product.v1.ProductService/EndProduct",
];
