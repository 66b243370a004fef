//! Gives tonic's own refusals of a request their stable code.
//!
//! Before a message reaches the codec, tonic refuses it by itself: too large (`OUT_OF_RANGE`), cut off or missing (`INTERNAL`), always without
//! details. A server wrapped in [`layer`] answers `INVALID_ARGUMENT` with `REQUEST_TOO_LARGE` or `REQUEST_MALFORMED`. Everything that bears
//! details, and every other answer, passes as it is: `UNIMPLEMENTED` for an unknown method or encoding, and the `INTERNAL` that the gRPC protocol
//! itself demands for a message marked as compressed without saying how.

use http::Response;
use tonic::{Code, Status, body::Body};
use tower::util::MapResponseLayer;

use crate::status;

/// What [`layer`] gives.
pub type ExplainLayer = MapResponseLayer<fn(Response<Body>) -> Response<Body>>;

/// For `Server::builder().layer(...)`, outside of every service of ours.
#[must_use]
pub fn layer() -> ExplainLayer {
    MapResponseLayer::new(explain as fn(Response<Body>) -> Response<Body>)
}

/// How tonic 0.14 begins its complaints about a request that it could not take in. The tests send each such request
/// to a real server, so that a tonic with other words is noticed.
const MALFORMED: &[&str] = &[
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message with invalid compression flag",
    "Error decompressing",
];
/// The same for the size of what comes out of a compressed message.
const INFLATED: &str = "Error decompressing: size limit";

fn explain(mut response: Response<Body>) -> Response<Body> {
    // Only an answer that ends before it began has its status among the headers.
    if let Some(explained) = Status::from_header_map(response.headers()).filter(|bare| bare.details().is_empty()).and_then(|bare| explained(&bare)) {
        explained.add_header(response.headers_mut()).expect("a status of ours has ASCII codes and encoded text: it fits into headers");
    }
    response
}

fn explained(bare: &Status) -> Option<Status> {
    let said = bare.message();
    match bare.code() {
        Code::OutOfRange => Some(status::too_large(said)),
        Code::ResourceExhausted if said.starts_with(INFLATED) => Some(status::too_large(said)),
        Code::Internal if MALFORMED.iter().any(|begin| said.starts_with(begin)) => Some(status::malformed(said)),
        _ => None,
    }
}
