//! What proofs by real faults share: processes that are started, signalled and waited for.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A line of the report.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// This program again, as a process of its own that can be killed.
///
/// # Errors
/// When it cannot be started.
pub fn start_self(arguments: &[&str]) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Sends a signal, by its name: `KILL`, `STOP`. One that is gone meanwhile needs none.
///
/// # Errors
/// When there is no program `kill`.
pub fn signal_process(pid: u32, signal: &str) -> anyhow::Result<()> {
    Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status()?;
    Ok(())
}

/// A free address of this machine.
///
/// # Errors
/// When there is none.
pub fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Tries until it works, at most for `patience`.
///
/// # Errors
/// Those of the last try.
pub async fn loop_until<T, F: Future<Output = anyhow::Result<T>>>(patience: Duration, work: impl Fn() -> F) -> anyhow::Result<T> {
    let began = Instant::now();
    // bounded by `patience`
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) if began.elapsed() > patience => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
