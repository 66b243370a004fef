//! `infra/bench rebuild`: how fast each view is made anew, beside the speed at which its log was written, in one run on one PostgreSQL with `fsync` on.
//!
//! Three logs, each in a database of its own: holds of one slot and of a thousand, in process (one event each, many to a row of the slot), and whole
//! bookings in process (placed, held, settled). Nobody else writes while a view is rebuilt; at last each is rebuilt once more while bookings go on with
//! settlement and the live views beside it. `--seconds N` of writing a log, 10 by default; `--rounds N` of rebuilding, 3 by default, the median counts.

use std::{path::Path, time::Duration, time::Instant};

use anyhow::ensure;
use jari_benches::{
    drive::Measured,
    faults::say,
    ours::Ours,
    place::Bench,
    report::{Cell, Report},
};
use jari_event_store::Reader;
use jari_projections::{rebuild, view_names};
use tokio_util::sync::CancellationToken;

/// As `jari serve` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLOTS: usize = 1_000;
const CLIENTS: usize = 256;
/// One piece of the load that goes on beside a rebuild.
const LOAD: Duration = Duration::from_secs(1);

/// What a log is made of, and over how many slots.
const LOGS: &[(&str, usize)] = &[("holds", 1), ("holds", SLOTS), ("bookings", 1), ("bookings", SLOTS)];

struct Asked {
    lasts: Duration,
    rounds: usize,
}

fn asked() -> anyhow::Result<Asked> {
    let mut asked = Asked { lasts: Duration::from_secs(10), rounds: 3 };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => asked.lasts = Duration::from_secs_f64(value.parse()?),
            [name, value] if name == "--rounds" => asked.rounds = value.parse()?,
            _ => anyhow::bail!("usage: rebuild [--seconds N] [--rounds N]"),
        }
    }
    Ok(asked)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked = asked()?;
    let bench = Bench::start().await?;
    let durability = bench.durability().await?;
    eprintln!("{durability}");
    let mut report = Report::default();
    for (what, slots) in LOGS {
        let bench = bench.fresh().await?;
        let written = write(&bench, what, *slots, asked.lasts).await?;
        let log = written.per_second;
        report.add(Cell::of(&format!("log-{what}"), *slots, CLIENTS), written);
        let mut ratios = Vec::new();
        for view in view_names() {
            let mut speeds = Vec::new();
            for _ in 0..asked.rounds.max(1) {
                let made = remake(&bench, view).await?;
                speeds.push(made.per_second);
                report.add(Cell::of(&format!("{view}-{what}"), *slots, 1), made);
            }
            speeds.sort_by(f64::total_cmp);
            ratios.push(format!("{view} {:.1}", speeds[speeds.len() / 2] / log.max(0.001)));
        }
        report.note(format!("rebuild / log, {what}, {slots} slots: {}", ratios.join(", ")));
        if *what == "bookings" {
            under_load(&bench, *slots, &mut report).await?;
        }
    }
    report.note(format!("PostgreSQL: {durability}"));
    report.write(Path::new("target/bench/rebuild.json"))?;
    let table = report.markdown();
    std::fs::write("target/bench/rebuild.md", &table)?;
    say(&table);
    Ok(())
}

/// Writes a log as fast as it can be written: no views, no relay. Its speed is events by the time until the last of them, settlement's included.
async fn write(bench: &Bench, what: &str, slots: usize, lasts: Duration) -> anyhow::Result<Measured> {
    let ours = Ours::alone(bench, what == "bookings").await?;
    let reader = Reader::new(bench.database.clone());
    let (measured, before, began) = if what == "bookings" {
        let stock = ours.shop(slots).await?;
        let (before, began) = (reader.head().await?, Instant::now());
        let measured = ours.bookings_in_process(&stock, CLIENTS, lasts).await?;
        ours.settled().await?;
        (measured, before, began)
    } else {
        let (before, began) = (reader.head().await?, Instant::now());
        (ours.in_process(slots, CLIENTS, lasts).await?, before, began)
    };
    let (took, done) = (began.elapsed(), reader.head().await?.since(before));
    ours.node.stop().await;
    Ok(Measured { per_second: done as f64 / took.as_secs_f64(), done, ..measured })
}

/// Makes each view anew while bookings go on as fast as they can, and compares its speed with that at which the log grows meanwhile.
async fn under_load(bench: &Bench, slots: usize, report: &mut Report) -> anyhow::Result<()> {
    let ours = Ours::start(bench, true).await?;
    let stock = ours.shop(slots).await?;
    let reader = Reader::new(bench.database.clone());
    let mut ratios = Vec::new();
    for view in view_names() {
        let made = remake(bench, view);
        tokio::pin!(made);
        let (mut grew, began) = (0, Instant::now());
        let made = loop {
            let before = reader.head().await?;
            let load = ours.bookings_in_process(&stock, CLIENTS, LOAD);
            // a piece of load after the other until the view is made
            let (done, made) = tokio::join!(load, async { tokio::time::timeout(LOAD, &mut made).await.ok() });
            ensure!(done.is_ok(), "the load broke");
            grew += reader.head().await?.since(before);
            if let Some(made) = made {
                break made?;
            }
        };
        let log = grew as f64 / began.elapsed().as_secs_f64();
        ratios.push(format!("{view} {:.1}", made.per_second / log.max(0.001)));
        report.add(Cell::of(&format!("{view}-under-load"), slots, CLIENTS), made);
    }
    ours.node.stop().await;
    report.note(format!("rebuild / log, both at once, bookings with settlement and live views, {slots} slots: {}", ratios.join(", ")));
    Ok(())
}

/// Makes a view anew, from the first event to the last, and switches.
async fn remake(bench: &Bench, view: &str) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let made = rebuild(&bench.database, view, |_| {}, &CancellationToken::new()).await?;
    let per_second = made.events as f64 / began.elapsed().as_secs_f64();
    Ok(Measured { per_second, p50_ms: 0.0, p99_ms: 0.0, done: made.events, failed: 0 })
}
