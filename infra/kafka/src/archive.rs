//! Kafka's jars: fetched once by Maven, each checked against what is pinned here, kept in a cache.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use crate::KafkaError;

/// The pinned version.
pub const VERSION: &str = "4.4.0";

/// What is fetched: Kafka and what it stands on. Maven knows where from, and what the machine's settings say of mirrors.
const PROJECT: &str = include_str!("../pom.xml");
/// Each jar with its SHA-256: these and no others are run.
const PINNED: &str = include_str!("../jars.sha256");
/// The goal that copies them; its version is pinned like theirs.
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Names a folder with the jars, for machines that fetch nothing.
const BROUGHT: &str = "JARI_KAFKA_JARS";

/// The folder of the jars, fetched into `cache` when it is not there yet. Blocks, for as long as Maven takes to fetch 43 MB.
///
/// Safe when many processes do it at once: one works under a lock, the others wait and find the result.
pub(crate) fn install(cache: &Path) -> Result<PathBuf, KafkaError> {
    let home = cache.join(format!("kafka-{VERSION}"));
    if home.is_dir() {
        return Ok(home);
    }
    fs::create_dir_all(cache).map_err(KafkaError::file("create", cache))?;
    let path = cache.join("kafka-lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(KafkaError::file("open", &path))?;
    // Whoever has it is bounded by Maven's own time limits.
    lock.lock().map_err(KafkaError::file("lock", &path))?;
    if home.is_dir() {
        return Ok(home);
    }
    let aside = cache.join("kafka-fetching");
    let _ = fs::remove_dir_all(&aside);
    let jars = aside.join("jars");
    fs::create_dir_all(&jars).map_err(KafkaError::file("create", &jars))?;
    match std::env::var_os(BROUGHT).filter(|folder| !folder.is_empty()) {
        Some(folder) => copy(Path::new(&folder), &jars)?,
        None => fetch(&aside, &jars)?,
    }
    check(&jars, PINNED)?;
    let folder = File::open(&jars).map_err(KafkaError::file("open", &jars))?;
    rustix::fs::syncfs(&folder).map_err(|e| KafkaError::file("sync", &jars)(e.into()))?;
    fs::rename(&jars, &home).map_err(KafkaError::file("move", &jars))?;
    let _ = fs::remove_dir_all(&aside);
    Ok(home)
}

fn copy(from: &Path, to: &Path) -> Result<(), KafkaError> {
    for entry in fs::read_dir(from).map_err(KafkaError::file("read", from))? {
        let path = entry.map_err(KafkaError::file("read", from))?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|extension| extension == "jar")) {
            fs::copy(&path, to.join(name)).map_err(KafkaError::file("copy", &path))?;
        }
    }
    Ok(())
}

fn fetch(aside: &Path, jars: &Path) -> Result<(), KafkaError> {
    let project = aside.join("pom.xml");
    fs::write(&project, PROJECT).map_err(KafkaError::file("write", &project))?;
    tracing::info!(version = VERSION, "fetching Kafka, about 43 MB, once");
    let mut maven = Command::new("mvn");
    // --strict-checksums: what arrives damaged is not kept
    maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--file"]).arg(&project).arg(GOAL);
    maven.arg(format!("-DoutputDirectory={}", jars.display())).arg("-DincludeScope=runtime");
    let done = maven.current_dir(aside).stdin(Stdio::null()).output().map_err(|_| KafkaError::NoMaven)?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    let errors = said.lines().filter(|line| line.contains("ERROR")).take(3);
    let reason = errors.fold(format!("mvn ended ({})", done.status), |reason, error| reason + "; " + error);
    Err(KafkaError::Fetch { version: VERSION, reason })
}

/// The folder must hold exactly the pinned jars.
fn check(jars: &Path, pinned: &str) -> Result<(), KafkaError> {
    let mut wanted: BTreeMap<&str, &str> = pinned.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    for entry in fs::read_dir(jars).map_err(KafkaError::file("read", jars))? {
        let path = entry.map_err(KafkaError::file("read", jars))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match wanted.remove(name.as_str()) {
            Some(sum) if sum == sum_of(&path)? => {}
            Some(_) => return Err(KafkaError::Jar { jar: name, fault: "has another SHA-256 than the pinned one" }),
            None => return Err(KafkaError::Jar { jar: name, fault: "is not among the pinned ones" }),
        }
    }
    match wanted.into_keys().next() {
        Some(missing) => Err(KafkaError::Jar { jar: missing.to_owned(), fault: "is missing" }),
        None => Ok(()),
    }
}

fn sum_of(path: &Path) -> Result<String, KafkaError> {
    let (mut file, mut digest, mut piece) = (File::open(path).map_err(KafkaError::file("open", path))?, Sha256::new(), vec![0; 1 << 16]);
    // Ends with the file.
    loop {
        let read = file.read(&mut piece).map_err(KafkaError::file("read", path))?;
        if read == 0 {
            return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        digest.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jar_that_differs_misses_or_is_too_many_is_refused() {
        let folder = std::env::temp_dir().join(format!("jari-jars-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.jar"), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.jar\n";
        let fault = |pinned: &str| match check(&folder, pinned) {
            Err(KafkaError::Jar { jar, fault }) => Some((jar, fault)),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(fault(abc), None);
        assert_eq!(fault(&abc.replace("ba78", "ba79")).unwrap().1, "has another SHA-256 than the pinned one");
        assert_eq!(fault(&format!("{abc}00  b.jar\n")).unwrap(), ("b.jar".into(), "is missing"));
        assert_eq!(fault("").unwrap().1, "is not among the pinned ones");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_jar_that_is_run_is_pinned_by_a_whole_checksum() {
        let lines: Vec<_> = PINNED.lines().map(|line| line.split_once("  ").unwrap()).collect();
        assert!(lines.iter().all(|(sum, name)| sum.len() == 64 && name.ends_with(".jar")));
        assert!(lines.iter().any(|(_, name)| *name == format!("kafka_2.13-{VERSION}.jar")), "the version that is pinned is the one that is said");
        assert!(PROJECT.contains(&format!("<version>{VERSION}</version>")));
    }
}
