//! One file a subcommand.

mod archive;
mod dead_letters;
mod demo;
mod erase;
mod export;
mod heads;
mod history;
mod keys;
mod load;
mod parked;
mod progress;
mod quarantine;
mod rebuild;
mod replay;
mod serve;
mod status;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::{
    cli::{Cli, Command},
    config::{self, Config},
    core_dumps, memory, telemetry,
};

/// Runs one subcommand.
///
/// # Errors
/// Whatever it says, for a person to read.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Config => {
            print(config::DEFAULT);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "jari", &mut script);
            print(&String::from_utf8_lossy(&script));
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    // every command: the configuration alone may hold a master key
    core_dumps::refuse()?;
    let config = Config::load(cli.config.as_ref())?;
    if config.keys.allow_core_dumps {
        core_dumps::allow()?;
    }
    telemetry::start(&config.log)?;
    memory::take_small_pages();
    if let Command::Export(_) = cli.command {
        // before there are other threads, which take it over
        export::give_way();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime did not start")?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(options) => serve::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::Demo(options) => demo::run(&config, &options).await,
            Command::Load(options) => load::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::History(options) => history::run(&config, options).await.map(|()| ExitCode::SUCCESS),
            Command::Export(options) => export::run(&config, &options).await,
            Command::Status => {
                status::run(&config).await;
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify(options) => verify::run(&config, &options).await,
            Command::Archive(options) => archive::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::Heads => heads::run(&config).map(|()| ExitCode::SUCCESS),
            Command::Erase(options) => erase::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::Keys(options) => keys::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::DeadLetters(options) => dead_letters::run(&config, options).await.map(|()| ExitCode::SUCCESS),
            Command::Parked(options) => parked::run(&config, options).await.map(|()| ExitCode::SUCCESS),
            Command::Quarantine(options) => quarantine::run(&config, options).await.map(|()| ExitCode::SUCCESS),
            Command::Replay(options) => replay::run(&config, &options).await,
            Command::Rebuild(options) => rebuild::run(&config, &options).await.map(|()| ExitCode::SUCCESS),
            Command::Config | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
        }
    });
    // what still blocks a thread (a download, a call to a Kafka that is away) has no say in when we end
    runtime.shutdown_timeout(LEFTOVERS);
    done
}

/// Prints what operators list, a page after the other, or that there is nothing. `page` takes the token of a page, empty for the first, and gives its
/// lines and the token of the next one, empty for none.
///
/// # Errors
/// As `page`.
async fn print_pages(nothing: &str, mut page: impl AsyncFnMut(String) -> anyhow::Result<(Vec<String>, String)>) -> anyhow::Result<()> {
    let (mut token, mut is_empty) = (String::new(), true);
    // Ends with the last page.
    loop {
        let (lines, next) = page(token).await?;
        is_empty &= lines.is_empty();
        lines.iter().for_each(|line| print(line));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    if is_empty {
        print(nothing);
    }
    Ok(())
}

/// How long work on other threads may still take when the command is over.
const LEFTOVERS: std::time::Duration = std::time::Duration::from_secs(2);

/// Writes to standard output. A reader that has seen enough (`jari config | head`) is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
