//! (e) The limit: the rows of (c) as bare SQL, at the batch size that (c) reached, two batches on their way on one connection.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    drive::Measured,
    place::{Bench, connect},
};

const LIMIT: &str = include_str!("sql/limit.sql");
const PAYLOAD: &str = r#"{"UnitsHeld":{"hold_id":"01a2090f-7c02-744e-bae9-39d0113524ba","quantity":1,"expires_at":"2026-11-23T15:41:04.689319Z","counts":{"capacity":100000000,"held":51234,"confirmed":0}}}"#;
const METADATA: &str = r#"{"command_id":"01a2090f-7c02-744e-bae9-39d0113524ba","correlation_id":"01a2090f-7c02-744e-bae9-39d0113524ba","actor":"bench","decided_at":"2026-11-23T15:31:04.689319Z"}"#;

/// Writes batches of `size` rows.
///
/// # Errors
/// A database that does not answer.
pub async fn run(bench: &Bench, size: usize, lasts: Duration) -> anyhow::Result<Measured> {
    let client = Arc::new(connect(&bench.config).await?);
    let statement = client.prepare(LIMIT).await?;
    let began = Instant::now();
    let rows = i32::try_from(size.max(1))?;
    let lane = |lane: i32| {
        let (client, statement) = (client.clone(), statement.clone());
        async move {
            let mut done = 0_u64;
            while began.elapsed() < lasts {
                let ids: Vec<Uuid> = (0..rows).map(|_| Uuid::now_v7()).collect();
                client.execute(&statement, &[&rows, &lane, &PAYLOAD, &METADATA, &ids]).await?;
                done += size as u64;
            }
            anyhow::Ok(done)
        }
    };
    let (one, two) = futures::future::try_join(lane(1), lane(2)).await?;
    let done = one + two;
    Ok(Measured { per_second: done as f64 / began.elapsed().as_secs_f64(), p50_ms: 0.0, p99_ms: 0.0, done, failed: 0 })
}
