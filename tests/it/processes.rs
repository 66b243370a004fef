//! The program as processes of its own, as operators start it: what can be killed and paused for real.

use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use clap::Parser;
use jari::cli::Cli;
use jari_event_store::Database;
use tonic::transport::{Channel, Endpoint};

/// What a part is told: its words, one a line.
const WORDS: &str = "JARI_TEST_WORDS";

#[test]
#[ignore = "a part: the program, as another process of these tests"]
fn part_that_is_the_program_with_the_words_it_was_given() {
    let Ok(words) = std::env::var(WORDS) else { return };
    match jari::cmd::run(Cli::parse_from(words.lines())) {
        Ok(code) => std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS)),
        Err(error) => {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
    }
}

/// `jari WORDS` with this configuration, as a process of its own; what it says goes to a file beside the configuration.
pub fn start(config: &Path, words: &[&str]) -> Program {
    Program { child: command(config, words).spawn().unwrap(), log: config.with_extension("log") }
}

fn command(config: &Path, words: &[&str]) -> Command {
    let all: Vec<&str> = ["jari", "--config", config.to_str().unwrap()].into_iter().chain(words.iter().copied()).collect();
    let log = std::fs::File::create(config.with_extension("log")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "processes::part_that_is_the_program_with_the_words_it_was_given"]);
    command.env(WORDS, all.join("\n")).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// A process; killed when it is dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Sends a signal: `KILL`, `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "it runs");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it ended well; `None` while it runs.
    pub fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().unwrap().map(|status| status.success())
    }

    pub async fn until_ended(&mut self) -> bool {
        // bounded by two minutes
        for _ in 0..2_400 {
            if let Some(well) = self.ended() {
                return well;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end; it said\n{}", self.said());
    }

    /// What it has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // one that has ended by itself needs no end
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of a test's own, gone with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("jari-it-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A configuration: sections and keys over the default, on this database.
    pub fn config(&self, name: &str, database: &Database, rest: &str) -> PathBuf {
        let path = self.0.join(format!("{name}.toml"));
        std::fs::write(&path, format!("[database]\nurl = \"{}\"\n[heads]\nenabled = false\n{rest}", url(database.config()))).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As a configuration names a database.
fn url(config: &tokio_postgres::Config) -> String {
    let host = match &config.get_hosts()[0] {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(folder) => folder.display().to_string(),
    };
    let password = config.get_password().map_or_else(String::new, |password| format!(" password='{}'", std::str::from_utf8(password).unwrap()));
    let (user, name) = (config.get_user().unwrap(), config.get_dbname().unwrap());
    format!("host='{host}' port={} user='{user}' dbname='{name}'{password}", config.get_ports()[0])
}

/// The lowest of the ports that are given out here; the highest is well below those that a system takes for connections by itself.
const LOWEST_PORT: u32 = 20_000;
const PORTS: u32 = 10_000;

/// A free address of this machine, which nobody else of this run is told: it stays free until the program takes it.
pub fn free_address() -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let port = LOWEST_PORT + std::process::id().wrapping_mul(101).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = format!("127.0.0.1:{port}");
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Connections to whoever serves there, now or later. A call that gets no answer (for its server stands still) ends after a few seconds.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(4)).connect_lazy()
}

/// A group of nobody's in particular.
const OTHER_GROUP: u32 = 65_534;

#[tokio::test]
async fn a_process_that_reads_keys_leaves_no_core_unless_it_is_told_that_it_may() {
    let folder = Folder::new();
    // a database that takes the call and says nothing: who calls has read its configuration, and waits
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let me = std::fs::metadata("/proc/self").unwrap();
    let group = if me.uid() == 0 { OTHER_GROUP } else { me.gid() };
    for (name, keys, owner) in [("refused", "", (0, 0)), ("allowed", "[keys]\nallow_core_dumps = true\n", (me.uid(), group))] {
        let config = folder.0.join(format!("{name}.toml"));
        std::fs::write(&config, format!("[database]\nurl = \"postgresql://jari@{}/jari\"\n{keys}", silent.local_addr().unwrap())).unwrap();
        let mut command = command(&config, &["serve"]);
        if me.uid() == 0 {
            // root's own processes look the same, dumpable or not, but for the group
            command.gid(group);
        }
        let program = Program { child: command.spawn().unwrap(), log: config.with_extension("log") };
        let called = tokio::time::timeout(Duration::from_secs(120), silent.accept()).await;
        assert!(called.is_ok(), "{}", program.said());
        // the kernel gives what it shows of a process to root when the process may not be dumped
        let shown = std::fs::metadata(format!("/proc/{}/fd", program.child.id())).unwrap();
        assert_eq!((shown.uid(), shown.gid()), owner, "{name}");
    }
}

/// Whether the kernel may give a process memory in large pages; `None` where it does not tell.
fn takes_large_pages(process: &str) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    Some(status.lines().find_map(|line| line.strip_prefix("THP_enabled:"))?.trim() == "1")
}

#[tokio::test]
async fn a_process_takes_its_memory_in_small_pages() {
    if takes_large_pages("self") != Some(true) {
        // this kernel knows no large pages, or they are off for whoever runs the tests
        return;
    }
    let folder = Folder::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = folder.0.join("small.toml");
    std::fs::write(&config, format!("[database]\nurl = \"postgresql://jari@{}/jari\"\n", silent.local_addr().unwrap())).unwrap();
    let program = Program { child: command(&config, &["serve"]).spawn().unwrap(), log: config.with_extension("log") };
    let called = tokio::time::timeout(Duration::from_secs(120), silent.accept()).await;
    assert!(called.is_ok(), "{}", program.said());
    assert_eq!(takes_large_pages(&program.child.id().to_string()), Some(false));
}
