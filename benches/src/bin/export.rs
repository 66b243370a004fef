//! `infra/bench export`: how fast an export is, and what bookings lose while one runs beside them.
//!
//! One PostgreSQL with `fsync` on, one node with all roles, callers over gRPC; the export is the program's own, a process of its own, as `jari export`
//! runs it. `--seconds N` a cell, 10 by default; `--rounds N`, 3 by default, with and without an export in turns.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use jari_benches::{
    drive::Measured,
    ours::{Ours, booking},
    place::Bench,
    report::{Cell, Report},
};
use jari_event_store::Reader;
use tokio_postgres::{Config, config::Host};

/// As `jari serve` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLOTS: usize = 1_000;
const CLIENTS: usize = 64;
/// What the log holds at least before anything is measured: an export of it outlasts a cell.
const EVENTS: u64 = 1_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut seconds, mut rounds) = (10.0, 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "--seconds" => seconds = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            _ => anyhow::bail!("usage: export [--seconds N] [--rounds N]"),
        }
    }
    let lasts = Duration::from_secs_f64(seconds);
    let bench = Bench::start().await?;
    let reader = Reader::new(bench.database.clone());
    let mut report = Report::default();
    let ours = Ours::start(&bench, true).await?;
    while reader.head().await?.get() < EVENTS {
        ours.in_process(SLOTS, 256, lasts).await?;
    }
    bench.database.connection().await?.batch_execute("VACUUM ANALYZE events").await?;

    // nobody books
    let folder = Folder::new()?;
    let events = reader.head().await?.get();
    let began = Instant::now();
    let mut alone = start(&bench.config, &folder.0)?;
    ensure!(alone.wait()?.success(), "the export failed");
    let per_second = events as f64 / began.elapsed().as_secs_f64();
    report.add(Cell::of("export-alone", SLOTS, 1), Measured { per_second, p50_ms: 0.0, p99_ms: 0.0, done: events, failed: 0 });
    let bytes = size(&folder.0)?;
    report.note(format!("{events} events are {bytes} bytes of Parquet: {:.1} an event", bytes as f64 / events as f64));

    for round in 0..rounds {
        // in turns, so that what changes with time changes both
        for with_export in [round % 2 == 1, round % 2 == 0] {
            let folder = Folder::new()?;
            let running = with_export.then(|| start(&bench.config, &folder.0)).transpose()?;
            let booked = booking(&ours.address(), u32::try_from(SLOTS)?, CLIENTS, lasts).await?;
            report.add(Cell::of(if with_export { "bookings-beside-export" } else { "bookings" }, SLOTS, CLIENTS), booked);
            if let Some(mut running) = running {
                ensure!(running.try_wait()?.is_none(), "the export ended before the bookings did: a longer log is needed");
                running.kill()?;
                running.wait()?;
            }
        }
    }
    let (without, with) = (report.per_second("bookings", SLOTS, CLIENTS), report.per_second("bookings-beside-export", SLOTS, CLIENTS));
    if let (Some(without), Some(with)) = (without, with) {
        report.note(format!("beside an export there are {:.2} of the bookings that there are without", with / without.max(0.001)));
    }
    report.note(format!("PostgreSQL: {}", bench.durability().await?));
    ours.node.stop().await;
    report.write(Path::new("target/bench/export.json"))?;
    let table = report.markdown();
    std::fs::write("target/bench/export.md", &table)?;
    jari_benches::faults::say(&table);
    Ok(())
}

/// A folder of one export, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let folder = Path::new("target/bench").join(format!("export-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what is left of it lies below target
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program beside this one.
fn start(database: &Config, folder: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?.with_file_name("jari");
    let exporting = Command::new(&program).arg("export").arg(folder).env("JARI_DATABASE__URL", address(database)).stdout(Stdio::null()).spawn();
    exporting.with_context(|| format!("{} cannot be run", program.display()))
}

/// How another process reaches this database.
fn address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "127.0.0.1".to_owned(),
    };
    let port = config.get_ports().first().map_or(5432, |port| *port);
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
    let (user, name) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    format!("host='{host}' port={port} user='{user}' password='{password}' dbname='{name}'")
}

fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
