//! The program `jari`.

use clap::Parser;

/// A booking makes many small allocations on many threads, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match jari::cmd::run(jari::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jari: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
