//! Every rpc answers what the contract says, and the server says by itself what it is.

use std::{collections::BTreeSet, time::Duration};

use jari_proto::{
    availability::v1::{ListAvailabilityRequest, SlotState},
    inventory::v1::{
        AdjustCapacityRequest, CancelUnitsRequest, CloseSlotRequest, ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest, ReleaseHoldRequest,
        ResumeSlotRequest, SuspendSlotRequest,
    },
    operations::v1::{
        GetStatusRequest, ListParkedOrdersRequest, ListQuarantinedStreamsRequest, RetryParkedOrderRequest, RetryQuarantinedStreamRequest,
    },
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, OrderState, WatchOrderRequest, WatchUntil},
    product::v1::{
        EndProductRequest, GetProductRequest, ListProductsRequest, ProductState, ResumeProductRequest, SuspendProductRequest, WithdrawOptionRequest,
    },
    status::reason,
};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    harness::{eventually, in_seconds},
    serving::{Serving, id, order, wire},
};

/// The full names of all services of the contract, from its descriptors.
fn services() -> Vec<String> {
    let files = FileDescriptorSet::decode(jari_proto::FILE_DESCRIPTOR_SET).unwrap().file;
    let named = files.iter().flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())));
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_goes_through_its_life_and_queries_follow_it() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    shop.draft("sketch").await;
    let (mut products, mut queries) = (shop.products(), shop.product_queries());
    let withdraw = WithdrawOptionRequest { request_id: id(), product_id: "sketch".into(), option_id: "one".into() };
    let refused = products.withdraw_option(withdraw.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::NotFound, Some("OPTION_NOT_FOUND")));
    shop.option("sketch").await;
    let position = products.withdraw_option(WithdrawOptionRequest { request_id: id(), ..withdraw }).await.unwrap().into_inner().position;
    let get = |product: &str, position| GetProductRequest { product_id: product.into(), min_position: position };
    let sketch = queries.get_product(get("sketch", position)).await.unwrap().into_inner().product.unwrap();
    assert_eq!((sketch.state(), sketch.options.len()), (ProductState::Draft, 0));

    let suspend = SuspendProductRequest { request_id: id(), product_id: "poster".into(), reason: "flood".into() };
    let position = products.suspend_product(suspend).await.unwrap().into_inner().position;
    let poster = queries.get_product(get("poster", position)).await.unwrap().into_inner().product.unwrap();
    assert_eq!((poster.state(), poster.suspension_reason.as_str()), (ProductState::Suspended, "flood"));
    let refused = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("PRODUCT_SUSPENDED"));
    products.resume_product(ResumeProductRequest { request_id: id(), product_id: "poster".into() }).await.unwrap();
    shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    let end = EndProductRequest { request_id: id(), product_id: "poster".into() };
    let position = products.end_product(end).await.unwrap().into_inner().position;
    let list = |state: ProductState| ListProductsRequest { page_size: 10, page_token: String::new(), state: state.into(), min_position: position };
    let ended = queries.list_products(list(ProductState::Ended)).await.unwrap().into_inner().products;
    assert_eq!(ended.iter().map(|p| p.product_id.as_str()).collect::<Vec<_>>(), ["poster"]);
    assert_eq!(queries.list_products(list(ProductState::Unspecified)).await.unwrap().into_inner().products.len(), 2);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_goes_through_its_life_and_availability_follows_it() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("seat", 10).await;
    let mut inventory = shop.inventory();
    let hold = |hold: &str, quantity| HoldUnitsRequest {
        request_id: id(),
        slot_id: slot_id.clone(),
        hold_id: hold.into(),
        quantity,
        expires_at: Some(wire(in_seconds(3_000))),
    };
    inventory.hold_units(hold("a", 3)).await.unwrap();
    inventory.hold_units(hold("b", 2)).await.unwrap();
    let extend = ExtendHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), expires_at: Some(wire(in_seconds(6_000))) };
    inventory.extend_hold(extend).await.unwrap();
    inventory.confirm_hold(ConfirmHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into() }).await.unwrap();
    inventory.release_hold(ReleaseHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "b".into() }).await.unwrap();
    let cancel = CancelUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: "a".into(), quantity: 1 };
    inventory.cancel_units(cancel).await.unwrap();
    inventory.adjust_capacity(AdjustCapacityRequest { request_id: id(), slot_id: slot_id.clone(), capacity: 20 }).await.unwrap();
    let suspend = SuspendSlotRequest { request_id: id(), slot_id: slot_id.clone(), reason: "flood".into() };
    let position = inventory.suspend_slot(suspend).await.unwrap().into_inner().position;
    assert_eq!(shop.slot(&slot_id, position).await, (SlotState::Suspended, 20, 0, 2));
    inventory.resume_slot(ResumeSlotRequest { request_id: id(), slot_id: slot_id.clone() }).await.unwrap();
    inventory.hold_units(hold("c", 18)).await.unwrap();
    let close = CloseSlotRequest { request_id: id(), slot_id: slot_id.clone() };
    let position = inventory.close_slot(close).await.unwrap().into_inner().position;
    let list = ListAvailabilityRequest { product_id: "seat".into(), min_position: position, ..Default::default() };
    let listed = shop.availability().list_availability(list).await.unwrap().into_inner().slots;
    let counts = listed[0].counts.unwrap();
    assert_eq!((listed.len(), listed[0].state(), counts.held, counts.confirmed, counts.available), (1, SlotState::Closed, 18, 2, 0));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_settled_or_read_is_shown_to_operators_and_tried_again_on_their_word() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("broken", 10).await;
    shop.on_sale("sound", 10).await;
    let mut operations = shop.operations();
    shop.scrawl("InventorySlot", &slot_id, 2).await;
    let mut place = order(&[("broken", 1)]);
    (place.order_id, place.wait) = ("stuck".into(), None);
    let accepted = shop.orders().place_order(place).await.unwrap().into_inner();
    let sound = shop.orders().place_order(order(&[("sound", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(sound.state(), OrderState::Held, "the line goes on");
    let parked = |operations: &jari_proto::operations::v1::operations_service_client::OperationsServiceClient<tonic::transport::Channel>| {
        let mut operations = operations.clone();
        async move { operations.list_parked_orders(ListParkedOrdersRequest::default()).await.unwrap().into_inner().parked_orders }
    };
    eventually("the order is parked", || async { !parked(&operations).await.is_empty() }).await;
    let shown = parked(&operations).await.remove(0);
    assert_eq!((shown.order_id.as_str(), shown.code.as_str()), ("stuck", "STREAM_UNREADABLE"));
    assert!(shown.attempts >= 1, "{shown:?}");
    assert_eq!(shown.accepted_position, accepted.order.unwrap().accepted_position);
    operations.retry_parked_order(RetryParkedOrderRequest { request_id: id(), order_id: "stuck".into() }).await.unwrap();
    eventually("it was tried again", || async { parked(&operations).await.first().is_some_and(|p| p.attempts > shown.attempts) }).await;
    let unknown = operations.retry_parked_order(RetryParkedOrderRequest { request_id: id(), order_id: "nobody".into() }).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_deref()), (Code::NotFound, Some("ORDER_NOT_PARKED")));

    let quarantined = || {
        let mut operations = shop.operations();
        async move { operations.list_quarantined_streams(ListQuarantinedStreamsRequest::default()).await.unwrap().into_inner().quarantined_streams }
    };
    eventually("the slot is set aside", || async { !quarantined().await.is_empty() }).await;
    let aside = quarantined().await.remove(0);
    assert_eq!((aside.projection.as_str(), aside.aggregate_id.as_str(), aside.code.as_str()), ("availability", slot_id.as_str(), "EVENT_UNREADABLE"));
    let retry = RetryQuarantinedStreamRequest {
        request_id: id(),
        projection: aside.projection,
        aggregate_type: aside.aggregate_type,
        aggregate_id: aside.aggregate_id,
    };
    let still = operations.retry_quarantined_stream(retry.clone()).await.unwrap_err();
    assert_eq!((still.code(), reason(&still).as_deref()), (Code::FailedPrecondition, Some("STREAM_STILL_QUARANTINED")));
    let other = operations.retry_quarantined_stream(RetryQuarantinedStreamRequest { projection: "views".into(), ..retry }).await.unwrap_err();
    assert_eq!(reason(&other).as_deref(), Some("VIEW_UNKNOWN"));

    let far = GetStatusRequest { min_position: accepted.position };
    eventually("the views have seen it", || async { shop.operations().get_status(far).await.is_ok() }).await;
    let status = operations.get_status(far).await.unwrap().into_inner();
    assert!(status.position >= accepted.position && status.log.unwrap().head_position == status.position);
    assert_eq!(status.projections.iter().map(|p| p.quarantined_streams).sum::<i64>(), 1);
    let (settlement, engine) = (status.settlement.unwrap(), status.engine.unwrap());
    assert_eq!((settlement.owner == engine.node, settlement.parked_orders), (true, 1));
    assert!(engine.counters.values().any(|count| *count > 0));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_for_operators_refuse_what_other_lists_refuse() {
    let shop = Serving::start().await;
    let mut operations = shop.operations();
    let parked = |size, token: &str, min_position| ListParkedOrdersRequest { page_size: size, page_token: token.into(), min_position };
    let bad = [
        (parked(-1, "", 0), "PAGE_SIZE_INVALID"),
        (parked(1_001, "", 0), "PAGE_SIZE_INVALID"),
        (parked(0, "x", 0), "PAGE_TOKEN_INVALID"),
        (parked(0, "1.\0", 0), "PAGE_TOKEN_INVALID"),
        (parked(0, "18446744073709551615.x", 0), "PAGE_TOKEN_INVALID"),
        (parked(0, "", -1), "MIN_POSITION_INVALID"),
        (parked(0, "", i64::MAX), "VIEW_BEHIND"),
    ];
    for (request, code) in bad {
        let shown = format!("{request:?}");
        assert_eq!(operations.list_parked_orders(request).await.map_err(|s| reason(&s)).unwrap_err().as_deref(), Some(code), "{shown}");
    }
    let streams = |projection: &str, token: &str| ListQuarantinedStreamsRequest {
        projection: projection.into(),
        page_token: token.into(),
        ..Default::default()
    };
    for (request, code) in
        [(streams("", "a\tb"), "PAGE_TOKEN_INVALID"), (streams("", "orders\tOrder\t\0"), "PAGE_TOKEN_INVALID"), (streams("\0", ""), "VIEW_UNKNOWN")]
    {
        assert_eq!(operations.list_quarantined_streams(request).await.map_err(|s| reason(&s)).unwrap_err().as_deref(), Some(code));
    }
    let far = operations.get_status(GetStatusRequest { min_position: -1 }).await.unwrap_err();
    assert_eq!(reason(&far).as_deref(), Some("MIN_POSITION_INVALID"));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_orders_come_page_by_page_by_their_place_in_line_and_each_once() {
    let shop = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    let park = "INSERT INTO parked_work (process, key, position, code, message, attempts) VALUES ('settlement', $1, $2, 'LOG_REFUSED', 'no', 1)";
    let in_line = [("z", 1), ("a.1", 2), ("a.2", 2), ("b", 2), ("a", 9), ("c", 10)];
    let client = shop.database.connection().await.unwrap();
    for (order, position) in in_line.iter().rev() {
        client.execute(park, &[order, &i64::from(*position)]).await.unwrap();
    }
    for size in 1..=7 {
        let (mut told, mut token) = (Vec::new(), String::new());
        // ends with the last page: each goes on after the one before it
        loop {
            let request = ListParkedOrdersRequest { page_size: size, page_token: token, min_position: 0 };
            let page = shop.operations().list_parked_orders(request).await.unwrap().into_inner();
            assert!(page.parked_orders.len() <= usize::try_from(size).unwrap());
            told.extend(page.parked_orders.into_iter().map(|parked| (parked.order_id, parked.accepted_position)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(told, in_line.map(|(order, position)| (order.to_owned(), i64::from(position))), "pages of {size}");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_for_the_server_and_for_each_of_its_services() {
    let shop = Serving::start().await;
    let mut health = HealthClient::new(shop.channel.clone());
    for service in services().into_iter().chain([String::new()]) {
        let asked = HealthCheckRequest { service: service.clone() };
        eventually(&service, || async {
            let told = health.clone().check(asked.clone()).await.unwrap_or_else(|status| panic!("{service}: {status}"));
            told.into_inner().status() == ServingStatus::Serving
        })
        .await;
    }
    assert_eq!(health.check(HealthCheckRequest { service: "nobody".into() }).await.unwrap_err().code(), Code::NotFound);
    shop.node.stop().await;
}

macro_rules! asks_for_services {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
            server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($channel);
        let symbols = ["reservation.order.v1.OrderService", "google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"];
        let files = symbols.map(|symbol| MessageRequest::FileContainingSymbol(symbol.into()));
        let asks = [MessageRequest::ListServices(String::new())].into_iter().chain(files);
        let asks = asks.map(|ask| ServerReflectionRequest { host: String::new(), message_request: Some(ask) });
        let mut answers = client.server_reflection_info(futures::stream::iter(asks)).await.unwrap().into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response else { panic!() };
        for symbol in symbols {
            let Some(MessageResponse::FileDescriptorResponse(files)) = answers.message().await.unwrap().unwrap().message_response else {
                panic!("{symbol}")
            };
            assert!(!files.file_descriptor_proto.is_empty(), "{symbol}");
        }
        list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_learns_every_service_and_what_an_error_holds_by_reflection_in_both_versions() {
    let shop = Serving::start().await;
    let (v1, v1alpha) = (asks_for_services!(v1, shop.channel.clone()), asks_for_services!(v1alpha, shop.channel.clone()));
    for service in services().into_iter().chain(["grpc.health.v1.Health".to_owned()]) {
        assert!(v1.contains(&service) && v1alpha.contains(&service), "{service}: {v1:?} {v1alpha:?}");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_waiting_and_the_order_is_settled_once_all_the_same() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 100).await;
    let before = shop.log().await.len();
    for n in 0..20_u64 {
        let place = order(&[("poster", 1)]);
        let mut hasty = Request::new(place.clone());
        hasty.metadata_mut().insert("grpc-timeout", format!("{}u", 100 + 200 * n).parse().unwrap());
        let answered = shop.orders().place_order(hasty).await;
        assert!(
            answered.as_ref().is_ok() || matches!(answered.as_ref().unwrap_err().code(), Code::DeadlineExceeded | Code::Cancelled),
            "{answered:?}"
        );
        // hung up by the client, somewhere on the way
        let hung_up = order(&[("poster", 1)]);
        let mut orders = shop.orders();
        let _ = tokio::time::timeout(Duration::from_micros(100 + 300 * n), orders.place_order(hung_up.clone())).await;
        for request in [place, hung_up] {
            let again = shop.orders().place_order(request).await.unwrap().into_inner().order.unwrap();
            assert_eq!(again.state(), OrderState::Held);
        }
    }
    assert_eq!(shop.log().await.len() - before, 40 * 3, "each order was placed once, held once in its slot, and is held");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_order_goes_on_when_the_call_that_waits_for_it_is_dropped() {
    let shop = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    shop.on_sale("poster", 1).await;
    let mut place = order(&[("poster", 1)]);
    place.order_id = "left".into();
    let mut orders = shop.orders();
    let left = tokio::spawn(async move { orders.place_order(place).await });
    eventually("it is accepted", || async { shop.log().await.iter().any(|event| &*event.aggregate_id == "left") }).await;
    assert!(!left.is_finished(), "nobody settles yet");
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled(), "nobody waits for it any more");
    let head = shop.log().await.len().try_into().unwrap();
    let settling = Serving::on(shop.database.clone(), |_| {}).await;
    let watch = WatchOrderRequest { order_id: "left".into(), until: WatchUntil::Settled.into(), min_position: head };
    let mut changes = shop.order_queries().watch_order(watch).await.unwrap().into_inner();
    let mut last = None;
    while let Some(change) = changes.message().await.unwrap() {
        last = change.order;
    }
    assert_eq!(last.unwrap().state(), OrderState::Held);
    settling.node.stop().await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_ends_watches_at_once_and_asks_their_callers_to_come_back() {
    // a stop that watches held up would take ten minutes
    let shop = Serving::on(crate::harness::database().await, |config| config.server.drain_seconds = 600).await;
    shop.on_sale("poster", 1).await;
    let held = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner();
    let order_id = held.order.unwrap().order_id;
    let watch = WatchOrderRequest { order_id: order_id.clone(), until: WatchUntil::Final.into(), min_position: held.position };
    let mut changes = shop.order_queries().watch_order(watch).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().order.unwrap().state(), OrderState::Held);
    let stopping = tokio::spawn(shop.node.stop());
    let end = tokio::time::timeout(Duration::from_secs(60), changes.message()).await.expect("a watch does not hold up the stop");
    let end = end.unwrap_err();
    assert_eq!((end.code(), reason(&end).as_deref()), (Code::Unavailable, Some("SHUTTING_DOWN")));
    tokio::time::timeout(Duration::from_secs(120), stopping).await.expect("the node stops soon").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_the_same_by_the_answer_and_by_the_query() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 1_000).await;
    let placing = (0..64).map(|n| {
        let mut orders = shop.orders();
        tokio::spawn(async move { orders.place_order(order(&[("poster", 1 + n % 3)])).await.unwrap().into_inner() })
    });
    for placed in futures::future::join_all(placing).await {
        let placed = placed.unwrap();
        let told = placed.order.unwrap();
        let get = GetOrderRequest { order_id: told.order_id.clone(), min_position: placed.position };
        let seen = shop.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap();
        assert_eq!(told, seen);
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_order_is_told_as_it_stands_whatever_became_of_it() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let bought = order(&[("poster", 1)]);
    let order_id = shop.orders().place_order(bought.clone()).await.unwrap().into_inner().order.unwrap().order_id;
    let told_alike = |state: OrderState, shout: bool| {
        let (mut orders, mut queries, mut again, order_id) = (shop.orders(), shop.order_queries(), bought.clone(), order_id.clone());
        if shout {
            again.request_id = format!("{{{}}}", again.request_id.to_uppercase());
        }
        async move {
            let told = orders.place_order(again).await.unwrap().into_inner();
            let get = GetOrderRequest { order_id, min_position: told.position };
            let seen = queries.get_order(get).await.unwrap().into_inner().order.unwrap();
            assert_eq!((seen.state(), told.order.unwrap()), (state, seen.clone()));
        }
    };
    told_alike(OrderState::Held, true).await;
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: order_id.clone() }).await.unwrap();
    told_alike(OrderState::Confirmed, false).await;
    let cancel = CancelOrderRequest { request_id: id(), order_id: order_id.clone(), reason: "rain".into() };
    shop.orders().cancel_order(cancel).await.unwrap();
    told_alike(OrderState::Cancelled, false).await;
    shop.node.stop().await;
}
