//! `jari archive`: moves old events to the archive, piece by piece.

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{Archiver, Reader, archive_horizon};

use super::{print, progress::Line};
use crate::{cli::Archive, config::Config, database};

/// Moves what may move. Stopped with Ctrl-C, it has moved whole pieces.
///
/// # Errors
/// When the database does not answer, or who connects may not be the archiver.
pub async fn run(config: &Config, options: &Archive) -> anyhow::Result<()> {
    let home = database::find(config)?;
    let before = archive_horizon(&home.database).await?;
    let archiver = Archiver::connect(home.owner()).await?;
    if let Some(position) = options.before.map(Position::new) {
        let head = Reader::new(home.database.clone()).head().await?;
        anyhow::ensure!(
            position <= head.next(),
            "--before {position}: the log ends at position {head}; nothing moved, for what was moved does not come back"
        );
        archiver.raise(position).await?;
    }
    let (mut moved, mut line) = (0, Line::default());
    // ends at the horizon, which does not move meanwhile but by another who raises it
    let done = loop {
        let piece = archiver.step().await?;
        moved += piece.moved;
        line.show(|| format!("at {} of {}, {moved} events moved", piece.reached, piece.upto));
        if piece.reached == piece.upto {
            break piece;
        }
        tokio::time::sleep(Duration::from_millis(options.rest)).await;
    };
    line.end();
    let looked = done.reached.since(before.moved_to);
    print(&format!(
        "{moved} events moved, {} stay as the ends of their streams; all before {} is done\n",
        looked.saturating_sub(moved),
        done.reached.next()
    ));
    Ok(())
}
