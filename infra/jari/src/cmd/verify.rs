//! `jari verify`: walks the whole log and proves what the log promises.

use std::process::ExitCode;

use super::print;
use crate::{config::Config, database, proof::Proof};

/// Events read at once.
const PAGE: usize = 10_000;
/// Findings shown; the rest is counted.
const SHOWN: usize = 20;

/// Walks the log. The exit code says whether everything holds.
///
/// # Errors
/// When the log cannot be read.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let home = database::find(config)?;
    let reader = jari_event_store::Reader::new(home.database.clone());
    let head = reader.head().await?;
    let mut proof = Proof::default();
    let mut position = 0;
    while position < head {
        let page = reader.log_after(position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for event in &page {
            proof.take(event);
        }
    }
    let findings = proof.finish();
    print(&format!("{} events, {} streams, {} orders\n", proof.events, proof.streams(), proof.orders()));
    if proof.passed() > 0 {
        print(&format!("{} orders were parked, and lost their place in line to some that came later\n", proof.passed()));
    }
    for finding in findings.iter().take(SHOWN) {
        print(&format!("BROKEN {finding}\n"));
    }
    if findings.len() > SHOWN {
        print(&format!("and {} more\n", findings.len() - SHOWN));
    }
    if findings.is_empty() {
        print("positions dense, times in order, sequences unbroken, every event readable, every invariant holds, orders settled in line\n");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
