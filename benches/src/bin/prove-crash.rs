//! `infra/prove crash`: breaks real things under load, then compares what callers were told with the log and the views.
//!
//! Each round kills or pauses the engine, kills or pauses PostgreSQL, or cuts the engine's connections. Callers repeat what they got no answer
//! to, under the same request id. `--rounds N`, 50 by default. Exit code 1 when anything was lost, doubled or oversold.

use std::{
    path::Path,
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jari::{client::Shop, config::Config, node::Node, proof::Proof};
use jari_benches::{
    faults::{free_address, loop_until, say, signal_process, start_self},
    place::connect,
};
use jari_domain::{
    StreamId,
    ids::{OrderId, SlotId},
    order::{Order, OrderStatus},
    registry::AsAggregate,
    slot::InventorySlot,
};
use jari_event_store::{Database, LoadRequest, PoolSettings, Reader, migrate};
use jari_postgres::{Place, PrivatePostgres, Settings};
use jari_proto::{
    availability::v1::{GetSlotRequest, availability_service_client::AvailabilityServiceClient},
    order::v1::{LineRequest, OrderState, PlaceOrderRequest, UnitQuantity, order_service_client::OrderServiceClient},
};
use tonic::transport::Endpoint;
use uuid::Uuid;

/// Callers at once, and slots that they want; small enough to sell out now and then.
const CALLERS: u64 = 32;
const SLOTS: u32 = 4;
const SEATS: i32 = 2_000;
/// A caller gives up on one order after this; it then counts as lost.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Held,
    Rejected,
    Accepted,
}

type Record = Arc<Mutex<Vec<(String, Told)>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["node", folder, address] => run_node(folder, address).await,
        ["--rounds", rounds] => prove(rounds.parse()?).await,
        [] => prove(50).await,
        _ => bail!("usage: prove-crash [--rounds N]"),
    }
}

/// The engine, as a process of its own that can be killed: what `jari serve` runs.
async fn run_node(folder: &str, address: &str) -> anyhow::Result<()> {
    let mut config = Config::default();
    config.server.listen = address.parse()?;
    config.settlement.lease_ms = 1_500;
    let access = Place::new(folder).find().context("no PostgreSQL runs there")?;
    let database = Database::new(access.server, PoolSettings::default())?;
    let mut node = Node::start(&config, database).await?;
    node.failed().await
}

struct Stage {
    folder: std::path::PathBuf,
    address: String,
    node: Child,
    server: PrivatePostgres,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("jari-prove-{}", Uuid::now_v7().simple()));
        let server = PrivatePostgres::start(Settings::new(Place::new(&folder))).await?;
        let role = server.access().server.get_user().map(str::to_owned);
        migrate(&Database::new(server.access().owner.clone(), PoolSettings::default())?, role.as_deref()).await?;
        let address = free_address()?;
        let node = start_node(&folder, &address)?;
        Ok(Self { folder, address, node, server })
    }

    fn signal_node(&self, signal: &str) -> anyhow::Result<()> {
        signal_process(self.node.id(), signal)
    }

    fn postgres(&self) -> anyhow::Result<u32> {
        let pid = std::fs::read_to_string(self.folder.join("postgres/data/postmaster.pid"))?;
        Ok(pid.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// Breaks something, and mends it if it does not mend itself. Says what.
    async fn fault(&mut self, round: u32) -> anyhow::Result<&'static str> {
        let pause = Duration::from_millis(300 + u64::from(round) * 37 % 1_500);
        match round % 5 {
            0 => {
                self.signal_node("KILL")?;
                self.node.wait()?;
                self.node = start_node(&self.folder, &self.address)?;
                Ok("engine killed")
            }
            1 => {
                self.signal_node("STOP")?;
                tokio::time::sleep(pause).await;
                self.signal_node("CONT")?;
                Ok("engine paused")
            }
            2 => {
                let client = connect(&self.server.access().superuser).await?;
                client.batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'jari'").await?;
                Ok("connections cut")
            }
            3 => {
                let pid = self.postgres()?;
                for process in std::iter::once(pid).chain(children(pid)?) {
                    signal_process(process, "STOP")?;
                }
                tokio::time::sleep(pause).await;
                for process in children(pid)?.into_iter().chain([pid]) {
                    signal_process(process, "CONT")?;
                }
                Ok("PostgreSQL paused")
            }
            _ => {
                signal_process(self.postgres()?, "KILL")?;
                Ok("PostgreSQL killed")
            }
        }
    }
}

fn start_node(folder: &Path, address: &str) -> anyhow::Result<Child> {
    start_self(&["node", &folder.to_string_lossy(), address])
}

fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

async fn prove(rounds: u32) -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let superuser = connect(&stage.server.access().superuser).await?;
    let mut durability = Vec::new();
    for name in jari_benches::place::DURABILITY {
        let value: String = superuser.query_one("SELECT current_setting($1)", &[name]).await?.get(0);
        durability.push(format!("{name}={value}"));
    }
    say(&format!(
        "{}. Processes are killed and paused, connections cut; power is not cut, so what the disk itself does with a sync is not tried.",
        durability.join(" ")
    ));
    let stock = loop_until(PATIENCE, || async { Shop::connect(&stage.address, 1).await?.open(SLOTS, SEATS).await })
        .await
        .context("the slots did not open")?;
    let products: Arc<Vec<String>> = Arc::new(stock.slots.iter().map(|slot| slot.trim_end_matches("@stock").to_owned()).collect());
    let (record, over, lost): (Record, _, _) = (Record::default(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(stage.address.clone(), products.clone(), record.clone(), over.clone(), lost.clone(), caller));
    }
    let mut syncs = Syncs::default();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(250 + u64::from(round) * 53 % 700)).await;
        syncs.count(&stage).await?;
        let before = told(&record);
        let broken = Instant::now();
        let what = stage.fault(round).await?;
        loop_until(PATIENCE, || async { if told(&record) > before + 20 { Ok(()) } else { bail!("nobody is served") } }).await?;
        say(&format!("round {:>2}  {what:<18}  answers went on after {:>5} ms, {} so far", round + 1, broken.elapsed().as_millis(), told(&record)));
    }
    over.store(true, Ordering::Relaxed);
    while callers.join_next().await.is_some() {}
    let broken = compare(&stage, &stock.slots, &record, lost.load(Ordering::Relaxed)).await?;
    syncs.count(&stage).await?;
    say(&format!("{} syncs of the log, by the server's own count and read before each fault: a server that is killed forgets it", syncs.all()));
    stage.signal_node("KILL")?;
    stage.node.wait()?;
    stage.server.stop();
    let _ = std::fs::remove_dir_all(&stage.folder);
    if broken > 0 {
        say(&format!("{broken} things do not hold"));
        std::process::exit(1);
    }
    say("nothing was lost, doubled or oversold");
    Ok(())
}

/// Syncs over all starts of the server, which counts from its last one.
#[derive(Default)]
struct Syncs {
    before: i64,
    now: i64,
}

impl Syncs {
    async fn count(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let superuser = loop_until(PATIENCE, || connect(&stage.server.access().superuser)).await?;
        let now: i64 = superuser.query_one("SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'", &[]).await?.get(0);
        if now < self.now {
            self.before += self.now;
        }
        self.now = now;
        Ok(())
    }

    fn all(&self) -> i64 {
        self.before + self.now
    }
}

fn told(record: &Record) -> usize {
    record.lock().map_or(0, |r| r.len())
}

/// One caller: one order after the other, each repeated under its id until there is an answer.
async fn call(address: String, products: Arc<Vec<String>>, record: Record, over: Arc<AtomicBool>, lost: Arc<AtomicU64>, caller: u64) {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else { return };
    let channel = endpoint.timeout(Duration::from_secs(15)).connect_timeout(Duration::from_secs(1)).connect_lazy();
    let mut n = caller;
    while !over.load(Ordering::Relaxed) {
        n += CALLERS;
        let id = Uuid::now_v7().to_string();
        let first = n as usize % products.len();
        // every third order wants two slots, in either order
        let wanted = if n.is_multiple_of(3) { vec![first, (first + 1 + caller as usize) % products.len()] } else { vec![first] };
        let began = Instant::now();
        let answer = loop {
            let line = |slot: &usize| LineRequest {
                product_id: products[*slot].clone(),
                option_id: "one".into(),
                starts_at: None,
                units: vec![UnitQuantity { unit_id: "seat".into(), quantity: 1 }],
            };
            let request = PlaceOrderRequest {
                request_id: id.clone(),
                order_id: String::new(),
                customer: format!("caller-{caller}"),
                lines: wanted.iter().map(line).collect(),
                wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
                ..PlaceOrderRequest::default()
            };
            // bounded by PATIENCE
            match OrderServiceClient::new(channel.clone()).place_order(request).await {
                Ok(answer) => match answer.into_inner().order.unwrap_or_default().state() {
                    OrderState::Held => break Some(Told::Held),
                    OrderState::Rejected => break Some(Told::Rejected),
                    OrderState::Accepted if began.elapsed() > PATIENCE => break Some(Told::Accepted),
                    _ => {}
                },
                Err(_) if began.elapsed() > PATIENCE => break None,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        match (answer, record.lock()) {
            (Some(told), Ok(mut record)) => record.push((id, told)),
            _ => {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Compares what callers were told with log and views; counts what does not hold.
async fn compare(stage: &Stage, slots: &[String], record: &Record, lost: u64) -> anyhow::Result<u64> {
    let database = Database::new(stage.server.access().server.clone(), PoolSettings::default())?;
    let reader = Reader::new(database);
    let mut broken = lost;
    if lost > 0 {
        say(&format!("{lost} orders got no answer within {} s", PATIENCE.as_secs()));
    }
    let record = record.lock().map(|r| r.clone()).unwrap_or_default();
    let mut expected_held = 0_u64;
    for page in record.chunks(1_000) {
        let requests = page.iter().map(|(id, _)| anyhow::Ok(LoadRequest { stream: StreamId::from(&OrderId::parse(id)?), from: None }));
        let loaded = reader.load(requests.collect::<Result<_, _>>()?).await?;
        for ((id, told), loaded) in page.iter().zip(loaded) {
            let status = loaded.ok().and_then(|l| Order::of(&l.state).map(Order::status)).unwrap_or_default();
            let agrees = match told {
                Told::Held => matches!(status, OrderStatus::Held | OrderStatus::Expired),
                Told::Rejected => status == OrderStatus::Rejected,
                Told::Accepted => status != OrderStatus::Absent,
            };
            expected_held += u64::from(*told == Told::Held);
            if !agrees {
                broken += 1;
                say(&format!("order {id}: the caller was told {told:?}, the log says {status}"));
            }
        }
    }
    let mut proof = Proof::default();
    let mut position = 0;
    loop {
        let page = reader.log_after(position, 10_000).await?;
        // ends at the log's head
        let Some(last) = page.last() else { break };
        position = last.position;
        page.iter().for_each(|event| proof.take(event));
    }
    for finding in proof.finish().iter().take(10) {
        say(&format!("log: {finding}"));
    }
    broken += proof.finish().len() as u64;
    for name in slots {
        let slot = SlotId::parse(name)?;
        let loaded = reader.load(vec![LoadRequest { stream: StreamId::from(&slot), from: None }]).await?;
        let counts = loaded.into_iter().flatten().find_map(|l| InventorySlot::of(&l.state).map(InventorySlot::counts)).unwrap_or_default();
        let shop = loop_until(PATIENCE, || Shop::connect(&stage.address, 1)).await?;
        let request = GetSlotRequest { slot_id: name.clone(), min_position: i64::try_from(position)? };
        let seen =
            AvailabilityServiceClient::new(shop.channel(0)).get_slot(request).await?.into_inner().slot.and_then(|s| s.counts).unwrap_or_default();
        if counts.held > counts.capacity || i64::from(seen.held) != i64::from(counts.held) {
            broken += 1;
            say(&format!("slot {name}: {} held of {} in the log, {} in the view", counts.held, counts.capacity, seen.held));
        }
    }
    say(&format!("{} orders answered ({expected_held} held), {} events, {} orders in the log", record.len(), proof.events, proof.orders()));
    Ok(broken)
}
