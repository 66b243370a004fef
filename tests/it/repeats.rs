//! What callers are told of their commands: whose id is missing, an order as it stands when they ask again, and every line that failed.

use std::time::Duration;

use jari_event_store::Reader;
use jari_proto::{
    inventory::v1::{
        AdjustCapacityRequest, CancelUnitsRequest, CloseSlotRequest, ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest, OpenSlotRequest,
        ReleaseHoldRequest, ResumeSlotRequest, SuspendSlotRequest,
    },
    order::v1::{
        CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, LineFailure, Order, OrderState, PlaceOrderRequest,
        order_service_client::OrderServiceClient,
    },
    product::v1::{
        CreateProductRequest, DefineOptionRequest, EndProductRequest, LaunchProductRequest, Option as ProductOption, ResumeProductRequest,
        SuspendProductRequest, Unit, WithdrawOptionRequest,
    },
    status::{facts, reason, retry_after},
};
use tonic::{Code, Response, Status};

use crate::{
    harness::{database, eventually, in_seconds},
    keys::{Keys, personal, readable},
    processes::{Folder, channel, free_address, start},
    raw,
    serving::{Serving, draft, id, order, wire, won},
};

/// The call lacks nothing but its id, is refused for that, and says so.
fn lacks_its_id<T: std::fmt::Debug>(rpc: &str, answer: Result<Response<T>, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("REQUEST_INVALID"), "{rpc}: {refused:?}");
    assert!(refused.message().starts_with("request_id: is required"), "{rpc}: {refused:?}");
}

/// Sends each request, whose `request_id` is empty.
macro_rules! lacks_its_id {
    ($client:expr, [$($rpc:ident: $request:expr),* $(,)?]) => {{
        let mut client = $client;
        $(lacks_its_id(stringify!($rpc), client.$rpc($request).await);)*
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_request_id_is_refused_at_every_write_and_does_nothing() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("poster", 5).await;
    shop.draft("draft").await;
    let held = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap();
    let soon = Some(wire(in_seconds(3_000)));
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "taken".into(), quantity: 1, expires_at: soon };
    shop.inventory().hold_units(hold.clone()).await.unwrap();
    let before = shop.log().await.len();

    let (none, order_id, hold_id, quantity, reason) = (String::new, || held.order_id.clone(), || "taken".to_owned(), 1, || "x".to_owned());
    lacks_its_id!(shop.orders(), [
        place_order: PlaceOrderRequest { request_id: none(), ..order(&[("poster", 1)]) },
        confirm_order: ConfirmOrderRequest { request_id: none(), order_id: order_id() },
        cancel_order: CancelOrderRequest { request_id: none(), order_id: order_id(), reason: reason() },
    ]);
    let slot = || slot_id.clone();
    lacks_its_id!(shop.inventory(), [
        open_slot: OpenSlotRequest { request_id: none(), pool_id: "another".into(), window: None, capacity: 1 },
        hold_units: HoldUnitsRequest { request_id: none(), hold_id: "another".into(), ..hold.clone() },
        extend_hold: ExtendHoldRequest { request_id: none(), slot_id: slot(), hold_id: hold_id(), expires_at: Some(wire(in_seconds(90))) },
        confirm_hold: ConfirmHoldRequest { request_id: none(), slot_id: slot(), hold_id: hold_id() },
        release_hold: ReleaseHoldRequest { request_id: none(), slot_id: slot(), hold_id: hold_id() },
        cancel_units: CancelUnitsRequest { request_id: none(), slot_id: slot(), hold_id: hold_id(), quantity },
        adjust_capacity: AdjustCapacityRequest { request_id: none(), slot_id: slot(), capacity: 7 },
        suspend_slot: SuspendSlotRequest { request_id: none(), slot_id: slot(), reason: reason() },
        resume_slot: ResumeSlotRequest { request_id: none(), slot_id: slot() },
        close_slot: CloseSlotRequest { request_id: none(), slot_id: slot() },
    ]);
    let create = CreateProductRequest { request_id: none(), ..draft("new") };
    let (draft, poster) = (|| "draft".to_owned(), || "poster".to_owned());
    let units = vec![Unit { unit_id: "piece".into(), title: "Piece".into(), price: Some(won(1)), heads: 1 }];
    let option = ProductOption { option_id: "one".into(), title: "One".into(), units, draws: Vec::new() };
    lacks_its_id!(shop.products(), [
        create_product: create,
        define_option: DefineOptionRequest { request_id: none(), product_id: draft(), option: Some(option) },
        withdraw_option: WithdrawOptionRequest { request_id: none(), product_id: draft(), option_id: "one".into() },
        launch_product: LaunchProductRequest { request_id: none(), product_id: draft() },
        suspend_product: SuspendProductRequest { request_id: none(), product_id: poster(), reason: reason() },
        resume_product: ResumeProductRequest { request_id: none(), product_id: poster() },
        end_product: EndProductRequest { request_id: none(), product_id: poster() },
    ]);
    assert_eq!(shop.log().await.len(), before, "nothing was done");
    shop.node.stop().await;
}

impl Serving {
    /// What the caller of `PlaceOrder` is told, and the position that comes with it.
    async fn told(&self, request: &PlaceOrderRequest) -> (Order, i64) {
        let answer = self.orders().place_order(request.clone()).await.unwrap().into_inner();
        (answer.order.unwrap(), answer.position)
    }

    /// The order as the view has it, once that has seen the position.
    async fn seen(&self, order_id: &str, min_position: i64) -> Order {
        let get = GetOrderRequest { order_id: order_id.into(), min_position };
        self.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap()
    }
}

/// Not to be waited for.
fn at_once(request: PlaceOrderRequest) -> PlaceOrderRequest {
    PlaceOrderRequest { wait: None, ..request }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_without_wait_is_told_how_its_order_stands_by_now() {
    let shop = Serving::start().await;
    shop.on_sale("seat", 1).await;
    let [winner, loser, buyer] = [(); 3].map(|()| order(&[("seat", 1)]));
    let (held, _) = shop.told(&winner).await;
    assert_eq!(held.state(), OrderState::Held);
    assert_eq!(shop.told(&loser).await.0.state(), OrderState::Rejected);

    let (again, position) = shop.told(&at_once(winner.clone())).await;
    assert_eq!((&again, again.state()), (&shop.seen(&held.order_id, position).await, OrderState::Held));
    let (again, position) = shop.told(&at_once(loser.clone())).await;
    assert_eq!((&again, again.state()), (&shop.seen(&loser.request_id, position).await, OrderState::Rejected));
    let failed: Vec<(i32, &str)> = again.failures.iter().map(|LineFailure { line, code, .. }| (*line, &**code)).collect();
    assert_eq!(failed, [(0, "SLOT_HELD_BY_OTHERS")]);

    let cancel = CancelOrderRequest { request_id: id(), order_id: held.order_id.clone(), reason: "rain".into() };
    let cancelled = shop.orders().cancel_order(cancel).await.unwrap().into_inner().position;
    let bought = shop.told(&buyer).await.0.order_id;
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: bought.clone() };
    let confirmed = shop.orders().confirm_order(confirm).await.unwrap().into_inner().position;
    // also by a node that was told of none of it, and with a wait that is none
    let next = Serving::on(shop.database.clone(), |_| {}).await;
    for (node, request) in [&shop, &next].into_iter().flat_map(|node| [at_once(winner.clone()), winner.clone()].map(|request| (node, request))) {
        let (again, position) = node.told(&request).await;
        // the cancellation's last event is the slot's
        assert!((cancelled - 1..=cancelled).contains(&position), "{position} of {cancelled}");
        assert_eq!((again.state(), again.cancel_reason.as_str()), (OrderState::Cancelled, "rain"));
        assert_eq!(again, node.seen(&held.order_id, cancelled).await);
    }
    let (again, _) = next.told(&at_once(buyer)).await;
    assert_eq!((&again, again.state()), (&next.seen(&bought, confirmed).await, OrderState::Confirmed));
    next.node.stop().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_wait_has_all_that_is_known_of_the_order() {
    let keys = Keys::new().await;
    let shop = Serving::with_keys(database().await, keys.sealer().await, |config| config.settlement.enabled = false).await;
    shop.on_sale("poster", 5).await;
    let request = at_once(personal("poster", "customer-1"));
    let (accepted, position) = shop.told(&request).await;
    assert_eq!((accepted.state(), accepted.lines.len(), accepted.total.clone()), (OrderState::Accepted, 1, Some(won(1_000))));
    assert!(accepted.placed_at.is_some() && accepted.settled_at.is_none(), "{accepted:?}");
    assert_eq!((accepted.accepted_position, accepted.personal_data.clone()), (position, Some(readable())));
    assert_eq!(accepted, shop.seen(&accepted.order_id, position).await, "as the view has it");
    assert_eq!((accepted, position), shop.told(&request).await, "a repeat is told the same while nothing has happened");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_whose_order_cannot_be_read_is_told_to_ask_again_rather_than_a_guess() {
    let shop = Serving::start().await;
    shop.on_sale("seat", 1).await;
    let request = order(&[("seat", 1)]);
    shop.told(&request).await;
    let reading = raw::client(&shop.database).await;
    reading.batch_execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let refused = shop.orders().place_order(at_once(request.clone())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("OUTCOME_PENDING")));
    assert_eq!(retry_after(&refused), Some(Duration::from_secs(1)));
    reading.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shop.told(&at_once(request)).await.0.state(), OrderState::Held);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_products_refuse_names_every_failing_line_and_again_when_repeated() {
    let shop = Serving::start().await;
    for product in ["one", "two", "three"] {
        shop.on_sale(product, 5).await;
    }
    let suspend = |product: &str| SuspendProductRequest { request_id: id(), product_id: product.into(), reason: "flood".into() };
    shop.products().suspend_product(suspend("one")).await.unwrap();
    shop.products().suspend_product(suspend("three")).await.unwrap();
    let request = order(&[("one", 1), ("two", 1), ("three", 1), ("two", 20_000), ("nothing", 1)]);
    let refused = shop.orders().place_order(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("PRODUCT_SUSPENDED"), "the first failing line's");
    let told = facts(&refused);
    assert_eq!((&*told["line"], &*told["product_id"]), ("0", "one"));
    assert_eq!(told["also_failing"], "2 PRODUCT_SUSPENDED, 3 ORDER_QUANTITY_INVALID, 4 PRODUCT_NOT_FOUND");
    shop.products().resume_product(ResumeProductRequest { request_id: id(), product_id: "three".into() }).await.unwrap();
    let again = shop.orders().place_order(request).await.unwrap_err();
    assert_eq!((again.code(), again.message(), facts(&again)), (refused.code(), refused.message(), told), "it was recorded as it was told");

    let alone = shop.orders().place_order(order(&[("two", 1), ("one", 1), ("two", 1)])).await.unwrap_err();
    assert_eq!((&*facts(&alone)["line"], facts(&alone).get("also_failing")), ("1", None));
    let all = shop.orders().place_order(order(&[("one", 1); 100])).await.unwrap_err();
    assert_eq!(facts(&all)["also_failing"], "1-99 PRODUCT_SUSPENDED");
    let mixed: Vec<_> = (0..100).map(|n| [("one", 1), ("nothing", 1), ("two", 20_000)][n % 3]).collect();
    let told = facts(&shop.orders().place_order(order(&mixed)).await.unwrap_err());
    let of = |rest: usize| (1..100).filter(|n| n % 3 == rest).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let named = format!("{} PRODUCT_NOT_FOUND, {} ORDER_QUANTITY_INVALID, {} PRODUCT_SUSPENDED", of(1), of(2), of(0));
    assert_eq!(told["also_failing"], named, "each of the most lines that an order may have");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_agrees_with_the_log_though_its_server_is_killed_in_the_middle() {
    let (database, folder, address) = (database().await, Folder::new(), free_address());
    let rest = format!("[server]\nlisten = \"{address}\"\n[settlement]\nlease_ms = 1_500\n[projections]\nlease_ms = 1_500\nwait_ms = 60_000\n");
    let (serving, trying) = (folder.config("serving", &database, &rest), folder.config("trying", &database, &rest));
    let mut server = start(&serving, &["serve"]);
    let reader = Reader::new(database);
    let answers = || async { OrderServiceClient::new(channel(&address)).place_order(order(&[])).await.is_err_and(|told| reason(&told).is_some()) };
    eventually("it serves", answers).await;
    let mut demo = start(&trying, &["demo", "--customers", "600", "--seats", "100"]);
    for round in 1..=2 {
        let before = reader.head().await.unwrap();
        eventually("customers are at it", || async { reader.head().await.unwrap() > before + 40 * round }).await;
        server.kill();
        server = start(&serving, &["serve"]);
    }
    assert!(demo.until_ended().await, "{}", demo.said());
    assert!(demo.said().contains("They agree"), "{}", demo.said());
    assert!(demo.said().contains("no answer 0"), "{}", demo.said());
}
