//! `infra/bench relay`: how fast the relay is beside the log that it follows, and how long an event takes from its commit to a consumer.
//!
//! One PostgreSQL with `fsync` on, one Kafka with transactions on, both in this run. `--seconds N` a cell, 10 by default.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use jari_benches::{
    drive::Measured,
    ours::Ours,
    place::Bench,
    report::{Cell, Report},
};
use jari_event_store::{Position, Reader};
use jari_kafka::PrivateKafka;
use jari_proto::operations::v1::{GetStatusRequest, operations_service_client::OperationsServiceClient};
use rdkafka::{
    ClientConfig, Message, Timestamp,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};

/// As `jari serve` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLOTS: usize = 1_000;
const CLIENTS: usize = 256;
/// Events a second while latency is measured.
const RATE: u64 = 2_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--seconds", seconds] => seconds.parse()?,
        [] => 10.0,
        _ => anyhow::bail!("usage: relay [--seconds N]"),
    };
    let lasts = Duration::from_secs_f64(seconds);
    let bench = Bench::start().await?;
    let kafka = PrivateKafka::temporary(&jari_postgres::DataFolder::default_root().join("programs"), None).await?;
    let mut report = Report::default();
    let durability = bench.durability().await?;
    eprintln!("{durability}; Kafka {}, one broker, transactions", jari_kafka::VERSION);

    // a steady stream, and a consumer that reads what was committed; before it a flood, so that the broker's code is compiled, as it is on any other day
    let mut ours = Ours::start(&bench, false).await?;
    ours.node.relay_to(&kafka.brokers());
    ours.in_process(SLOTS, CLIENTS, lasts).await?;
    caught_up(&ours, Reader::new(bench.database.clone()).head().await?).await?;
    let latencies = latency(&ours, &kafka.brokers(), lasts).await?;
    report.note(format!(
        "from commit to a read_committed consumer at {RATE} events a second: p50 {:.1} ms, p99 {:.1} ms",
        latencies.p50_ms, latencies.p99_ms
    ));
    report.add(Cell::of("commit-to-consumer", SLOTS, 1), latencies);
    ours.node.stop().await;

    // the log is written as fast as it can be, and nobody relays
    let mut ours = Ours::start(&bench, false).await?;
    let before = Reader::new(bench.database.clone()).head().await?;
    let written = ours.in_process(SLOTS, CLIENTS, lasts).await?;
    let log = written.per_second;
    report.add(Cell::of("log", SLOTS, CLIENTS), written);

    // then all of it is relayed, and nobody writes
    let head = Reader::new(bench.database.clone()).head().await?;
    ours.node.relay_to(&kafka.brokers());
    let took = caught_up(&ours, head).await?;
    let done = head.since(before);
    let caught = Measured { per_second: done as f64 / took.as_secs_f64(), p50_ms: 0.0, p99_ms: 0.0, done, failed: 0 };
    let relayed = caught.per_second;
    report.add(Cell::of("relay-catchup", SLOTS, 1), caught);
    report.note(format!("catching up is {:.2} times as fast as the log was written", relayed / log.max(0.001)));

    report.note(format!("PostgreSQL: {durability}"));

    ours.node.stop().await;
    report.write(Path::new("target/bench/relay.json"))?;
    let table = report.markdown();
    std::fs::write("target/bench/relay.md", &table)?;
    jari_benches::faults::say(&table);
    kafka.stop();
    Ok(())
}

/// How long until the relay has reached `head`, from the moment at which it relays.
async fn caught_up(ours: &Ours, head: Position) -> anyhow::Result<Duration> {
    let mut operations = OperationsServiceClient::connect(format!("http://{}", ours.address())).await?;
    let mut began = None;
    // Ends with the head; a relay that stands still is seen in the status that is printed.
    loop {
        let status = operations.get_status(GetStatusRequest::default()).await?.into_inner().relay.context("a status has a relay")?;
        if status.transactions > 0 {
            began.get_or_insert_with(Instant::now);
        }
        anyhow::ensure!(status.code.is_empty(), "the relay stands still: {}", status.message);
        if Position::try_from(status.position)? >= head {
            return Ok(began.map_or(Duration::ZERO, |began| began.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn latency(ours: &Ours, brokers: &str, lasts: Duration) -> anyhow::Result<Measured> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("auto.offset.reset", "latest")
        .set("isolation.level", "read_committed")
        .create()?;
    consumer.subscribe(&["reservation.slot.v1"])?;
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    // joined below; it ends with `over`
    let reading = tokio::task::spawn_blocking(move || read(&consumer, &stop));
    // the consumer takes its place first
    tokio::time::sleep(Duration::from_secs(5)).await;
    let done = ours.at_a_rate(SLOTS, RATE, lasts).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    let latencies = reading.await??;
    anyhow::ensure!(latencies.len() >= done, "{done} events were written and {} were read", latencies.len());
    let quantile = |q| latencies.value_at_quantile(q) as f64 / 1_000.0;
    Ok(Measured { per_second: done as f64 / lasts.as_secs_f64(), p50_ms: quantile(0.5), p99_ms: quantile(0.99), done, failed: 0 })
}

/// The time from an event's commit, as the database's clock has it, until it is here; microseconds.
fn read(consumer: &BaseConsumer, over: &AtomicBool) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    while !over.load(Ordering::Relaxed) {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record?;
        anyhow::ensure!(matches!(record.timestamp(), Timestamp::CreateTime(_)), "a record has the time of its event");
        let time = record.headers().and_then(|headers| headers.iter().find(|header| header.key == "ce_time")).and_then(|header| header.value);
        let time: jiff::Timestamp = std::str::from_utf8(time.context("a record has ce_time")?)?.parse()?;
        let late = jiff::Timestamp::now().as_microsecond() - time.as_microsecond();
        latencies.saturating_record(u64::try_from(late).unwrap_or(1).max(1));
    }
    Ok(latencies)
}
