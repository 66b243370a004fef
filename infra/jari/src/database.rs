//! Finds the database: the configured one, the private one that runs, or a private one of our own.

use anyhow::{Context, bail};
use jari_event_store::{Address, Database, PoolSettings, migrate};
use jari_postgres::{Access, DataFolder, PrivatePostgres, Settings};

use crate::config::Config;

/// The database and, when this process started it, the server.
pub struct Home {
    /// As the server's role.
    pub database: Database,
    /// As the owner of the schema.
    owner: Database,
    server_role: Option<String>,
    /// How to reach the private server, when it is one.
    pub access: Option<Access>,
    /// Stopped last.
    pub private: Option<PrivatePostgres>,
}

/// Where the private PostgreSQL lives.
pub fn folder(config: &Config) -> DataFolder {
    let root = &config.database.data_dir;
    DataFolder::new(if root.as_os_str().is_empty() { DataFolder::default_root() } else { root.clone() })
}

/// Bounds for callers of a server, who are told soon that the database does not answer.
fn for_callers(config: &Config) -> PoolSettings {
    PoolSettings { connections: config.database.pool_connections, ..PoolSettings::default() }
}

/// Bounds for a command, and for the owner of the schema.
fn for_work(config: &Config) -> PoolSettings {
    PoolSettings { connections: config.database.pool_connections, ..PoolSettings::patient() }
}

fn configured(config: &Config, pool: PoolSettings) -> anyhow::Result<Home> {
    let settings = &config.database;
    let server: Address = settings.url.reveal().parse().context("database.url")?;
    let owner: Address =
        if settings.owner_url.is_empty() { server.clone() } else { settings.owner_url.reveal().parse().context("database.owner_url")? };
    let server_role = server.config().get_user().filter(|user| owner.config().get_user() != Some(user)).map(str::to_owned);
    Ok(Home { database: Database::new(server, pool)?, owner: Database::new(owner, for_work(config))?, server_role, access: None, private: None })
}

fn from_access(config: &Config, access: &Access, private: Option<PrivatePostgres>, pool: PoolSettings) -> anyhow::Result<Home> {
    let (server, owner) = (access.server.clone(), access.owner.clone());
    let server_role = server.get_user().map(str::to_owned);
    Ok(Home {
        database: Database::new(server, pool)?,
        owner: Database::new(owner, for_work(config))?,
        server_role,
        access: Some(access.clone()),
        private,
    })
}

/// The database for `serve`: starts the private PostgreSQL when nobody else runs it.
///
/// # Errors
/// What stands in the way, in words.
pub async fn open(config: &Config) -> anyhow::Result<Home> {
    let pool = for_callers(config);
    if !config.database.url.is_empty() {
        return configured(config, pool);
    }
    let folder = folder(config);
    if let Some(access) = folder.find() {
        return from_access(config, &access, None, pool);
    }
    let private = PrivatePostgres::start(Settings::new(folder)).await.context("the private PostgreSQL did not start")?;
    let access = private.access().clone();
    from_access(config, &access, Some(private), pool)
}

/// The database for every other command: the configured one, or the private one that runs now.
///
/// # Errors
/// When none runs.
pub fn find(config: &Config) -> anyhow::Result<Home> {
    if !config.database.url.is_empty() {
        return configured(config, for_work(config));
    }
    match folder(config).find() {
        Some(access) => from_access(config, &access, None, for_work(config)),
        None => bail!("no private PostgreSQL runs; start it with `jari serve`, or set database.url"),
    }
}

impl Home {
    /// As the owner of the schema, who may take the role of the archiver.
    pub fn owner(&self) -> &Database {
        &self.owner
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// As [`migrate`].
    pub async fn migrate(&self) -> anyhow::Result<()> {
        Ok(migrate(&self.owner, self.server_role.as_deref()).await?)
    }
}
