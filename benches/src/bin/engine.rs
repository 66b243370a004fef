//! `infra/bench engine`: the engine beside plain SQL, beside stock cqrs-es, and beside the limit, in one run on one PostgreSQL with fsync on.
//!
//! `--quick` for two minutes; `--seconds N` a cell; `--rounds N`, of which the median counts; `--only a,c` for some of the systems.

use std::{path::Path, time::Duration};

use jari_benches::{limit, ours, ours::Ours, place, place::Bench, report::Report, sql, sqlbooking, stock};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that plain SQL gets at most; PostgreSQL is set to take 400.
const MOST_CONNECTIONS: usize = 256;
/// Numbers of connections among which plain SQL's best is looked for, at 256 clients.
const BEST_OF: &[usize] = &[4, 8, 16, 32];

struct Options {
    seconds: f64,
    rounds: usize,
    only: Option<Vec<String>>,
    clients: Vec<usize>,
}

impl Options {
    fn read() -> anyhow::Result<Self> {
        let mut options = Self { seconds: 2.0, rounds: 3, only: None, clients: vec![1, 16, 64, 256, 1_024] };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| anyhow::anyhow!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => (options.seconds, options.rounds) = (1.0, 1),
                "--seconds" => options.seconds = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--clients" => options.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                other => anyhow::bail!("{other} is not an option: --quick, --seconds N, --rounds N, --only a,b,c,d,e,f,g, --clients 64,256"),
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
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for slots in [1, 1_000] {
            holds(&bench, &options, &mut report, slots).await?;
            bookings(&bench, &options, &mut report, slots).await?;
        }
    }
    for slots in [1, 1_000] {
        for (ours, theirs) in
            [("inproc", "sql"), ("inproc", "sql-one"), ("inproc", "stock"), ("grpc", "sql"), ("inproc", "limit"), ("booking", "sqlbooking")]
        {
            report.ratios(ours, theirs, slots, &options.clients);
        }
        if let (Some(at_256), Some(at_1024)) = (report.per_second("booking", slots, 256), report.per_second("booking", slots, 1_024)) {
            report.note(format!("booking, {slots} slots: 1,024 clients do {:.2} of 256", at_1024 / at_256));
        }
    }
    report.write(Path::new("target/bench/engine.json"))?;
    let table = report.markdown();
    std::fs::write("target/bench/engine.md", &table)?;
    use std::io::Write;
    std::io::stdout().write_all(table.as_bytes())?;
    bench.server.stop();
    Ok(())
}

/// (a) to (e): one unit of one slot for one customer.
async fn holds(bench: &Bench, options: &Options, report: &mut Report, slots: usize) -> anyhow::Result<()> {
    let node = Ours::start(bench, false).await?;
    let few = i32::try_from(slots)?;
    for clients in options.clients.iter().copied() {
        let connections = clients.min(MOST_CONNECTIONS);
        if options.wants("a") {
            report.add("sql", slots, clients, sql::run(bench, few, clients, connections, false, options.lasts()).await?);
            report.add("sql-one", slots, clients, sql::run(bench, few, clients, connections, true, options.lasts()).await?);
        }
        if options.wants("b") && clients <= 64 {
            report.add("stock", slots, clients, stock::run(bench, slots, clients, u32::try_from(connections)?, options.lasts()).await?);
        }
        if options.wants("c") {
            let before = (bench.counted().await?, node.node.engine.status());
            let measured = node.in_process(slots, clients, options.lasts()).await?;
            let (counted, status) = (bench.counted().await?, node.node.engine.status());
            let (wal, syncs, _) = counted.each(&before.0, measured.done);
            let size = (status.groups - before.1.groups) as f64 / (status.batches - before.1.batches).max(1) as f64;
            if clients == 256 {
                report
                    .note(format!("inproc, {slots} slots, 256 clients: {size:.0} groups a batch, {wal:.0} bytes of WAL and {syncs:.3} syncs a hold"));
            }
            report.add("inproc", slots, clients, measured);
            if options.wants("e") {
                let size = if size >= 1.0 { size as usize } else { 1 };
                report.add("limit", slots, clients, limit::run(bench, size, options.lasts()).await?);
            }
        }
        if options.wants("d") {
            report.add("grpc", slots, clients, node.over_grpc(slots, clients, options.lasts()).await?);
        }
    }
    if options.wants("a") {
        for connections in BEST_OF {
            report.add("sql", slots, *connections, sql::run(bench, few, 256, *connections, false, options.lasts()).await?);
            report.add("sql-one", slots, *connections, sql::run(bench, few, 256, *connections, true, options.lasts()).await?);
        }
    }
    node.node.stop().await;
    Ok(())
}

/// (f) and (g): a whole booking over gRPC; ours with settlement and views beside it.
async fn bookings(bench: &Bench, options: &Options, report: &mut Report, slots: usize) -> anyhow::Result<()> {
    let many = u32::try_from(slots)?;
    if options.wants("f") {
        let node = Ours::start(bench, true).await?;
        // the lease of settlement is taken within its first round
        tokio::time::sleep(Duration::from_secs(3)).await;
        for clients in options.clients.iter().copied() {
            let before = bench.counted().await?;
            let measured = ours::booking(&node.address(), many, clients, options.lasts()).await?;
            let (wal, syncs, transactions) = bench.counted().await?.each(&before, measured.done);
            if clients == 256 {
                report.note(format!("booking, {slots} slots, 256 clients: {wal:.0} bytes of WAL, {syncs:.3} syncs and {transactions:.3} transactions a booking, views included"));
            }
            report.add("booking", slots, clients, measured);
        }
        node.node.stop().await;
    }
    if options.wants("g") {
        for clients in options.clients.iter().copied().chain(BEST_OF.iter().copied()) {
            let stop = CancellationToken::new();
            let best = BEST_OF.contains(&clients) && !options.clients.contains(&clients);
            let callers = if best { 256 } else { clients };
            let server = sqlbooking::serve(place::pool(&bench.config, clients.min(MOST_CONNECTIONS))?, stop.clone()).await?;
            report.add("sqlbooking", slots, clients, ours::booking(&server, many, callers, options.lasts()).await?);
            stop.cancel();
        }
    }
    Ok(())
}
