//! Starting, finding and stopping the server.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio_postgres::{Client, NoTls};

use crate::{
    Access, Place, PostgresError,
    account::{self, Account},
    archive,
};

/// How long a killed predecessor may take to leave.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a server may take to be ready: crash recovery included.
const READY: Duration = Duration::from_secs(120);
/// How long a fast shutdown may take before it is made an immediate one.
const FAST: Duration = Duration::from_secs(30);

/// How long the server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as this process: it ends with it, also when the process is killed.
    Owned,
    /// Until it is stopped from its place: for proofs that kill the program and keep its database.
    Apart,
}

/// How the server is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub place: Place,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
    /// Off only for tests whose point is not durability.
    pub fsync: bool,
    /// Connections that it takes.
    pub max_connections: u32,
}

impl Settings {
    /// An owned, durable server in `place`.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, lifetime: Lifetime::Owned, fsync: true, max_connections: 100 }
    }
}

/// A server that this process started.
#[derive(Debug)]
pub struct PrivatePostgres {
    place: Place,
    access: Access,
    server: Option<Server>,
    /// Held for as long as the server is ours.
    _lock: File,
    temporary: bool,
}

#[derive(Debug)]
struct Server {
    pid: Pid,
    gone: mpsc::Receiver<()>,
    lifetime: Lifetime,
}

impl PrivatePostgres {
    /// Fetches PostgreSQL when needed, makes a cluster when there is none, and starts it. The database and its roles are there afterwards.
    ///
    /// # Errors
    /// [`PostgresError`]; `Owned` when another process has the place.
    pub async fn start(settings: Settings) -> Result<Self, PostgresError> {
        let account = account::for_server()?;
        let place = settings.place.clone();
        fs::create_dir_all(place.root()).map_err(PostgresError::file("create", place.root()))?;
        let lock = place.lock()?;
        let programs = archive::install(&Place::cache()).await?;
        place.prepare(account)?;
        let secrets = place.secrets()?;
        wait_for_predecessor(&place).await?;
        if !place.data().join("PG_VERSION").exists() {
            make_cluster(&programs, &place, &secrets.superuser, account)?;
        }
        let server = launch(&programs, &settings, account).await?;
        let access = place.access(&secrets);
        let started = Self { place, access, server: Some(server), _lock: lock, temporary: false };
        started.make_database(&secrets).await?;
        Ok(started)
    }

    /// A server in a temporary folder, which goes with it.
    ///
    /// # Errors
    /// As [`PrivatePostgres::start`].
    pub async fn temporary(fsync: bool, lifetime: Lifetime) -> Result<Self, PostgresError> {
        let place = Place::new(std::env::temp_dir().join(format!("jari-{}", uuid::Uuid::new_v4().simple())));
        let mut started = Self::start(Settings { lifetime, fsync, max_connections: 400, ..Settings::new(place) }).await?;
        started.temporary = true;
        Ok(started)
    }

    /// How to reach it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Where it lives.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.as_ref().map(|server| server.pid.as_raw_nonzero().get())
    }

    /// Stops the server and waits until it is gone.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(server) = self.server.take() else { return };
        let _ = rustix::process::kill_process(server.pid, Signal::INT);
        if server.gone.recv_timeout(FAST).is_err() {
            let _ = rustix::process::kill_process(server.pid, Signal::QUIT);
            let _ = server.gone.recv_timeout(FAST);
        }
        let _ = fs::remove_file(self.place.apart());
        if self.temporary {
            let _ = fs::remove_dir_all(self.place.root());
        }
    }

    async fn make_database(&self, secrets: &crate::place::Secrets) -> Result<(), PostgresError> {
        let client = connect(&self.access.superuser).await?;
        for (role, password, rights) in [("jari_owner", &secrets.owner, "CREATEROLE"), ("jari", &secrets.server, "")] {
            let known = client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await?;
            if known.is_none() {
                // the names are constants and the passwords generated hexadecimal digits: nothing here can need quoting
                client.batch_execute(&format!("CREATE ROLE {role} LOGIN {rights} PASSWORD '{password}'")).await?;
            }
        }
        if client.query_opt("SELECT 1 FROM pg_database WHERE datname = 'jari'", &[]).await?.is_none() {
            client.batch_execute("CREATE DATABASE jari OWNER jari_owner").await?;
        }
        Ok(())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let owned = self.server.as_ref().is_some_and(|server| server.lifetime == Lifetime::Owned);
        if owned || self.temporary {
            self.shut_down();
        }
    }
}

async fn connect(config: &tokio_postgres::Config) -> Result<Client, PostgresError> {
    let (client, connection) = config.connect(NoTls).await?;
    // joined by nobody: it ends with the client
    tokio::spawn(connection);
    Ok(client)
}

/// The end of a text file, for error messages.
fn end_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The process that the cluster's own file names, when it still lives.
fn running(place: &Place) -> Option<Pid> {
    let text = fs::read_to_string(place.data().join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
    rustix::process::test_kill_process(pid).ok()?;
    // another program may have the number by now
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    name.trim().starts_with("postgres").then_some(pid)
}

/// A server whose owner was killed shuts down by itself; its file is never removed by us.
async fn wait_for_predecessor(place: &Place) -> Result<(), PostgresError> {
    let began = Instant::now();
    while running(place).is_some() {
        if began.elapsed() > PATIENCE {
            let owner = "nobody: a server still runs there that was started apart, or hangs".to_owned();
            return Err(PostgresError::Owned { place: place.root().to_owned(), owner });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn as_account(command: &mut Command, account: Option<Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
}

/// Makes the cluster aside and moves it into place: one that was begun and not finished is never mistaken for a whole one.
fn make_cluster(programs: &Path, place: &Place, password: &str, account: Option<Account>) -> Result<(), PostgresError> {
    let aside = place.base().join("being-made");
    let _ = fs::remove_dir_all(&aside);
    let word = place.base().join("password");
    fs::write(&word, password).map_err(PostgresError::file("write", &word))?;
    if let Some(account) = account {
        std::os::unix::fs::chown(&word, Some(account.uid), Some(account.gid)).map_err(PostgresError::file("hand over", &word))?;
    }
    let program = programs.join("bin/initdb");
    let mut command = Command::new(&program);
    command.arg("-D").arg(&aside).args(["-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"]);
    command.arg(format!("--pwfile={}", word.display())).current_dir(place.base()).stdin(Stdio::null());
    as_account(&mut command, account);
    let output = command.output().map_err(PostgresError::file("run", &program));
    let _ = fs::remove_file(&word);
    let output = output?;
    if !output.status.success() {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(PostgresError::Program { program: "initdb", output: said });
    }
    fs::rename(&aside, place.data()).map_err(PostgresError::file("move", &aside))
}

fn arguments(settings: &Settings) -> Vec<String> {
    let place = &settings.place;
    let switch = |on: bool| if on { "on" } else { "off" };
    let options = [
        ("listen_addresses", String::new()),
        ("port", crate::place::PORT.to_string()),
        ("unix_socket_directories", place.sockets().display().to_string()),
        ("max_connections", settings.max_connections.to_string()),
        ("fsync", switch(settings.fsync).into()),
        ("synchronous_commit", switch(settings.fsync).into()),
        ("full_page_writes", switch(settings.fsync).into()),
        ("shared_buffers", "256MB".into()),
        // fewer checkpoints: each makes the next write of every page a whole page of WAL
        ("max_wal_size", "4GB".into()),
        ("checkpoint_timeout", "15min".into()),
        ("jit", "off".into()),
        ("log_min_messages", "warning".into()),
        ("log_min_error_statement", "panic".into()),
    ];
    let mut arguments = vec!["-D".to_owned(), place.data().display().to_string()];
    for (name, value) in options {
        arguments.push("-c".into());
        arguments.push(format!("{name}={value}"));
    }
    arguments
}

/// Starts the server from a thread that lives as long as the server does: the wish to be told of the parent's death is bound to that thread.
async fn launch(programs: &Path, settings: &Settings, account: Option<Account>) -> Result<Server, PostgresError> {
    let place = &settings.place;
    let log = place.log();
    let output = File::options().create(true).append(true).open(&log).map_err(PostgresError::file("open", &log))?;
    let errors = output.try_clone().map_err(PostgresError::file("open", &log))?;
    let program = programs.join("bin/postgres");
    let mut command = Command::new(&program);
    command.args(arguments(settings)).current_dir(place.base()).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    as_account(&mut command, account);
    if settings.lifetime == Lifetime::Owned {
        end_with_parent(&mut command);
    } else {
        fs::write(place.apart(), "").map_err(PostgresError::file("write", place.apart()))?;
    }
    let (spawned, started) = tokio::sync::oneshot::channel();
    let (left, gone) = mpsc::channel();
    // Joined through `gone`: the thread ends when the server does.
    std::thread::Builder::new()
        .name("postgres".into())
        .spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = spawned.send(Ok(child.id()));
                wait(&mut child);
                let _ = left.send(());
            }
            Err(error) => {
                let _ = spawned.send(Err(error));
            }
        })
        .map_err(PostgresError::file("start a thread for", &program))?;
    let lost = || std::io::Error::other("the thread that starts the server is gone");
    let id = started.await.map_err(|_| lost()).and_then(|spawned| spawned).map_err(PostgresError::file("run", &program))?;
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(lost).map_err(PostgresError::file("run", &program))?;
    wait_until_ready(place, pid, &gone).await?;
    Ok(Server { pid, gone, lifetime: settings.lifetime })
}

fn wait(child: &mut Child) {
    if let Err(error) = child.wait() {
        tracing::warn!(%error, "the private PostgreSQL could not be waited for");
    }
}

/// Asks the kernel to interrupt the server (a clean, fast shutdown) when the thread that started it is gone, however it went.
#[allow(unsafe_code, reason = "between fork and exec nothing else can run; the one call made there is a plain system call")]
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure allocates nothing and takes no lock; it makes two system calls.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
            // the parent may have died before the wish was heard
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

async fn wait_until_ready(place: &Place, pid: Pid, gone: &mpsc::Receiver<()>) -> Result<(), PostgresError> {
    let began = Instant::now();
    let file: PathBuf = place.data().join("postmaster.pid");
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines();
        let ours = lines.next().is_some_and(|first| first.trim() == pid.as_raw_nonzero().to_string());
        if ours && lines.nth(6).is_some_and(|status| status.trim() == "ready") {
            return Ok(());
        }
        // bounded by READY; a server that ends says why in its log
        if gone.try_recv().is_ok() || began.elapsed() > READY {
            return Err(PostgresError::Program { program: "postgres", output: end_of(&place.log()) });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
