//! The Java that runs Kafka.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::KafkaError;

/// The oldest that runs Kafka 4.
const OLDEST: u32 = 17;

/// The Java that `JARI_JAVA` names, that of `JAVA_HOME`, or the one on the path. Blocks for the fraction of a second in which it says its version.
pub(crate) fn find() -> Result<PathBuf, KafkaError> {
    let named = std::env::var_os("JARI_JAVA").filter(|named| !named.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java")).filter(|java| java.is_file());
    let java = named.or(home).unwrap_or_else(|| "java".into());
    check(&java)?;
    Ok(java)
}

fn check(java: &Path) -> Result<(), KafkaError> {
    let said = Command::new(java).arg("-version").output().map_err(|_| KafkaError::NoJava)?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    match major(&said) {
        Some(version) if version >= OLDEST => Ok(()),
        _ => Err(KafkaError::JavaTooOld { java: java.to_owned(), found: said.lines().next().unwrap_or("silent").to_owned() }),
    }
}

/// `openjdk version "17.0.15" 2025-04-15` is 17, and `java version "1.8.0_292"` is 8.
fn major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_each_java_says() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK ..."), Some(17));
        assert_eq!(major("java version \"1.8.0_292\""), Some(8));
        assert_eq!(major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major("bash: no such thing"), None);
    }

    #[test]
    fn a_missing_or_old_java_is_told_with_what_to_install() {
        let missing = check(Path::new("/nowhere/java")).unwrap_err();
        assert!(missing.is_missing_program() && missing.to_string().contains("default-jre-headless"), "{missing}");
        let other = check(Path::new("/bin/true")).unwrap_err();
        assert!(matches!(other, KafkaError::JavaTooOld { .. }), "{other}");
    }
}
