//! Log lines: one subscriber for the process, to standard error.

use anyhow::Context;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Starts logging. Call it once, first.
///
/// # Errors
/// When the level is neither a level nor a filter, or logging runs already.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = filter(&log.level)?;
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match log.format {
        LogFormat::Text => to_stderr.with_target(false).compact().finish().try_init(),
        LogFormat::Json => to_stderr.json().flatten_event(true).with_span_list(false).finish().try_init(),
    };
    started.context("logging cannot be started twice")
}

/// What libraries say that nobody asked for: a notice that a table is there already, a migration that was not needed.
const QUIET: &str = "tokio_postgres=warn,refinery_core=warn";

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let wrong = || format!("log.level is {level:?}: write a level, or a filter such as \"info,jari_commands=debug\"");
    // A word that is no level would be taken for a part of the program, of which alone everything is said: a slip of the pen must not silence the rest.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let parts: Vec<&str> = level.split(',').map(str::trim).collect();
    anyhow::ensure!(parts.iter().all(|part| part.contains(['=', '[', ']']) || is_level(part)), wrong());
    EnvFilter::builder().parse(format!("{QUIET},{}", parts.join(","))).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_means_nothing_is_named() {
        assert!(filter("info").is_ok() && filter("info,jari_commands=debug").is_ok());
        assert!(filter("off").is_ok() && filter("WARN, jari=trace").is_ok() && filter("warn,[order]=debug").is_ok());
        for wrong in ["info,jari=loud", "loud", "info,loud", ""] {
            let error = format!("{:#}", filter(wrong).unwrap_err());
            assert!(error.contains("log.level"), "{wrong}: {error}");
        }
    }
}
