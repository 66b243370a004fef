//! The house rules, as a program: `cargo run -q -p jari-house`, from the root of the repository.
//!
//! It reads the files that git knows (and new ones that git does not ignore), prints each breach as `path:line: rule: what is wrong; remedy`
//! and ends with 1, or prints one line with counts and ends with 0. `cargo run -q -p jari-house -- errors-index` writes the index of the error
//! codes' pages. To add a rule, write `rules/NAME.rs` with one bad and one good example in its test, and name it in `rules/mod.rs`.
//!
//! Must never know: any crate of ours. It reads their text, so that it also sees what does not compile.

mod breach;
mod manifest;
mod rules;
mod rust_file;
mod tree;

use std::{
    fmt::Display,
    io::Write,
    process::{Command, ExitCode},
};

use tree::Tree;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => check(),
        ["errors-index"] => write_errors_index(),
        _ => Err("usage: jari-house [errors-index]".to_owned()),
    };
    done.unwrap_or_else(|complaint| {
        say(format_args!("jari-house: {complaint}"));
        ExitCode::from(2)
    })
}

fn read_tree() -> Result<Tree, String> {
    let found = Command::new("git").args(["rev-parse", "--show-toplevel"]).output().map_err(|e| format!("git cannot be run: {e}"))?;
    let root = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if root.is_empty() { Err("run it inside a clone of the repository".into()) } else { Tree::read(root.as_ref()) }
}

fn check() -> Result<ExitCode, String> {
    let tree = read_tree()?;
    let breaches = rules::check_all(&tree);
    for breach in &breaches {
        say(breach);
    }
    if breaches.is_empty() {
        say(format_args!("house: {} rules kept; {}", rules::RULES.len(), rules::tails::worst(&tree)));
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("house: {} breaches of {} rules; {}", breaches.len(), rules::RULES.len(), rules::tails::worst(&tree)));
    Ok(ExitCode::FAILURE)
}

fn write_errors_index() -> Result<ExitCode, String> {
    let tree = read_tree()?;
    let path = tree.root().join(rules::codes::INDEX);
    std::fs::write(&path, rules::codes::index(&tree)).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A closed pipe is no reason to panic: whoever reads has seen enough.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
