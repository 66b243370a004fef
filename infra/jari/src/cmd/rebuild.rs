//! `jari rebuild VIEW`

use super::print;
use crate::{cli::Rebuild, config::Config, database};

/// Builds a view anew beside the live one, and switches.
///
/// # Errors
/// A name that no view has, or a database that does not answer; what was built is taken up again by the next call.
pub async fn run(config: &Config, options: &Rebuild) -> anyhow::Result<()> {
    let home = database::find(config)?;
    home.migrate().await?;
    let stop = tokio_util::sync::CancellationToken::new();
    let interrupted = stop.clone();
    // joined by nobody: it ends with the process; a second Ctrl-C ends the process at once
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let rebuilt = jari_projections::rebuild(
        &home.database,
        &options.view,
        |progress| {
            print(&format!("\r{} of {} events, {:.0} a second   ", progress.position, progress.head, progress.events_per_second));
        },
        &stop,
    )
    .await?;
    print(&format!("\n{} was rebuilt up to position {} and is live\n", options.view, rebuilt.position));
    Ok(())
}
