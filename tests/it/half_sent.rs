//! Calls that begin and do not go on.

use std::time::Duration;

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
    let halves = [begun(), begun()];
    let busy = || async {
        let answer = shop.orders().place_order(order(&[("poster", 1)])).await;
        answer.err().and_then(|status| reason(&status)).as_deref() == Some("ENGINE_BUSY")
    };
    eventually("they have the two places", busy).await;
    for half in halves {
        let ended = tokio::time::timeout(Duration::from_secs(60), half).await.expect("it is ended").unwrap();
        assert_eq!(reason(&ended.unwrap_err()).as_deref(), Some("REQUEST_MALFORMED"));
    }
    shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    shop.node.stop().await;
}
