//! The one PostgreSQL of a run, with its durability on, and what it counts.

use std::sync::Arc;

use anyhow::Context;
use jari_event_store::{Database, PoolSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};
use tokio_postgres::{Client, Config, NoTls};

/// A database of a run, on the one server of the run.
pub struct Bench {
    /// Ends with the last of them.
    pub server: Arc<PrivatePostgres>,
    /// Reaches the database.
    pub config: Config,
    /// The same, as the engine takes it.
    pub database: Database,
}

/// What the server and the kernel have counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    wal_bytes: f64,
    syncs: i64,
    transactions: i64,
    /// Processor time of this process: engine, views, gRPC, and the callers, who live in it, too. Seconds.
    ours: f64,
    /// Processor time of PostgreSQL. Seconds.
    theirs: f64,
}

/// Settings that decide whether an acknowledged booking survives a crash.
pub const DURABILITY: &[&str] = &["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "server_version"];

impl Bench {
    /// Starts a server of its own and makes the log in it.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn start() -> anyhow::Result<Self> {
        // as the program does
        jari::memory::take_small_pages();
        let server = Arc::new(PrivatePostgres::temporary(true, Lifetime::Owned).await?);
        age(&server.access().superuser).await?;
        Self::on(server, "bench").await
    }

    /// Another database with an empty log, on the same server.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn fresh(&self) -> anyhow::Result<Self> {
        Self::on(self.server.clone(), &format!("bench_{}", uuid::Uuid::now_v7().simple())).await
    }

    async fn on(server: Arc<PrivatePostgres>, name: &str) -> anyhow::Result<Self> {
        let mut config = server.access().superuser.clone();
        connect(&config).await?.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        config.dbname(name);
        let database = Database::new(config.clone(), PoolSettings::default())?;
        migrate(&database, None).await?;
        Ok(Self { server, config, database })
    }

    /// Writes out what is only in memory and in WAL.
    ///
    /// # Errors
    /// A database that does not answer.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        Ok(connect(&self.config).await?.batch_execute("CHECKPOINT").await?)
    }

    /// The durability settings, for the head of a report.
    ///
    /// # Errors
    /// A database that does not answer.
    pub async fn durability(&self) -> anyhow::Result<String> {
        let client = connect(&self.config).await?;
        let mut settings = Vec::new();
        for name in DURABILITY {
            let value: String = client.query_one("SELECT current_setting($1)", &[name]).await?.get(0);
            settings.push(format!("{name}={value}"));
        }
        Ok(settings.join(" "))
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// A database that does not answer.
    pub async fn counted(&self) -> anyhow::Result<Counted> {
        let client = connect(&self.config).await?;
        client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
        let row = client.query_one(include_str!("sql/counted.sql"), &[]).await.context("the server's statistics")?;
        let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let server = process(backend).map_or(0, |one| one.parent);
        let all = std::fs::read_dir("/proc")?.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?));
        // the server's own count has those of its children that have ended
        let theirs = all.filter(|one| one.parent == server || one.id == server).map(|one| one.seconds).sum();
        let ours = process(i32::try_from(std::process::id())?).map_or(0.0, |one| one.seconds);
        Ok(Counted { wal_bytes: row.get(0), syncs: row.get(1), transactions: row.get(2), ours, theirs })
    }
}

/// Segments of WAL (16 MB each) that a server has to write over, as one has that has run for a while. A new one makes each anew, full of zeros,
/// in the midst of somebody's commit: that would be measured, of whichever system writes most.
const SEGMENTS: usize = 128;

/// Gives a server the segments of one that has run for a while.
async fn age(config: &Config) -> anyhow::Result<()> {
    let client = connect(config).await?;
    for _ in 0..SEGMENTS {
        // a segment is left behind only when something stands in it
        client.batch_execute("SELECT pg_logical_emit_message(false, 'jari', 'filled')").await?;
        client.batch_execute("SELECT pg_switch_wal()").await?;
    }
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

/// A process, as the kernel tells of it.
struct Process {
    id: i32,
    parent: i32,
    seconds: f64,
}

/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

fn process(id: i32) -> Option<Process> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // the name before the last bracket may hold anything
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(Process { id, parent: fields.get(1)?.parse().ok()?, seconds: ticks / TICKS })
}

impl Counted {
    /// What each of `done` things took since `before`, in words.
    #[must_use]
    pub fn each(&self, before: &Self, done: u64) -> String {
        let done = done.max(1) as f64;
        let per = |now: i64, then: i64| (now - then) as f64 / done;
        format!(
            "{:.0} bytes of WAL, {:.4} syncs, {:.4} transactions, {:.0} µs of processor time here (callers included) and {:.0} µs in PostgreSQL",
            (self.wal_bytes - before.wal_bytes) / done,
            per(self.syncs, before.syncs),
            per(self.transactions, before.transactions),
            (self.ours - before.ours) * 1e6 / done,
            (self.theirs - before.theirs) * 1e6 / done,
        )
    }
}

/// A connection of its own.
///
/// # Errors
/// A database that does not answer.
pub async fn connect(config: &Config) -> anyhow::Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    // joined by nobody: it ends with the client
    tokio::spawn(connection);
    Ok(client)
}

/// A pool of so many connections.
///
/// # Errors
/// Settings that make no pool.
pub fn pool(config: &Config, connections: usize) -> anyhow::Result<deadpool_postgres::Pool> {
    let manager = deadpool_postgres::Manager::new(config.clone(), NoTls);
    Ok(deadpool_postgres::Pool::builder(manager).max_size(connections).build()?)
}
