//! Lets callers of the write services in before their request is read, in the order in which they came: who waits costs a place in a line and
//! nothing else, and who is sent away costs less than the work would.

use std::task::{Context, Poll};

use futures::{
    FutureExt,
    future::{BoxFuture, Either},
};
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{prompt::Prompt, wire};
use crate::engine::{Carried, Engine};

/// The services whose calls become commands.
const WRITE_SERVICES: &[&str] =
    &["/reservation.order.v1.OrderService/", "/reservation.inventory.v1.InventoryService/", "/reservation.product.v1.ProductService/"];

/// Adds the door to a server.
#[derive(Clone, Debug)]
pub struct DoorLayer(pub Engine);

impl<S> Layer<S> for DoorLayer {
    type Service = Door<S>;
    fn layer(&self, inner: S) -> Door<S> {
        Door { inner, engine: self.0.clone() }
    }
}

/// See [`DoorLayer`].
#[derive(Clone, Debug)]
pub struct Door<S> {
    inner: S,
    engine: Engine,
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Either<S::Future, Carried<S::Future>>, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !WRITE_SERVICES.iter().any(|service| request.uri().path().starts_with(service)) {
            return Either::Left(Either::Left(self.inner.call(request)));
        }
        let request = request.map(Prompt::bound);
        if let Some(permit) = self.engine.enter_now() {
            return Either::Left(Either::Right(permit.carry(self.inner.call(request))));
        }
        // the one that said that it is ready takes the call, its copy stays
        let copy = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, copy);
        let engine = self.engine.clone();
        let waited = async move {
            match engine.enter().await {
                Ok(permit) => permit.carry(ready.call(request)).await,
                Err(busy) => Ok(wire::failed(&busy).into_http()),
            }
        };
        Either::Right(waited.boxed())
    }
}
