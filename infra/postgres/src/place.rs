//! Where a private server lives: its folder, its socket, its passwords, and who owns it.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio_postgres::Config;

use crate::PostgresError;

/// The longest path of a socket that Linux takes, less PostgreSQL's own file name.
const MAX_SOCKET_FOLDER: usize = 107 - "/.s.PGSQL.65535".len();
/// The port names the socket's file; nothing listens on the network.
pub(crate) const PORT: u16 = 5432;
/// The database of the program.
const DATABASE: &str = "jari";

/// The folder of one private server.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

/// Generated passwords, readable by their owner only.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub superuser: String,
    pub owner: String,
    pub server: String,
}

/// How to reach a running server.
#[derive(Clone)]
pub struct Access {
    /// As the role that owns the schema: migrations.
    pub owner: Config,
    /// As the program's own role, which can neither change nor remove what is in the log.
    pub server: Config,
    /// As PostgreSQL's superuser.
    pub superuser: Config,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

impl Place {
    /// The server in `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
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

    /// Where PostgreSQL's programs are kept: beside the default folder, so that every place shares them.
    pub(crate) fn cache() -> PathBuf {
        std::env::var_os("JARI_CACHE_DIR").map_or_else(|| Self::default_root().join("programs"), PathBuf::from)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("postgres/data")
    }
    pub(crate) fn base(&self) -> PathBuf {
        self.root.join("postgres")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgres/server.log")
    }
    /// Present while a server runs here that no process owns.
    pub(crate) fn apart(&self) -> PathBuf {
        self.root.join("runs-apart")
    }

    /// The socket's folder: in the place, or in the system's folder for such things when the path would be too long for a socket.
    pub(crate) fn sockets(&self) -> PathBuf {
        let own = self.root.join("postgres/run");
        if own.as_os_str().len() <= MAX_SOCKET_FOLDER {
            return own;
        }
        let name =
            self.root.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        std::env::temp_dir().join(format!("jari-{name:016x}"))
    }

    /// Takes the place for this process until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, PostgresError> {
        let path = self.root.join("owner");
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(PostgresError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                return Err(PostgresError::Owned { place: self.root.clone(), owner: owner.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(PostgresError::file("lock", &path)(source)),
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let said = file.set_len(0).and_then(|()| writeln!(file, "process {}, since {since} s after 1970 (UTC)", std::process::id()));
        said.map_err(PostgresError::file("write", &path))?;
        Ok(file)
    }

    fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.root.join("owner")) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// The server that runs here, when one does that is not about to end with its dead owner.
    #[must_use]
    pub fn find(&self) -> Option<Access> {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let is_ready = pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready");
        if !is_ready || !(self.is_locked() || self.apart().exists()) {
            return None;
        }
        Some(self.access(&self.secrets().ok()?))
    }

    /// The passwords; made at the first call.
    pub(crate) fn secrets(&self) -> Result<Secrets, PostgresError> {
        let path = self.root.join("secrets.json");
        if let Ok(text) = fs::read_to_string(&path)
            && let Ok(secrets) = serde_json::from_str(&text)
        {
            return Ok(secrets);
        }
        let password = || uuid::Uuid::new_v4().simple().to_string();
        let secrets = Secrets { superuser: password(), owner: password(), server: password() };
        let text = serde_json::to_string_pretty(&secrets).unwrap_or_default();
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path).map_err(PostgresError::file("create", &path))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(PostgresError::file("write", &path))?;
        Ok(secrets)
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
            superuser: config("postgres", &secrets.superuser, "postgres"),
        }
    }

    /// Makes the folders, each readable by those who need it.
    pub(crate) fn prepare(&self, account: Option<crate::account::Account>) -> Result<(), PostgresError> {
        fs::create_dir_all(&self.root).map_err(PostgresError::file("create", &self.root))?;
        for folder in [self.base(), self.sockets()] {
            fs::create_dir_all(&folder).map_err(PostgresError::file("create", &folder))?;
            fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", &folder))?;
            if let Some(account) = account {
                std::os::unix::fs::chown(&folder, Some(account.uid), Some(account.gid)).map_err(PostgresError::file("hand over", &folder))?;
            }
        }
        Ok(())
    }
}
