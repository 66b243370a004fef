//! A real private Kafka, from its jars to its end.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in what the tests share")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jari_kafka::{DataFolder, KafkaError, PrivateKafka, Settings};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("jari-test-kafka-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }
    fn settings(&self) -> Settings {
        Settings::new(DataFolder::new(&self.0), cache())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Shared with every other test of this account: what is fetched is fetched once.
fn cache() -> PathBuf {
    std::env::temp_dir().join("jari-test-programs")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: not within 120 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: owns a Kafka and waits to be killed"]
async fn part_that_owns_a_kafka_and_waits() {
    let Some(folder) = std::env::var_os("JARI_TEST_PLACE") else { return };
    let _kafka = PrivateKafka::start(Settings::new(DataFolder::new(PathBuf::from(folder)), cache())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
}

/// This test binary again, as another process that owns a Kafka in `folder`.
fn owner(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "part_that_owns_a_kafka_and_waits"]).env("JARI_TEST_PLACE", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_is_kept_alive_stays_where_it_is_and_is_found_by_others() {
    let folder = Folder::new("kept");
    let kafka = PrivateKafka::start(folder.settings()).await.unwrap();
    let brokers = kafka.brokers();
    wait_until("it answers", || kafka.answers());
    let place = folder.settings().folder;
    wait_until("whoever looks finds it", || place.find() == Some(brokers.clone()));
    assert!(matches!(PrivateKafka::start(folder.settings()).await, Err(KafkaError::Owned { .. })), "and does not start another");
    let killed = kafka.pid().unwrap();
    assert!(Command::new("kill").args(["-KILL", &killed.to_string()]).status().unwrap().success());
    wait_until("it is started again when it dies", || kafka.answers() && kafka.pid().is_some_and(|pid| pid != killed));
    assert_eq!(kafka.brokers(), brokers);
    kafka.stop();
    assert_eq!(place.find(), None, "a stopped one is not found");
    let identity = |place: &DataFolder| std::fs::read_to_string(place.root().join("data/meta.properties")).unwrap();
    let before = identity(&place);
    let again = PrivateKafka::start(folder.settings()).await.unwrap();
    assert_eq!((again.brokers(), identity(&place)), (brokers, before), "the next start finds the same cluster at the same address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_ends_with_its_owner_however_that_went() {
    let folder = Folder::new("orphan");
    let mut process = owner(&folder.0).spawn().unwrap();
    let place = folder.settings().folder;
    wait_until("another process starts it", || place.find().is_some());
    process.kill().unwrap();
    process.wait().unwrap();
    wait_until("it leaves with its owner", || place.standing().brokers.is_none());
    // its place and its data are free again
    let next = PrivateKafka::start(folder.settings()).await.unwrap();
    wait_until("the next answers", || next.answers());
}
