//! `infra/prove crash`: breaks real things under load, then compares what callers were told with the log and the views.
//!
//! Each round kills or pauses the engine, kills or pauses PostgreSQL, or cuts the engine's connections. Callers place orders, and confirm or cancel each
//! third that is held; they repeat what they got no answer to, under the same request id. At the end each order is looked up in the log and asked for
//! by `GetOrder` (of very many, a part that is told). `--rounds N`, 50 by default. Exit code 1 when anything was lost, doubled or oversold.

use std::{
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jari::{client::Shop, config::Config, node::Node};
use jari_benches::{
    callers::{Callers, PATIENCE},
    comparison::compare,
    faults::{free_address, loop_until, say, signal_process, start_self},
    place::connect,
};
use jari_event_store::{Database, PoolSettings, Reader, migrate};
use jari_postgres::{DataFolder, PrivatePostgres, Settings};
use uuid::Uuid;

/// Slots that the callers want; small enough to sell out now and then.
const SLOTS: u32 = 4;
const SEATS: i32 = 2_000;

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
    let access = DataFolder::new(folder).find().context("no PostgreSQL runs there")?;
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
        let server = PrivatePostgres::start(Settings::new(DataFolder::new(&folder))).await?;
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
    let callers = Callers::start(&stage.address, stock.products)?;
    let mut syncs = Syncs::default();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(250 + u64::from(round) * 53 % 700)).await;
        syncs.count(&stage).await?;
        let before = callers.told();
        let broken = Instant::now();
        let what = stage.fault(round).await?;
        loop_until(PATIENCE, || async { if callers.told() > before + 20 { Ok(()) } else { bail!("nobody is served") } }).await?;
        say(&format!("round {:>2}  {what:<18}  answers went on after {:>5} ms, {} so far", round + 1, broken.elapsed().as_millis(), callers.told()));
    }
    let (record, lost) = callers.end().await;
    if lost > 0 {
        say(&format!("{lost} commands got no outcome within {} s", PATIENCE.as_secs()));
    }
    let reader = Reader::new(Database::new(stage.server.access().server.clone(), PoolSettings::default())?);
    let broken = lost + compare(&reader, &stage.address, &stock.slots, &record).await?;
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
