//! The one PostgreSQL of a run, with its durability on, and what it counts.

use anyhow::Context;
use jari_event_store::{Database, PoolSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};
use tokio_postgres::{Client, Config, NoTls};

/// A server for a run.
pub struct Bench {
    /// Ends with it.
    pub server: PrivatePostgres,
    /// Reaches the run's database.
    pub config: Config,
    /// The same, as the engine takes it.
    pub database: Database,
}

/// What the server has counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    wal_bytes: f64,
    syncs: i64,
    transactions: i64,
}

/// Settings that decide whether an acknowledged booking survives a crash.
pub const DURABILITY: &[&str] = &["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "server_version"];

impl Bench {
    /// Starts a server of its own and makes the log in it.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn start() -> anyhow::Result<Self> {
        let server = PrivatePostgres::temporary(true, Lifetime::Owned).await?;
        let mut config = server.access().superuser.clone();
        connect(&config).await?.batch_execute("CREATE DATABASE bench").await?;
        config.dbname("bench");
        let database = Database::new(config.clone(), PoolSettings::default())?;
        migrate(&database, None).await?;
        Ok(Self { server, config, database })
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

    /// What the server has counted so far.
    ///
    /// # Errors
    /// A database that does not answer.
    pub async fn counted(&self) -> anyhow::Result<Counted> {
        let client = connect(&self.config).await?;
        client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
        let row = client.query_one(include_str!("sql/counted.sql"), &[]).await.context("the server's statistics")?;
        Ok(Counted { wal_bytes: row.get(0), syncs: row.get(1), transactions: row.get(2) })
    }
}

impl Counted {
    /// WAL bytes, syncs and transactions for each of `done` things since `before`.
    #[must_use]
    pub fn each(&self, before: &Self, done: u64) -> (f64, f64, f64) {
        let done = done.max(1) as f64;
        let per = |now: i64, then: i64| (now - then) as f64 / done;
        ((self.wal_bytes - before.wal_bytes) / done, per(self.syncs, before.syncs), per(self.transactions, before.transactions))
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
