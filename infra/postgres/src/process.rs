//! The server's process: started from a thread of its own, watched until it is ready, and stopped.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::{Place, PostgresError, account::Account};

/// How long a server may take to be ready: it may have to work off gigabytes of log after a crash.
const READY: Duration = Duration::from_secs(900);
/// How often is said that it takes long.
const SAY: Duration = Duration::from_secs(10);
/// How long a fast shutdown may take before it is made an immediate one, and how long that may take.
const STOP: Duration = Duration::from_secs(30);
/// The server's log is begun anew at a start when it is longer than this, and the last one kept; it grows by a few lines an hour.
const LONG_LOG: u64 = 10 << 20;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pid: Pid,
    /// Hears once that the process is gone.
    gone: mpsc::Receiver<()>,
}

impl Server {
    /// Starts `program` and waits until it takes connections. Unless it `is_apart` it ends with this process.
    pub(crate) async fn start(
        program: &Path,
        place: &Place,
        arguments: Vec<String>,
        account: Option<Account>,
        is_apart: bool,
    ) -> Result<Self, PostgresError> {
        let log = place.log();
        if log.metadata().is_ok_and(|found| found.len() > LONG_LOG) {
            fs::rename(&log, log.with_extension("log.1")).map_err(PostgresError::file("move", &log))?;
        }
        let output = File::options().create(true).append(true).open(&log).map_err(PostgresError::file("open", &log))?;
        let said_before = output.metadata().map_or(0, |found| found.len());
        let errors = output.try_clone().map_err(PostgresError::file("open", &log))?;
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C at the terminal is for us, and we stop the server last.
        command.args(arguments).current_dir(place.base()).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        run_as(&mut command, account);
        if !is_apart {
            end_with_parent(&mut command);
        }
        let server = spawn(command).await.map_err(PostgresError::file("run", program))?;
        match server.wait_until_ready(place, || end_of(&log, said_before)).await {
            Ok(()) => Ok(server),
            Err(error) => {
                let _ = server.stop();
                Err(error)
            }
        }
    }

    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Stops it. Blocks until it is gone, at most twice [`STOP`].
    pub(crate) fn stop(&self) -> Result<(), PostgresError> {
        // A sender that is gone means that the process is: the thread drops it last.
        stop(self.pid, |patience| !matches!(self.gone.recv_timeout(patience), Err(mpsc::RecvTimeoutError::Timeout)))
    }

    async fn wait_until_ready(&self, place: &Place, said: impl Fn() -> String) -> Result<(), PostgresError> {
        let began = Instant::now();
        let mut told = 0;
        while !place.is_ready(self.pid) {
            if !matches!(self.gone.try_recv(), Err(mpsc::TryRecvError::Empty)) || began.elapsed() > READY {
                return Err(PostgresError::Program { program: "postgres", output: said() });
            }
            if began.elapsed().as_secs() / SAY.as_secs() > told {
                told += 1;
                tracing::info!(seconds = began.elapsed().as_secs(), "PostgreSQL is not ready yet; after a crash it works off its log first");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Asks for a fast shutdown, then for an immediate one; `is_gone` waits so long for the end and says whether it came.
pub(crate) fn stop(pid: Pid, is_gone: impl Fn(Duration) -> bool) -> Result<(), PostgresError> {
    for signal in [Signal::INT, Signal::QUIT] {
        // One that is gone already cannot be told.
        let _ = rustix::process::kill_process(pid, signal);
        if is_gone(STOP) {
            return Ok(());
        }
    }
    Err(PostgresError::Stuck { pid: pid.as_raw_nonzero().get() })
}

/// Runs the command as `account`.
pub(crate) fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
}

/// Starts the process from a thread that lives as long as it: the wish to be told of the parent's death is bound to the thread that made it.
async fn spawn(mut command: Command) -> std::io::Result<Server> {
    let (spawned, started) = tokio::sync::oneshot::channel();
    // holds one message: that the process is gone
    let (left, gone) = mpsc::sync_channel(1);
    // Joined through `gone`: the thread ends with the process.
    std::thread::Builder::new().name("postgres".into()).spawn(move || match command.spawn() {
        Ok(mut child) => {
            let _ = spawned.send(Ok(child.id()));
            if let Err(error) = child.wait() {
                tracing::warn!(%error, "the private PostgreSQL could not be waited for");
            }
            let _ = left.try_send(());
        }
        Err(error) => {
            let _ = spawned.send(Err(error));
        }
    })?;
    let lost = || std::io::Error::other("the thread that starts the server is gone");
    let id = started.await.map_err(|_| lost())??;
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(lost)?;
    Ok(Server { pid, gone })
}

/// Asks the kernel to interrupt the server (a clean, fast shutdown) when the thread that started it is gone, however it went.
#[allow(unsafe_code, reason = "between fork and exec nothing else can run; the calls made there are plain system calls")]
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure allocates nothing and takes no lock; it makes two system calls. It runs after the change of account, which would
    // take the wish back.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
            // The parent may have died before the wish was heard.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

/// What was written to a log since it was `from` bytes long, its last lines, for error messages.
fn end_of(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
