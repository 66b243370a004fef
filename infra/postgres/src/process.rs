//! The server's process: started, watched until it is ready, and stopped.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use jari_process::{Manner, Output, Signal};

use crate::{DataFolder, PostgresError, account::Account};

/// How long a server may take to be ready: it may have to work off gigabytes of log after a crash.
const READY: Duration = Duration::from_secs(900);
/// How often is said that it takes long.
const SAY: Duration = Duration::from_secs(10);
/// A fast shutdown, then an immediate one.
pub(crate) const ENDS_BY: [Signal; 2] = [Signal::INT, Signal::QUIT];

/// A running server.
#[derive(Debug)]
pub(crate) struct Server(jari_process::Server);

impl Server {
    /// Starts `program` and waits until it takes connections. Unless it `is_apart` it ends with this process.
    pub(crate) async fn start(
        program: &Path,
        folder: &DataFolder,
        arguments: Vec<String>,
        account: Option<Account>,
        is_apart: bool,
    ) -> Result<Self, PostgresError> {
        let log = folder.log();
        let output = Output::open(&log).map_err(PostgresError::file("open", &log))?;
        let said_before = output.before();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.base());
        run_as(&mut command, account);
        // glibc gives each statement's memory back to the system and fetches it again for the next one: up to 7 % of an append
        command.env("MALLOC_TOP_PAD_", "4194304").env("MALLOC_TRIM_THRESHOLD_", "67108864").env("MALLOC_MMAP_THRESHOLD_", "33554432");
        let manner = Manner { name: "PostgreSQL", ends_by: ENDS_BY, is_apart };
        let server = Self(jari_process::Server::start(command, output, manner).map_err(PostgresError::file("start a thread for", program))?);
        match server.wait_until_ready(program, folder, |server| server.why_not_ready(&log, said_before)).await {
            Ok(()) => {
                if !is_apart {
                    server.0.keep();
                }
                Ok(server)
            }
            Err(error) => {
                let _ = server.stop();
                Err(error)
            }
        }
    }

    /// Its process; none in the moment between a death and the next start.
    pub(crate) fn id(&self) -> Option<i32> {
        self.0.id()
    }

    /// Stops it: a fast shutdown, then an immediate one. Blocks until it is gone, at most a minute.
    pub(crate) fn stop(&self) -> Result<(), PostgresError> {
        self.0.stop().map_err(|stuck| PostgresError::Stuck { pid: stuck.pid })
    }

    async fn wait_until_ready(
        &self,
        program: &Path,
        folder: &DataFolder,
        why: impl Fn(&jari_process::Server) -> String,
    ) -> Result<(), PostgresError> {
        let began = Instant::now();
        let mut told = 0;
        // Ends with the process, when it is ready, or after READY.
        loop {
            let is_over = self.0.is_over();
            if let Some(error) = self.0.take_error() {
                return Err(PostgresError::file("run", program)(error));
            }
            if self.0.pid().is_some_and(|pid| folder.is_ready(pid)) {
                return Ok(());
            }
            if is_over || began.elapsed() > READY {
                return Err(PostgresError::Program { program: "postgres", output: why(&self.0) });
            }
            if began.elapsed().as_secs() / SAY.as_secs() > told {
                told += 1;
                tracing::info!(seconds = began.elapsed().as_secs(), "PostgreSQL is not ready yet; after a crash it works off its log first");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Runs the command as `account`.
pub(crate) fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
}
