//! The keys of persons: where their database is, which master keys are at hand, and the list of erasures.

use std::path::PathBuf;

use anyhow::Context;
use jari_event_store::{Address, PoolSettings};
use jari_postgres::Access;
use jari_sealing::{ErasureList, KeyStore, MasterSource, Sealer, SealerSettings};

use crate::{config::Config, database};

/// What keeps and destroys keys.
pub struct Keys {
    /// Their database.
    pub store: KeyStore,
    /// The master keys.
    pub masters: MasterSource,
    /// Of erasures.
    pub list: PathBuf,
}

/// Where the keys are; `private` is the private PostgreSQL, when that is in use. `None` when this server keeps no personal data.
///
/// # Errors
/// When keys.url is no address.
pub fn find(config: &Config, private: Option<&Access>) -> anyhow::Result<Option<Keys>> {
    let keys = &config.keys;
    let address = match (keys.url.is_empty(), private) {
        (false, _) => keys.url.reveal().parse::<Address>().context("keys.url")?,
        (true, Some(access)) => access.keys.clone().into(),
        (true, None) => return Ok(None),
    };
    // what callers wait for is bounded by the sealer
    let pool = PoolSettings { connections: keys.pool_connections, ..PoolSettings::patient() };
    let beside =
        |path: &PathBuf, name: &str| if path.as_os_str().is_empty() { database::folder(config).root().join("keys").join(name) } else { path.clone() };
    let masters = if keys.master.is_empty() {
        MasterSource::File(beside(&keys.master_file, "master.key"))
    } else {
        let former = keys.former_masters.reveal().split(',').map(str::trim).filter(|text| !text.is_empty());
        MasterSource::Given(std::iter::once(keys.master.reveal()).chain(former).map(|text| text.to_owned().into()).collect())
    };
    Ok(Some(Keys { store: KeyStore::new(address, pool)?, masters, list: beside(&keys.erasure_list, "erasures.jsonl") }))
}

/// For `serve`: the schema is brought up to date, the private set-up gets its master key, and the list of erasures is applied.
///
/// # Errors
/// A master key that is missing or wrong, a list that cannot be read, a database that does not answer.
pub async fn open(config: &Config, private: Option<&Access>) -> anyhow::Result<Sealer> {
    let Some(keys) = find(config, private)? else {
        return Ok(Sealer::off("keys.url names no database for the keys of persons; set it, and keys.master, to take contacts and names of guests"));
    };
    if let MasterSource::File(path) = &keys.masters {
        // beside a server of one's own nobody makes a master key by accident: each node would make another
        if config.keys.url.is_empty() && keys.masters.provide()? {
            tracing::warn!(
                file = %path.display(),
                "a master key for personal data was made. Back this file up, apart from the database: without it no contact and no name of a guest can be read any more. \
                 And name another disk in keys.erasure_list: a copy of this folder, put back whole, brings erased persons back"
            );
        }
    }
    keys.store.migrate().await.context("the database of the keys of persons (keys.url)")?;
    let list = ErasureList::new(&keys.list);
    Sealer::start(keys.store, keys.masters, Some(list), SealerSettings::default()).await.map_err(|error| {
        let code = error.code();
        anyhow::Error::new(error).context(format!("{code}: personal data cannot be kept"))
    })
}
