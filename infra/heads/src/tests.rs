//! Keys, the file, and what a signature covers. Against a real log: `tests/it/heads.rs`.

use std::{fs, path::Path};

use jari_contract::LogHeadSigned;
use jari_event_store::{HeadAt, Position};
use serde_json::Value;
use uuid::Uuid;

use crate::{HeadsError, SigningKey, Trusted, file::HeadsFile, newest_in};

/// As `openssl genpkey -algorithm ed25519` writes it: the first secret key of RFC 8032, without its public key.
const FROM_OPENSSL: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const ITS_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn example() -> LogHeadSigned {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contract/published/v1/examples/reservation.log.v1.LogHeadSigned.json");
    let record: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    serde_json::from_value(record["value"].clone()).unwrap()
}

fn trusting(key: &str) -> Trusted {
    let mut trusted = Trusted::default();
    trusted.add(key).unwrap();
    trusted
}

#[test]
fn the_published_example_is_a_true_signature_of_a_known_key() {
    assert!(trusting(ITS_PUBLIC).signed(&example()));
}

#[test]
fn whatever_is_changed_of_a_head_its_signature_no_longer_holds() {
    let trusted = trusting(ITS_PUBLIC);
    let changes: [fn(&mut LogHeadSigned); 6] = [
        |head| head.log_id = Uuid::nil().to_string(),
        |head| head.position = jari_contract::value::Int64::position(Position::new(4_712)),
        |head| head.head = head.head.replace('9', "8"),
        |head| head.signed_at = head.signed_at.replace("30.5", "30.6"),
        |head| head.signature = head.signature.replacen('w', "x", 1),
        |head| head.public_key = "not base64".into(),
    ];
    for change in changes {
        let mut head = example();
        change(&mut head);
        assert!(!trusted.signed(&head), "{head:?}");
    }
}

#[test]
fn a_key_that_is_not_trusted_signs_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let other = SigningKey::open(&folder.path().join("key")).unwrap();
    assert!(!trusting(&other.public_text()).signed(&example()), "the key in the head itself says nothing");
    assert!(!Trusted::default().signed(&example()));
    for bad in ["", "AAAA", "no base64!"] {
        assert!(matches!(Trusted::default().add(bad), Err(HeadsError::Key { .. })), "{bad}");
    }
}

#[test]
fn a_key_is_made_once_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/key");
    let made: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| SigningKey::open(&path).unwrap().public_text())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.iter().all(|key| *key == made[0]), "all have the first one's: {made:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn keys_of_openssl_are_read_and_what_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, FROM_OPENSSL).unwrap();
    assert_eq!(SigningKey::open(&path).unwrap().public_text(), ITS_PUBLIC);
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let error = SigningKey::open(&path).unwrap_err();
    assert!(matches!(&error, HeadsError::Key { from, .. } if from.ends_with("key")), "{error}");
}

fn heads(count: u64) -> Vec<LogHeadSigned> {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::open(&folder.path().join("key")).unwrap();
    let at = |number| HeadAt { position: Position::new(number), head: [7; 32] };
    (1..=count).map(|number| key.sign(Uuid::nil(), at(number), jiff::Timestamp::UNIX_EPOCH)).collect()
}

#[test]
fn a_line_that_a_crash_tore_goes_and_whole_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heads.jsonl");
    assert_eq!(newest_in(&path).unwrap(), None);
    let heads = heads(40);
    for head in &heads[..39] {
        HeadsFile::open(&path).unwrap().append(head).unwrap();
    }
    let whole = fs::read_to_string(&path).unwrap();
    for torn in ["{", r#"{"logId":"00000000"#, &"x".repeat(300)] {
        fs::write(&path, format!("{whole}{torn}")).unwrap();
        assert_eq!(newest_in(&path).unwrap().as_ref(), Some(&heads[38]));
        drop(HeadsFile::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), whole, "{torn}");
    }
    HeadsFile::open(&path).unwrap().append(&heads[39]).unwrap();
    assert_eq!(newest_in(&path).unwrap().as_ref(), Some(&heads[39]));
    fs::write(&path, "torn").unwrap();
    drop(HeadsFile::open(&path).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "", "torn in the first line");
}

#[test]
fn what_is_left_of_a_line_that_failed_goes_before_the_next_one_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heads.jsonl");
    let heads = heads(3);
    let mut file = HeadsFile::open(&path).unwrap();
    file.append(&heads[0]).unwrap();
    // as when there was room for a part of it
    let mut torn = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut torn, br#"{"logId":"00000000"#).unwrap();
    file.append(&heads[1]).unwrap();
    assert_eq!(whole_lines(&path), heads[..2]);
}

/// Where a part of the test below writes.
const SMALL_DISK: &str = "JARI_TEST_SMALL_DISK";

#[test]
#[ignore = "a part: signs on a disk with little room"]
fn part_that_signs_until_there_is_no_room() {
    let Ok(path) = std::env::var(SMALL_DISK) else { return };
    let path = Path::new(&path);
    let mut file = HeadsFile::open(path).unwrap();
    let heads = heads(100);
    let written = heads.iter().take_while(|head| file.append(head).is_ok()).count();
    assert!((1..heads.len()).contains(&written), "there is room for some: {written}");
    assert_eq!(whole_lines(path), heads[..written], "what did not fit was taken back");
    // and again: the file is not left as it is by a second failure either
    assert!(file.append(&heads[written]).is_err());
    assert_eq!(whole_lines(path).len(), written);
}

#[test]
fn a_head_for_which_there_is_no_room_leaves_no_part_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heads.jsonl");
    // the shell's limit stands for the disk; ignored, its signal is an error of the write, as that of a full disk
    let ran = std::process::Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 4; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["tests::part_that_signs_until_there_is_no_room", "--exact", "--ignored"])
        .env(SMALL_DISK, &path)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(!whole_lines(&path).is_empty(), "the part was run");
}

/// The heads of a file that has whole lines alone.
fn whole_lines(path: &Path) -> Vec<LogHeadSigned> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn two_processes_never_write_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heads.jsonl");
    let first = HeadsFile::open(&path).unwrap();
    assert!(matches!(HeadsFile::open(&path), Err(HeadsError::Taken { .. })));
    drop(first);
    HeadsFile::open(&path).unwrap();
}
