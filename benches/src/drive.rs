//! A closed loop: each client does one thing after the other, and how long each took is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// What a cell of the table came to.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Done a second.
    pub per_second: f64,
    /// Milliseconds.
    pub p50_ms: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// Done in all.
    pub done: u64,
    /// Refused or broken; they count in no other figure.
    pub failed: u64,
}

/// Latencies up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds of the histogram are constants that fit")
}

/// Runs `clients` loops of `work` for `lasts`. `work` gets the client's number and a count, and says whether it did what it should.
///
/// # Panics
/// When a client breaks: a benchmark that goes on after that measures nothing.
pub async fn closed_loop<F, W>(clients: usize, lasts: Duration, work: W) -> Measured
where
    W: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = bool> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let work = Arc::new(work);
    let mut loops = JoinSet::new();
    let began = Instant::now();
    for client in 0..clients {
        let (over, work) = (over.clone(), work.clone());
        loops.spawn(async move {
            let mut latencies = histogram();
            let (mut n, mut failed) = (0, 0_u64);
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                if work(client, n).await {
                    latencies.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
                } else {
                    failed += 1;
                    // what fails without waiting must not keep the runtime from its timers
                    tokio::task::yield_now().await;
                }
                n += 1;
            }
            (latencies, failed)
        });
    }
    tokio::time::sleep(lasts).await;
    over.store(true, Ordering::Relaxed);
    let (mut all, mut failed) = (histogram(), 0);
    while let Some(ended) = loops.join_next().await {
        let (latencies, its_failed) = ended.expect("a client of the benchmark broke");
        all.add(latencies).expect("all histograms have the same bounds");
        failed += its_failed;
    }
    let took = began.elapsed().as_secs_f64();
    let quantile = |q| all.value_at_quantile(q) as f64 / 1_000.0;
    Measured { per_second: all.len() as f64 / took, p50_ms: quantile(0.5), p99_ms: quantile(0.99), done: all.len(), failed }
}
