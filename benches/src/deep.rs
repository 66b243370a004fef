//! How the append holds up: after millions of events, and beside a snapshot that somebody holds open in the same database.

use std::time::{Duration, Instant};

use crate::{
    ours::Ours,
    place::{Bench, connect},
    report::{Cell, Report},
};

const FILL: &str = include_str!("sql/fill.sql");
/// Events that one statement writes.
const PIECE: i64 = 250_000;
/// Callers and slots of every cell here.
const CLIENTS: usize = 256;
const SLOTS: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

/// What is done here.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// Events that are written before the second cell.
    pub events: i64,
    /// How long the snapshot is held open under load.
    pub snapshot: Duration,
    /// A cell.
    pub lasts: Duration,
}

/// Measures holds in process on an empty log, on a long one, and under an old snapshot.
///
/// # Errors
/// A database that does not answer.
pub async fn run(bench: &Bench, depth: Depth, report: &mut Report) -> anyhow::Result<()> {
    let bench = &bench.fresh().await?;
    let empty = cell(bench, "inproc-empty", depth.lasts, report).await?;
    fill(bench, depth.events).await?;
    let long = cell(bench, "inproc-long", depth.lasts, report).await?;
    report.note(format!("append after {} events: {:.2} of that on an empty log", depth.events, long / empty.max(0.001)));

    let mut reader = connect(&bench.config).await?;
    let snapshot = reader.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    let seen: i64 = snapshot.query_one("SELECT coalesce(max(position), 0) FROM events", &[]).await?.get(0);
    let under = last_minute(bench, "inproc-snapshot", depth, depth.snapshot, report).await?;
    let still: i64 = snapshot.query_one("SELECT coalesce(max(position), 0) FROM events", &[]).await?.get(0);
    anyhow::ensure!(seen == still, "the snapshot was not held");
    snapshot.rollback().await?;
    // the same load goes on without the snapshot: what is left of a difference is the snapshot's
    let after = last_minute(bench, "inproc-released", depth, MINUTE, report).await?;
    report.note(format!(
        "append while a snapshot was held open for {} s: {:.2} of that after its end",
        depth.snapshot.as_secs(),
        under / after.max(0.001)
    ));
    Ok(())
}

/// Measures cell after cell for as long as told, and gives the mean of those that ended in the last minute: a checkpoint of the server makes single cells slow.
async fn last_minute(bench: &Bench, system: &str, depth: Depth, lasts: Duration, report: &mut Report) -> anyhow::Result<f64> {
    let (began, mut cells) = (Instant::now(), Vec::new());
    while began.elapsed() < lasts {
        let per_second = cell(bench, system, depth.lasts, report).await?;
        cells.push((began.elapsed(), per_second));
    }
    let late: Vec<f64> = cells.iter().filter(|(at, _)| *at + MINUTE > began.elapsed()).map(|(_, per_second)| *per_second).collect();
    Ok(late.iter().sum::<f64>() / late.len().max(1) as f64)
}

async fn cell(bench: &Bench, system: &str, lasts: Duration, report: &mut Report) -> anyhow::Result<f64> {
    let node = Ours::start(bench, false).await?;
    let measured = node.in_process(SLOTS, CLIENTS, lasts).await?;
    node.node.stop().await;
    let per_second = measured.per_second;
    report.add(Cell::of(system, SLOTS, CLIENTS), measured);
    Ok(per_second)
}

/// Writes events and commands of the size of real ones, each event in a stream of its own.
async fn fill(bench: &Bench, events: i64) -> anyhow::Result<()> {
    let client = connect(&bench.config).await?;
    let mut left = events;
    while left > 0 {
        let now = left.min(PIECE);
        client.execute(FILL, &[&now]).await?;
        left -= now;
        eprintln!("  {left} events to be written first");
    }
    // each alone: several statements at once are one transaction, in which there is no VACUUM
    client.batch_execute("VACUUM ANALYZE").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}
