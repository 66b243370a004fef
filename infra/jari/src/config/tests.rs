use std::path::PathBuf;

use super::*;

fn from(file: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let file = (!file.is_empty()).then(|| (PathBuf::from("jari.toml"), file.to_owned()));
    Config::from_layers(file, variables).map_err(|error| error.to_string())
}

#[test]
fn the_printed_default_is_what_holds_without_a_file() {
    assert_eq!(from("", &[]).unwrap(), Config::default());
    assert_eq!(from(DEFAULT, &[]).unwrap(), Config::default());
}

#[test]
fn every_default_has_a_comment_above_it() {
    let mut is_told = false;
    for line in DEFAULT.lines() {
        if line.starts_with('#') {
            is_told = true;
        } else if line.is_empty() || line.starts_with('[') {
            is_told = false;
        } else {
            assert!(is_told, "{line}");
        }
    }
}

#[test]
fn a_file_needs_only_what_differs_and_variables_win() {
    let config = from("[engine]\nplaces = 7\nwaiting = 9\n", &[("JARI_ENGINE__PLACES", "8_000"), ("PATH", "x__y"), ("JARI_CONFIG", "x")]).unwrap();
    assert_eq!((config.engine.places, config.engine.waiting), (8_000, 9));
    assert_eq!(config.server, Config::default().server);
    let config = from("", &[("JARI_SETTLEMENT__ENABLED", "false"), ("JARI_LOG__FORMAT", "json"), ("JARI_DATABASE__DATA_DIR", "/srv")]).unwrap();
    assert_eq!((config.settlement.enabled, config.log.format, config.database.data_dir), (false, LogFormat::Json, "/srv".into()));
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (file, variables, expected) in [
        ("[engine]\nplace = 1", &[][..], "jari.toml sets engine.place, which is no key; did you mean engine.places?"),
        ("[serer]\nlisten = \"x\"", &[], "jari.toml sets serer, which is no key; did you mean server?"),
        ("[engine]\ndrain_seconds = 1", &[], "jari.toml sets engine.drain_seconds, which is no key; did you mean server.drain_seconds?"),
        ("colour = true", &[], "jari.toml sets colour, which is no key"),
        ("server = 3", &[], "jari.toml sets server, which is no key"),
        ("[server]\nlissten = \"x\"", &[], "jari.toml sets server.lissten, which is no key; did you mean server.listen?"),
        ("", &[("JARI_ENGINE_PLACES", "1")], "JARI_ENGINE_PLACES sets engine_places, which is no key; did you mean JARI_ENGINE__PLACES?"),
        ("", &[("JARI_ENGINE__WAITNG", "1")], "JARI_ENGINE__WAITNG sets engine.waitng, which is no key; did you mean engine.waiting?"),
    ] {
        assert_eq!(from(file, variables).unwrap_err(), expected);
    }
}

#[test]
fn a_value_that_its_key_cannot_have_is_named_with_its_key() {
    for (file, variables, expected) in [
        ("[engine]\nplaces = 0", &[][..], "engine.places must be 1 to 1000000, not 0"),
        ("[engine]\nplaces = \"many\"", &[], "engine.places"),
        ("", &[("JARI_ENGINE__PLACES", "many")], "engine.places"),
        ("[server]\nlisten = \"here\"", &[], "server.listen"),
        ("[log]\nformat = \"xml\"", &[], "log.format"),
    ] {
        let error = from(file, variables).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_not_toml_is_named_by_its_line_and_not_shown() {
    let error = from("[database]\nurl = \"postgresql://jari:hunter2@db\n", &[]).unwrap_err();
    assert!(error.contains("jari.toml") && error.contains("line 2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_are_shown_neither_whole_nor_in_part() {
    let config = from("[database]\nurl = \"postgresql://jari:hunter2@db\"", &[("JARI_DATABASE__OWNER_URL", "hunter2")]).unwrap();
    assert_eq!(config.database.url.reveal(), "postgresql://jari:hunter2@db");
    let shown = format!("{config:?} {} {:?}", config.database.url, config.database.owner_url);
    assert!(!shown.contains("hunter2") && shown.contains("[redacted]"), "{shown}");
}

#[test]
fn a_secret_that_is_no_text_is_named_by_its_key_and_not_shown() {
    let wrong = ["12345678", "1234.5678", "true", "[12345678]", "{ it = 12345678 }", "[\"hunter2\"]"];
    let secrets = ["database.url", "database.owner_url", "kafka.password", "keys.url", "keys.master", "keys.former_masters"];
    for (secret, value) in secrets.iter().flat_map(|secret| wrong.map(|value| (secret, value))) {
        let (section, key) = secret.split_once('.').unwrap();
        let error = from(&format!("[{section}]\n{key} = {value}\n"), &[]).unwrap_err();
        assert!(error.contains(secret) && error.contains("must be a text in quotes"), "{error}");
        assert!(["1234", "5678", "hunter2", "true"].iter().all(|part| !error.contains(part)), "{error}");
        // a variable is text, whatever it looks like, also over what is none
        let variable = format!("JARI_{}__{}", section.to_uppercase(), key.to_uppercase());
        for file in [String::new(), format!("[{section}]\n{key} = {value}\n")] {
            let config = from(&file, &[(&variable, "12345678")]).unwrap();
            let Config { database, kafka, keys, .. } = config;
            let all = [database.url, database.owner_url, kafka.password, keys.url, keys.master, keys.former_masters];
            assert_eq!(all.iter().filter(|secret| secret.reveal() == "12345678").count(), 1, "{variable}");
        }
    }
}

#[test]
fn each_key_of_the_engine_arrives_where_it_is_meant() {
    let file = "[engine]\nplaces = 11\nwaiting = 12\nwaiting_ms = 13\nanswer_within_ms = 14000\nlongest_wait_ms = 15000\nsettlement_waiters = 16\ncells = 1600\ncells_mb = 24\n\
        recent_outcomes = 17\nattempts = 18\nsnapshot_every_events = 19\nbatch_groups = 20\nbatch_events = 21\nbatch_bytes = 2200000\nretention_days = 23";
    let settings = from(file, &[]).unwrap().engine_settings();
    let (admission, limits) = (settings.admission, settings.limits);
    assert_eq!((admission.places, admission.waiting, admission.wait.as_millis()), (11, 12, 13));
    assert_eq!((settings.answer_within.as_millis(), settings.stalled_after.as_millis()), (14_000, 4_200), "nobody is let in to wait in vain");
    assert_eq!(limits.cell_bytes, 24 << 20);
    assert_eq!((limits.cells, limits.recent_outcomes, limits.attempts, limits.snapshot_every, limits.retention_days), (1_600, 17, 18, 19, 23));
    assert_eq!((limits.batch.groups, limits.batch.events, limits.batch.bytes), (20, 21, 2_200_000));
}
