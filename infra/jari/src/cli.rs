//! The command line: what there is to say. Who does it: one file a subcommand in `cmd/`.

pub mod history;
pub mod replay;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// `jari`: options of every subcommand, and which one.
#[derive(Debug, Parser)]
#[command(name = "jari", version, about = "Takes reservations: many customers, many inventories, one log that tells the truth.")]
#[command(help_template = HELP, max_term_width = 110)]
pub struct Cli {
    /// The configuration file [default: ./jari.toml, then /etc/jari/jari.toml, where there is one]
    #[arg(long, global = true, env = "JARI_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `jari help` shows. It lists the subcommands in groups, which clap cannot: a test holds it to [`Command`].
const HELP: &str = "\
{about}

Usage: jari <COMMAND> [OPTIONS]

Run:
  serve         Serve gRPC, on a private PostgreSQL unless the configuration names one
  status        Show the database, the log, the views and the settlement of orders

Try:
  demo          Let 1,000 customers want the 100 seats of one slot, and count afterwards
  load          Put load on a server, to size a machine

Look back:
  history       Tell the log, a thing as it stood, what changed and what caused it
  replay        Show a view as it was at a moment, or prove the live one
  export        Write the log to a folder, as Parquet or JSON Lines; go on where the last export ended

Keep:
  verify        Prove the whole log: order, sequences, invariants, settlement in line
  heads         Show the newest signed head of the log, and the key that signs
  archive       Move old events to the archive, from which they are read as before
  rebuild       Build a view anew beside the live one, and switch
  erase         Erase a person: contacts and names of guests can be read nowhere any more
  keys          Look after the keys of persons: a new master key, the list of erasures
  parked        List the orders that could not be settled, or have some tried again
  quarantine    List the streams that a view has set aside, or let it read one again
  dead-letters  List the commands from Kafka that were refused, or send one again

Set up:
  config        Print the configuration: every key with its default and its meaning
  completions   Print completions for a shell

Options:
{options}

Examples:
  jari serve --examples examples/catalogue.yaml    put a museum, a ferry and more on sale
  jari demo --customers 5000 --seats 200           five thousand want two hundred seats
  jari load --rate 2000 --seconds 60 --json        two thousand orders a second for a minute
  jari keys erasures --export /safe/erasures.jsonl  copy the list that outlives backups
  jari history log --follow --type OrderHeld       each order that is held, as it happens
  jari replay orders --as-of 2026-12-24T09:00:00Z  the orders as they stood then
  jari export /srv/analysts                        every event so far, in Parquet
  jari config > jari.toml                          begin a configuration of your own
  JARI_LOG__LEVEL=debug jari serve                 override one key for once

'jari help COMMAND' tells more about one of them.
";

/// What the program can do. To add one: a variant here, its line in [`HELP`], an arm in `cmd::run`, a file in `cmd/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve gRPC, on a private PostgreSQL unless the configuration names one
    Serve(Serve),
    /// Show the database, the log, the views and the settlement of orders
    Status,
    /// Let 1,000 customers want the 100 seats of one slot, and count afterwards
    Demo(Demo),
    /// Put load on a server, to size a machine
    Load(Load),
    /// Tell the log, a thing as it stood, what changed and what caused it
    ///
    /// Asks a running server. Prints a line of JSON for each event, state or change. Moments are positions of the log, or times.
    History(history::History),
    /// Show a view as it was at a moment, or prove the live one
    ///
    /// Makes the view anew from the log, up to the moment, in tables beside the live ones, and tells the digest of its rows: the same log and
    /// version always give the same. What was begun and not finished is taken up again.
    Replay(replay::Replay),
    /// Write the log to a folder, as Parquet or JSON Lines; go on where the last export ended
    ///
    /// Reads the database. May be interrupted at any moment, and run beside a serving node: it takes what others leave of the machine.
    Export(Export),
    /// Prove the whole log: order, sequences, invariants, settlement in line
    ///
    /// Reads every event from the first to the head, and names each that breaks a promise. Ends with 1 when there is one.
    Verify(Verify),
    /// Show the newest signed head of the log, and the key that signs
    ///
    /// Reads this node's files. Keep a copy of the heads where nobody who may write the database can reach it, and the public key where you verify.
    Heads,
    /// Move old events to the archive, from which they are read as before
    ///
    /// Moves pieces of two thousand, while bookings go on, under the database role jari_archiver. The first and the last event of each stream stay. It may
    /// be stopped at any time; the next one goes on.
    Archive(Archive),
    /// Build a view anew beside the live one, and switch
    ///
    /// The live one answers until the new one has caught up. What was begun and not finished is taken up again.
    Rebuild(Rebuild),
    /// Erase a person: contacts and names of guests can be read nowhere any more
    ///
    /// Asks a running server. Destroys the key under which the person's data is sealed, in the log, views, topics, exports and backups of them. There is
    /// no way back. Orders stay.
    Erase(Erase),
    /// Look after the keys of persons: a new master key, the list of erasures
    Keys(Keys),
    /// List the orders that could not be settled, or have some tried again
    ///
    /// Asks a running server. Each is told with its reason and the command that tries it again; those behind it in line are settled meanwhile.
    Parked(Parked),
    /// List the streams that a view has set aside, or let it read one again
    ///
    /// Asks a running server. Each is told with its error, how many of its events wait, and the command that retries it.
    Quarantine(Quarantine),
    /// List the commands from Kafka that were refused, or send one again
    ///
    /// Asks a running server. Each is told with its reason and the offset under which it is sent again, as a new command.
    DeadLetters(DeadLetters),
    /// Print the configuration: every key with its default and its meaning
    Config,
    /// Print completions for a shell
    Completions {
        /// Whose
        shell: Shell,
    },
}

/// Of `jari serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Put this catalogue on sale first; what is on sale already stays as it is
    #[arg(long, value_name = "FILE")]
    pub examples: Option<PathBuf>,
}

/// Of `jari demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Customers, all at once
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub customers: u32,
    /// Seats that there are
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub seats: u32,
    /// Instead, a sale of so many seconds whose customers choose, buy, forget, give back, cancel and come again: something for analysts to look at
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", conflicts_with = "seats")]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub story: Option<u64>,
}

/// Of `jari load`.
#[derive(Debug, Args)]
pub struct Load {
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Slots that the orders spread over; 1 is the hardest
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub slots: u32,
    /// Closed loop: clients that each send the next order when the last one is answered
    #[arg(long, default_value_t = 64, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Open loop instead: orders due each second, whether or not the last ones are answered
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Connections that they share
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// One line of JSON instead of a report
    #[arg(long)]
    pub json: bool,
}

/// Of `jari export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder; made when it is missing
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// How events are written [default: as the folder is, parquet for a new one]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Events a second, at most [default: as many as the database gives in a tenth of one connection's time]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Export nothing; compare the files with their manifests, and these with the log's chain
    #[arg(long, conflicts_with_all = ["format", "rate"])]
    pub check: bool,
    /// With --check: make every file once more from the log, and walk the log's chain of digests up to its head
    #[arg(long, requires = "check")]
    pub rows: bool,
}

/// How `jari export` writes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A table for each type of event, with typed columns
    Parquet,
    /// A line of JSON for each event
    Jsonl,
}

/// Of `jari verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Compare the log with these signed heads, a line of JSON each: the file that a node writes, or what the topic of heads holds
    #[arg(long, value_name = "FILE")]
    pub heads: Option<PathBuf>,
    /// A public key in base64 whose signatures are believed; again for each [default: the key of this node]
    #[arg(long = "key", value_name = "KEY", requires = "heads")]
    pub keys: Vec<String>,
}

/// Of `jari archive`.
#[derive(Debug, Args)]
pub struct Archive {
    /// Events before this position may move; without it, what was begun before is finished
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..=9_223_372_036_854_775_807))]
    pub before: Option<u64>,
    /// Rest between two pieces, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub rest: u64,
}

/// Of `jari rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Which view, as `jari status` names it
    pub view: String,
}

/// Of `jari erase`.
#[derive(Debug, Args)]
pub struct Erase {
    /// Who: the reference that the person's orders bear as `customer`
    pub subject: String,
    /// The call's id: give the same again to hear what the first one did [default: a new one]
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<uuid::Uuid>,
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

/// Of `jari keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// What to do.
    #[command(subcommand)]
    pub what: KeysCommand,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Wrap every key anew, under a new master key
    ///
    /// With a file of master keys, adds a new one to it; with keys.master, the present one is the new one. Nodes serve on. Begin it again when it was
    /// interrupted. What was erased before can be opened by nobody any more once the old master key is destroyed.
    Rotate {
        /// Begin with the present master key: to go on after an interruption, or when the new one was put there by hand
        #[arg(long)]
        no_new: bool,
        /// Destroy retired master keys in the file: then no older backup of the keys can be used
        #[arg(long)]
        forget: bool,
    },
    /// Copy the list of erasures to a file, or apply a list to the keys
    Erasures {
        /// Write the list here, as it stands in the database
        #[arg(long, value_name = "FILE", conflicts_with = "apply", required_unless_present = "apply")]
        export: Option<PathBuf>,
        /// Destroy again every key on this list: after a restore of the keys
        #[arg(long, value_name = "FILE")]
        apply: Option<PathBuf>,
    },
}

/// Of `jari parked`.
#[derive(Debug, Args)]
pub struct Parked {
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Try these again, once their cause is mended
    #[arg(long, value_name = "ORDER", num_args = 1..)]
    pub retry: Vec<String>,
}

/// Of `jari quarantine`.
#[derive(Debug, Args)]
pub struct Quarantine {
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Only those of this view
    pub view: Option<String>,
    /// Let the view read this stream again, from where it stopped: TYPE/ID, as it is listed
    #[arg(long, value_name = "STREAM", requires = "view", value_parser = parse_stream)]
    pub retry: Option<(String, String)>,
}

/// Of `jari dead-letters`.
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// The server [default: where the configuration serves]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Only those that were refused with this code
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only those of this order
    #[arg(long, value_name = "ID")]
    pub order: Option<String>,
    /// Send these again: offsets, as they are listed. Twice is once
    #[arg(long, value_name = "OFFSET", num_args = 1.., conflicts_with_all = ["code", "order"], value_parser = clap::value_parser!(i64).range(0..))]
    pub redrive: Vec<i64>,
    /// Send all those again that are listed, but for those of which a later one came: of what was refused once more, the newest is sent
    #[arg(long, conflicts_with = "redrive")]
    pub redrive_all: bool,
}

fn parse_stream(text: &str) -> Result<(String, String), String> {
    let (kind, id) = text.split_once('/').filter(|(kind, id)| !kind.is_empty() && !id.is_empty()).ok_or("must be TYPE/ID, as it is listed")?;
    Ok((kind.to_owned(), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_options_of_the_command_line_clash() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_subcommand_with_what_it_does() {
        let width = Cli::command().get_subcommands().map(|sub| sub.get_name().len()).max().unwrap();
        for sub in Cli::command().get_subcommands() {
            let line = format!("  {:width$}  {}\n", sub.get_name(), sub.get_about().unwrap());
            assert!(HELP.contains(&line), "add to HELP: {line}");
        }
        let listed = HELP.split("Options:").next().unwrap().lines().filter(|line| line.starts_with("  ")).count();
        assert_eq!(listed, Cli::command().get_subcommands().count(), "HELP lists what does not exist");
    }

    #[test]
    fn every_example_of_the_help_is_understood() {
        let examples = HELP.split("Examples:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        for line in examples.lines() {
            let command = line.trim_start().split("  ").next().unwrap().split(" > ").next().unwrap();
            let words = command.split_whitespace().skip_while(|word| *word != "jari");
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn callers_who_wait_for_their_answers_and_a_rate_that_waits_for_nobody_are_not_both_asked_for() {
        let parses = |words: &str| Cli::try_parse_from(format!("jari load {words}").split_whitespace()).is_ok();
        assert!(parses("--clients 8") && parses("--rate 100"));
        assert!(!parses("--clients 8 --rate 100"));
    }

    #[test]
    fn every_shell_gets_completions_for_every_subcommand() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "jari", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(Cli::command().get_subcommands().all(|sub| script.contains(sub.get_name())), "{shell}");
        }
    }
}
