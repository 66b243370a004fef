//! `jari verify`: walks the whole log and proves what the log promises.

use std::process::ExitCode;

use anyhow::Context;
use jari_heads::{Checked, HeadsCheck, SigningKey, Trusted};

use super::{print, progress::print_findings};
use crate::{
    cli::Verify,
    config::Config,
    database,
    proof::{Proof, Walk},
};

/// Walks the log. The exit code says whether everything holds.
///
/// # Errors
/// When the log cannot be read.
pub async fn run(config: &Config, options: &Verify) -> anyhow::Result<ExitCode> {
    let home = database::find(config)?;
    let Walk { mut proof, chain } = Walk::over(&home.database).await?;
    let chained = chain.at();
    let held = match &options.heads {
        Some(path) => {
            let check = HeadsCheck::open(path, trusted(config, &options.keys)?, home.database.clone(), chain.log_id(), chained.position)?;
            compare(check, &mut proof).await?
        }
        None => 0,
    };
    let findings = proof.finish();
    print(&format!("{} events, {} streams, {} orders\n", proof.events, proof.streams(), proof.orders()));
    if proof.passed() > 0 {
        print(&format!("{} orders were parked, and lost their place in line to some that came later\n", proof.passed()));
    }
    print_findings(&findings);
    if findings.is_empty() {
        print(
            "positions dense, times in order, sequences unbroken, every event readable and allowed where it stands, counts right, no slot oversold, orders settled in line, each with all of its holds or none\n",
        );
        print(&format!("chain of digests unbroken: head {} at position {}\n", hex(&chained.head), chained.position));
        if options.heads.is_some() {
            print(&format!("signed heads that are the log's: {held}\n"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// The keys that were named; else this node's.
fn trusted(config: &Config, keys: &[String]) -> anyhow::Result<Trusted> {
    let mut trusted = Trusted::default();
    keys.iter().try_for_each(|key| trusted.add(key))?;
    if keys.is_empty() {
        let own = config.signer_settings().key_file;
        let key = SigningKey::read(&own).context("say with --key whose signatures are believed, as `jari heads` tells it on the node that signs")?;
        trusted.add(&key.public_text())?;
    }
    Ok(trusted)
}

/// Compares signed heads with the log; how many hold.
async fn compare(mut check: HeadsCheck, proof: &mut Proof) -> anyhow::Result<u64> {
    let mut held = 0;
    // Ends with the file.
    while let Some(checked) = check.step().await? {
        match checked {
            Checked::Holds(_) => held += 1,
            Checked::Broken(why) => proof.found(why),
            // no fault of the log, nor of anybody who could have changed it: whole lines are what a signature is on
            Checked::CutOff(why) => print(&format!("{why}\n")),
        }
    }
    Ok(held)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a string cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
