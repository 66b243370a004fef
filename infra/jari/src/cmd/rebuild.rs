//! `jari rebuild VIEW`

use std::io::IsTerminal;

use jari_projections::RebuildProgress;
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{cli::Rebuild, config::Config, database};

/// Builds a view anew beside the live one, and switches.
///
/// # Errors
/// A name that no view has, or a database that does not answer; what was built is taken up again by the next call.
pub async fn run(config: &Config, options: &Rebuild) -> anyhow::Result<()> {
    let home = database::find(config)?;
    home.migrate().await?;
    let (stop, mut line) = (until_interrupted(), Line::default());
    let rebuilt = jari_projections::rebuild(&home.database, &options.view, |progress| line.show(progress), &stop).await;
    line.end();
    let rebuilt = rebuilt?;
    print(&format!("{} was rebuilt up to position {} and is live\n", options.view, rebuilt.position));
    Ok(())
}

/// Cancelled by Ctrl-C.
pub(super) fn until_interrupted() -> CancellationToken {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    // joined by nobody: it ends with the process; a second Ctrl-C ends the process at once
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    stop
}

/// Progress on one line of the terminal, and a line now and then where there is none; on standard error, for what is said at the end is the answer.
#[derive(Default)]
pub(super) struct Line {
    shown: Option<std::time::Instant>,
}

impl Line {
    /// How often progress is told: to a person, and to a file.
    const EVERY: (std::time::Duration, std::time::Duration) = (std::time::Duration::from_millis(200), std::time::Duration::from_secs(10));

    pub fn show(&mut self, progress: &RebuildProgress) {
        let person = std::io::stderr().is_terminal();
        let every = if person { Self::EVERY.0 } else { Self::EVERY.1 };
        if self.shown.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.shown = Some(std::time::Instant::now());
        let (before, after) = if person { ("\r", "   ") } else { ("", "\n") };
        say(&format!("{before}{}{after}", described(progress)));
    }

    pub fn end(&mut self) {
        if self.shown.take().is_some() && std::io::stderr().is_terminal() {
            say("\n");
        }
    }
}

pub(super) fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// `120000 of 4000000 events, 95000 a second, 41 s left`
fn described(progress: &RebuildProgress) -> String {
    let RebuildProgress { position, head, events_per_second, time_left } = progress;
    let left = time_left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs_f64().ceil()));
    format!("{position} of {head} events, {events_per_second:.0} a second{left}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn progress_tells_how_fast_it_is_and_how_long_it_will_take() {
        let mut progress = RebuildProgress { position: 20, head: 100, events_per_second: 40.4, time_left: Some(Duration::from_millis(1_980)) };
        assert_eq!(described(&progress), "20 of 100 events, 40 a second, 2 s left");
        progress.time_left = None;
        assert_eq!(described(&progress), "20 of 100 events, 40 a second");
    }
}
