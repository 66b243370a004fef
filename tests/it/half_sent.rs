//! Calls that begin and do not go on.

use std::{sync::Mutex, time::Duration};

use jari_proto::{
    order::v1::{PlaceOrderRequest, PlaceOrderResponse},
    status::reason,
};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, client::Grpc, codegen::http::uri::PathAndQuery};

use crate::{
    bad_input::WRITES,
    harness::{database, eventually},
    serving::{Serving, order},
};

type Half = JoinHandle<Result<Response<PlaceOrderResponse>, Status>>;

/// Begins a call and sends nothing of its request.
fn begin(shop: &Serving, path: &'static str) -> Half {
    let channel = shop.channel.clone();
    tokio::spawn(async move {
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<PlaceOrderRequest, PlaceOrderResponse>::default();
        client.client_streaming(Request::new(futures::stream::pending()), PathAndQuery::from_static(path), codec).await
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_never_finished_keep_nobody_out_for_long() {
    let shop = Serving::on(database().await, |config| {
        config.engine.places = 2;
        config.engine.waiting_ms = 100;
    })
    .await;
    shop.on_sale("poster", 10).await;
    let begun = || begin(&shop, "/reservation.order.v1.OrderService/PlaceOrder");
    let halves = Mutex::new(Vec::new());
    // a half has its place for a few seconds only, in which this may come too late on a slow machine
    let busy = || async {
        halves.lock().unwrap().extend([begun(), begun()]);
        let answer = shop.orders().place_order(order(&[("poster", 1)])).await;
        answer.err().and_then(|status| reason(&status)).as_deref() == Some("ENGINE_BUSY")
    };
    eventually("they have the two places", busy).await;
    let mut ends = Vec::new();
    for half in halves.into_inner().unwrap() {
        let ended = tokio::time::timeout(Duration::from_secs(60), half).await.expect("it is ended").unwrap();
        ends.push(reason(&ended.unwrap_err()).unwrap());
    }
    // those that found no place are sent away like anybody else
    assert!(ends.iter().all(|code| code == "REQUEST_TOO_SLOW" || code == "ENGINE_BUSY"), "{ends:?}");
    assert!(ends.iter().filter(|code| *code == "REQUEST_TOO_SLOW").count() >= 2, "{ends:?}");
    shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_writes_comes_in_by_the_door_and_is_ended_when_its_request_does_not_come() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let before = shop.node.engine.status().admitted;
    let halves = WRITES.map(|path| (path, begin(&shop, path)));
    let come = || shop.node.engine.status().admitted - before;
    eventually("each of them has got a place before its request is there", || async { come() == WRITES.len() as u64 }).await;
    for (path, half) in halves {
        let ended = tokio::time::timeout(Duration::from_secs(120), half).await.unwrap_or_else(|_| panic!("{path}: it is never ended"));
        assert_eq!(reason(&ended.unwrap().unwrap_err()).as_deref(), Some("REQUEST_TOO_SLOW"), "{path}");
    }
    eventually("every place was given back", || async { shop.node.engine.status().occupied == 0 }).await;
    shop.node.stop().await;
}
