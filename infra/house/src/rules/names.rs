//! A thing with no name of its own belongs to something.

use crate::{breach::Breach, tree::Tree};

const NAMELESS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"];

const REMEDY: &str = "name it for what it knows, or move each piece to what it serves";

/// See the module: files and folders of any kind, and modules.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for path in tree.paths() {
        let nameless = path.split('/').map(|part| part.split('.').next().unwrap_or_default()).find(|stem| NAMELESS.contains(stem));
        breaches.extend(nameless.map(|stem| Breach::new(path, 1, format!("{stem:?} says nothing"), REMEDY)));
    }
    for file in tree.rust() {
        for (at, token) in file.tokens().iter().enumerate().filter(|(at, _)| file.is_at(*at, &["mod"])) {
            if let Some(name) = file.word_at(at + 1).filter(|name| NAMELESS.contains(name)) {
                breaches.push(Breach::new(&file.path, token.line, format!("module {name:?} says nothing"), REMEDY));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_module_without_a_name_is_found() {
        let bad = Tree::of(&[("a/src/utils.rs", ""), ("a/helpers/x.sql", ""), ("a/src/lib.rs", "mod a {}\nmod common;")]);
        assert_eq!(check(&bad).iter().map(|b| b.line).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(check(&Tree::of(&[("a/src/process_manager.rs", "mod utilisation;"), ("a/src/common_carrier.rs", "")])), []);
    }
}
