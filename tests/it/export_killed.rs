//! An export that is killed, again and again, at whatever it is doing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jari_domain::Position;
use jari_export::{Settings, check};

use crate::{
    export::{address, data, fault, many, reach, run, steps},
    harness::Node,
};

/// Pages and steps of a few batches each.
const STEPS: Settings = Settings { format: None, step_events: 200, page: 100, per_second: None };
const FOLDER: &str = "JARI_TEST_EXPORT_FOLDER";
const DATABASE: &str = "JARI_TEST_EXPORT_DATABASE";
const KILLS: usize = 14;

/// A folder of one test, gone after it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("jari-export-{name}-{}", uuid::Uuid::now_v7().simple())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: exports, and waits to be killed"]
async fn part_that_exports_until_it_is_killed() {
    let (Ok(folder), Ok(database)) = (std::env::var(FOLDER), std::env::var(DATABASE)) else { return };
    run(&reach(&database), Path::new(&folder), STEPS).await.unwrap();
}

fn how_far(folder: &Path) -> (usize, usize) {
    let count = |name: &str| fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
    (count("_manifest"), count("_unfinished"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_killed_at_any_moment_goes_on_without_gap_or_repeat() {
    let (node, folder) = (Node::start().await, Folder::new("killed"));
    let slot = node.open_stock("poster", 1_000_000).await;
    let (mut left, mut seen) = (0, Position::START);
    for round in 0..KILLS {
        many(&node, &slot, 600).await;
        let began = how_far(&folder.0);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["export_killed::part_that_exports_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .envs([(FOLDER, folder.0.to_str().unwrap()), (DATABASE, &address(node.database.config()))])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // until it has begun to write; then a little more, another time each round
        let patience = Instant::now();
        while how_far(&folder.0) == began && child.try_wait().unwrap().is_none() {
            assert!(patience.elapsed() < Duration::from_secs(120), "the child never began");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(3_500 * (round as u64 % 7)));
        child.kill().unwrap();
        child.wait().unwrap();
        // what stands there now is whole as far as manifests tell, and the rest is on the way
        if folder.0.join("_manifest").exists() {
            let checked = check(&folder.0).unwrap();
            assert_eq!(checked.findings, [""; 0]);
            assert!(checked.position >= seen, "what was kept stays");
            seen = checked.position;
            let named: BTreeSet<String> = steps(&folder.0).into_iter().flat_map(|step| step.files).map(|file| file.path).collect();
            let orphans = data(&folder.0).iter().filter(|name| !named.contains(*name)).count();
            left += usize::from(how_far(&folder.0).1 > 0 || orphans > 0);
        }
    }
    assert!(left >= KILLS / 4, "only {left} of {KILLS} kills came while files were on their way");
    let done = run(&node.database, &folder.0, STEPS).await.unwrap();
    assert_eq!(done.position, done.head);
    assert_eq!(fault(&folder.0, done.head.get()), None, "none twice, none missing");
    let named = steps(&folder.0).iter().map(|step| step.files.len()).sum::<usize>();
    assert_eq!((data(&folder.0).len(), how_far(&folder.0).1), (named, 0), "nothing is left of those that were killed");
    assert_eq!(check(&folder.0).unwrap().findings, [""; 0]);
    node.stop().await;
}
