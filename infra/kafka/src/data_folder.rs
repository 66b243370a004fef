//! Where a private Kafka lives: its folder, its ports, and who owns it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::KafkaError;

/// How long a server on this machine may take to answer a word.
const ANSWER: Duration = Duration::from_secs(2);

/// The folder of one private Kafka.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// Where it listens, on 127.0.0.1. Kept, so that clients find it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub broker: u16,
    pub controller: u16,
    pub tls: u16,
}

/// What runs in a folder, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it answers; none when it does not.
    pub brokers: Option<String>,
    /// Whether a process owns it.
    pub is_owned: bool,
    /// What it says goes here.
    pub log: PathBuf,
}

impl DataFolder {
    /// The Kafka in the folder `kafka` below `root`. A path that is not absolute counts from the present folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root: PathBuf = root.into();
        Self { root: std::path::absolute(&root).unwrap_or(root).join("kafka") }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }
    pub(crate) fn is_formatted(&self) -> bool {
        self.data().join("meta.properties").exists()
    }
    fn owner_file(&self) -> PathBuf {
        self.root.join("owner")
    }
    fn ports_file(&self) -> PathBuf {
        self.root.join("ports.json")
    }

    /// Takes the folder for this process until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, KafkaError> {
        fs::create_dir_all(&self.root).map_err(KafkaError::file("create", &self.root))?;
        let path = self.owner_file();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(KafkaError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(KafkaError::Owned { folder: self.root.clone() }),
            Err(TryLockError::Error(source)) => Err(KafkaError::file("lock", &path)(source)),
        }
    }

    fn is_owned(&self) -> bool {
        File::open(self.owner_file()).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn known_ports(&self) -> Option<Ports> {
        serde_json::from_str(&fs::read_to_string(self.ports_file()).ok()?).ok()
    }

    /// The ports of before when they are free, else others.
    pub(crate) fn ports(&self) -> Result<Ports, KafkaError> {
        let known = self.known_ports().unwrap_or(Ports { broker: 0, controller: 0, tls: 0 });
        // all are held until all are chosen, so that no two are the same
        let held: Vec<TcpListener> = [known.broker, known.controller, known.tls]
            .into_iter()
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))))
            .collect::<Result<_, _>>()
            .map_err(KafkaError::file("take a port for", &self.root))?;
        let port = |n: usize| held[n].local_addr().map(|address| address.port()).map_err(KafkaError::file("take a port for", &self.root));
        let ports = Ports { broker: port(0)?, controller: port(1)?, tls: port(2)? };
        let path = self.ports_file();
        let text = serde_json::to_string(&ports).expect("three numbers can always be written as JSON");
        fs::write(&path, text).map_err(KafkaError::file("write", &path))?;
        Ok(ports)
    }

    /// The Kafka that another process runs here: `127.0.0.1:port`.
    #[must_use]
    pub fn find(&self) -> Option<String> {
        let ports = self.known_ports().filter(|_| self.is_owned())?;
        answers(ports.broker).then(|| address(ports.broker))
    }

    /// What runs here.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { brokers: self.find(), is_owned: self.is_owned(), log: self.log() }
    }
}

pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether a broker answers there: it is asked which requests it knows, the first thing that any client asks.
pub(crate) fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<[u8; 10]> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        // length; ApiVersions (18), version 0; correlation id; no client id
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, b'j', b'a', b'r', b'i', 0xff, 0xff])?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    // length; the same correlation id; no error
    ask().is_ok_and(|answer| answer[4..] == *b"jari\0\0")
}
