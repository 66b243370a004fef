//! The program: configuration, telemetry, wiring, command line. It alone sees every part.

mod catalogue;
mod cli;
mod client;
mod cmd;
mod config;
mod database;
mod node;
mod operations;
mod proof;
mod telemetry;

use clap::Parser;

/// A booking makes many small allocations on many threads, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    match cmd::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jari: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
