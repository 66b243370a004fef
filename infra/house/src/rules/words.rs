//! No leftovers, and no paths of one machine.

use crate::{breach::Breach, tree::Tree};

/// What must not stand in any file, and what to do. Spelt in two pieces, so that this file keeps its own rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it now, or open an issue"),
    (concat!("FIX", "ME"), "fix it now, or open an issue"),
    (concat!("X", "XX"), "do it now, or open an issue"),
    (concat!("HA", "CK"), "do it well, or say in a comment why it is right"),
    (concat!("/ho", "me/"), "name a path inside of the repository"),
];

/// See the module. Every text file, whatever its kind; a locked list of checksums says nothing.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !path.ends_with(".lock")) {
        for (number, line) in text.lines().enumerate() {
            for (word, remedy) in FORBIDDEN.iter().filter(|(word, _)| has_word(line, word)) {
                breaches.push(Breach::new(path, number + 1, format!("{word:?} must not stand here"), *remedy));
            }
        }
    }
    breaches
}

/// Whether `word` stands in `line` with no letter or digit right beside its own.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |outside: Option<char>, inside: Option<char>| {
        outside.is_some_and(|c| c.is_alphanumeric() || c == '_') && inside.is_some_and(char::is_alphanumeric)
    };
    line.match_indices(word).any(|(at, found)| {
        let before = joins(line[..at].chars().next_back(), found.chars().next());
        let after = joins(line[at + found.len()..].chars().next(), found.chars().next_back());
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftover_markers_are_found_in_any_file() {
        let (leftover, path) = (concat!("-- TO", "DO: index\n"), concat!("\ncd /ho", "me/somebody\n"));
        let bad = Tree::of(&[("a/src/x.sql", leftover), ("infra/up", path)]);
        assert_eq!(check(&bad).len(), 2);
        assert_eq!(check(&Tree::of(&[("infra/up", "mktemp -d /tmp/x.XXXXXX\n# a HACKSAW\n")])), []);
    }
}
