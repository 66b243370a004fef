//! The server's process: started from a thread of its own, watched until it is ready, and stopped.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
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

/// How long is waited before a server that died is started again, at first and at most; it doubles while it dies again at once.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// One that lived so long did not die at once.
const LIVED: Duration = Duration::from_secs(60);

/// A running server, and the thread that started it and starts it again when it dies.
#[derive(Debug)]
pub(crate) struct Server(Arc<Watch>);

/// What the thread and its owner share. The lock is held for instants only, never while the process is waited for.
#[derive(Debug, Default)]
struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Of the process, while there is one.
    pid: Option<Pid>,
    /// Whether one that dies is replaced: once it was ready, and when it is owned.
    is_kept: bool,
    /// Told to stop: nothing is started any more.
    is_stopping: bool,
    /// The thread has ended, and the process before it.
    is_over: bool,
    /// Why it could not be started.
    error: Option<std::io::Error>,
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
        let watch = Arc::new(Watch::default());
        let shared = watch.clone();
        // The wish to be told of the parent's death is bound to the thread that starts the process: this one lives as long as the process does.
        // Joined through `is_over`: it ends with the process.
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(move || shared.run(&mut command));
        thread.map_err(PostgresError::file("start a thread for", program))?;
        let server = Self(watch);
        match server.wait_until_ready(program, place, || end_of(&log, said_before)).await {
            Ok(()) => {
                server.0.lock().is_kept = !is_apart;
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
        self.0.lock().pid.map(|pid| pid.as_raw_nonzero().get())
    }

    /// Stops it: a fast shutdown, then an immediate one. Blocks until it is gone, at most twice [`STOP`].
    pub(crate) fn stop(&self) -> Result<(), PostgresError> {
        self.0.lock().is_stopping = true;
        self.0.changed.notify_all();
        let pid = self.0.lock().pid;
        let tell = |signal| pid.map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal));
        stop(tell, |patience| self.0.wait(patience, |state| state.is_over).is_over)
            .map_err(|()| PostgresError::Stuck { pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get()) })
    }

    async fn wait_until_ready(&self, program: &Path, place: &Place, said: impl Fn() -> String) -> Result<(), PostgresError> {
        let began = Instant::now();
        let mut told = 0;
        // Ends with the process, when it is ready, or after READY.
        loop {
            let (pid, is_over, error) = {
                let mut state = self.0.lock();
                (state.pid, state.is_over, state.error.take())
            };
            if let Some(error) = error {
                return Err(PostgresError::file("run", program)(error));
            }
            if pid.is_some_and(|pid| place.is_ready(pid)) {
                return Ok(());
            }
            if is_over || began.elapsed() > READY {
                return Err(PostgresError::Program { program: "postgres", output: said() });
            }
            if began.elapsed().as_secs() / SAY.as_secs() > told {
                told += 1;
                tracing::info!(seconds = began.elapsed().as_secs(), "PostgreSQL is not ready yet; after a crash it works off its log first");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Watch {
    /// Nothing panics while it holds the lock, and what it guards is whole after each statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_so`, at most `patience`.
    fn wait(&self, patience: Duration, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !is_so(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The thread: starts the process, waits for its end, and starts it again while it is to be kept.
    fn run(&self, command: &mut Command) {
        let mut pause = AGAIN.0;
        while let Some(mut child) = self.begin(command) {
            let began = Instant::now();
            let ended = child.wait();
            self.lock().pid = None;
            if !self.lock().is_kept || self.lock().is_stopping {
                break;
            }
            tracing::error!(?ended, "the private PostgreSQL died; it is started again");
            pause = if began.elapsed() > LIVED { AGAIN.0 } else { (pause * 2).min(AGAIN.1) };
            drop(self.wait(pause, |state| state.is_stopping));
        }
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Starts the process, unless it shall stop: who stops it sees either the process or that none will come.
    fn begin(&self, command: &mut Command) -> Option<Child> {
        let mut state = self.lock();
        if state.is_stopping {
            return None;
        }
        match command.spawn() {
            Ok(child) => {
                state.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                Some(child)
            }
            Err(error) => {
                state.error = Some(error);
                None
            }
        }
    }
}

/// Asks for a fast shutdown, then for an immediate one. `is_gone` waits so long for the end and says whether it came.
pub(crate) fn stop(tell: impl Fn(Signal) -> rustix::io::Result<()>, is_gone: impl Fn(Duration) -> bool) -> Result<(), ()> {
    for signal in [Signal::INT, Signal::QUIT] {
        // One that is gone already cannot be told.
        let _ = tell(signal);
        if is_gone(STOP) {
            return Ok(());
        }
    }
    Err(())
}

/// Runs the command as `account`.
pub(crate) fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
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
