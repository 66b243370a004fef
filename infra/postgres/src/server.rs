//! A server that this process started: from nothing to ready, and to its end.

use std::{
    fs::{self, File},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    Access, DataFolder, PostgresError,
    account::{self, Account},
    archive, cluster,
    data_folder::Secrets,
    process,
};

/// How long a killed predecessor may take to leave: what it held in memory and on disk goes with its last process.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked after meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// Temporary folders begin with this; a random name of 32 digits follows.
const TEMPORARY: &str = "jari-";
/// A temporary folder that nobody has is swept away when it is older than this: a younger one may be in the making.
const LEFT_BEHIND: Duration = Duration::from_secs(120);

/// How long the server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as this process: it ends with it, also when the process is killed; and it is started again when it dies before.
    Owned,
    /// Until it is stopped from its folder, by [`DataFolder::stop_apart`] or by whoever started it: for proofs that kill the program and keep its
    /// database.
    Apart,
}

/// How the server is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub folder: DataFolder,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
    /// Off only for tests whose point is not durability.
    pub fsync: bool,
    /// Connections that it takes.
    pub max_connections: u32,
}

impl Settings {
    /// An owned, durable server in `folder`.
    #[must_use]
    pub fn new(folder: DataFolder) -> Self {
        Self { folder, lifetime: Lifetime::Owned, fsync: true, max_connections: 100 }
    }
}

/// A server that this process started.
#[derive(Debug)]
pub struct PrivatePostgres {
    folder: DataFolder,
    access: Access,
    server: Option<process::Server>,
    lifetime: Lifetime,
    is_temporary: bool,
    /// Held for as long as the server is ours, and given back after it is gone.
    _lock: File,
}

impl PrivatePostgres {
    /// Fetches PostgreSQL when needed, makes a cluster when there is none, and starts it. The database and its roles are there afterwards.
    ///
    /// # Errors
    /// [`PostgresError`]; `Owned` when another process has the folder.
    pub async fn start(settings: Settings) -> Result<Self, PostgresError> {
        let account = account::for_server()?;
        let folder = settings.folder.clone();
        fs::create_dir_all(folder.root()).map_err(PostgresError::file("create", folder.root()))?;
        let lock = folder.lock()?;
        let programs = archive::install(&DataFolder::cache()).await?;
        if account.is_some() {
            account::must_reach(&programs)?;
        }
        folder.prepare(account)?;
        let secrets = folder.secrets()?;
        let began = Instant::now();
        wait_for_predecessor(&folder, began).await?;
        if !folder.has_cluster() {
            let _ = fs::remove_file(folder.complete());
            tracing::info!(folder = %folder.root().display(), "making a new PostgreSQL cluster");
            cluster::make(&programs, &folder, &secrets.superuser, account).await?;
        }
        let server = launch(&programs.join("bin/postgres"), &settings, account, began).await?;
        let access = folder.access(&secrets);
        let mut started = Self { folder, access, server: Some(server), lifetime: settings.lifetime, is_temporary: false, _lock: lock };
        if let Err(error) = started.complete(&secrets).await {
            started.shut_down();
            return Err(error);
        }
        Ok(started)
    }

    /// Makes what is missing of roles and database; only then others find the server.
    async fn complete(&self, secrets: &Secrets) -> Result<(), PostgresError> {
        cluster::make_database(&self.access.superuser, secrets).await?;
        let complete = self.folder.complete();
        fs::write(&complete, "").map_err(PostgresError::file("write", &complete))
    }

    /// A server in a temporary folder, which goes with it. Sweeps away what killed processes have left of theirs.
    ///
    /// # Errors
    /// As [`PrivatePostgres::start`].
    pub async fn temporary(fsync: bool, lifetime: Lifetime) -> Result<Self, PostgresError> {
        sweep();
        let folder = DataFolder::new(std::env::temp_dir().join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple())));
        let mut started = Self::start(Settings { lifetime, fsync, max_connections: 400, ..Settings::new(folder) }).await?;
        started.is_temporary = true;
        Ok(started)
    }

    /// How to reach it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Where it lives.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The server's process; another one after it died and was started again.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.as_ref().and_then(process::Server::id)
    }

    /// Stops the server and waits until it is gone, at most about a minute. Blocks.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(server) = self.server.take() else { return };
        if let Err(error) = server.stop() {
            tracing::error!(%error, "the private PostgreSQL was not stopped");
        }
        let _ = fs::remove_file(self.folder.apart());
        if self.is_temporary {
            let _ = fs::remove_dir_all(self.folder.root());
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Owned || self.is_temporary {
            self.shut_down();
        }
    }
}

impl DataFolder {
    /// Stops a server that runs here apart from any process; says whether there was one. Blocks, at most about a minute.
    ///
    /// # Errors
    /// `Owned` when a process owns the server: it is that one's to stop. `Stuck` when it does not stop.
    pub fn stop_apart(&self) -> Result<bool, PostgresError> {
        let Some(pid) = self.running() else {
            let _ = fs::remove_file(self.apart());
            return Ok(false);
        };
        if let Some(owner) = self.standing().owner.filter(|_| !self.apart().exists()) {
            return Err(PostgresError::Owned { folder: self.root().to_owned(), owner });
        }
        let is_gone = |patience| {
            let began = Instant::now();
            while self.running() == Some(pid) && began.elapsed() < patience {
                std::thread::sleep(LOOK);
            }
            self.running() != Some(pid)
        };
        if !jari_process::stop(process::ENDS_BY, |signal| rustix::process::kill_process(pid, signal), is_gone) {
            return Err(PostgresError::Stuck { pid: pid.as_raw_nonzero().get() });
        }
        let _ = fs::remove_file(self.apart());
        Ok(true)
    }
}

/// A server whose owner was killed shuts down by itself; its file is never removed by us.
async fn wait_for_predecessor(folder: &DataFolder, began: Instant) -> Result<(), PostgresError> {
    while folder.running().is_some() {
        // One that runs apart will not leave by itself; but it may have been killed just now.
        let patience = if folder.apart().exists() { Duration::from_secs(1) } else { PATIENCE };
        if began.elapsed() > patience {
            let owner = "nobody: a server runs there that was started apart, or hangs".to_owned();
            return Err(PostgresError::Owned { folder: folder.root().to_owned(), owner });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Starts the server, again and again while the remains of a killed one are in its way, bounded by [`PATIENCE`].
async fn launch(program: &std::path::Path, settings: &Settings, account: Option<Account>, began: Instant) -> Result<process::Server, PostgresError> {
    let folder = &settings.folder;
    let is_apart = settings.lifetime == Lifetime::Apart;
    if is_apart {
        fs::write(folder.apart(), "").map_err(PostgresError::file("write", folder.apart()))?;
    } else {
        let _ = fs::remove_file(folder.apart());
    }
    // Ends with the server, an error of another kind, or PATIENCE.
    loop {
        let failed = match process::Server::start(program, folder, cluster::arguments(settings), account, is_apart).await {
            Ok(server) => return Ok(server),
            Err(error) => error,
        };
        if !is_in_the_way_of_remains(&failed) || began.elapsed() > PATIENCE {
            let _ = fs::remove_file(folder.apart());
            return Err(failed);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// After SIGKILL of the first process its children see that only at their next wait, and keep the shared memory until then.
fn is_in_the_way_of_remains(error: &PostgresError) -> bool {
    let signs = ["is still in use", "lock file \"postmaster.pid\" already exists"];
    matches!(error, PostgresError::Program { output, .. } if signs.iter().any(|sign| output.contains(sign)))
}

/// Removes temporary folders whose process was killed before it could do so itself.
fn sweep() {
    let is_ours = |name: &str| name.strip_prefix(TEMPORARY).is_some_and(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        let folder = DataFolder::new(entry.path());
        let age = fs::symlink_metadata(folder.root().join("owner")).and_then(|owner| owner.modified()).ok();
        let is_old = age.and_then(|made| SystemTime::now().duration_since(made).ok()).is_some_and(|age| age > LEFT_BEHIND);
        if is_old && folder.running().is_none() && !folder.is_taken() {
            let _ = fs::remove_dir_all(folder.root());
        }
    }
}
