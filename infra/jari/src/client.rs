//! A customer's side of the contract, for `jari demo` and `jari load`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jari_proto::{
    inventory::v1::{OpenSlotRequest, inventory_service_client::InventoryServiceClient},
    order::v1::{LineRequest, OrderState, PlaceOrderRequest, UnitQuantity, order_service_client::OrderServiceClient},
    product::v1::{
        CreateProductRequest, DefineOptionRequest, Draw, EndProductRequest, LaunchProductRequest, Option as ProductOption, SaleMode, Unit,
        product_service_client::ProductServiceClient,
    },
    status::{reason, retry_after},
    r#type::v1::Money,
};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// How long a customer waits for the settlement.
const WAIT_SECONDS: i64 = 20;
/// How long a customer asks again who was not told what became of the order; a node that was killed, or its database, is back long before that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Before asking again when the server names no delay.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Connections to a server.
pub struct Shop {
    channels: Vec<Channel>,
}

/// Products to order, each with one stock slot.
pub struct Stock {
    /// The products.
    pub products: Vec<String>,
    /// The slots, in the order of the products.
    pub slots: Vec<String>,
}

impl Stock {
    /// One customer's wish for one seat of the `n`th product, counted round: a command under an id of its own.
    pub fn wish(&self, n: u64) -> PlaceOrderRequest {
        let product = &self.products[usize::try_from(n % self.products.len() as u64).unwrap_or(0)];
        PlaceOrderRequest {
            request_id: Uuid::now_v7().to_string(),
            order_id: String::new(),
            customer: format!("customer-{n}"),
            lines: vec![LineRequest {
                product_id: product.clone(),
                option_id: "one".into(),
                starts_at: None,
                units: vec![UnitQuantity { unit_id: "seat".into(), quantity: 1 }],
            }],
            wait: Some(prost_types::Duration { seconds: WAIT_SECONDS, nanos: 0 }),
            ..PlaceOrderRequest::default()
        }
    }
}

/// What a customer heard.
pub enum Answered {
    /// Its order is held until it is paid for.
    Held,
    /// Its order could not be served; the first line's reason.
    Rejected(String),
    /// Accepted, and not settled within the wait.
    Waiting,
    /// The call was refused: code, and when to come back.
    Refused(String, Option<Duration>),
}

impl Answered {
    /// For counting.
    pub fn name(&self) -> &str {
        match self {
            Self::Held => "held",
            Self::Rejected(code) | Self::Refused(code, _) => code,
            Self::Waiting => "accepted, not settled",
        }
    }
    /// Whether the order was settled.
    pub fn is_outcome(&self) -> bool {
        matches!(self, Self::Held | Self::Rejected(_))
    }
    /// When to come back.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(_, delay) => Some(delay.unwrap_or(PAUSE)),
            Self::Held | Self::Rejected(_) | Self::Waiting => None,
        }
    }
}

impl Shop {
    /// Connects so many times.
    ///
    /// # Errors
    /// A server that does not answer.
    pub async fn connect(server: &str, connections: usize) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(if server.contains("://") { server.to_owned() } else { format!("http://{server}") })?
            .tcp_nodelay(true)
            .initial_connection_window_size(64 << 20);
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            let channel = endpoint.connect().await.with_context(|| format!("nobody answers on {server}; start a server with `jari serve`"))?;
            channels.push(channel);
        }
        Ok(Self { channels })
    }

    /// Any connection.
    pub fn channel(&self, n: usize) -> Channel {
        self.channels[n % self.channels.len()].clone()
    }

    /// Opens so many products with one stock slot each.
    ///
    /// # Errors
    /// Whatever the server refuses.
    pub async fn open(&self, slots: u32, capacity: i32) -> anyhow::Result<Stock> {
        let run = Uuid::now_v7().simple().to_string();
        let mut stock = Stock { products: Vec::new(), slots: Vec::new() };
        let openings = (0..slots).map(|n| self.open_one(format!("try-{run}-{n}"), capacity));
        for opened in futures::future::join_all(openings).await {
            let (product, slot) = opened?;
            stock.products.push(product);
            stock.slots.push(slot);
        }
        Ok(stock)
    }

    /// Ends the sale of them all, so that nobody finds them among what is on sale. What was sold of them stays.
    ///
    /// # Errors
    /// Whatever the server refuses.
    pub async fn close(&self, stock: &Stock) -> anyhow::Result<()> {
        let ends = stock.products.iter().map(async |product| {
            let end = EndProductRequest { request_id: Uuid::now_v7().to_string(), product_id: product.clone() };
            ProductServiceClient::new(self.channel(0)).end_product(end).await.with_context(|| format!("{product} is left on sale"))
        });
        futures::future::try_join_all(ends).await?;
        Ok(())
    }

    async fn open_one(&self, name: String, capacity: i32) -> anyhow::Result<(String, String)> {
        let mut products = ProductServiceClient::new(self.channel(0));
        let id = || Uuid::now_v7().to_string();
        let create = CreateProductRequest {
            request_id: id(),
            product_id: name.clone(),
            title: "A seat to try".into(),
            sale_mode: SaleMode::Realtime.into(),
            time_zone: "Asia/Seoul".into(),
            currency: "KRW".into(),
            hold_seconds: 600,
            cut_off_seconds: 0,
        };
        products.create_product(create).await?;
        let unit =
            Unit { unit_id: "seat".into(), title: "Seat".into(), price: Some(Money { currency: "KRW".into(), minor_units: 10_000 }), heads: 1 };
        let draws = vec![Draw { pool_id: name.clone(), per_head: 1 }];
        let option = ProductOption { option_id: "one".into(), title: "One".into(), units: vec![unit], draws };
        products.define_option(DefineOptionRequest { request_id: id(), product_id: name.clone(), option: Some(option) }).await?;
        products.launch_product(LaunchProductRequest { request_id: id(), product_id: name.clone() }).await?;
        let open = OpenSlotRequest { request_id: id(), pool_id: name.clone(), window: None, capacity };
        let opened = InventoryServiceClient::new(self.channel(0)).open_slot(open).await?.into_inner();
        if opened.slot_id.is_empty() {
            bail!("the server named no slot");
        }
        Ok((name, opened.slot_id))
    }

    /// Asks once, and waits for the answer.
    pub async fn place(&self, request: PlaceOrderRequest, connection: usize) -> Answered {
        match OrderServiceClient::new(self.channel(connection)).place_order(request).await {
            Ok(answer) => {
                let order = answer.into_inner().order.unwrap_or_default();
                match order.state() {
                    OrderState::Held => Answered::Held,
                    OrderState::Rejected => Answered::Rejected(order.failures.first().map(|f| f.code.clone()).unwrap_or_default()),
                    _ => Answered::Waiting,
                }
            }
            Err(status) => Answered::Refused(reason(&status).unwrap_or_else(|| format!("{:?}", status.code())), retry_after(&status)),
        }
    }

    /// Asks until it is told whether the order is held, each time with the same request: under a new id it would be another order, beside one
    /// whose answer was lost.
    pub async fn insist(&self, request: &PlaceOrderRequest, connection: usize) -> Answered {
        let began = Instant::now();
        // ends with an outcome, or with the customer's patience
        loop {
            let answer = self.place(request.clone(), connection).await;
            if answer.is_outcome() || began.elapsed() > PATIENCE {
                return answer;
            }
            tokio::time::sleep(answer.retry_after().unwrap_or(PAUSE)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use jari_proto::order::v1::{
        CancelOrderRequest, CancelOrderResponse, ConfirmOrderRequest, ConfirmOrderResponse, Order, PlaceOrderResponse,
        order_service_server::{OrderService, OrderServiceServer},
    };
    use tonic::{Request, Response, Status};

    use super::*;

    /// Loses its first answers, as a node does that is killed after its commit. Notes the ids under which it is asked.
    #[derive(Clone, Default)]
    struct Forgetful(Arc<Mutex<Vec<String>>>);

    #[async_trait::async_trait]
    impl OrderService for Forgetful {
        async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
            let mut asked = self.0.lock().unwrap();
            asked.push(request.into_inner().request_id);
            let state = match asked.len() {
                1 => return Err(Status::unavailable("the answer is lost")),
                2 => OrderState::Accepted,
                _ => OrderState::Held,
            };
            Ok(Response::new(PlaceOrderResponse { order: Some(Order { state: state.into(), ..Order::default() }), position: 1 }))
        }
        async fn confirm_order(&self, _: Request<ConfirmOrderRequest>) -> Result<Response<ConfirmOrderResponse>, Status> {
            Err(Status::unimplemented("nobody asks"))
        }
        async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<CancelOrderResponse>, Status> {
            Err(Status::unimplemented("nobody asks"))
        }
    }

    #[tokio::test]
    async fn a_customer_who_is_not_told_asks_again_under_the_same_request_id() {
        let (server, listener) = (Forgetful::default(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let router = tonic::transport::Server::builder().add_service(OrderServiceServer::new(server.clone()));
        // ends with the test
        tokio::spawn(router.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));
        let shop = Shop::connect(&address.to_string(), 1).await.unwrap();
        let stock = Stock { products: vec!["seat".into()], slots: vec!["seat@stock".into()] };
        let wish = stock.wish(7);
        assert!(matches!(shop.insist(&wish, 0).await, Answered::Held));
        assert_eq!(*server.0.lock().unwrap(), [&*wish.request_id; 3]);
        assert_ne!(stock.wish(7).request_id, wish.request_id, "the next order is another one");
    }
}
