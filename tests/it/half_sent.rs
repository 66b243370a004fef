//! Calls that begin and do not go on.

use std::{sync::Mutex, time::Duration};

use jari_proto::{
    order::v1::{PlaceOrderRequest, PlaceOrderResponse},
    status::reason,
};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery};

use crate::{
    harness::{database, eventually},
    serving::{Serving, order},
};

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_never_finished_keep_nobody_out_for_long() {
    let shop = Serving::on(database().await, |config| {
        config.engine.places = 2;
        config.engine.waiting_ms = 100;
    })
    .await;
    shop.on_sale("poster", 10).await;
    let begun = || {
        let channel = shop.channel.clone();
        tokio::spawn(async move {
            let mut client = Grpc::new(channel);
            client.ready().await.unwrap();
            let path = PathAndQuery::from_static("/reservation.order.v1.OrderService/PlaceOrder");
            let codec = tonic_prost::ProstCodec::<PlaceOrderRequest, PlaceOrderResponse>::default();
            client.client_streaming(Request::new(futures::stream::pending()), path, codec).await
        })
    };
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
    assert!(ends.iter().all(|code| code == "REQUEST_MALFORMED" || code == "ENGINE_BUSY"), "{ends:?}");
    assert!(ends.iter().filter(|code| *code == "REQUEST_MALFORMED").count() >= 2, "{ends:?}");
    shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    shop.node.stop().await;
}
