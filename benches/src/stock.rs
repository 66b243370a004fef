//! (b) Stock cqrs-es on stock postgres-es: `HoldUnits`, tried again when another was first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cqrs_es::{AggregateError, CqrsFramework, persist::PersistedEventStore};
use jari_domain::{
    Quantity, Timestamp,
    cqrs::DecisionTime,
    ids::{HoldId, PoolId},
    slot::{InventorySlot, SlotCommand},
};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use crate::{
    drive::{Measured, closed_loop},
    place::Bench,
};

/// How long after the end a command may still be tried again.
const GRACE: Duration = Duration::from_secs(2);

/// `clients` callers over `connections`.
///
/// # Errors
/// A database that does not answer.
pub async fn run(bench: &Bench, slots: usize, clients: usize, connections: u32, lasts: Duration) -> anyhow::Result<Measured> {
    let access = &bench.config;
    let mut options = PgConnectOptions::new().username("postgres").database("bench");
    if let Some(tokio_postgres::config::Host::Unix(folder)) = access.get_hosts().first() {
        options = options.socket(folder).port(access.get_ports().first().copied().unwrap_or(5432));
    }
    if let Some(password) = access.get_password() {
        options = options.password(std::str::from_utf8(password)?);
    }
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(60)).connect_with(options).await?;
    let repository = PostgresEventRepository::new(pool).with_tables("stock_events", "stock_snapshots");
    let framework = CqrsFramework::<InventorySlot, _>::new(PersistedEventStore::new_event_store(repository), vec![], DecisionTime(Timestamp::now));
    let run = Uuid::now_v7().simple().to_string();
    for n in 0..slots {
        let open = SlotCommand::OpenSlot { pool_id: PoolId::parse("bench")?, window: None, capacity: Quantity::new(100_000_000) };
        framework.execute(&format!("{run}-{n}"), open).await?;
    }
    let framework = Arc::new(framework);
    let began = Instant::now();
    Ok(closed_loop(clients, lasts, move |client, n| {
        let (framework, run) = (framework.clone(), run.clone());
        async move {
            let slot = format!("{run}-{}", (client as u64 * 7_919 + n * 31) % slots as u64);
            // what has not been done in time counts as failed: under contention a single command can take minutes
            while began.elapsed() < lasts + GRACE {
                let expires_at = Timestamp::now().saturating_add(jiff::SignedDuration::from_mins(10)).unwrap_or(Timestamp::MAX);
                let Ok(hold_id) = HoldId::parse(&Uuid::now_v7().to_string()) else { return false };
                match framework.execute(&slot, SlotCommand::HoldUnits { hold_id, quantity: Quantity::ONE, expires_at }).await {
                    Ok(()) => return true,
                    Err(AggregateError::AggregateConflict) => {}
                    Err(_) => return false,
                }
            }
            false
        }
    })
    .await)
}
