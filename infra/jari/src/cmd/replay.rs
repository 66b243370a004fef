//! `jari replay`: a view as it was, and the proof of the live one.

use std::{path::Path, process::ExitCode};

use jari_projections::{AsOf, Digested, Replay, ReplayError, Replayed, digest_live, drop_replay, replays};
use tokio_util::sync::CancellationToken;

use super::{
    print,
    progress::{self, Line},
    rebuild::described,
};
use crate::{
    cli::replay::{Kept, Replay as Options},
    config::Config,
    database,
};

/// Replays a view, or lists or drops what was replayed.
///
/// # Errors
/// What was refused, with its code, or a database that does not answer.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<ExitCode> {
    let home = database::find(config)?;
    home.migrate().await?;
    let database = &home.database;
    let view = match (options.kept, &options.view) {
        (None, Some(view)) => view,
        (Some(Kept::Drop { number }), _) => {
            drop_replay(database, number).await.map_err(refused)?;
            print(&format!("replay {number} was dropped\n"));
            return Ok(ExitCode::SUCCESS);
        }
        (Some(Kept::List) | None, _) => {
            print(&listed(&replays(database).await.map_err(refused)?));
            return Ok(ExitCode::SUCCESS);
        }
    };
    // rows on standard output are for a program to read: whatever else there is to say goes beside them
    let say = if options.jsonl.as_deref() == Some(Path::new("-")) { progress::say } else { print };
    let stop = progress::until_interrupted();
    let live = if options.check { Some(digest_live(database, view).await.map_err(refused)?) } else { None };
    let as_of = live.as_ref().map_or(options.as_of.unwrap_or(AsOf::Head), |live| AsOf::Position(live.position));
    let replay = Replay { keep: options.keep, lines: options.jsonl.clone(), csv: options.csv.clone(), ..Replay::of(view, as_of) };
    let done = one(&replay, database, &stop).await?;
    say(&told(&replay, &done));
    let Some(live) = live else { return Ok(ExitCode::SUCCESS) };
    if live.version == done.version && live.digested.digest == done.digested.digest {
        say("the live view is what the log says\n");
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("DIFFERENT: the live view, version {}, has the digest\n{}", live.version, digest_lines(&live.digested)));
    if live.quarantined > 0 {
        say(&format!("it has set {} streams aside: `jari quarantine` tells which, and why\n", live.quarantined));
    }
    Ok(ExitCode::FAILURE)
}

async fn one(replay: &Replay, database: &jari_event_store::Database, stop: &CancellationToken) -> anyhow::Result<Replayed> {
    let mut line = Line::default();
    let done = replay.run(database, |progress| line.show(|| described(progress)), stop).await;
    line.end();
    done.map_err(refused)
}

fn refused(error: ReplayError) -> anyhow::Error {
    match error.code() {
        Some(code) => anyhow::anyhow!("{error} ({code})"),
        None => error.into(),
    }
}

fn told(replay: &Replay, done: &Replayed) -> String {
    let Replayed { number, version, position, digested, quarantined, .. } = done;
    let mut text = format!("{} v{version} as of position {position}\n{}", replay.view, digest_lines(digested));
    if *quarantined > 0 {
        text.push_str(&format!("{quarantined} streams could not be read: what they say is missing\n"));
    }
    if replay.keep {
        text.push_str(&format!("kept as replay {number}; `jari replay drop {number}` drops it. For SQL:\n"));
        for table in &digested.tables {
            text.push_str(&format!("  {}\n", table.sql_name));
        }
    }
    text
}

fn digest_lines(digested: &Digested) -> String {
    let rows: Vec<String> = digested.tables.iter().map(|table| format!("{} {}", table.name, table.rows)).collect();
    format!("digest       {}\nrows         {}\n", digested.digest, rows.join(", "))
}

fn listed(kept: &[jari_projections::KeptReplay]) -> String {
    let mut text = String::new();
    for replay in kept {
        let jari_projections::KeptReplay { number, view, version, as_of, position, whole, created_at, tables } = replay;
        let state = if *whole { "kept".to_owned() } else { format!("read up to {position}, not finished") };
        text.push_str(&format!("{number}  {view} v{version} as of position {as_of}, begun {created_at}, {state}\n"));
        for table in tables {
            text.push_str(&format!("    {table}\n"));
        }
    }
    if text.is_empty() { "no replays are kept\n".to_owned() } else { text }
}
