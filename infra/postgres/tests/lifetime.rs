//! A real private server, from its archive to its end.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in what the tests share")]

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use jari_postgres::{DataFolder, Lifetime, PostgresError, PrivatePostgres, Settings};
use tokio_postgres::NoTls;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("jari-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }
    fn place(&self) -> DataFolder {
        DataFolder::new(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed may leave a server that nobody else would stop.
        let _ = self.place().stop_apart();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn client(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(config: &tokio_postgres::Config, sql: &str) -> i32 {
    client(config).await.query_one(sql, &[]).await.unwrap().get(0)
}

/// This test binary again, as another process that runs one of the parts below.
fn child(part: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", part]).env("JARI_TEST_PLACE", folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn own_place() -> Option<DataFolder> {
    std::env::var_os("JARI_TEST_PLACE").map(|folder| DataFolder::new(PathBuf::from(folder)))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(90), "{what}: not within 90 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: owns a server and waits to be killed"]
async fn part_that_owns_a_server_and_waits() {
    let Some(place) = own_place() else { return };
    let _server = PrivatePostgres::start(Settings::new(place)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: starts a server apart and waits to be killed"]
async fn part_that_starts_a_server_apart() {
    let Some(place) = own_place() else { return };
    let _server = PrivatePostgres::start(Settings { lifetime: Lifetime::Apart, ..Settings::new(place) }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: finds the server of another process and leaves it running"]
async fn part_that_finds_the_running_server() {
    let Some(place) = own_place() else { return };
    let access = place.find().expect("another process runs a server there");
    assert_eq!(number(&access.server, "SELECT 1").await, 1);
    let refused = PrivatePostgres::start(Settings::new(place)).await;
    assert!(matches!(refused, Err(PostgresError::Owned { owner, .. }) if owner.contains("process")));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part: starts and stops a server under the account that runs it"]
async fn part_that_starts_and_stops_a_server() {
    let Some(place) = own_place() else { return };
    let server = PrivatePostgres::start(Settings::new(place.clone())).await.unwrap();
    assert_eq!(number(&server.access().server, "SELECT 1").await, 1);
    server.stop();
    assert!(place.find().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let place = folder.place();
    let first = PrivatePostgres::start(Settings::new(place.clone())).await.unwrap();
    let owner = client(&first.access().owner).await;
    owner.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.unwrap();
    for (setting, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("listen_addresses", ""),
    ] {
        let sql = if setting == "lc_collate" { "SELECT datcollate FROM pg_database WHERE datname = 'jari'" } else { "" };
        let value: String = match sql {
            "" => owner.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap().get(0),
            sql => owner.query_one(sql, &[]).await.unwrap().get(0),
        };
        assert_eq!(value, expected, "{setting}");
    }
    first.stop();
    assert!(place.find().is_none(), "a stopped server is not found");
    let second = PrivatePostgres::start(Settings::new(place)).await.unwrap();
    assert_eq!(number(&second.access().owner, "SELECT n FROM kept").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_needs_its_own_password_and_the_server_is_no_superuser() {
    let folder = Folder::new("roles");
    let server = PrivatePostgres::start(Settings { fsync: false, ..Settings::new(folder.place()) }).await.unwrap();
    let access = server.access();
    for (config, is_superuser) in [(&access.server, "off"), (&access.owner, "off"), (&access.superuser, "on")] {
        let told: String = client(config).await.query_one("SELECT current_setting('is_superuser')", &[]).await.unwrap().get(0);
        assert_eq!(told, is_superuser);
    }
    let mut guessed = access.superuser.clone();
    guessed.password("guessed");
    assert!(guessed.connect(NoTls).await.is_err());
    let psql = server.folder().standing().psql;
    assert!(psql.contains("PGPASSFILE=") && !psql.contains("password"), "{psql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_find_the_running_server_and_leave_it_alone() {
    let folder = Folder::new("found");
    let server = PrivatePostgres::start(Settings { fsync: false, ..Settings::new(folder.place()) }).await.unwrap();
    assert!(child("part_that_finds_the_running_server", &folder.0).status().unwrap().success());
    let standing = folder.place().standing();
    assert_eq!(standing.server, server.pid());
    assert!(standing.is_ready && standing.owner.unwrap().contains(&std::process::id().to_string()));
    assert_eq!(number(&server.access().server, "SELECT 1").await, 1, "whoever found it has not stopped it");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_starts_at_once_one_has_the_place_and_the_other_is_told() {
    let folder = Folder::new("two");
    let start = || PrivatePostgres::start(Settings { fsync: false, ..Settings::new(folder.place()) });
    let (one, other) = tokio::join!(start(), start());
    assert!(one.is_ok() != other.is_ok());
    assert!(matches!(one.and(other), Err(PostgresError::Owned { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_takes_its_server_with_it() {
    let folder = Folder::new("killed");
    let mut owner = child("part_that_owns_a_server_and_waits", &folder.0).spawn().unwrap();
    wait_until("the server of the child", || folder.place().find().is_some());
    kill(&mut owner);
    // The next owner waits for the old server to leave, and finds a clean cluster.
    let next = PrivatePostgres::start(Settings::new(folder.place())).await.unwrap();
    let log = std::fs::read_to_string(next.folder().standing().log).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_apart_outlives_its_starter_until_it_is_stopped() {
    let folder = Folder::new("apart");
    let mut starter = child("part_that_starts_a_server_apart", &folder.0).spawn().unwrap();
    wait_until("the server of the child", || folder.place().find().is_some());
    kill(&mut starter);
    std::thread::sleep(Duration::from_millis(500));
    let access = folder.place().find().expect("it goes on without the process that started it");
    assert_eq!(number(&access.server, "SELECT 1").await, 1);
    let refused = PrivatePostgres::start(Settings::new(folder.place())).await;
    assert!(matches!(refused, Err(PostgresError::Owned { .. })), "nobody may take it over by starting another");
    assert!(folder.place().stop_apart().unwrap());
    assert!(folder.place().find().is_none());
    assert!(!folder.place().stop_apart().unwrap(), "there is none any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owned_server_is_not_stopped_by_others() {
    let folder = Folder::new("owned");
    let server = PrivatePostgres::start(Settings { fsync: false, ..Settings::new(folder.place()) }).await.unwrap();
    assert!(matches!(folder.place().stop_apart(), Err(PostgresError::Owned { .. })));
    assert_eq!(number(&server.access().server, "SELECT 1").await, 1);
}

/// Sends SIGKILL to the server's first process.
fn kill_server(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_comes_back_and_nothing_is_lost() {
    let folder = Folder::new("crashed");
    let server = PrivatePostgres::start(Settings::new(folder.place())).await.unwrap();
    let owner = client(&server.access().owner).await;
    owner.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.unwrap();
    for _ in 0..2 {
        let killed = server.pid().unwrap();
        kill_server(killed);
        wait_until("the next server", || server.pid().is_some_and(|pid| pid != killed) && folder.place().find().is_some());
        assert_eq!(number(&server.access().owner, "SELECT n FROM kept").await, 7);
    }
    server.stop();
    assert_eq!(folder.place().standing().server, None, "one that is stopped does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_what_a_killed_server_left() {
    let folder = Folder::new("remains");
    let apart = || PrivatePostgres::start(Settings { lifetime: Lifetime::Apart, ..Settings::new(folder.place()) });
    let first = apart().await.unwrap();
    // Its backend sees the end of the first process only at its next wait.
    let busy = client(&first.access().owner).await;
    let working = tokio::spawn(async move { busy.batch_execute("SELECT count(*) FROM generate_series(1, 20000000)").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    kill_server(first.pid().unwrap());
    drop(first);
    let second = apart().await.unwrap();
    assert_eq!(number(&second.access().server, "SELECT 1").await, 1);
    second.stop();
    let _ = working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_not_found_whatever_its_file_says() {
    let folder = Folder::new("dead");
    let server = PrivatePostgres::start(Settings { lifetime: Lifetime::Apart, ..Settings::new(folder.place()) }).await.unwrap();
    kill_server(server.pid().unwrap());
    wait_until("the end of the killed server", || folder.place().standing().server.is_none());
    assert!(folder.place().find().is_none());
    assert!(folder.0.join("postgres/data/postmaster.pid").exists(), "the file is left to the next server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_long_path_still_has_a_socket() {
    let folder = Folder::new(&"long".repeat(40));
    let server = PrivatePostgres::start(Settings { fsync: false, ..Settings::new(folder.place()) }).await.unwrap();
    assert_eq!(number(&server.access().server, "SELECT 1").await, 1);
    let tokio_postgres::config::Host::Unix(sockets) = server.access().server.get_hosts()[0].clone() else { panic!("a socket") };
    drop(server);
    let _ = std::fs::remove_dir(sockets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_server_leaves_nothing_and_sweeps_what_others_left() {
    let left = std::env::temp_dir().join(format!("jari-{:032x}", std::process::id()));
    std::fs::create_dir_all(left.join("postgres")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    std::fs::File::create(left.join("owner")).unwrap().set_modified(long_ago).unwrap();
    let server = PrivatePostgres::temporary(false, Lifetime::Apart).await.unwrap();
    let root = server.folder().root().to_owned();
    assert!(!left.exists(), "what a killed process left is gone");
    assert!(root.exists() && server.folder().find().is_some());
    drop(server);
    assert!(!root.exists(), "a temporary server goes with its owner, also when it runs apart");
}

/// Where this runs as root the server runs under another account; here the whole process does.
#[test]
fn an_ordinary_account_starts_a_server_of_its_own() {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return; // then every other test here has shown it
    }
    let folder = Folder::new("ordinary");
    std::fs::create_dir_all(&folder.0).unwrap();
    std::os::unix::fs::chown(&folder.0, Some(65_534), Some(65_534)).unwrap();
    // The test's binary may stand where another account cannot come.
    let copy = Folder::new("binary");
    std::fs::create_dir_all(&copy.0).unwrap();
    let binary = copy.0.join("lifetime");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let cache = DataFolder::default_root().join("programs");
    let mut command = Command::new(binary);
    command.args(["--ignored", "--exact", "part_that_starts_and_stops_a_server"]).uid(65_534).gid(65_534).current_dir("/");
    command.env("JARI_TEST_PLACE", &folder.0).env("HOME", &folder.0);
    if cache.exists() && std::env::var_os("JARI_CACHE_DIR").is_none() {
        command.env("JARI_CACHE_DIR", cache);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
