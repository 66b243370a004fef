//! A running node, as a subcommand that asks it something reaches it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use jari_proto::status::reason;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::config::Config;

/// How long a connection is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server that is named, as `HOST:PORT` or with its scheme, else the one of this configuration.
///
/// # Errors
/// When nobody answers there.
pub async fn node(config: &Config, server: Option<&str>) -> anyhow::Result<Channel> {
    let named = server.map_or_else(|| config.advertised(), str::to_owned);
    let address = if named.contains("://") { named.clone() } else { format!("http://{named}") };
    let endpoint = Endpoint::from_shared(address).with_context(|| format!("{named:?} is not the address of a server"))?;
    endpoint.connect_timeout(PATIENCE).connect().await.with_context(|| format!("nobody answers on {named}; start a server with `jari serve`"))
}

/// What it refused, with the stable code.
pub fn refused(status: &Status) -> anyhow::Error {
    match reason(status) {
        Some(code) => anyhow!("{} ({code})", status.message()),
        None => anyhow!("the server ended the call: {}", status.message()),
    }
}
