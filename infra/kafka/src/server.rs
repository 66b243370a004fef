//! A Kafka that this process started: from nothing to ready, and to its end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use base64::Engine;
use jari_process::{Manner, Output, Server, Signal};

use crate::{
    DataFolder, KafkaError, archive,
    data_folder::{Ports, address, answers},
    java,
};

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(300);
/// How often is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);
/// How long a killed predecessor may take to leave its lock on the data.
const PATIENCE: Duration = Duration::from_secs(60);
/// Temporary folders begin with this; a random name of 32 digits follows.
const TEMPORARY: &str = "jari-kafka-";
/// A temporary folder that nobody has is swept away when it is older than this: a younger one may be in the making.
const LEFT_BEHIND: Duration = Duration::from_secs(120);

/// What it logs: warnings, to where its output goes.
const LOGGING: &str = include_str!("log4j2.properties");

/// How it is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub folder: DataFolder,
    /// Where its programs are kept, for every folder: `JARI_CACHE_DIR` goes before it.
    pub cache: PathBuf,
    /// A PEM file of a key and its certificates: then it listens with TLS as well.
    pub tls: Option<PathBuf>,
    /// Further lines of its properties. What one says that is said already counts: it stands later.
    pub properties: Vec<String>,
}

impl Settings {
    /// In `folder`, with its programs in `cache`.
    #[must_use]
    pub fn new(folder: DataFolder, cache: impl Into<PathBuf>) -> Self {
        Self { folder, cache: cache.into(), tls: None, properties: Vec::new() }
    }
}

/// A Kafka that this process started.
#[derive(Debug)]
pub struct PrivateKafka {
    folder: DataFolder,
    ports: Ports,
    server: Option<Server>,
    is_temporary: bool,
    /// Held for as long as the server is ours, and given back after it is gone.
    _lock: File,
}

impl PrivateKafka {
    /// Fetches Kafka when needed, formats its storage when there is none, and starts it. It ends with this process, also when that is killed, and is
    /// started again when it dies before.
    ///
    /// # Errors
    /// [`KafkaError`]; `Owned` when another process has the folder; `NoJava`, `JavaTooOld` and `NoMaven` when the machine lacks what it needs.
    pub async fn start(settings: Settings) -> Result<Self, KafkaError> {
        let lock = settings.folder.lock()?;
        let cache = std::env::var_os("JARI_CACHE_DIR").map_or_else(|| settings.cache.clone(), PathBuf::from);
        // joined right here; Maven may take minutes
        let found = tokio::task::spawn_blocking(move || Ok((java::find()?, archive::install(&cache)?))).await;
        let (java, jars) = found.map_err(|e| KafkaError::Program { program: "the fetching", output: e.to_string() })??;
        let began = Instant::now();
        // Ends when it runs, with an error of another kind, or after PATIENCE.
        let (server, ports) = loop {
            let ports = settings.folder.ports()?;
            configure(&settings, ports)?;
            if !settings.folder.is_formatted() {
                format(&settings.folder, &java, &jars).await?;
            }
            match launch(&settings.folder, &java, &jars, ports).await {
                Ok(server) => break (server, ports),
                // a predecessor that was killed a moment ago, or somebody who took a port meanwhile
                Err(KafkaError::Program { output, .. }) if began.elapsed() < PATIENCE && is_in_the_way(&output) => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error),
            }
        };
        Ok(Self { folder: settings.folder, ports, server: Some(server), is_temporary: false, _lock: lock })
    }

    /// A Kafka in a temporary folder, which goes with it. Sweeps away what killed processes have left of theirs.
    ///
    /// # Errors
    /// As [`PrivateKafka::start`].
    pub async fn temporary(cache: &Path, tls: Option<PathBuf>) -> Result<Self, KafkaError> {
        sweep();
        let folder = DataFolder::new(std::env::temp_dir().join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple())));
        let mut started = Self::start(Settings { tls, ..Settings::new(folder, cache) }).await?;
        started.is_temporary = true;
        Ok(started)
    }

    /// Where it answers: `127.0.0.1:port`.
    #[must_use]
    pub fn brokers(&self) -> String {
        address(self.ports.broker)
    }

    /// Where it answers with TLS, when it was told to: `127.0.0.1:port`.
    #[must_use]
    pub fn tls_brokers(&self) -> String {
        address(self.ports.tls)
    }

    /// Where it lives.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The server's process; another one after it died and was started again.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.as_ref().and_then(Server::id)
    }

    /// Whether it answers now.
    #[must_use]
    pub fn answers(&self) -> bool {
        answers(self.ports.broker)
    }

    /// Stops it and waits until it is gone, at most about a minute. Blocks.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let Some(server) = self.server.take() else { return };
        if let Err(stuck) = server.stop() {
            tracing::error!(pid = stuck.pid, "the private Kafka was not stopped");
        }
        if self.is_temporary
            && let Some(folder) = self.folder.root().parent()
        {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Drop for PrivateKafka {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn is_in_the_way(output: &str) -> bool {
    ["Failed to acquire lock", "Address already in use"].iter().any(|sign| output.contains(sign))
}

fn properties(folder: &DataFolder) -> PathBuf {
    folder.root().join("server.properties")
}

/// Writes what it is told. Its bounds are those of a server beside others on one machine.
fn configure(settings: &Settings, ports: Ports) -> Result<(), KafkaError> {
    let folder = &settings.folder;
    let (broker, controller) = (address(ports.broker), address(ports.controller));
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        "node.id=1".into(),
        format!("controller.quorum.voters=1@{controller}"),
        "controller.listener.names=CONTROLLER".into(),
        "listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL".into(),
        "inter.broker.listener.name=CLIENTS".into(),
        format!("log.dirs={}", folder.data().display()),
        // nobody makes a topic by naming it wrongly
        "auto.create.topics.enable=false".into(),
        "num.partitions=1".into(),
        "default.replication.factor=1".into(),
        "offsets.topic.replication.factor=1".into(),
        "offsets.topic.num.partitions=8".into(),
        "transaction.state.log.replication.factor=1".into(),
        "transaction.state.log.min.isr=1".into(),
        "transaction.state.log.num.partitions=8".into(),
        // Before the first record of a transaction in each partition, the broker would ask itself whether the transaction is known: half of a small
        // transaction's time. It guards from records that arrive after their transaction was given up, by another way than those before; here
        // there is one broker and one way, and who takes over from a killed producer raises its epoch.
        "transaction.partition.verification.enable=false".into(),
        "share.coordinator.state.topic.replication.factor=1".into(),
        "share.coordinator.state.topic.min.isr=1".into(),
        "group.initial.rebalance.delay.ms=0".into(),
        // a broker that was killed comes back under the same id, which is its own again only after this
        "broker.heartbeat.interval.ms=500".into(),
        "broker.session.timeout.ms=3000".into(),
        "num.network.threads=2".into(),
        "num.io.threads=4".into(),
        "background.threads=2".into(),
        "log.cleaner.dedupe.buffer.size=16777216".into(),
    ];
    let tls = address(ports.tls);
    match &settings.tls {
        None => {
            lines.push(format!("listeners=CLIENTS://{broker},CONTROLLER://{controller}"));
            lines.push(format!("advertised.listeners=CLIENTS://{broker}"));
        }
        Some(key) => {
            lines.push(format!("listeners=CLIENTS://{broker},TLS://{tls},CONTROLLER://{controller}"));
            lines.push(format!("advertised.listeners=CLIENTS://{broker},TLS://{tls}"));
            lines.push(format!("ssl.keystore.type=PEM\nssl.keystore.location={}", key.display()));
        }
    }
    lines.extend_from_slice(&settings.properties);
    for (path, text) in [(properties(folder), lines.join("\n") + "\n"), (folder.root().join("log4j2.properties"), LOGGING.to_owned())] {
        fs::write(&path, text).map_err(KafkaError::file("write", &path))?;
    }
    Ok(())
}

fn program(folder: &DataFolder, java: &Path, jars: &Path) -> Command {
    let mut command = Command::new(java);
    // The first compiler only: the second would work through the broker's first minutes on the same few cores as everything else, and cost each event that
    // is relayed meanwhile more than its code is ever faster.
    command.args(["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", folder.root().join("log4j2.properties").display()));
    command.arg("-cp").arg(jars.join("*")).current_dir(folder.root());
    command
}

async fn format(folder: &DataFolder, java: &Path, jars: &Path) -> Result<(), KafkaError> {
    tracing::info!(folder = %folder.root().display(), "making a new Kafka");
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
    let mut command = program(folder, java, jars);
    // in one word: an id may begin with a dash
    command.args(["kafka.tools.StorageTool", "format", "--ignore-formatted", &format!("--cluster-id={id}"), "--config"]).arg(properties(folder));
    // joined right here
    let done = tokio::task::spawn_blocking(move || command.output()).await;
    let done = done.map_err(|e| KafkaError::Program { program: "StorageTool", output: e.to_string() })?;
    let done = done.map_err(KafkaError::file("run", java))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    let output = format!("it ended ({}): {said}", done.status);
    Err(KafkaError::Program { program: "StorageTool", output })
}

async fn launch(folder: &DataFolder, java: &Path, jars: &Path, ports: Ports) -> Result<Server, KafkaError> {
    let mut command = program(folder, java, jars);
    command.arg("kafka.Kafka").arg(properties(folder));
    let log = folder.log();
    let output = Output::open(&log).map_err(KafkaError::file("open", &log))?;
    let said_before = output.before();
    let manner = Manner { name: "Kafka", ends_by: [Signal::TERM, Signal::KILL], is_apart: false };
    let server = Server::start(command, output, manner).map_err(KafkaError::file("start a thread for", java))?;
    let began = Instant::now();
    // Ends with the process, when it answers, or after READY.
    loop {
        if let Some(error) = server.take_error() {
            return Err(KafkaError::file("run", java)(error));
        }
        // joined right here; bounded by how long an answer may take
        if tokio::task::spawn_blocking(move || answers(ports.broker)).await.unwrap_or(false) {
            server.keep();
            return Ok(server);
        }
        if server.is_over() || began.elapsed() > READY {
            // asked before it is stopped: how that ends says nothing
            let output = server.why_not_ready(&log, said_before);
            let _ = server.stop();
            return Err(KafkaError::Program { program: "kafka", output });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes temporary folders whose process was killed before it could do so itself.
fn sweep() {
    let is_ours = |name: &str| name.strip_prefix(TEMPORARY).is_some_and(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        let folder = DataFolder::new(entry.path());
        let age = fs::symlink_metadata(folder.root().join("owner")).and_then(|owner| owner.modified()).ok();
        let is_old = age.and_then(|made| SystemTime::now().duration_since(made).ok()).is_some_and(|age| age > LEFT_BEHIND);
        if is_old && folder.lock().is_ok() && !folder.standing().is_owned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
