//! Hands calls that touch slots to the node that settles orders, byte for byte.
//!
//! Any node could execute them: the log would keep it right. But two nodes that write one hot slot take turns at conflicting, and a caller at
//! the losing node would be told to come back again and again.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response};
use jari_event_store::Lease;
use tokio::sync::{Notify, watch};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{Layer, Service};

use super::wire::SETTLEMENT_UNAVAILABLE;

/// The calls that go to the owner.
const TO_OWNER: &[&str] = &[
    "/reservation.inventory.v1.InventoryService/",
    "/reservation.order.v1.OrderService/ConfirmOrder",
    "/reservation.order.v1.OrderService/CancelOrder",
    "/reservation.operations.v1.OperationsService/RetryParkedOrder",
];

/// Marks a call that was handed over, so that two nodes that disagree about the owner do not hand it to and fro.
const FORWARDED: &str = "x-jari-forwarded";

/// An owner that says nothing for so long is asked whether it is there, and given up when it says nothing for as long again: without that, calls
/// at an owner that was paused would wait for it beyond the end of its lease.
const SILENCE: Duration = Duration::from_secs(2);

/// An address and the channel to it.
type Route = (Arc<str>, Channel);

/// Who owns settlement, and the channel to it.
#[derive(Clone, Debug)]
pub struct OwnerRoute {
    lease: watch::Receiver<Lease>,
    doubt: Arc<Notify>,
    channel: Arc<Mutex<Option<Route>>>,
}

impl OwnerRoute {
    /// Follows the settlement lease. `doubt` is notified of an owner that does not answer: one that stopped has given the lease back, and who looks
    /// finds it free.
    #[must_use]
    pub fn new(lease: watch::Receiver<Lease>, doubt: Arc<Notify>) -> Self {
        Self { lease, doubt, channel: Arc::default() }
    }

    /// The channel to the owner; `None` when this node should do it itself: it is the owner, or nobody else is known to live.
    fn elsewhere(&self) -> Option<Channel> {
        let Lease::Theirs(owner) = self.lease.borrow().clone() else { return None };
        if !owner.live {
            return None;
        }
        let mut kept = self.channel.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, channel)) = kept.as_ref().filter(|(address, _)| *address == owner.address) {
            return Some(channel.clone());
        }
        let endpoint = Endpoint::from_shared(owner.address.to_string()).ok()?;
        let endpoint = endpoint.connect_timeout(SILENCE).http2_keep_alive_interval(SILENCE).keep_alive_timeout(SILENCE);
        let channel = endpoint.tcp_nodelay(true).initial_connection_window_size(64 << 20).connect_lazy();
        *kept = Some((owner.address, channel.clone()));
        Some(channel)
    }
}

/// Adds the handing over to a server.
#[derive(Clone, Debug)]
pub struct ForwardLayer(pub OwnerRoute);

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;
    fn layer(&self, inner: S) -> Forward<S> {
        Forward { inner, route: self.0.clone() }
    }
}

/// See [`ForwardLayer`].
#[derive(Clone, Debug)]
pub struct Forward<S> {
    inner: S,
    route: OwnerRoute,
}

impl<S> Service<Request<Body>> for Forward<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let goes = TO_OWNER.iter().any(|prefix| path.starts_with(prefix)) && !request.headers().contains_key(FORWARDED);
        let Some(mut channel) = goes.then(|| self.route.elsewhere()).flatten() else { return self.inner.call(request).boxed() };
        request.headers_mut().insert(FORWARDED, HeaderValue::from_static("1"));
        let doubt = self.route.doubt.clone();
        async move {
            let handed = async {
                std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            };
            Ok(handed.await.unwrap_or_else(|error| {
                tracing::debug!(%error, "the node that settles orders did not take a call");
                doubt.notify_one();
                unreachable_owner().into_http()
            }))
        }
        .boxed()
    }
}

fn unreachable_owner() -> Status {
    let message = "the node that settles orders cannot be reached from this one; nothing is known of this call's outcome";
    jari_proto::status::refusal_status(SETTLEMENT_UNAVAILABLE, tonic::Code::Unavailable, message, Default::default(), Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jari_event_store::LeaseRow;
    use tokio::net::TcpListener;

    /// What the node would answer by itself.
    fn here() -> impl Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible, Future: Send> + Send {
        tower::service_fn(|_| std::future::ready(Ok(Status::already_exists("here").into_http())))
    }

    async fn answer(lease: Lease, path: &str, forwarded: bool) -> Status {
        let (_keep, lease) = watch::channel(lease);
        let mut request = Request::builder().uri(format!("http://node{path}"));
        if forwarded {
            request = request.header(FORWARDED, "1");
        }
        let mut service = ForwardLayer(OwnerRoute::new(lease, Arc::default())).layer(here());
        let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }

    fn theirs(address: std::net::SocketAddr, live: bool) -> Lease {
        Lease::Theirs(LeaseRow { holder: "other".into(), address: format!("http://{address}").into(), epoch: 1, live })
    }

    const CONFIRM: &str = "/reservation.order.v1.OrderService/ConfirmOrder";

    #[tokio::test]
    async fn a_call_stays_here_unless_a_living_owner_should_have_it() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        for (lease, path, forwarded) in [
            (Lease::Mine(1), CONFIRM, false),
            (Lease::Unknown, CONFIRM, false),
            (theirs(nobody, false), CONFIRM, false),
            (theirs(nobody, true), CONFIRM, true),
            (theirs(nobody, true), "/reservation.order.v1.OrderService/PlaceOrder", false),
        ] {
            assert_eq!(answer(lease, path, forwarded).await.code(), tonic::Code::AlreadyExists, "{path}");
        }
    }

    #[tokio::test]
    async fn an_owner_that_is_away_or_silent_is_given_up_within_seconds() {
        let gone = "127.0.0.1:1".parse().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        // takes connections, as a paused process does, and says nothing; ends with the test
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((connection, _)) = silent.accept().await {
                kept.push(connection);
            }
        });
        for owner in [gone, address] {
            let given_up = tokio::time::timeout(Duration::from_secs(30), answer(theirs(owner, true), CONFIRM, false)).await.expect("within seconds");
            assert_eq!(jari_proto::status::reason(&given_up).as_deref(), Some(SETTLEMENT_UNAVAILABLE));
        }
    }
}
