//! What a subcommand that takes long tells beside its answer: how far it is, on standard error; and how it is stopped.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::print;

/// What a shell says of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// Findings shown; the rest is counted.
const SHOWN: usize = 20;

/// Cancelled by Ctrl-C; a second one ends the process at once.
pub(super) fn until_interrupted() -> CancellationToken {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    // joined by nobody: it ends with the process
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
            // the first has taken the signal's own effect away for good
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    stop
}

/// Progress on one line of the terminal, and a line now and then where there is none; on standard error, for what is said at the end is the answer.
#[derive(Default)]
pub(super) struct Line {
    shown: Option<Instant>,
}

impl Line {
    /// How often progress is told: to a person, and to a file.
    const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

    /// Shows what `told` says, when it is time to.
    pub fn show(&mut self, told: impl FnOnce() -> String) {
        let person = std::io::stderr().is_terminal();
        let every = if person { Self::EVERY.0 } else { Self::EVERY.1 };
        if self.shown.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let (before, after) = if person { ("\r", "   ") } else { ("", "\n") };
        say(&format!("{before}{}{after}", told()));
    }

    pub fn end(&mut self) {
        if self.shown.take().is_some() && std::io::stderr().is_terminal() {
            say("\n");
        }
    }
}

/// Writes to standard error. That nobody reads it is no error.
pub(super) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints what is broken.
pub(super) fn print_findings<F: Display>(findings: &[F]) {
    findings.iter().take(SHOWN).for_each(|finding| print(&format!("BROKEN {finding}\n")));
    if findings.len() > SHOWN {
        print(&format!("and {} more\n", findings.len() - SHOWN));
    }
}
