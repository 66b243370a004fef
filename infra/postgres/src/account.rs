//! As whom the server runs. PostgreSQL refuses root.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::PostgresError;

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub uid: u32,
    pub gid: u32,
}

/// The account to run as: `None` when this process' own will do.
pub(crate) fn for_server() -> Result<Option<Account>, PostgresError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    // It must have an entry: initdb asks for its name.
    let entries = std::fs::read_to_string("/etc/passwd").map_err(PostgresError::file("read", "/etc/passwd"))?;
    ["postgres", "nobody"].iter().find_map(|name| find(&entries, name)).map(Some).ok_or(PostgresError::NoAccount)
}

fn find(entries: &str, name: &str) -> Option<Account> {
    let mut fields = entries.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
    Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Whether another account can come to `folder`: each folder on the way must let everybody through. PostgreSQL's own message for one that
/// does not (below `/root`, say) names neither the folder nor the remedy.
pub(crate) fn must_reach(folder: &Path) -> Result<(), PostgresError> {
    let is_closed = |path: &&Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
    match folder.ancestors().find(is_closed) {
        Some(closed) => Err(PostgresError::Unreachable { folder: folder.to_owned(), closed: closed.to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let entries = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:/bin/false\npostgres:x:101:104::/:/bin/bash\n";
        assert_eq!(find(entries, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find(entries, "nobody"), None);
    }

    #[test]
    fn a_folder_that_others_cannot_reach_is_named() {
        let closed = std::env::temp_dir().join(format!("jari-closed-{}", std::process::id()));
        std::fs::create_dir_all(closed.join("inside")).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let refused = must_reach(&closed.join("inside/not-yet-there"));
        std::fs::remove_dir_all(&closed).unwrap();
        assert!(matches!(refused, Err(PostgresError::Unreachable { closed: named, .. }) if named == closed));
    }
}
