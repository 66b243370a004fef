//! A server of another make as a child process: started from a thread of its own, started again when it dies, and gone when we are.
//!
//! Must never know: which server it is, and when that is ready.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::Pid;
pub use rustix::process::Signal;

/// How long a polite end may take before the next signal is sent, and how long that may take.
const STOP: Duration = Duration::from_secs(30);
/// A server's log is begun anew at a start when it is longer than this, and the last one kept.
const LONG_LOG: u64 = 10 << 20;
/// How long is waited before a server that died is started again, at first and at most; it doubles while it dies again at once.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// One that lived so long did not die at once.
const LIVED: Duration = Duration::from_secs(60);

/// What is particular about a server.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// As people call it: for messages, and for the thread that watches it.
    pub name: &'static str,
    /// What tells it to end, politely and then less so.
    pub ends_by: [Signal; 2],
    /// Whether it outlives this process: else it is sent the first of `ends_by` when we are gone, however we went.
    pub is_apart: bool,
}

/// A server that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Its process.
    pub pid: i32,
}

/// A running server, and the thread that started it and starts it again when it dies.
#[derive(Debug)]
pub struct Server {
    watch: Arc<Watch>,
    manner: Manner,
}

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
    /// Whether one that dies is replaced.
    is_kept: bool,
    /// Told to stop: nothing is started any more.
    is_stopping: bool,
    /// The thread has ended, and the process before it.
    is_over: bool,
    /// Why it could not be started.
    error: Option<std::io::Error>,
    /// How the last process ended.
    ended: Option<ExitStatus>,
}

/// Where a server writes what it says.
#[derive(Debug)]
pub struct Output {
    file: File,
    before: u64,
}

impl Output {
    /// Opens `log` for a server that is about to start; a long one is moved aside first.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(log: &Path) -> std::io::Result<Self> {
        if log.metadata().is_ok_and(|found| found.len() > LONG_LOG) {
            fs::rename(log, log.with_extension("log.1"))?;
        }
        let file = File::options().create(true).append(true).open(log)?;
        let before = file.metadata()?.len();
        Ok(Self { file, before })
    }

    /// Where what is said from now on begins, in bytes: for [`Server::why_not_ready`].
    #[must_use]
    pub fn before(&self) -> u64 {
        self.before
    }
}

impl Server {
    /// Starts `command`, in a process group of its own (Ctrl-C at the terminal is for us, and we stop the server last), writing to `output`.
    ///
    /// # Errors
    /// When no thread can be had. What keeps the process from starting is told by [`Server::take_error`].
    pub fn start(mut command: Command, output: Output, manner: Manner) -> std::io::Result<Self> {
        let errors = output.file.try_clone()?;
        command.stdin(Stdio::null()).stdout(output.file).stderr(errors).process_group(0);
        if !manner.is_apart {
            end_with_parent(&mut command, manner.ends_by[0]);
        }
        let watch = Arc::new(Watch::default());
        let shared = watch.clone();
        // The wish to be told of the parent's death is bound to the thread that starts the process: this one lives as long as the process does.
        // Joined through `is_over`: it ends with the process.
        std::thread::Builder::new().name(manner.name.into()).spawn(move || shared.run(&mut command, manner.name))?;
        Ok(Self { watch, manner })
    }

    /// From now on it is started again when it dies: it was ready once, so that another start makes sense.
    pub fn keep(&self) {
        self.watch.lock().is_kept = true;
    }

    /// Its process; none in the moment between a death and the next start.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.watch.lock().pid
    }

    /// As [`Server::pid`], as a number.
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        self.pid().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Whether it has ended for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.watch.lock().is_over
    }

    /// Why it could not be started, once.
    #[must_use]
    pub fn take_error(&self) -> Option<std::io::Error> {
        self.watch.lock().error.take()
    }

    /// Why it is not ready, of one that ended or was waited for in vain: how its process ended, and the end of what `log` has of it, from `from` on. One
    /// that was killed says nothing by itself.
    #[must_use]
    pub fn why_not_ready(&self, log: &Path, from: u64) -> String {
        let ended = self.watch.lock().ended;
        let how = ended.map_or_else(|| "its process was not ready in time".to_owned(), |status| format!("its process ended ({status})"));
        match end_of(log, from) {
            said if said.is_empty() => format!("{how} and said nothing"),
            said => format!("{how}; the end of its log:\n{said}"),
        }
    }

    /// Stops it. Blocks until it is gone, at most a minute.
    ///
    /// # Errors
    /// [`Stuck`].
    pub fn stop(&self) -> Result<(), Stuck> {
        self.watch.lock().is_stopping = true;
        self.watch.changed.notify_all();
        let pid = self.watch.lock().pid;
        let tell = |signal| pid.map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal));
        match stop(self.manner.ends_by, tell, |patience| self.watch.wait(patience, |state| state.is_over).is_over) {
            true => Ok(()),
            false => Err(Stuck { pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get()) }),
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
    fn run(&self, command: &mut Command, name: &str) {
        let mut pause = AGAIN.0;
        while let Some(mut child) = self.begin(command) {
            let began = Instant::now();
            let ended = child.wait();
            self.lock().pid = None;
            self.lock().ended = ended.as_ref().ok().copied();
            if !self.lock().is_kept || self.lock().is_stopping {
                break;
            }
            tracing::error!(?ended, "the private {name} died; it is started again");
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

/// Sends one signal after the other, and says whether the end came. `is_gone` waits so long for it and says the same.
pub fn stop(ends_by: [Signal; 2], tell: impl Fn(Signal) -> rustix::io::Result<()>, is_gone: impl Fn(Duration) -> bool) -> bool {
    ends_by.into_iter().any(|signal| {
        // One that is gone already cannot be told.
        let _ = tell(signal);
        is_gone(STOP)
    })
}

/// Asks the kernel to signal the server when the thread that started it is gone, however it went.
#[allow(unsafe_code, reason = "between fork and exec nothing else can run; the calls made there are plain system calls")]
fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure allocates nothing and takes no lock; it makes two system calls. It runs after the change of account, which would
    // take the wish back.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // The parent may have died before the wish was heard.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

/// What was written to a log since it was `from` bytes long, its last lines.
fn end_of(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `script` to its end, and gives why it is not ready.
    fn fate_of(name: &str, script: &str) -> String {
        let log = std::env::temp_dir().join(format!("jari-process-{name}-{}", std::process::id()));
        fs::write(&log, "of another start\n").unwrap();
        let output = Output::open(&log).unwrap();
        let (from, mut command) = (output.before(), Command::new("sh"));
        command.args(["-c", script]);
        let server = Server::start(command, output, Manner { name: "sh", ends_by: [Signal::TERM, Signal::KILL], is_apart: false }).unwrap();
        let is_over = server.watch.wait(STOP, |state| state.is_over).is_over;
        assert!(is_over, "{script}: not within {STOP:?}");
        let why = server.why_not_ready(&log, from);
        fs::remove_file(&log).unwrap();
        why
    }

    #[test]
    fn a_process_that_was_killed_before_it_said_anything_has_a_reason_too() {
        assert_eq!(fate_of("killed", "kill -9 $$"), "its process ended (signal: 9 (SIGKILL)) and said nothing");
    }

    #[test]
    fn what_a_process_said_before_it_ended_stands_behind_how_it_ended() {
        assert_eq!(fate_of("failed", "echo no room; exit 3"), "its process ended (exit status: 3); the end of its log:\nno room");
    }
}
