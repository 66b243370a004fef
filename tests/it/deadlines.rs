//! Calls that say how long they wait, by a caller without a timer of its own: what the server says when that time is over.

use std::{net::SocketAddr, time::Duration};

use jari_proto::{
    history::v1::ReadLogRequest,
    order::v1::{GetOrderRequest, PlaceOrderRequest, WatchOrderRequest, WatchUntil},
    status::reason,
};
use prost::Message;
use tokio::{net::TcpStream, time::Instant};
use tonic::{Code, Status};

use crate::{
    harness::{database, eventually},
    serving::{Serving, order},
};

/// Fails rather than hangs.
const AT_MOST: Duration = Duration::from_secs(100);

/// What such a caller hears.
#[derive(Debug)]
pub struct Heard {
    pub after: Duration,
    /// Of messages.
    pub bytes: usize,
    pub status: Status,
}

/// One call on a connection of its own. tonic's client sets a timer by the same header, and is first; this one waits for as long as it takes.
pub async fn call(address: SocketAddr, path: &str, grpc_timeout: &str, request: &impl Message) -> Heard {
    let (client, connection) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    let driver = tokio::spawn(connection);
    let head = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", grpc_timeout)
        .body(())
        .unwrap();
    let body = request.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let began = Instant::now();
    let (answer, mut sent) = client.ready().await.unwrap().send_request(head, false).unwrap();
    sent.send_data([&[0], &length[..], &body].concat().into(), true).unwrap();
    let heard = tokio::time::timeout(AT_MOST, async {
        let answer = answer.await.unwrap();
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return (0, status);
        }
        let (mut body, mut bytes) = (answer.into_body(), 0);
        while let Some(data) = body.data().await {
            bytes += data.as_ref().unwrap().len();
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap().expect("an answer of gRPC ends with its status");
        (bytes, Status::from_header_map(&trailers).unwrap())
    });
    let (bytes, status) = heard.await.expect("the server ends a call whose time is over");
    driver.abort();
    Heard { after: began.elapsed(), bytes, status }
}

/// That the call's time was over, and nothing else.
pub fn is_exceeded(heard: &Heard) {
    assert_eq!((heard.status.code(), reason(&heard.status).as_deref()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")), "{heard:?}");
}

/// A stream that its caller gives 0.7 s, or longer on a machine that says nothing within that.
async fn until_over(address: SocketAddr, path: &str, request: &impl Message) -> Heard {
    for timeout in ["700m", "5S"] {
        let heard = call(address, path, timeout, request).await;
        is_exceeded(&heard);
        if heard.bytes > 0 {
            return heard;
        }
    }
    let heard = call(address, path, "40S", request).await;
    is_exceeded(&heard);
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_hears_so_with_a_code_and_its_command_is_done_all_the_same() {
    let shop = Serving::on(database().await, |config| config.settlement.enabled = false).await;
    shop.on_sale("seat", 3).await;
    let place = async |request: &PlaceOrderRequest, timeout: &str| {
        let heard = call(shop.node.address, "/reservation.order.v1.OrderService/PlaceOrder", timeout, request).await;
        is_exceeded(&heard);
        assert!(heard.after < Duration::from_secs(60), "nobody settles, and it would wait for two minutes: {heard:?}");
    };
    for timeout in ["1n", "1m", "20m"] {
        place(&order(&[("seat", 1)]), timeout).await;
    }
    // on a slow machine its time may be over before it was read: then it is sent again
    let last = PlaceOrderRequest { order_id: "last".into(), ..order(&[("seat", 1)]) };
    eventually("it is done", || async {
        place(&last, "700m").await;
        shop.log().await.iter().any(|event| &*event.aggregate_id == "last")
    })
    .await;
    let get = GetOrderRequest { order_id: "last".into(), min_position: i64::try_from(shop.log().await.len()).unwrap() };
    shop.order_queries().get_order(get).await.expect("it is done though nobody waits for it");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_time_is_over_ends_with_a_code_after_what_it_had_to_say() {
    let shop = Serving::start().await;
    shop.on_sale("seat", 3).await;
    let placed = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let order_id = placed.order.unwrap().order_id;
    let watch = WatchOrderRequest { order_id, until: WatchUntil::Final.into(), min_position: placed.position };
    let heard = until_over(shop.node.address, "/reservation.order.v1.OrderQueryService/WatchOrder", &watch).await;
    assert!(heard.bytes > 0, "the order as it stands came before: {heard:?}");
    let follow = ReadLogRequest { follow: true, ..ReadLogRequest::default() };
    let heard = until_over(shop.node.address, "/reservation.history.v1.HistoryService/ReadLog", &follow).await;
    assert!(heard.bytes > 0, "the log so far came before: {heard:?}");
    // one that ends before its time ends as ever
    let watch = WatchOrderRequest { until: WatchUntil::Settled.into(), ..watch };
    let heard = call(shop.node.address, "/reservation.order.v1.OrderQueryService/WatchOrder", "60S", &watch).await;
    assert_eq!((heard.status.code(), heard.bytes > 0), (Code::Ok, true), "{heard:?}");
    shop.node.stop().await;
}
