//! (c) ours in process and (d) ours over gRPC, one `HoldUnits`; (f) a whole booking over gRPC, waited for.

use std::{sync::Arc, time::Duration};

use jari::{config::Config, node::Node};
use jari_commands::{
    booking::{OneStream, PlaceLine, PlaceOrder},
    engine::{Engine, Origin},
    names,
};
use jari_domain::{
    Quantity, Timestamp,
    ids::{CustomerRef, HoldId, OptionId, OrderId, PoolId, ProductId, SlotId, UnitId},
    product::{LineRequest, UnitRequest},
    slot::{InventorySlot, SlotCommand},
};
use jari_event_store::CommandKey;
use jari_proto::{
    inventory::v1::{HoldUnitsRequest, inventory_service_client::InventoryServiceClient},
    operations::v1::{GetStatusRequest, operations_service_client::OperationsServiceClient},
};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::{
    drive::{Measured, closed_loop},
    place::Bench,
};

/// Connections that the callers over gRPC share.
const CONNECTIONS: usize = 8;
/// No slot of a benchmark runs out.
const CAPACITY: Quantity = Quantity::new(100_000_000);

/// A node on the run's PostgreSQL.
pub struct Ours {
    /// All of it: services, settlement, views.
    pub node: Node,
    channels: Vec<Channel>,
}

impl Ours {
    /// A node that writes no views, with or without the settlement of orders.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn alone(bench: &Bench, settles: bool) -> anyhow::Result<Self> {
        Self::start_with(bench, settles, false).await
    }

    /// Starts the node and connects to it. `whole` false leaves out settlement and views, as (c) and (d) ask for: nothing else running.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn start(bench: &Bench, whole: bool) -> anyhow::Result<Self> {
        Self::start_with(bench, whole, whole).await
    }

    async fn start_with(bench: &Bench, settles: bool, views: bool) -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse()?;
        config.settlement.enabled = settles;
        config.projections.enabled = views;
        let node = Node::start(&config, bench.database.clone()).await?;
        let endpoint = Endpoint::from_shared(format!("http://{}", node.address))?.tcp_nodelay(true).initial_connection_window_size(64 << 20);
        let mut channels = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            channels.push(endpoint.connect().await?);
        }
        Ok(Self { node, channels })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> String {
        self.node.address.to_string()
    }

    async fn open(&self, slots: usize) -> anyhow::Result<Vec<SlotId>> {
        let run = Uuid::now_v7().simple().to_string();
        let mut opened = Vec::with_capacity(slots);
        let openings = (0..slots).map(|n| {
            let (run, engine) = (&run, &self.node.engine);
            async move {
                let pool_id = PoolId::parse(&format!("b{run}-{n}"))?;
                let slot = SlotId::of(&pool_id, None);
                engine
                    .execute(
                        OneStream::<InventorySlot>::on("open", &slot, SlotCommand::OpenSlot { pool_id, window: None, capacity: CAPACITY }),
                        origin(),
                    )
                    .await?;
                anyhow::Ok(slot)
            }
        });
        for slot in futures::future::join_all(openings).await {
            opened.push(slot?);
        }
        Ok(opened)
    }

    /// (c) One `HoldUnits` in process.
    ///
    /// # Errors
    /// Slots that do not open.
    pub async fn in_process(&self, slots: usize, clients: usize, lasts: Duration) -> anyhow::Result<Measured> {
        let slots = Arc::new(self.open(slots).await?);
        let engine: Engine = self.node.engine.clone();
        Ok(closed_loop(clients, lasts, move |client, n| {
            let (engine, slots) = (engine.clone(), slots.clone());
            async move {
                let Ok(hold_id) = HoldId::parse(&Uuid::now_v7().to_string()) else { return false };
                let slot = &slots[pick(client, n, slots.len())];
                let hold = SlotCommand::HoldUnits { hold_id, quantity: Quantity::ONE, expires_at: in_ten_minutes() };
                let outcome = engine.execute(OneStream::<InventorySlot>::on("hold", slot, hold), origin()).await;
                outcome.is_ok_and(|o| o.refusal.is_none())
            }
        })
        .await)
    }

    /// So many products, with one slot of stock each.
    ///
    /// # Errors
    /// Products that do not open.
    pub async fn shop(&self, slots: usize) -> anyhow::Result<Vec<ProductId>> {
        let shop = jari::client::Shop::connect(&self.address(), 1).await?;
        let stock = shop.open(u32::try_from(slots)?, i32::try_from(CAPACITY.get())?).await?;
        stock.products.iter().map(|product| Ok(ProductId::parse(product)?)).collect()
    }

    /// Whole bookings in process: each is placed and accepted, and settled behind its caller's back.
    ///
    /// # Errors
    /// None so far: an order that is refused counts as failed.
    pub async fn bookings_in_process(&self, products: &[ProductId], clients: usize, lasts: Duration) -> anyhow::Result<Measured> {
        let (engine, products) = (self.node.engine.clone(), Arc::new(products.to_vec()));
        Ok(closed_loop(clients, lasts, move |client, n| {
            let (engine, products) = (engine.clone(), products.clone());
            async move {
                let product = &products[pick(client, n, products.len())];
                let Some(work) = one_seat(product, client) else { return false };
                engine.execute(work, origin()).await.is_ok_and(|outcome| outcome.refusal.is_none())
            }
        })
        .await)
    }

    /// Waits until every order that was accepted is settled: until the log stands still.
    ///
    /// # Errors
    /// A node that does not answer, or orders that are not settled within minutes.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let mut operations = OperationsServiceClient::new(self.channels[0].clone());
        // bounded: five minutes
        for _ in 0..30_000 {
            let status = operations.get_status(GetStatusRequest::default()).await?.into_inner();
            let (waiting, under_way) =
                (status.settlement.map_or(0, |s| s.queued_orders), status.engine.map_or(0, |e| e.counters[names::UNITS_UNDER_WAY]));
            if waiting == 0 && under_way == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("orders were not settled within five minutes")
    }

    /// `HoldUnits` in process, so many a second whatever the answers take; says how many were done.
    ///
    /// # Errors
    /// Slots that do not open, or a hold that was refused.
    pub async fn at_a_rate(&self, slots: usize, per_second: u64, lasts: Duration) -> anyhow::Result<u64> {
        let slots = self.open(slots).await?;
        let (mut due, mut holds, mut n) = (tokio::time::interval(Duration::from_millis(5)), tokio::task::JoinSet::new(), 0);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let all = (per_second as f64 * lasts.as_secs_f64()) as u64;
        while n < all {
            due.tick().await;
            // five milliseconds' worth
            for _ in 0..(per_second / 200).max(1) {
                let (engine, slot) = (self.node.engine.clone(), slots[pick(0, n, slots.len())].clone());
                n += 1;
                holds.spawn(async move {
                    let hold = SlotCommand::HoldUnits {
                        hold_id: HoldId::parse(&Uuid::now_v7().to_string())?,
                        quantity: Quantity::ONE,
                        expires_at: in_ten_minutes(),
                    };
                    let outcome = engine.execute(OneStream::<InventorySlot>::on("hold", &slot, hold), origin()).await?;
                    anyhow::ensure!(outcome.refusal.is_none(), "a hold was refused");
                    Ok(())
                });
            }
        }
        while let Some(held) = holds.join_next().await {
            held??;
        }
        Ok(n)
    }

    /// (d) One `HoldUnits` over gRPC.
    ///
    /// # Errors
    /// Slots that do not open.
    pub async fn over_grpc(&self, slots: usize, clients: usize, lasts: Duration) -> anyhow::Result<Measured> {
        let slots = Arc::new(self.open(slots).await?);
        let channels = self.channels.clone();
        Ok(closed_loop(clients, lasts, move |client, n| {
            let (channel, slots) = (channels[client % channels.len()].clone(), slots.clone());
            async move {
                let at = in_ten_minutes();
                let request = HoldUnitsRequest {
                    request_id: Uuid::now_v7().to_string(),
                    slot_id: slots[pick(client, n, slots.len())].to_string(),
                    hold_id: Uuid::now_v7().to_string(),
                    quantity: 1,
                    expires_at: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 }),
                };
                InventoryServiceClient::new(channel).hold_units(request).await.is_ok()
            }
        })
        .await)
    }
}

/// (f) and (g): `PlaceOrder` with `wait` at whoever serves the contract on `server`, until held or rejected.
///
/// # Errors
/// A server that does not answer, or does not sell.
pub async fn booking(server: &str, slots: u32, clients: usize, lasts: Duration) -> anyhow::Result<Measured> {
    let shop = Arc::new(jari::client::Shop::connect(server, CONNECTIONS).await?);
    let stock = Arc::new(shop.open(slots, i32::try_from(CAPACITY.get())?).await?);
    Ok(closed_loop(clients, lasts, move |client, n| {
        let (shop, stock) = (shop.clone(), stock.clone());
        async move {
            let answered = shop.place(stock.wish(client as u64 * 7_919 + n * 31), client).await;
            // who is told to come back later does so
            if let Some(delay) = answered.retry_after() {
                tokio::time::sleep(delay).await;
            }
            answered.is_outcome()
        }
    })
    .await)
}

/// An order of one seat of a product of [`Ours::shop`].
fn one_seat(product: &ProductId, client: usize) -> Option<PlaceOrder> {
    let units = vec![UnitRequest { unit_id: UnitId::parse("seat").ok()?, quantity: Quantity::ONE }];
    let request = LineRequest { option_id: OptionId::parse("one").ok()?, starts_at: None, units };
    let lines = vec![PlaceLine { product_id: product.clone(), request }];
    let order_id = OrderId::parse(&Uuid::now_v7().to_string()).ok()?;
    Some(PlaceOrder { order_id, customer: CustomerRef::parse(&format!("customer-{client}")).ok()?, lines, personal: None })
}

fn pick(client: usize, n: u64, slots: usize) -> usize {
    usize::try_from((client as u64 * 7_919 + n * 31) % slots as u64).unwrap_or(0)
}

fn in_ten_minutes() -> Timestamp {
    Timestamp::now().saturating_add(jiff::SignedDuration::from_mins(10)).unwrap_or(Timestamp::MAX)
}

fn origin() -> Origin {
    Origin { key: Some(CommandKey { caller: "bench".into(), id: Uuid::now_v7() }), ..Origin::default() }
}
