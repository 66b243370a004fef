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
            // Plain numbers, counted when the clock has stopped. A histogram each would take some 140 KB, and be merged while others still run.
            let mut latencies: Vec<u32> = Vec::new();
            let (mut n, mut failed) = (0, 0_u64);
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                if work(client, n).await {
                    latencies.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
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
    let ended = loops.join_all().await;
    let took = began.elapsed().as_secs_f64();
    let (mut all, mut failed) = (histogram(), 0);
    for (latencies, its_failed) in ended {
        latencies.into_iter().for_each(|micros| all.saturating_record(u64::from(micros)));
        failed += its_failed;
    }
    let quantile = |q| all.value_at_quantile(q) as f64 / 1_000.0;
    Measured { per_second: all.len() as f64 / took, p50_ms: quantile(0.5), p99_ms: quantile(0.99), done: all.len(), failed }
}
