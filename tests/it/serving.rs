//! A whole node, as `jari serve` runs it, on a port of its own; and clients of every service.

use jari::{config::Config, node::Node};
use jari_event_store::{Database, Position, Reader, RecordedEvent};
use jari_proto::{
    availability::v1::{GetSlotRequest, SlotState, availability_service_client::AvailabilityServiceClient},
    history::v1::history_service_client::HistoryServiceClient,
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
use jari_sealing::Sealer;
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
        Self::with_keys(database, Sealer::off("this test has no keys"), change).await
    }

    /// The same, with what seals and opens personal data.
    pub async fn with_keys(database: Database, sealer: Sealer, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        // any free one; the node says which
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        be_patient(&mut config);
        change(&mut config);
        let node = Node::start_with(&config, database.clone(), sealer).await.unwrap();
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
    pub fn history(&self) -> HistoryServiceClient<Channel> {
        HistoryServiceClient::new(self.channel.clone())
    }
    pub fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone())
    }

    /// A product sold from stock, one unit of its pool a piece.
    pub async fn on_sale(&self, product: &str, capacity: i32) -> String {
        self.draft(product).await;
        self.launched(product, capacity).await
    }

    /// Puts a draft on sale, with so many units of its pool.
    pub async fn launched(&self, product: &str, capacity: i32) -> String {
        self.option(product).await;
        self.launch(product).await;
        let open = OpenSlotRequest { request_id: id(), pool_id: product.into(), window: None, capacity };
        self.inventory().open_slot(open).await.unwrap().into_inner().slot_id
    }

    pub async fn launch(&self, product: &str) {
        self.products().launch_product(LaunchProductRequest { request_id: id(), product_id: product.into() }).await.unwrap();
    }

    /// Defines the option of a draft.
    pub async fn option(&self, product: &str) {
        self.option_at(product, won(1_000)).await;
    }

    /// Defines the option of a draft at a price.
    pub async fn option_at(&self, product: &str, price: Money) {
        let draws = vec![Draw { pool_id: product.into(), per_head: 1 }];
        let unit = Unit { unit_id: "piece".into(), title: "Piece".into(), price: Some(price), heads: 1 };
        let option = ProductOption { option_id: "one".into(), title: "One".into(), units: vec![unit], draws };
        let define = DefineOptionRequest { request_id: id(), product_id: product.into(), option: Some(option) };
        self.products().define_option(define).await.unwrap();
    }

    /// How a slot stands once the view has seen `position`: state, capacity, held, confirmed.
    pub async fn slot(&self, slot_id: &str, position: i64) -> (SlotState, i32, i32, i32) {
        let get = GetSlotRequest { slot_id: slot_id.into(), min_position: position };
        let slot = self.availability().get_slot(get).await.unwrap().into_inner().slot.unwrap();
        let counts = slot.counts.unwrap();
        (slot.state(), counts.capacity, counts.held, counts.confirmed)
    }

    /// The whole log.
    pub async fn log(&self) -> Vec<RecordedEvent> {
        Reader::new(self.database.clone()).log_after(Position::START, 1_000_000).await.unwrap()
    }

    /// Writes an event that nobody can read, as some other program might.
    pub async fn scrawl(&self, aggregate_type: &str, aggregate_id: &str, sequence: i64) {
        let client = self.database.connection().await.unwrap();
        let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, $2, $3, 'Scrawled', '1.0', '{}', '{}')";
        client.execute(insert, &[&aggregate_type, &aggregate_id, &sequence]).await.unwrap();
    }

    pub async fn draft(&self, product: &str) {
        self.draft_with(product, |_| {}).await;
    }

    /// A draft that differs from the usual one.
    pub async fn draft_with(&self, product: &str, change: impl FnOnce(&mut CreateProductRequest)) {
        let mut create = draft(product);
        change(&mut create);
        self.products().create_product(create).await.unwrap();
    }
}

/// Bounds for tests of anything else than these bounds: a machine with other work to do is slow, not wrong.
fn be_patient(config: &mut Config) {
    config.settlement.lease_ms = 15_000;
    config.projections.wait_ms = 60_000;
    config.engine.answer_within_ms = 300_000;
    config.engine.waiting_ms = 60_000;
    config.engine.longest_wait_ms = 300_000;
}

/// How long the usual product holds: longer than any test takes.
pub const HOLD_SECONDS: i32 = 3_600;

/// A product that sells from stock, as it is asked for.
pub fn draft(product: &str) -> CreateProductRequest {
    CreateProductRequest {
        request_id: id(),
        product_id: product.into(),
        title: "A product".into(),
        sale_mode: SaleMode::Realtime.into(),
        time_zone: "Asia/Seoul".into(),
        currency: "KRW".into(),
        hold_seconds: HOLD_SECONDS,
        cut_off_seconds: 0,
    }
}

/// A time on the wire.
pub fn wire(at: jari_domain::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
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
        wait: Some(prost_types::Duration { seconds: 120, nanos: 0 }),
        ..PlaceOrderRequest::default()
    }
}
