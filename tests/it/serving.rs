//! A whole node, as `jari serve` runs it, on a port of its own; and clients of every service.

use jari::{config::Config, node::Node};
use jari_event_store::Database;
use jari_proto::{
    availability::v1::availability_service_client::AvailabilityServiceClient,
    inventory::v1::{OpenSlotRequest, inventory_service_client::InventoryServiceClient},
    operations::v1::operations_service_client::OperationsServiceClient,
    order::v1::{
        LineRequest, PlaceOrderRequest, UnitQuantity, order_query_service_client::OrderQueryServiceClient, order_service_client::OrderServiceClient,
    },
    product::v1::{
        CreateProductRequest, DefineOptionRequest, Draw, LaunchProductRequest, Option as ProductOption, SaleMode, Unit,
        product_query_service_client::ProductQueryServiceClient, product_service_client::ProductServiceClient,
    },
    r#type::v1::Money,
};
use tonic::transport::Channel;
use uuid::Uuid;

/// A serving node.
pub struct Serving {
    pub node: Node,
    pub database: Database,
    pub channel: Channel,
}

pub fn id() -> String {
    Uuid::now_v7().to_string()
}

impl Serving {
    pub async fn start() -> Self {
        Self::on(crate::harness::database().await, |_| {}).await
    }

    pub async fn on(database: Database, change: impl FnOnce(&mut Config)) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let mut config = Config::default();
        config.server.listen = free;
        config.settlement.lease_ms = 1_500;
        change(&mut config);
        let node = Node::start(&config, database.clone()).await.unwrap();
        let channel = Channel::from_shared(format!("http://{}", node.address)).unwrap().connect().await.unwrap();
        Self { node, database, channel }
    }

    pub fn products(&self) -> ProductServiceClient<Channel> {
        ProductServiceClient::new(self.channel.clone())
    }
    pub fn product_queries(&self) -> ProductQueryServiceClient<Channel> {
        ProductQueryServiceClient::new(self.channel.clone())
    }
    pub fn inventory(&self) -> InventoryServiceClient<Channel> {
        InventoryServiceClient::new(self.channel.clone())
    }
    pub fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel.clone())
    }
    pub fn order_queries(&self) -> OrderQueryServiceClient<Channel> {
        OrderQueryServiceClient::new(self.channel.clone())
    }
    pub fn availability(&self) -> AvailabilityServiceClient<Channel> {
        AvailabilityServiceClient::new(self.channel.clone())
    }
    pub fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone())
    }

    /// A product sold from stock, one unit of its pool a piece.
    pub async fn on_sale(&self, product: &str, capacity: i32) -> String {
        self.draft(product).await;
        let draws = vec![Draw { pool_id: product.into(), per_head: 1 }];
        let unit = Unit { unit_id: "piece".into(), title: "Piece".into(), price: Some(won(1_000)), heads: 1 };
        let option = ProductOption { option_id: "one".into(), title: "One".into(), units: vec![unit], draws };
        let define = DefineOptionRequest { request_id: id(), product_id: product.into(), option: Some(option) };
        self.products().define_option(define).await.unwrap();
        self.products().launch_product(LaunchProductRequest { request_id: id(), product_id: product.into() }).await.unwrap();
        let open = OpenSlotRequest { request_id: id(), pool_id: product.into(), window: None, capacity };
        self.inventory().open_slot(open).await.unwrap().into_inner().slot_id
    }

    pub async fn draft(&self, product: &str) {
        let create = CreateProductRequest {
            request_id: id(),
            product_id: product.into(),
            title: "A product".into(),
            sale_mode: SaleMode::Realtime.into(),
            time_zone: "Asia/Seoul".into(),
            currency: "KRW".into(),
            hold_seconds: 60,
            cut_off_seconds: 0,
        };
        self.products().create_product(create).await.unwrap();
    }
}

pub fn won(minor_units: i64) -> Money {
    Money { currency: "KRW".into(), minor_units }
}

/// An order for so many pieces of each product, to be waited for.
pub fn order(lines: &[(&str, i32)]) -> PlaceOrderRequest {
    let line = |(product, quantity): &(&str, i32)| LineRequest {
        product_id: (*product).into(),
        option_id: "one".into(),
        starts_at: None,
        units: vec![UnitQuantity { unit_id: "piece".into(), quantity: *quantity }],
    };
    PlaceOrderRequest {
        request_id: id(),
        order_id: String::new(),
        customer: "customer-1".into(),
        lines: lines.iter().map(line).collect(),
        wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
    }
}
