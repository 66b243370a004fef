//! Where the database is, and the connections to it.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{Client, Config, Connection, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Address, LogError, patience};

/// How long the other end's system may leave what was sent, or a probe of an idle connection, without a sign of having got it.
const SILENCE: Duration = Duration::from_secs(12);
/// Before what the operator says. An idle transaction of ours would be a bug that holds up vacuum and everybody who waits for its locks: it is ended.
const OPTIONS: &str = "-c idle_in_transaction_session_timeout=30s -c statement_timeout=0 -c lock_timeout=0 -c timezone=UTC";
/// After it, whatever the server's default is: an append reads what landed while it waited for the log's lock.
const ISOLATION: &str = r"-c default_transaction_isolation=read\ committed";

/// What tokio-postgres says of an address that sets no idle time before the first probe.
const UNSET_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Bounds of the pool for reads.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// Connections at most.
    pub connections: usize,
    /// How long a caller waits for one, and for what [`Database::in_time`] asks.
    pub wait: Duration,
}

/// Connections of the pool now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Open, at most [`PoolSettings::connections`].
    pub open: usize,
    /// Somebody has them.
    pub in_use: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { connections: 16, wait: patience::PATIENCE }
    }
}

impl PoolSettings {
    /// For who does one piece of work and keeps nobody waiting: a busy database is waited for.
    #[must_use]
    pub fn patient() -> Self {
        Self { wait: Duration::from_secs(60), ..Self::default() }
    }
}

/// A database: how to reach it, and a bounded pool of connections for reads and views.
#[derive(Clone)]
pub struct Database {
    address: Address,
    pool: Pool,
    pub(crate) patience: Duration,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("name", &self.address.config.get_dbname()).finish_non_exhaustive()
    }
}

impl Database {
    /// Takes where the database is; connects when first needed.
    ///
    /// # Errors
    /// [`LogError::Pool`] when the settings make no pool.
    pub fn new(address: impl Into<Address>, settings: PoolSettings) -> Result<Self, LogError> {
        let mut address = address.into();
        let config = &mut address.config;
        config.connect_timeout(settings.wait);
        // A network that swallows everything is noticed as fast as a server that is gone; otherwise the system waits for a quarter of an hour.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        if config.get_keepalives_idle() == UNSET_IDLE {
            config.keepalives_idle(SILENCE / 2);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(SILENCE / 6);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
        let theirs = config.get_options().unwrap_or_default();
        if !theirs.ends_with(ISOLATION) {
            let options = format!("{OPTIONS} {theirs} {ISOLATION}");
            config.options(options);
        }
        let manager = Manager::from_config(config.clone(), address.tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(settings.connections)
            .wait_timeout(Some(settings.wait))
            .create_timeout(Some(settings.wait))
            .runtime(Runtime::Tokio1)
            .post_recycle(patience::sign(address.tls.clone()))
            .build()
            .map_err(|e| LogError::Pool(e.to_string()))?;
        Ok(Self { address, pool, patience: settings.wait })
    }

    /// The same database with a pool of its own: who uses that does not wait for whoever uses this one.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn apart(&self, connections: usize) -> Result<Self, LogError> {
        Self::new(self.address.clone(), PoolSettings { connections, wait: self.patience })
    }

    /// A pooled connection.
    ///
    /// # Errors
    /// [`LogError::Pool`] when none could be had within the bound.
    pub async fn connection(&self) -> Result<deadpool_postgres::Object, LogError> {
        self.pool.get().await.map_err(|e| match e {
            deadpool_postgres::PoolError::Backend(e) => LogError::Database(e),
            other => LogError::Pool(other.to_string()),
        })
    }

    /// How much of the pool is in use.
    #[must_use]
    pub fn pool_use(&self) -> PoolUse {
        let status = self.pool.status();
        PoolUse { open: status.size, in_use: status.size.saturating_sub(status.available), waiting: status.waiting }
    }

    /// A connection of its own, driven by a task that ends with it.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn dedicated(&self) -> Result<Client, LogError> {
        let (client, connection) = self.connect().await?;
        // Joined by nobody: the task ends when the client is dropped or the server hangs up, and either is seen at the client.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        Ok(client)
    }

    /// A connection of its own that somebody else drives.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>), LogError> {
        Ok(self.address.config.connect(self.address.tls.clone()).await?)
    }

    /// How to reach it, but for its encryption.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.address.config
    }

    /// Refuses a database that would lose acknowledged commands in a crash.
    ///
    /// # Errors
    /// [`LogError::NotDurable`] naming the setting.
    pub async fn require_durability(&self) -> Result<(), LogError> {
        let client = self.connection().await?;
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            let value: String = client.query_one("SELECT current_setting($1)", &[&setting]).await?.try_get(0)?;
            if value == "off" {
                return Err(LogError::NotDurable { setting: setting.into(), value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached_by(url: &str) -> Config {
        let config: Config = url.parse().unwrap();
        Database::new(config, PoolSettings::default()).unwrap().config().clone()
    }

    #[test]
    fn a_network_that_swallows_everything_is_noticed_within_twelve_seconds() {
        let config = reached_by("postgresql://jari@db/log");
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(12)));
        let (idle, between, probes) =
            (config.get_keepalives_idle(), config.get_keepalives_interval().unwrap(), config.get_keepalives_retries().unwrap());
        assert!(config.get_keepalives());
        assert_eq!(idle + between * probes, Duration::from_secs(12), "an idle connection too");
        assert_eq!(config.get_connect_timeout(), Some(&PoolSettings::default().wait));
        let options = config.get_options().unwrap();
        assert!(options.contains("idle_in_transaction_session_timeout=30s") && options.contains("timezone=UTC"), "{options}");
    }

    #[test]
    fn what_the_operator_says_of_silence_and_options_is_kept() {
        let config = reached_by(
            "postgresql://jari@db/log?tcp_user_timeout=40&keepalives_idle=41&keepalives_interval=42&keepalives_retries=43&options=-c%20timezone%3DAsia/Seoul",
        );
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(40)));
        let probes = (config.get_keepalives_idle(), config.get_keepalives_interval(), config.get_keepalives_retries());
        assert_eq!(probes, (Duration::from_secs(41), Some(Duration::from_secs(42)), Some(43)));
        let options = config.get_options().unwrap();
        assert!(options.rfind("timezone=UTC") < options.find("timezone=Asia/Seoul"), "the last one counts: {options}");
    }
}
