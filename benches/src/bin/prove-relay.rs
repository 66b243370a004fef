//! `infra/prove relay`: breaks the relay and its Kafka under load, then compares whole topics with the whole log.
//!
//! Two nodes may relay. Each round kills the one that does, or pauses it for longer than its lease lasts, or kills Kafka. `--rounds N`, 36 by default, of which
//! 22 kill a relay. Exit code 1 when a topic lacks, repeats or disorders anything, or when no kill bit.

use std::{
    path::PathBuf,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jari::{
    client::{Shop, Stock},
    config::Config,
    node::Node,
};
use jari_benches::faults::{free_address, loop_until, say, signal_process, start_self};
use jari_event_store::{Database, PoolSettings, Position, Reader, migrate, read_lease};
use jari_kafka::PrivateKafka;
use jari_postgres::{DataFolder, PrivatePostgres, Settings};
use jari_proto::operations::v1::{GetStatusRequest, RelayState, RelayStatus, operations_service_client::OperationsServiceClient};
use jari_relay::{Cluster, audit};
use uuid::Uuid;

const CALLERS: usize = 24;
const SLOTS: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a node that has fallen silent stays the one that relays.
const LEASE: Duration = Duration::from_millis(1_000);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["node", name, folder, address, brokers] => run_node(name, folder, address, brokers).await,
        ["--rounds", rounds] => prove(rounds.parse()?).await,
        [] => prove(36).await,
        _ => bail!("usage: prove-relay [--rounds N]"),
    }
}

fn config(address: &str) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.server.listen = address.parse()?;
    config.settlement.lease_ms = 1_500;
    config.relay.lease_ms = u64::try_from(LEASE.as_millis())?;
    config.kafka.patience_ms = 5_000;
    Ok(config)
}

/// A node, as a process of its own that can be killed: what `jari serve` runs.
async fn run_node(name: &str, folder: &str, address: &str, brokers: &str) -> anyhow::Result<()> {
    let mut config = config(address)?;
    name.clone_into(&mut config.node.id);
    let access = DataFolder::new(folder).find().context("no PostgreSQL runs there")?;
    let mut node = Node::start(&config, Database::new(access.server, PoolSettings::default())?).await?;
    node.relay_to(brokers);
    node.failed().await
}

struct Stage {
    folder: PathBuf,
    kafka: PrivateKafka,
    nodes: [(String, Child); 2],
    addresses: [String; 2],
    database: Database,
    server: PrivatePostgres,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("jari-prove-{}", Uuid::now_v7().simple()));
        let server = PrivatePostgres::start(Settings::new(DataFolder::new(&folder))).await?;
        let role = server.access().server.get_user().map(str::to_owned);
        migrate(&Database::new(server.access().owner.clone(), PoolSettings::default())?, role.as_deref()).await?;
        let kafka = PrivateKafka::temporary(&DataFolder::default_root().join("programs"), None).await?;
        let database = Database::new(server.access().server.clone(), PoolSettings::default())?;
        let addresses = [free_address()?, free_address()?];
        let start = |name: &str, address: &str| anyhow::Ok((name.to_owned(), node(name, &folder, address, &kafka.brokers())?));
        let nodes = [start("a", &addresses[0])?, start("b", &addresses[1])?];
        Ok(Self { folder, kafka, nodes, addresses, database, server })
    }

    /// Which of the two nodes has the role now.
    async fn relaying(&self) -> anyhow::Result<usize> {
        let (lease, _) = read_lease(&self.database, "relay").await?.context("nobody relays yet")?;
        self.nodes.iter().position(|(name, _)| **name == *lease.holder && lease.live).context("nobody relays")
    }

    /// The furthest that a node says it has relayed.
    async fn relayed(&self) -> anyhow::Result<RelayStatus> {
        let node = self.relaying().await?;
        let mut operations = OperationsServiceClient::connect(format!("http://{}", self.addresses[node])).await?;
        let status = operations.get_status(GetStatusRequest::default()).await?.into_inner().relay.context("a status has a relay")?;
        if status.state() == RelayState::Running { Ok(status) } else { bail!("the relay is {:?}: {}", status.state(), status.message) }
    }

    async fn fault(&mut self, round: u32) -> anyhow::Result<String> {
        let node = loop_until(PATIENCE, || self.relaying()).await?;
        let name = self.nodes[node].0.clone();
        match round % 5 {
            3 => {
                // longer than the lease: when it comes back another relays, and it does not know that yet
                signal_process(self.nodes[node].1.id(), "STOP")?;
                tokio::time::sleep(LEASE * 3).await;
                signal_process(self.nodes[node].1.id(), "CONT")?;
                Ok(format!("relay {name} paused"))
            }
            4 => {
                let pid = self.kafka.pid().context("Kafka runs")?;
                signal_process(u32::try_from(pid)?, "KILL")?;
                Ok("Kafka killed".into())
            }
            _ => {
                signal_process(self.nodes[node].1.id(), "KILL")?;
                self.nodes[node].1.wait()?;
                self.nodes[node].1 = self::node(&name, &self.folder, &self.addresses[node], &self.kafka.brokers())?;
                Ok(format!("relay {name} killed"))
            }
        }
    }
}

fn node(name: &str, folder: &std::path::Path, address: &str, brokers: &str) -> anyhow::Result<Child> {
    start_self(&["node", name, &folder.to_string_lossy(), address, brokers])
}

async fn prove(rounds: u32) -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    say("Processes are killed and paused; power is not cut. The broker is one, and writes to disk when its system does.");
    let stock = loop_until(PATIENCE, || async { Shop::connect(&stage.addresses[0], 1).await?.open(SLOTS, 1_000_000).await }).await?;
    let (stock, over) = (Arc::new(stock), Arc::new(AtomicBool::new(false)));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(stage.addresses.clone(), stock.clone(), over.clone(), caller));
    }
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(400 + u64::from(round) * 137 % 1_100)).await;
        let before = loop_until(PATIENCE, || stage.relayed()).await?.position;
        let broken = Instant::now();
        let what = stage.fault(round).await?;
        let after = loop_until(PATIENCE, || async {
            let status = stage.relayed().await?;
            if status.position > before { Ok(status) } else { bail!("nothing is relayed") }
        })
        .await?;
        let (took, position, behind) = (broken.elapsed().as_millis(), after.position, after.lag_events);
        say(&format!("round {:>2}  {what:<16}  relayed on after {took:>6} ms, up to position {position}, {behind} behind", round + 1));
    }
    over.store(true, Ordering::Relaxed);
    while callers.join_next().await.is_some() {}
    let reader = Reader::new(stage.database.clone());
    let head = loop_until(PATIENCE, || async {
        let (status, head) = (stage.relayed().await?, reader.head().await?);
        if Position::try_from(status.position)? == head { Ok(head) } else { bail!("{} of {head} are relayed", status.position) }
    })
    .await?;
    let broken = compare(&stage, &reader, head).await?;
    for (_, node) in &mut stage.nodes {
        signal_process(node.id(), "KILL")?;
        node.wait()?;
    }
    stage.kafka.stop();
    stage.server.stop();
    let _ = std::fs::remove_dir_all(&stage.folder);
    if broken > 0 {
        say(&format!("{broken} things do not hold"));
        std::process::exit(1);
    }
    say("nothing is missing, doubled or out of order");
    Ok(())
}

/// One caller: orders and orders, at whichever node answers.
async fn call(addresses: [String; 2], stock: Arc<Stock>, over: Arc<AtomicBool>, caller: usize) {
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        let Ok(shop) = Shop::connect(&addresses[n % 2], 1).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // a hundred orders or the node's end
        for order in 0..100 {
            // a pace that the relay can follow between two faults, so that it is at work when the next one comes
            tokio::time::sleep(Duration::from_millis(40)).await;
            if over.load(Ordering::Relaxed) || !shop.place(stock.wish((caller * 7_919 + n * 31 + order * 17) as u64), caller).await.is_outcome() {
                break;
            }
        }
    }
}

/// Whole topics beside the whole log; counts what does not hold.
async fn compare(stage: &Stage, reader: &Reader, head: Position) -> anyhow::Result<u64> {
    let settings = config(&stage.addresses[0])?.relay_settings(&stage.kafka.brokers());
    let cluster = Cluster::new(settings.kafka, settings.patience);
    let log_id = reader.identity().await?.log_id;
    say(&format!("{head} events in the log. Of each topic, as a `read_committed` consumer sees it:"));
    let (mut broken, mut aborted) = (0, 0);
    for topic in audit(&cluster, reader, log_id, head).await? {
        say(&format!(
            "  {:<30} {:>8} records, {} missing, {} doubled, {} out of order, {} foreign; {} more were written and aborted",
            topic.topic, topic.records, topic.missing, topic.doubled, topic.disordered, topic.foreign, topic.aborted
        ));
        broken += topic.faults();
        aborted += topic.aborted;
    }
    if aborted == 0 {
        say("no transaction was cut: the kills did not bite, so this run proves nothing");
        broken += 1;
    }
    Ok(broken)
}
