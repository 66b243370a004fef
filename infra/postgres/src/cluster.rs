//! What a new server begins with, and how it is set.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tokio_postgres::NoTls;

use crate::{
    DataFolder, PostgresError, Settings,
    account::Account,
    data_folder::{KEYS, PORT, Secrets},
    process,
};

/// Bounds of PostgreSQL's own cache, in megabytes; between them it is a quarter of the memory.
const SHARED_BUFFERS_MB: (u64, u64) = (128, 1_024);

/// Makes the cluster aside and moves it into place: one that was begun and not finished is never mistaken for a whole one.
pub(crate) async fn make(programs: &Path, folder: &DataFolder, password: &str, account: Option<Account>) -> Result<(), PostgresError> {
    let aside = folder.base().join("being-made");
    let _ = fs::remove_dir_all(&aside);
    let word = folder.base().join("password");
    let _ = fs::remove_file(&word);
    hand_over(&word, password, account)?;
    let program = programs.join("bin/initdb");
    let mut command = Command::new(&program);
    command.arg("-D").arg(&aside).args(["-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"]);
    command.arg(format!("--pwfile={}", word.display())).current_dir(folder.base()).stdin(Stdio::null());
    process::run_as(&mut command, account);
    // It takes a second or two: not on the runtime's own threads.
    let ran = tokio::task::spawn_blocking(move || command.output()).await.map_err(std::io::Error::other).and_then(|output| output);
    let _ = fs::remove_file(&word);
    let output = ran.map_err(PostgresError::file("run", &program))?;
    if !output.status.success() {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(PostgresError::Program { program: "initdb", output: said });
    }
    fs::rename(&aside, folder.data()).map_err(PostgresError::file("move", &aside))
}

/// Writes the new password where only the server's account reads it.
fn hand_over(word: &Path, password: &str, account: Option<Account>) -> Result<(), PostgresError> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(word).map_err(PostgresError::file("create", word))?;
    file.write_all(password.as_bytes()).map_err(PostgresError::file("write", word))?;
    match account {
        Some(account) => std::os::unix::fs::fchown(&file, Some(account.uid), Some(account.gid)).map_err(PostgresError::file("hand over", word)),
        None => Ok(()),
    }
}

/// Makes what is missing of the roles and the database.
pub(crate) async fn make_database(superuser: &tokio_postgres::Config, secrets: &Secrets) -> Result<(), PostgresError> {
    let (client, connection) = superuser.connect(NoTls).await?;
    // Joined by nobody: it ends with the client, at the end of this function.
    tokio::spawn(connection);
    for (role, password, rights) in [("jari_owner", &secrets.owner, "CREATEROLE"), ("jari", &secrets.server, ""), (KEYS, &secrets.keys, "")] {
        if client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await?.is_none() {
            // The names are constants and the passwords generated hexadecimal digits: nothing here can need quoting.
            client.batch_execute(&format!("CREATE ROLE {role} LOGIN {rights} PASSWORD '{password}'")).await?;
        }
    }
    // Whoever sits at psql as one of them and goes away in the middle of a transaction must not hold up the log: an append waits for his insert.
    for role in ["jari_owner", "jari"] {
        client.batch_execute(&format!("ALTER ROLE {role} SET idle_in_transaction_session_timeout = '60s'")).await?;
    }
    if client.query_opt("SELECT 1 FROM pg_database WHERE datname = 'jari'", &[]).await?.is_none() {
        client.batch_execute("CREATE DATABASE jari OWNER jari_owner").await?;
    }
    if client.query_opt("SELECT 1 FROM pg_database WHERE datname = 'jari_keys'", &[]).await?.is_none() {
        client.batch_execute("CREATE DATABASE jari_keys OWNER jari_keys").await?;
    }
    client.batch_execute("REVOKE CONNECT ON DATABASE jari_keys FROM PUBLIC").await?;
    Ok(())
}

/// The server's arguments: its whole configuration, so that no file in the cluster can differ from what this program means.
pub(crate) fn arguments(settings: &Settings) -> Vec<String> {
    let folder = &settings.folder;
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let options = [
        // Nothing listens on the network: the socket is the only way in.
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", folder.sockets().display().to_string()),
        ("max_connections", settings.max_connections.to_string()),
        ("fsync", switch(settings.fsync)),
        ("synchronous_commit", switch(settings.fsync)),
        ("full_page_writes", switch(settings.fsync)),
        ("shared_buffers", format!("{}MB", shared_buffers_mb())),
        // Standbys and archiving can be added without a restart for it.
        ("wal_level", "replica".into()),
        // It would cost the one backend that appends its time, and saves only disk.
        ("wal_compression", "off".into()),
        // Fewer checkpoints: each makes the next write of every page a whole page of WAL.
        ("max_wal_size", "4GB".into()),
        // A segment of WAL that is not made from an old one is written full of zeros first, by the backend that commits: 60 ms for everybody.
        ("min_wal_size", "1GB".into()),
        ("checkpoint_timeout", "15min".into()),
        // Our statements are short: compiling one takes longer than it does.
        ("jit", "off".into()),
        // The server's own life. What a statement did wrong is told to its client, who logs it: a conflict a millisecond must not fill a disk.
        ("log_min_messages", "log".into()),
        ("timezone", "UTC".into()),
        ("log_timezone", "UTC".into()),
    ];
    let mut arguments = vec!["-D".to_owned(), folder.data().display().to_string()];
    for (name, value) in options {
        arguments.push("-c".into());
        arguments.push(format!("{name}={value}"));
    }
    arguments
}

fn shared_buffers_mb() -> u64 {
    let (least, most) = SHARED_BUFFERS_MB;
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = told.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map_or(least, |total| (total / 1_024 / 4).clamp(least, most))
}
