//! `infra/bench chain`: what the chain of digests costs the append, in one run on one PostgreSQL with `fsync` on.
//!
//! Holds in process by 256 callers, in turns on a log that is chained and on one whose append leaves the chain out (the same function but for its
//! `sha256`); and the digest of an event, which the node makes, timed by itself over events of that log. `--seconds N` a cell, 4 by default; `--rounds N`,
//! 7 by default, of which the median counts.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use jari_benches::{
    drive::Measured,
    faults::say,
    ours::Ours,
    place::{Bench, connect},
    report::{Cell, Report},
};
use sha2::{Digest, Sha256};

/// As `jari serve` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 256;
/// What the append chains by, as it stands in the function.
const CHAINED: &str = "sha256(head || int8send(base + 1) || int4send(event_total) || timestamptz_send(stamped_at) || e_digest)";
const STORED: &str =
    "SELECT aggregate_type, aggregate_id, event_type, event_version, payload::text, metadata::text FROM events ORDER BY position DESC LIMIT 10000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut seconds, mut rounds) = (4.0, 7);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => seconds = value.parse()?,
            [name, value] if name == "--rounds" => rounds = value.parse()?,
            _ => anyhow::bail!("usage: chain [--seconds N] [--rounds N]"),
        }
    }
    let lasts = Duration::from_secs_f64(seconds);
    let bench = Bench::start().await?;
    let (chained, plain) = (bench.fresh().await?, bench.fresh().await?);
    unchain(&plain).await?;
    let mut report = Report::default();
    for round in 0..rounds {
        for slots in [1, 1_000] {
            // in turns, so that what changes with time changes both
            for with in [round % 2 == 0, round % 2 == 1] {
                bench.checkpoint().await?;
                let ours = Ours::start(if with { &chained } else { &plain }, false).await?;
                let measured = ours.in_process(slots, CLIENTS, lasts).await?;
                ours.node.stop().await;
                report.add(Cell::of(if with { "chained" } else { "unchained" }, slots, CLIENTS), measured);
            }
        }
    }
    let each = digest(&chained).await?;
    report.add(Cell::of("digest", 1, 1), Measured { per_second: 1e9 / each, p50_ms: each / 1e6, p99_ms: each / 1e6, done: 10_000, failed: 0 });
    for slots in [1, 1_000] {
        if let (Some(with), Some(without)) = (report.per_second("chained", slots, CLIENTS), report.per_second("unchained", slots, CLIENTS)) {
            let share = each * with / 1e9;
            let chain = with / without.max(0.001);
            report.note(format!(
                "{slots} slots: chained {chain:.3} of unchained; the node's digests, {each:.0} ns an event, are {share:.3} of one core at that speed"
            ));
        }
    }
    report.note(format!("PostgreSQL: {}", bench.durability().await?));
    report.write(Path::new("target/bench/chain.json"))?;
    let table = report.markdown();
    std::fs::write("target/bench/chain.md", &table)?;
    say(&table);
    Ok(())
}

/// Leaves the chain out of the append of this database.
async fn unchain(bench: &Bench) -> anyhow::Result<()> {
    let client = connect(&bench.config).await?;
    let whole: String = client.query_one("SELECT pg_get_functiondef('append_batch'::regproc)", &[]).await?.get(0);
    ensure!(whole.contains(CHAINED), "the append chains by something else than {CHAINED}");
    client.batch_execute(&whole.replace(CHAINED, "head")).await.context("the append without its chain")
}

/// Nanoseconds that the digest of a stored event takes, on average.
async fn digest(bench: &Bench) -> anyhow::Result<f64> {
    const TIMES: u32 = 20;
    let rows = connect(&bench.config).await?.query(STORED, &[]).await?;
    let events: Vec<Vec<String>> = rows.iter().map(|row| (0..6).map(|column| row.get(column)).collect()).collect();
    ensure!(!events.is_empty(), "the log is empty");
    let began = Instant::now();
    for _ in 0..TIMES {
        for event in &events {
            let mut hash = Sha256::new();
            for text in event {
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
            black_box(hash.finalize());
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / (events.len() as f64 * f64::from(TIMES)))
}
