//! Where a private server lives: its folder, its socket, its passwords, and who owns it.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio_postgres::Config;

use crate::{
    PostgresError,
    account::{self, Account},
};

/// The longest path of a socket that Linux takes, less PostgreSQL's own file name.
const MAX_SOCKET_FOLDER: usize = 107 - "/.s.PGSQL.65535".len();
/// The port names the socket's file; nothing listens on the network.
pub(crate) const PORT: u16 = 5432;
/// The database of the program.
const DATABASE: &str = "jari";
/// The database of the keys of persons, and its role: apart from the log, and closed to the log's roles.
pub(crate) const KEYS: &str = "jari_keys";
/// Who looks whether a folder is owned holds its lock for an instant: a new owner asks again for so long.
const LOCK_AGAIN: (u32, Duration) = (20, Duration::from_millis(25));

/// The folder of one private server.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// Generated passwords, readable by their owner only.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub superuser: String,
    pub owner: String,
    pub server: String,
    /// Folders from before there were keys have none of it.
    #[serde(default)]
    pub keys: String,
}

/// How to reach a running server.
#[derive(Clone)]
pub struct Access {
    /// As the role that owns the schema: migrations.
    pub owner: Config,
    /// As the program's own role, which can neither change nor remove what is in the log.
    pub server: Config,
    /// As the role that owns the database of the keys of persons, there.
    pub keys: Config,
    /// As PostgreSQL's superuser.
    pub superuser: Config,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// What runs in a folder, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The server's process; none when it does not run.
    pub server: Option<i32>,
    /// Whether it takes connections.
    pub is_ready: bool,
    /// Which process owns it and since when; none when nobody does.
    pub owner: Option<String>,
    /// Whether this account may read its passwords.
    pub may_enter: bool,
    /// What reaches it with psql, without a password in it.
    pub psql: String,
    /// What it says goes here.
    pub log: PathBuf,
}

impl DataFolder {
    /// The server in `root`. A path that is not absolute counts from the present folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root: PathBuf = root.into();
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// Where it is by default: `/var/lib/jari` for root, else below the user's data folder.
    #[must_use]
    pub fn default_root() -> PathBuf {
        if rustix::process::geteuid().is_root() {
            return "/var/lib/jari".into();
        }
        let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        std::env::var_os("XDG_DATA_HOME").map_or_else(|| home().join(".local/share"), PathBuf::from).join("jari")
    }

    /// Where PostgreSQL's programs are kept: beside the default folder, so that every folder shares them.
    pub(crate) fn cache() -> PathBuf {
        std::env::var_os("JARI_CACHE_DIR").map_or_else(|| Self::default_root().join("programs"), PathBuf::from)
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn base(&self) -> PathBuf {
        self.root.join("postgres")
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.base().join("data")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.base().join("server.log")
    }
    /// Present while a server runs here that no process owns.
    pub(crate) fn apart(&self) -> PathBuf {
        self.root.join("runs-apart")
    }
    /// Present once database and roles are there: a server may be ready before it has them.
    pub(crate) fn complete(&self) -> PathBuf {
        self.base().join("complete")
    }
    fn owner_file(&self) -> PathBuf {
        self.root.join("owner")
    }
    fn secrets_file(&self) -> PathBuf {
        self.root.join("secrets.json")
    }
    fn passwords_file(&self) -> PathBuf {
        self.root.join("pgpass")
    }
    pub(crate) fn has_cluster(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// The socket's folder: within this one, or in the system's folder for such things when the path would be too long for a socket.
    pub(crate) fn sockets(&self) -> PathBuf {
        let own = self.base().join("run");
        if own.as_os_str().len() <= MAX_SOCKET_FOLDER {
            return own;
        }
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let name = self.root.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        PathBuf::from("/tmp").join(format!("jari-{name:016x}"))
    }

    /// Takes the folder for this process until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, PostgresError> {
        let path = self.owner_file();
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(PostgresError::file("open", &path))?;
        let mut tries = 0..LOCK_AGAIN.0;
        // Bounded by LOCK_AGAIN: what it waits for is gone in an instant, unless there is an owner.
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries.next().is_some() => std::thread::sleep(LOCK_AGAIN.1),
                Err(TryLockError::WouldBlock) => {
                    return Err(PostgresError::Owned { folder: self.root.clone(), owner: self.owner().unwrap_or_default() });
                }
                Err(TryLockError::Error(source)) => return Err(PostgresError::file("lock", &path)(source)),
            }
        }
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let said = file.set_len(0).and_then(|()| writeln!(file, "process {}, since {since}", std::process::id()));
        said.map_err(PostgresError::file("write", &path))?;
        Ok(file)
    }

    /// Who owns the folder, as the lock file says, when somebody does.
    fn owner(&self) -> Option<String> {
        let mut file = File::open(self.owner_file()).ok()?;
        if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let mut owner = String::new();
        file.read_to_string(&mut owner).ok()?;
        Some(owner.trim().to_owned())
    }

    /// Whether anybody has the folder: a process that owns it, or a server that runs apart.
    pub(crate) fn is_taken(&self) -> bool {
        self.owner().is_some() || (self.apart().exists() && self.running().is_some())
    }

    fn pid_file(&self) -> String {
        fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default()
    }

    /// The process that the cluster's own file names, while it lives: one that was killed and not yet waited for does not.
    pub(crate) fn running(&self) -> Option<Pid> {
        let pid = Pid::from_raw(self.pid_file().lines().next()?.trim().parse().ok()?)?;
        // `PID (name) state ...`: another program may have the number by now.
        let told = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let (name, state) = told.split_once('(')?.1.rsplit_once(')')?;
        let is_alive = !state.trim_start().starts_with(['Z', 'X']);
        (is_alive && name.starts_with("postgres")).then_some(pid)
    }

    /// Whether the process `pid` says in the cluster's file that it takes connections.
    pub(crate) fn is_ready(&self, pid: Pid) -> bool {
        let text = self.pid_file();
        let ours = text.lines().next().is_some_and(|first| first.trim() == pid.as_raw_nonzero().to_string());
        ours && text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    }

    /// The server that runs here, when one does that is not about to end with its dead owner.
    #[must_use]
    pub fn find(&self) -> Option<Access> {
        let is_ready = self.running().is_some_and(|pid| self.is_ready(pid));
        if !is_ready || !self.complete().exists() || !self.is_taken() {
            return None;
        }
        Some(self.access(&self.read_secrets().ok()??))
    }

    /// What runs here.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let server = self.running();
        let passwords = self.passwords_file();
        Standing {
            server: server.map(|pid| pid.as_raw_nonzero().get()),
            is_ready: server.is_some_and(|pid| self.is_ready(pid)),
            owner: self.owner().or_else(|| self.apart().exists().then(|| "nobody: it runs apart".to_owned())),
            may_enter: File::open(&passwords).is_ok(),
            psql: format!("PGPASSFILE={} psql -h {} -U jari {DATABASE}", passwords.display(), self.sockets().display()),
            log: self.log(),
        }
    }

    fn read_secrets(&self) -> Result<Option<Secrets>, PostgresError> {
        let path = self.secrets_file();
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| PostgresError::SecretsLost { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PostgresError::file("read", &path)(error)),
        }
    }

    /// The passwords; made at the first call, and never anew beside a cluster that knows others.
    pub(crate) fn secrets(&self) -> Result<Secrets, PostgresError> {
        let password = || uuid::Uuid::new_v4().simple().to_string();
        if let Some(mut secrets) = self.read_secrets()? {
            if secrets.keys.is_empty() {
                secrets.keys = password();
                self.write_secrets(&secrets)?;
            }
            return Ok(secrets);
        }
        if self.has_cluster() {
            return Err(PostgresError::SecretsLost { path: self.secrets_file() });
        }
        let secrets = Secrets { superuser: password(), owner: password(), server: password(), keys: password() };
        self.write_secrets(&secrets)?;
        Ok(secrets)
    }

    fn write_secrets(&self, secrets: &Secrets) -> Result<(), PostgresError> {
        let sockets = self.sockets().display().to_string().replace('\\', "\\\\").replace(':', "\\:");
        let line = |role: &str, password: &str| format!("{sockets}:*:*:{role}:{password}\n");
        let lines = [("jari", &secrets.server), ("jari_owner", &secrets.owner), (KEYS, &secrets.keys), ("postgres", &secrets.superuser)];
        write_privately(&self.passwords_file(), &lines.map(|(role, password)| line(role, password)).concat())?;
        let text = serde_json::to_string_pretty(secrets).expect("four texts can always be written as JSON");
        write_privately(&self.secrets_file(), &text)
    }

    pub(crate) fn access(&self, secrets: &Secrets) -> Access {
        let config = |user: &str, password: &str, database: &str| {
            let mut config = Config::new();
            config.host_path(self.sockets()).port(PORT).user(user).password(password).dbname(database);
            config
        };
        Access {
            owner: config("jari_owner", &secrets.owner, DATABASE),
            server: config("jari", &secrets.server, DATABASE),
            keys: config(KEYS, &secrets.keys, KEYS),
            superuser: config("postgres", &secrets.superuser, "postgres"),
        }
    }

    /// Makes the folders, each readable by those who need it.
    pub(crate) fn prepare(&self, account: Option<Account>) -> Result<(), PostgresError> {
        let base = self.base();
        fs::create_dir_all(&base).map_err(PostgresError::file("create", &base))?;
        if account.is_some() {
            // A strict umask would have closed them to the server's account.
            fs::set_permissions(&self.root, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", &self.root))?;
            account::must_reach(&self.root)?;
        }
        let uid = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
        for folder in [base, self.sockets()] {
            // Not followed where it is a link, and not used where it is another's: the socket's folder may stand where everybody writes.
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(PostgresError::file("create", &folder)(error)),
                _ => {}
            }
            let found = fs::symlink_metadata(&folder).map_err(PostgresError::file("look at", &folder))?;
            if !found.is_dir() || ![uid, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
                return Err(PostgresError::ForeignFolder { path: folder });
            }
            fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", &folder))?;
            if let Some(account) = account {
                std::os::unix::fs::chown(&folder, Some(account.uid), Some(account.gid)).map_err(PostgresError::file("hand over", &folder))?;
            }
        }
        Ok(())
    }
}

/// Writes a file that only this account reads, whole or not at all.
fn write_privately(path: &Path, text: &str) -> Result<(), PostgresError> {
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&aside).map_err(PostgresError::file("create", &aside))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(PostgresError::file("write", &aside))?;
    fs::rename(&aside, path).map_err(PostgresError::file("move", &aside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_socket_is_never_too_long() {
        let short = DataFolder::new("/var/lib/jari");
        assert_eq!(short.sockets(), Path::new("/var/lib/jari/postgres/run"));
        let long = DataFolder::new(format!("/srv/{}", "x".repeat(200)));
        assert!(long.sockets().as_os_str().len() < 100, "{:?}", long.sockets());
        assert_ne!(long.sockets(), DataFolder::new(format!("/srv/{}", "y".repeat(200))).sockets(), "two folders, two sockets");
    }

    #[test]
    fn passwords_are_kept_private_and_not_made_anew_beside_a_cluster() {
        let folder = DataFolder::new(std::env::temp_dir().join(format!("jari-secrets-{}", std::process::id())));
        fs::create_dir_all(folder.data()).unwrap();
        let first = folder.secrets().unwrap();
        assert_eq!(folder.secrets().unwrap().server, first.server);
        for file in [folder.secrets_file(), folder.passwords_file()] {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        fs::write(folder.data().join("PG_VERSION"), "18").unwrap();
        fs::remove_file(folder.secrets_file()).unwrap();
        let refused = folder.secrets();
        fs::remove_dir_all(folder.root()).unwrap();
        assert!(matches!(refused, Err(PostgresError::SecretsLost { .. })));
    }
}
