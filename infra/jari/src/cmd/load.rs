//! `jari load`: closed- and open-loop load over gRPC, for sizing a machine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{print, progress::until_interrupted};
use crate::{
    cli::Load,
    client::{Answered, Shop, Stock},
    config::Config,
};

/// Orders under way at once in an open loop; one that finds no room is counted as dropped rather than sent late without a word.
const OPEN_LOOP_LIMIT: usize = 20_000;
/// Tallies that the clients of a closed loop share: each takes some 150 KB, which ten thousand of them would feel more than the server.
const TALLIES: usize = 16;
/// Latencies are kept from 1 microsecond to 5 minutes, to three digits.
const LONGEST_US: u64 = 300_000_000;

/// What came of the load.
struct Tally {
    /// Of the orders that were settled.
    latencies: Histogram<u64>,
    /// The longest of the others: whoever was told nothing for long must not be missing from the report.
    longest_other: Duration,
    answers: std::collections::BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)?, longest_other: Duration::ZERO, answers: Default::default() })
    }
    fn count(&mut self, answer: &Answered, took: Duration) {
        *self.answers.entry(answer.name().to_owned()).or_default() += 1;
        if answer.is_outcome() {
            self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).max(1));
        } else {
            self.longest_other = self.longest_other.max(took);
        }
    }
    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latencies.add(&other.latencies)?;
        self.longest_other = self.longest_other.max(other.longest_other);
        for (name, count) in &other.answers {
            *self.answers.entry(name.clone()).or_default() += count;
        }
        Ok(())
    }
}

/// Puts the load on, until its time is over or Ctrl-C, and says what came of it.
///
/// # Errors
/// A server that does not answer.
pub async fn run(config: &Config, options: &Load) -> anyhow::Result<()> {
    let server = options.server.clone().unwrap_or_else(|| config.advertised().to_owned());
    let shop = Arc::new(Shop::connect(&server, options.connections as usize).await?);
    let stock = Arc::new(shop.open(options.slots, 50_000_000).await.context("the slots for the load could not be opened")?);
    let (began, stop) = (Instant::now(), until_interrupted());
    let (tally, dropped) = match options.rate {
        Some(rate) => open_loop(&shop, &stock, rate, Duration::from_secs(options.seconds), &stop).await?,
        None => (closed_loop(&shop, &stock, options.clients, Duration::from_secs(options.seconds), &stop).await?, 0),
    };
    report(options, &tally, dropped, began.elapsed().as_secs_f64());
    // last: a server that went away under the load must not take the report with it
    shop.close(&stock).await
}

/// Says what came of it in `took` seconds.
fn report(options: &Load, tally: &Tally, dropped: u64, took: f64) {
    let latency = |quantile: f64| tally.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    let (settled, unsettled_ms) = (tally.latencies.len(), tally.longest_other.as_secs_f64() * 1_000.0);
    if options.json {
        let line = serde_json::json!({
            "orders_per_second": settled as f64 / took, "p50_ms": latency(0.5), "p99_ms": latency(0.99), "p999_ms": latency(0.999),
            "max_ms": tally.latencies.max() as f64 / 1_000.0, "unsettled_max_ms": unsettled_ms, "answers": tally.answers, "dropped": dropped, "seconds": took,
            "clients": options.clients, "rate": options.rate, "slots": options.slots,
        });
        print(&format!("{line}\n"));
        return;
    }
    print(&format!("{settled} orders settled in {took:.1} s: {:.0} a second\n", settled as f64 / took));
    print(&format!("latency ms  p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}", latency(0.5), latency(0.9), latency(0.99), latency(0.999)));
    print(&format!("  max {:.1}\n", tally.latencies.max() as f64 / 1_000.0));
    for (answer, count) in &tally.answers {
        print(&format!("  {answer:<24} {count}\n"));
    }
    if !tally.longest_other.is_zero() {
        print(&format!("  the longest wait of those that were not settled: {unsettled_ms:.1} ms\n"));
    }
    if dropped > 0 {
        print(&format!(
            "  {dropped} orders were due while {OPEN_LOOP_LIMIT} were under way, and were not sent: the server is too slow for this rate\n"
        ));
    }
}

/// Each client sends its next order when the last one is answered, or after the delay that a refusal names. One that was refused, or whose answer
/// was lost, is counted as such and not repeated: the next one is another order.
async fn closed_loop(shop: &Arc<Shop>, stock: &Arc<Stock>, clients: u32, lasts: Duration, stop: &CancellationToken) -> anyhow::Result<Tally> {
    let over = Arc::new(AtomicBool::new(false));
    let tallies = (0..TALLIES.min(clients as usize)).map(|_| Ok(Mutex::new(Tally::new()?))).collect::<anyhow::Result<Arc<[_]>>>()?;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (shop, stock, over, tallies) = (shop.clone(), stock.clone(), over.clone(), tallies.clone());
        tasks.spawn(async move {
            let tally = &tallies[client as usize % tallies.len()];
            let mut n = u64::from(client);
            while !over.load(Ordering::Relaxed) {
                let due = Instant::now();
                let answer = shop.place(stock.wish(n), client as usize).await;
                tally.lock().unwrap_or_else(PoisonError::into_inner).count(&answer, due.elapsed());
                n = n.wrapping_add(u64::from(clients));
                if let Some(delay) = answer.retry_after().filter(|_| !over.load(Ordering::Relaxed)) {
                    tokio::time::sleep(delay).await;
                }
            }
        });
    }
    // whoever waits for an answer still gets it
    let _ = tokio::time::timeout(lasts, stop.cancelled()).await;
    over.store(true, Ordering::Relaxed);
    while let Some(client) = tasks.join_next().await {
        client?;
    }
    let mut all = Tally::new()?;
    for tally in &*tallies {
        all.add(&tally.lock().unwrap_or_else(PoisonError::into_inner))?;
    }
    Ok(all)
}

/// Orders are due at even distances; how long one takes counts from when it was due, so that a slow server cannot hide its queue.
async fn open_loop(shop: &Arc<Shop>, stock: &Arc<Stock>, rate: u32, lasts: Duration, stop: &CancellationToken) -> anyhow::Result<(Tally, u64)> {
    let places = Arc::new(Semaphore::new(OPEN_LOOP_LIMIT));
    let dropped = AtomicU64::new(0);
    let total = u64::from(rate) * lasts.as_secs();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let mut all = Tally::new()?;
    for n in 0..total {
        let due = began + Duration::from_secs_f64(n as f64 / f64::from(rate.max(1)));
        if tokio::time::timeout_at(due.into(), stop.cancelled()).await.is_ok() {
            break;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (shop, stock) = (shop.clone(), stock.clone());
        tasks.spawn(async move {
            let answer = shop.place(stock.wish(n), usize::try_from(n).unwrap_or(0)).await;
            drop(place);
            (answer, due.elapsed())
        });
        while let Some(done) = tasks.try_join_next() {
            let (answer, took) = done?;
            all.count(&answer, took);
        }
    }
    while let Some(done) = tasks.join_next().await {
        let (answer, took) = done?;
        all.count(&answer, took);
    }
    Ok((all, dropped.into_inner()))
}
