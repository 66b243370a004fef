//! `jari replay`: what there is to say.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jari_projections::AsOf;

/// Of `jari replay`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct Replay {
    /// Which view, as `jari status` names it
    #[arg(required = true)]
    pub view: Option<String>,
    /// After this position of the log, or at this time, as in 2026-12-24T09:00:00Z [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub as_of: Option<AsOf>,
    /// Compare the live view, at the position that it has read, with what the log says; ends with 1 when they differ
    #[arg(long, conflicts_with = "as_of")]
    pub check: bool,
    /// Leave the tables there, for SQL, and tell their names
    #[arg(long, conflicts_with = "check")]
    pub keep: bool,
    /// Write all rows to this file, a line of JSON each; its SHA-256 is the digest. `-` prints them, and tells the rest on standard error
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<PathBuf>,
    /// Write a CSV file for each table into this folder
    #[arg(long, value_name = "FOLDER")]
    pub csv: Option<PathBuf>,
    /// What to do with replays that are there already
    #[command(subcommand)]
    pub kept: Option<Kept>,
}

/// Of replays that are there already.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Kept {
    /// List the replays that are kept, and those that were begun and not finished
    List,
    /// Drop one of these
    Drop {
        /// As it is listed
        number: i64,
    },
}

fn parse_moment(text: &str) -> Result<AsOf, String> {
    match (text.parse(), text.parse()) {
        (Ok(position), _) => Ok(AsOf::Position(position)),
        (_, Ok(time)) => Ok(AsOf::Time(time)),
        _ => Err("neither a position nor a time as in 2026-12-24T09:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jari_domain::Position;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_view_is_replayed_as_of_a_position_or_a_time() {
        assert_eq!(parse_moment("17"), Ok(AsOf::Position(Position::new(17))));
        assert_eq!(parse_moment("2026-12-24T18:00:00+09:00"), Ok(AsOf::Time("2026-12-24T09:00:00Z".parse().unwrap())));
        for bad in ["", "-1", "1.5", "yesterday", "2026-12-24"] {
            assert!(parse_moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn replay_refuses_two_questions_at_once() {
        let parses = |words: &str| Cli::try_parse_from(format!("jari replay {words}").split_whitespace()).is_ok();
        for good in ["orders", "orders --as-of 7 --keep --jsonl a --csv b", "orders --check", "orders --jsonl -", "list", "drop 3"] {
            assert!(parses(good), "{good}");
        }
        for bad in ["", "orders list", "drop", "drop orders", "list drop 3", "orders --check --as-of 7", "drop 3 --keep", "orders products"] {
            assert!(!parses(bad), "{bad}");
        }
    }
}
