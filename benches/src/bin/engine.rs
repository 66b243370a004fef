//! `infra/bench engine`: the engine beside plain SQL, beside stock cqrs-es, and beside the limit, in one run on one PostgreSQL with fsync on.
//!
//! `--quick` for one round of shorter cells; `--seconds N` a cell, 3 by default; `--rounds N`, of which the median counts; `--only a,c` for some of the systems;
//! `--clients 64,256` for some of the numbers of callers; `--no-flood` without the 10,000;
//! `--deep` instead: after five million events, and beside a snapshot held open for five minutes.

use std::{path::Path, time::Duration};

use jari_benches::{
    deep,
    deep::Depth,
    limit, ours,
    ours::Ours,
    place,
    place::Bench,
    report::{Cell, MOST_CONNECTIONS, Report},
    sql, sqlbooking, stock,
};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Numbers of connections among which plain SQL's best is looked for, at 256 clients.
const BEST_OF: &[usize] = &[4, 8, 16, 32];
/// Callers of the flood.
const FLOOD: usize = 10_000;

struct Options {
    seconds: f64,
    rounds: usize,
    only: Option<Vec<String>>,
    clients: Vec<usize>,
    flood: bool,
    deep: Option<Depth>,
}

const USAGE: &str = "Options: --quick (one round of 2 s), --seconds N (a cell, 3 by default), --rounds N (3), --only a,b,c,d,e,f,g (systems), --clients 64,256, --no-flood, --deep";

impl Options {
    fn read() -> anyhow::Result<Self> {
        let mut options = Self { seconds: 3.0, rounds: 3, only: None, clients: vec![1, 16, 64, 256, 1_024], flood: true, deep: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| anyhow::anyhow!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => (options.seconds, options.rounds) = (2.0, 1),
                "--seconds" => options.seconds = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--deep" => {
                    options.deep = Some(Depth { events: 5_000_000, snapshot: Duration::from_mins(5), lasts: Duration::from_secs(5) });
                }
                "--no-flood" => options.flood = false,
                "--clients" => options.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "-h" | "--help" => {
                    eprintln!("{USAGE}");
                    std::process::exit(0);
                }
                other => anyhow::bail!("{other} is not an option. {USAGE}"),
            }
        }
        Ok(options)
    }
    fn wants(&self, system: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|o| o == system))
    }
    fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::read()?;
    let bench = Bench::start().await?;
    sql::prepare(&bench).await?;
    let durability = bench.durability().await?;
    eprintln!("{durability}");
    let mut report = Report::default();
    report.note(format!("PostgreSQL: {durability}"));
    if let Some(depth) = options.deep {
        deep::run(&bench, depth, &mut report).await?;
        return finish(bench, &report, "deep");
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for slots in [1, 1_000] {
            // the WAL that was written so far is written over from here on; each round begins in the same state
            bench.checkpoint().await?;
            holds(&bench, &options, &mut report, slots).await?;
            bookings(&bench, &options, &mut report, slots).await?;
        }
    }
    for slots in [1, 1_000] {
        compare(&mut report, slots, &options.clients);
    }
    finish(bench, &report, "engine")
}

/// Writes the table, in words and as JSON, and ends the server.
fn finish(bench: Bench, report: &Report, name: &str) -> anyhow::Result<()> {
    report.write(&Path::new("target/bench").join(format!("{name}.json")))?;
    let table = report.markdown();
    std::fs::write(Path::new("target/bench").join(format!("{name}.md")), &table)?;
    use std::io::Write;
    std::io::stdout().write_all(table.as_bytes())?;
    if let Some(server) = std::sync::Arc::into_inner(bench.server) {
        server.stop();
    }
    Ok(())
}

/// Every ratio that is asked for, as a line below the table.
fn compare(report: &mut Report, slots: usize, clients: &[usize]) {
    for (ours, theirs) in [("inproc", "sql"), ("inproc", "sql-one"), ("inproc", "stock"), ("inproc", "limit"), ("grpc", "sql"), ("grpc", "sql-one")]
        .into_iter()
        .chain([("booking", "sqlbooking"), ("booking", "sqlbooking-one")])
    {
        report.ratios(ours, theirs, slots, clients);
    }
    for (clients, of) in [(1_024, 256), (FLOOD, 1_024)] {
        for system in ["inproc", "grpc", "booking"] {
            if let (Some(many), Some(fewer)) = (report.per_second(system, slots, clients), report.per_second(system, slots, of)) {
                report.note(format!("{system}, {slots} slots: {clients} clients do {:.2} of what {of} do", many / fewer.max(0.001)));
            }
        }
    }
}

/// (a) to (e): one unit of one slot for one customer.
async fn holds(bench: &Bench, options: &Options, report: &mut Report, slots: usize) -> anyhow::Result<()> {
    for clients in options.clients.iter().copied() {
        let connections = clients.min(MOST_CONNECTIONS);
        if options.wants("a") {
            plain(bench, options, report, slots, clients, connections).await?;
        }
        if options.wants("b") {
            let measured = stock::run(bench, slots, clients, u32::try_from(connections)?, options.lasts()).await?;
            report.add(Cell::of("stock", slots, clients).over(connections), measured);
        }
        let node = Ours::start(bench, false).await?;
        if options.wants("c") {
            let (before, began) = (bench.counted().await?, node.node.engine.status());
            let measured = node.in_process(slots, clients, options.lasts()).await?;
            let (counted, status) = (bench.counted().await?, node.node.engine.status());
            let size = (status.groups - began.groups) as f64 / (status.batches - began.batches).max(1) as f64;
            if clients == 256 {
                let each = counted.each(&before, measured.done);
                report.note(format!("a hold in process, {slots} slots, 256 clients: {size:.0} groups a batch; {each}"));
            }
            report.add(Cell::of("inproc", slots, clients), measured);
            if options.wants("e") {
                let size = if size >= 1.0 { size as usize } else { 1 };
                report.add(Cell::of("limit", slots, clients), limit::run(bench, size, options.lasts()).await?);
            }
        }
        if options.wants("d") {
            report.add(Cell::of("grpc", slots, clients), node.over_grpc(slots, clients, options.lasts()).await?);
        }
        node.node.stop().await;
    }
    if options.wants("a") {
        for connections in BEST_OF.iter().copied() {
            plain(bench, options, report, slots, 256, connections).await?;
        }
    }
    Ok(())
}

/// (a) as a transaction, and as one statement.
async fn plain(bench: &Bench, options: &Options, report: &mut Report, slots: usize, clients: usize, connections: usize) -> anyhow::Result<()> {
    for (system, one) in [("sql", false), ("sql-one", true)] {
        let measured = sql::run(bench, i32::try_from(slots)?, clients, connections, one, options.lasts()).await?;
        report.add(Cell::of(system, slots, clients).over(connections), measured);
    }
    Ok(())
}

/// (f) and (g): a whole booking over gRPC; ours with settlement and views beside it.
async fn bookings(bench: &Bench, options: &Options, report: &mut Report, slots: usize) -> anyhow::Result<()> {
    let many = u32::try_from(slots)?;
    if options.wants("f") {
        // its own log: views that still read what (c) and (d) left behind would be measured, too
        let bench = &bench.fresh().await?;
        let node = Ours::start(bench, true).await?;
        // the lease of settlement is taken within its first round
        tokio::time::sleep(Duration::from_secs(3)).await;
        for clients in options.clients.iter().copied().chain(options.flood.then_some(FLOOD)) {
            let before = bench.counted().await?;
            // a flood is measured when it has filled the place, and not while it comes and goes
            let lasts = if clients == FLOOD { options.lasts().max(Duration::from_secs(8)) } else { options.lasts() };
            let measured = ours::booking(&node.address(), many, clients, lasts).await?;
            let each = bench.counted().await?.each(&before, measured.done);
            if clients == 256 {
                report.note(format!("a booking, {slots} slots, 256 clients, views included: {each}"));
            }
            report.add(Cell::of("booking", slots, clients), measured);
        }
        node.node.stop().await;
    }
    if options.wants("g") {
        let equal = options.clients.iter().map(|clients| (*clients, (*clients).min(MOST_CONNECTIONS)));
        let best = BEST_OF.iter().map(|connections| (256, *connections));
        for (clients, connections) in equal.chain(best) {
            for (system, one) in [("sqlbooking", false), ("sqlbooking-one", true)] {
                let stop = CancellationToken::new();
                let server = sqlbooking::serve(place::pool(&bench.config, connections)?, one, stop.clone()).await?;
                let measured = ours::booking(&server, many, clients, options.lasts()).await?;
                report.add(Cell::of(system, slots, clients).over(connections), measured);
                stop.cancel();
            }
        }
    }
    Ok(())
}
