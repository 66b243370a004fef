//! As whom the server runs. PostgreSQL refuses root.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let entries = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:/bin/false\npostgres:x:101:104::/:/bin/bash\n";
        assert_eq!(find(entries, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find(entries, "nobody"), None);
    }
}
