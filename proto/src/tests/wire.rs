//! Requests that no generated client would send, against a real server on the loopback.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request as HttpRequest, Response as HttpResponse};
use http_body::Frame;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    transport::{Channel, Endpoint, Server},
};
use tower::{Service, ServiceExt, service_fn};

use crate::{
    limits,
    product::v1::{
        GetProductRequest, GetProductResponse, ListProductsRequest, ListProductsResponse, Product,
        product_query_service_client::ProductQueryServiceClient,
        product_query_service_server::{ProductQueryService, ProductQueryServiceServer},
    },
    status::reason,
};

const LIMIT: usize = 64 * 1024;
const GET: &str = "/reservation.product.v1.ProductQueryService/GetProduct";
const LIST: &str = "/reservation.product.v1.ProductQueryService/ListProducts";

/// Knows every product; refuses lists as a handler of ours might, and with a bare status as none should.
struct Shop;

#[tonic::async_trait]
impl ProductQueryService for Shop {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let request = request.into_inner();
        let product = Product { product_id: request.product_id, ..Product::default() };
        Ok(Response::new(GetProductResponse { product: Some(product), position: request.min_position }))
    }
    async fn list_products(&self, request: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        Err(match request.into_inner().page_size {
            0 => crate::status::refusal_status("PAGE_TOKEN_STALE", Code::OutOfRange, "begin anew", Default::default(), None),
            _ => Status::internal("a defect of the server"),
        })
    }
}

async fn shop() -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ProductQueryServiceServer::new(Shop).max_decoding_message_size(LIMIT);
    let server = Server::builder().layer(limits::layer()).add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A body that was written by hand.
struct Raw(Option<Bytes>);

impl http_body::Body for Raw {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn frame(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    [&[flag], u32::try_from(length).unwrap().to_be_bytes().as_slice(), message].concat()
}

/// The status with which the server answers `body` at once.
async fn answer(path: &str, body: Vec<u8>) -> Status {
    let body = Body::new(Raw((!body.is_empty()).then(|| body.into())));
    let request = HttpRequest::post(path).header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap();
    let response = shop().await.ready().await.unwrap().call(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("the answer ends in its headers")
}

#[track_caller]
fn assert_refused(status: &Status, code: &str) {
    assert_eq!((status.code(), reason(status).as_deref()), (Code::InvalidArgument, Some(code)), "{status:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_is_the_callers_fault() {
    assert_refused(&answer(GET, frame(0, 3, b"\xff\xff\xff")).await, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_the_callers_fault() {
    assert_refused(&answer(GET, frame(0, 4, b"\x0a\x02\xc3\x28")).await, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_missing_or_cut_off_message_is_the_callers_fault() {
    assert_refused(&answer(GET, Vec::new()).await, "REQUEST_MALFORMED");
    assert_refused(&answer(GET, frame(0, 10, b"\x0a\x03a")).await, "REQUEST_MALFORMED");
    assert_refused(&answer(GET, frame(7, 2, b"\x0a\x00")).await, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_message_compressed_in_no_encoding_stays_internal_as_the_protocol_demands() {
    let status = answer(GET, frame(1, 2, b"\x0a\x00")).await;
    assert_eq!((status.code(), reason(&status)), (Code::Internal, None), "{status:?}");
}

#[tokio::test]
async fn a_message_of_ten_megabytes_is_refused_with_the_limit() {
    let status = answer(GET, frame(0, 10_000_000, &vec![0; 10_000_000])).await;
    assert_refused(&status, "REQUEST_TOO_LARGE");
    assert!(status.message().contains(&LIMIT.to_string()), "{status:?}");
}

#[tokio::test]
async fn a_generated_client_reads_the_code_of_a_request_that_is_too_large() {
    let mut client = ProductQueryServiceClient::new(shop().await);
    let status = client.get_product(GetProductRequest { product_id: "x".repeat(10_000_000), min_position: 0 }).await.unwrap_err();
    assert_refused(&status, "REQUEST_TOO_LARGE");
    let answer = client.get_product(GetProductRequest { product_id: "ferry".into(), min_position: 7 }).await.unwrap().into_inner();
    assert_eq!((answer.product.unwrap().product_id.as_str(), answer.position), ("ferry", 7), "the connection goes on");
}

#[tokio::test]
async fn a_method_that_nobody_serves_stays_unimplemented() {
    let status = answer("/reservation.product.v1.ProductQueryService/Paint", frame(0, 0, b"")).await;
    assert_eq!((status.code(), reason(&status)), (Code::Unimplemented, None));
}

#[tokio::test]
async fn what_a_handler_says_passes_unchanged() {
    let status = answer(LIST, frame(0, 0, b"")).await;
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::OutOfRange, Some("PAGE_TOKEN_STALE")));
    let status = answer(LIST, frame(0, 2, &ListProductsRequest { page_size: 1, ..Default::default() }.encode_to_vec())).await;
    assert_eq!((status.code(), status.message(), reason(&status)), (Code::Internal, "a defect of the server", None));
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_is_not_the_callers_fault() {
    let garbage = service_fn(|_: HttpRequest<Body>| async {
        let body = Body::new(Raw(Some(frame(0, 3, b"\xff\xff\xff").into())));
        Ok::<_, Infallible>(HttpResponse::builder().header("content-type", "application/grpc").body(body).unwrap())
    });
    let status = ProductQueryServiceClient::new(garbage).get_product(GetProductRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Internal, None), "{status:?}");
}
