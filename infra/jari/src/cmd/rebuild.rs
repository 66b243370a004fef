//! `jari rebuild VIEW`

use jari_projections::RebuildProgress;

use super::{
    print,
    progress::{Line, until_interrupted},
};
use crate::{cli::Rebuild, config::Config, database};

/// Builds a view anew beside the live one, and switches.
///
/// # Errors
/// A name that no view has, or a database that does not answer; what was built is taken up again by the next call.
pub async fn run(config: &Config, options: &Rebuild) -> anyhow::Result<()> {
    let home = database::find(config)?;
    home.migrate().await?;
    let (stop, mut line) = (until_interrupted(), Line::default());
    let rebuilt = jari_projections::rebuild(&home.database, &options.view, |progress| line.show(|| described(progress)), &stop).await;
    line.end();
    let rebuilt = rebuilt?;
    print(&format!("{} was rebuilt up to position {} and is live\n", options.view, rebuilt.position));
    Ok(())
}

/// `120000 of 4000000 events, 95000 a second, 41 s left`
pub(super) fn described(progress: &RebuildProgress) -> String {
    let RebuildProgress { position, head, events_per_second, time_left } = progress;
    let left = time_left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs_f64().ceil()));
    format!("{position} of {head} events, {events_per_second:.0} a second{left}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jari_domain::Position;

    use super::*;

    #[test]
    fn progress_tells_how_fast_it_is_and_how_long_it_will_take() {
        let (position, head) = (Position::new(20), Position::new(100));
        let mut progress = RebuildProgress { position, head, events_per_second: 40.4, time_left: Some(Duration::from_millis(1_980)) };
        assert_eq!(described(&progress), "20 of 100 events, 40 a second, 2 s left");
        progress.time_left = None;
        assert_eq!(described(&progress), "20 of 100 events, 40 a second");
    }
}
