//! What is published beside the code: JSON Schemas, examples and the AsyncAPI document, below `published/v1`, all made of the types and tables that
//! the code uses. `CONTRACT=write cargo test -p jari-contract published` writes them anew; a test holds them equal.
//!
//! `published/v1.0` is what was released as version 1.0 of the contract, and is never edited: what is published now must not break whoever reads
//! by it. A release with changes adds a folder beside it (`cp -r published/v1 published/v1.1`), and raises `VERSION` in `asyncapi.rs` when the next
//! change comes.

mod asyncapi;
mod compat;
mod compat_tests;
pub(crate) mod examples;
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::catalogue::public_types;
use examples::Example;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("published").join(name)
}

/// Every file that is published now: its path below `published/v1`, and its text.
fn files() -> BTreeMap<String, String> {
    let examples = examples::all();
    let mut files = BTreeMap::from([("asyncapi.json".to_owned(), pretty(&asyncapi::document(&examples)))]);
    for public in public_types() {
        files.insert(format!("schemas/{}.json", public.event_type), pretty(&public.schema()));
    }
    for example in Example::one_of_each(&examples) {
        files.insert(format!("examples/{}.json", example.of.event_type), pretty(&example.record()));
    }
    files
}

/// Names in the order of the alphabet: which features of the JSON library a build turns on does not change a byte.
fn pretty(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<BTreeMap<_, _>>().into_iter().collect()
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            plain => plain.clone(),
        }
    }
    serde_json::to_string_pretty(&sorted(value)).unwrap() + "\n"
}

/// The files below a folder, by their path from there.
fn read(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), into);
            } else {
                into.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(folder, "", &mut files);
    files
}
