//! Sends callers away before their request is read when the engine could not take it in any case: a refusal must not cost what the work does.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::wire;
use crate::engine::{Engine, ExecuteError};

/// The services whose calls become commands.
const WRITE_SERVICES: &[&str] =
    &["/reservation.order.v1.OrderService/", "/reservation.inventory.v1.InventoryService/", "/reservation.product.v1.ProductService/"];

/// Adds the early refusal to a server.
#[derive(Clone, Debug)]
pub struct ShedLayer(pub Engine);

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;
    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, engine: self.0.clone() }
    }
}

/// See [`ShedLayer`].
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
    engine: Engine,
}

impl<S> Service<Request<Body>> for Shed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.engine.is_full() && WRITE_SERVICES.iter().any(|service| request.uri().path().starts_with(service)) {
            let busy: ExecuteError = self.engine.turn_away();
            return Either::Right(ready(Ok(wire::failed(&busy).into_http())));
        }
        Either::Left(self.inner.call(request))
    }
}
