//! (g) A whole booking as plain SQL, behind the same gRPC contract and a pool of connections: order, line and unit in one transaction.

use std::collections::HashMap;

use deadpool_postgres::Pool;
use jari_proto::{
    inventory::v1 as inventory,
    inventory::v1::inventory_service_server::{InventoryService, InventoryServiceServer},
    order::v1 as order,
    order::v1::order_service_server::{OrderService, OrderServiceServer},
    product::v1 as product,
    product::v1::product_service_server::{ProductService, ProductServiceServer},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};
use uuid::Uuid;

const ORDER: &str = "INSERT INTO plain_orders (id, customer, state) VALUES ($1, $2, 'HELD')";
const LINE: &str = "INSERT INTO plain_lines (order_id, line, slot, quantity) VALUES ($1, 0, $2, 1)";
/// The same by hand in one statement.
const WHOLE: &str = include_str!("sql/whole_booking.sql");
const TAKE: &str = "UPDATE plain_slots SET remaining = remaining - 1 WHERE id = $1 AND remaining > 0";

/// The conventional server.
#[derive(Clone)]
struct Conventional {
    pool: Pool,
    /// One statement instead of a transaction of three.
    one: bool,
    /// Which row each product draws on.
    slots: std::sync::Arc<std::sync::Mutex<HashMap<String, i32>>>,
}

/// Serves it on a free port until `stop`; gives the address.
///
/// # Errors
/// A port that cannot be had.
pub async fn serve(pool: Pool, one: bool, stop: CancellationToken) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let shop = Conventional { pool, one, slots: Default::default() };
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .initial_connection_window_size(64 << 20)
        .add_service(OrderServiceServer::new(shop.clone()))
        .add_service(InventoryServiceServer::new(shop.clone()))
        .add_service(ProductServiceServer::new(shop));
    // joined by nobody: it ends with `stop`
    tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()));
    Ok(address)
}

impl Conventional {
    async fn book(&self, customer: &str, slot: i32) -> anyhow::Result<bool> {
        let mut connection = self.pool.get().await?;
        if self.one {
            let whole = connection.prepare_cached(WHOLE).await?;
            return Ok(connection.execute(&whole, &[&Uuid::now_v7(), &customer, &slot]).await? == 1);
        }
        let (order, line, take) =
            (connection.prepare_cached(ORDER).await?, connection.prepare_cached(LINE).await?, connection.prepare_cached(TAKE).await?);
        let id = Uuid::now_v7();
        let transaction = connection.transaction().await?;
        transaction.execute(&order, &[&id, &customer]).await?;
        transaction.execute(&line, &[&id, &slot]).await?;
        // the contended row last, so that its lock is held as short as plain SQL can
        if transaction.execute(&take, &[&slot]).await? != 1 {
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }
}

#[async_trait::async_trait]
impl OrderService for Conventional {
    async fn place_order(&self, request: Request<order::PlaceOrderRequest>) -> Result<Response<order::PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let product = request.lines.first().map(|line| line.product_id.as_str()).unwrap_or_default();
        let slot = self.slots.lock().map_err(|_| Status::internal("poisoned"))?.get(product).copied().unwrap_or(0);
        let held = self.book(&request.customer, slot).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let state = if held { order::OrderState::Held } else { order::OrderState::Rejected };
        let order = order::Order { state: state.into(), customer: request.customer, ..Default::default() };
        Ok(Response::new(order::PlaceOrderResponse { order: Some(order), position: 0 }))
    }
    async fn confirm_order(&self, _: Request<order::ConfirmOrderRequest>) -> Result<Response<order::ConfirmOrderResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
    async fn cancel_order(&self, _: Request<order::CancelOrderRequest>) -> Result<Response<order::CancelOrderResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

/// Calls that the benchmark does not make, in the form into which `async_trait` brings the others.
macro_rules! not_measured {
    ($module:ident: $($call:ident($request:ident) -> $response:ident;)*) => {$(
        fn $call<'a, 'b>(
            &'a self,
            _: Request<$module::$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<$module::$response>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(std::future::ready(Err(Status::unimplemented("not measured"))))
        }
    )*};
}

#[async_trait::async_trait]
impl ProductService for Conventional {
    async fn create_product(&self, request: Request<product::CreateProductRequest>) -> Result<Response<product::CreateProductResponse>, Status> {
        let mut slots = self.slots.lock().map_err(|_| Status::internal("poisoned"))?;
        let slot = i32::try_from(slots.len() % 1_000).unwrap_or(0);
        slots.insert(request.into_inner().product_id, slot);
        Ok(Response::new(product::CreateProductResponse { position: 0 }))
    }
    async fn define_option(&self, _: Request<product::DefineOptionRequest>) -> Result<Response<product::DefineOptionResponse>, Status> {
        Ok(Response::new(product::DefineOptionResponse { position: 0 }))
    }
    async fn launch_product(&self, _: Request<product::LaunchProductRequest>) -> Result<Response<product::LaunchProductResponse>, Status> {
        Ok(Response::new(product::LaunchProductResponse { position: 0 }))
    }
    not_measured! { product:
        withdraw_option(WithdrawOptionRequest) -> WithdrawOptionResponse;
        suspend_product(SuspendProductRequest) -> SuspendProductResponse;
        resume_product(ResumeProductRequest) -> ResumeProductResponse;
        end_product(EndProductRequest) -> EndProductResponse;
    }
}

#[async_trait::async_trait]
impl InventoryService for Conventional {
    async fn open_slot(&self, request: Request<inventory::OpenSlotRequest>) -> Result<Response<inventory::OpenSlotResponse>, Status> {
        Ok(Response::new(inventory::OpenSlotResponse { slot_id: format!("{}@stock", request.into_inner().pool_id), position: 0 }))
    }
    not_measured! { inventory:
        hold_units(HoldUnitsRequest) -> HoldUnitsResponse;
        extend_hold(ExtendHoldRequest) -> ExtendHoldResponse;
        confirm_hold(ConfirmHoldRequest) -> ConfirmHoldResponse;
        release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        cancel_units(CancelUnitsRequest) -> CancelUnitsResponse;
        adjust_capacity(AdjustCapacityRequest) -> AdjustCapacityResponse;
        suspend_slot(SuspendSlotRequest) -> SuspendSlotResponse;
        resume_slot(ResumeSlotRequest) -> ResumeSlotResponse;
        close_slot(CloseSlotRequest) -> CloseSlotResponse;
    }
}
