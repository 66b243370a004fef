//! A migration is what databases out there have become by. Each is written down with its digest in `RELEASED` beside it, and never changes again: a
//! database that has run it would refuse to start, and one that has not would become another.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{breach::Breach, tree::Tree};

/// The list of a folder of migrations, as `sha256sum` writes and checks it.
const RELEASED: &str = "RELEASED";
const FOLDER: &str = "/migrations/";

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut folders: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in tree.texts() {
        if let Some(at) = path.find(FOLDER) {
            let (folder, name) = path.split_at(at + FOLDER.len());
            folders.entry(folder).or_default().push((name, text));
        }
    }
    folders.into_iter().flat_map(|(folder, files)| check_folder(folder, &files)).collect()
}

fn check_folder(folder: &str, files: &[(&str, &str)]) -> Vec<Breach> {
    let released = format!("{folder}{RELEASED}");
    let text = files.iter().find(|(name, _)| *name == RELEASED).map_or("", |(_, text)| *text);
    let listed: Vec<(&str, &str)> = text.lines().map(|line| line.split_once("  ").unwrap_or((line, ""))).collect();
    let mut breaches = Vec::new();
    for (number, (digest, name)) in listed.iter().enumerate() {
        let back = "put it back as it was released; what is to change goes into a new migration, with the next number";
        match files.iter().find(|(file, _)| file == name) {
            None => breaches.push(Breach::new(&released, number + 1, format!("{name:?} is gone: databases have run it"), back)),
            Some((_, text)) if digest_of(text) != *digest => {
                breaches.push(Breach::new(&format!("{folder}{name}"), 1, "a released migration was changed", back));
            }
            Some(_) => {}
        }
    }
    let is_listed = |name: &str| listed.iter().any(|(_, known)| *known == name);
    for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".sql") && !is_listed(name)) {
        let add = format!("when it is as it will stay, add its line: (cd {} && sha256sum {name} >> {RELEASED})", folder.trim_end_matches('/'));
        breaches.push(Breach::new(&format!("{folder}{name}"), 1, format!("it is not in {RELEASED}"), add));
    }
    breaches
}

fn digest_of(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: (&str, &str) = ("infra/a/migrations/V1__log.sql", "CREATE TABLE t ();\n");
    const LIST: &str = "infra/a/migrations/RELEASED";

    #[test]
    fn a_released_migration_that_was_changed_or_dropped_is_found_and_a_new_one_needs_its_line() {
        let line = format!("{}  V1__log.sql\n", digest_of(FIRST.1));
        let wrong = |files: &[(&str, &str)]| check(&Tree::of(files));
        assert_eq!(wrong(&[FIRST, (LIST, &line)]), []);
        assert!(line.starts_with("a595ef0ec8cb5a9c"), "as sha256sum says: {line}");

        let changed = wrong(&[(FIRST.0, "CREATE TABLE u ();\n"), (LIST, &line)]);
        assert!(changed.len() == 1 && changed[0].path == FIRST.0 && changed[0].remedy.contains("new migration"), "{changed:?}");
        let gone = wrong(&[(LIST, &line)]);
        assert!(gone.len() == 1 && gone[0].path == LIST && gone[0].remedy.contains("put it back"), "{gone:?}");
        let second = ("infra/a/migrations/V2__more.sql", "SELECT 1;");
        let new = wrong(&[FIRST, second, (LIST, &line)]);
        assert!(new.len() == 1 && new[0].path == second.0, "{new:?}");
        assert!(new[0].remedy.contains("(cd infra/a/migrations && sha256sum V2__more.sql >> RELEASED)"), "{new:?}");
        assert_eq!(wrong(&[FIRST]).len(), 1, "without any list");
    }
}
