//! A crate's first words: what it is for, and what it must never know.

use crate::{breach::Breach, rust_file::RustFile, tree::Tree};

/// See the module. The root of each library and program begins with `//!`; a library that others build on also says what it must never know.
pub fn check(tree: &Tree) -> Vec<Breach> {
    tree.rust().iter().filter_map(|file| check_file(tree, file)).collect()
}

fn check_file(tree: &Tree, file: &RustFile) -> Option<Breach> {
    let krate = tree.crate_of(&file.path)?;
    let inside = file.path.strip_prefix(krate.folder.as_str())?;
    let is_program = inside.starts_with("/src/bin/") && (inside.matches('/').count() == 3 || inside.ends_with("/main.rs"));
    if !matches!(inside, "/src/lib.rs" | "/src/main.rs") && !is_program {
        return None;
    }
    let mut head = String::new();
    for line in (1..=file.line_count()).map_while(|number| file.line(number).strip_prefix("//!")) {
        head.push_str(line);
    }
    if head.trim().is_empty() {
        return Some(Breach::new(&file.path, 1, "does not begin with a `//!` comment", "say on its first line what it is for"));
    }
    let is_layer = inside == "/src/lib.rs" && !["benches", "tests"].contains(&krate.folder.as_str());
    let wrong = "the crate's comment does not say what the crate must never know";
    let remedy = "add \"Must never know: ...\" to the `//!` comment, so that the next change knows where to stop";
    (is_layer && !head.contains("ust never know")).then(|| Breach::new(&file.path, 1, wrong, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) = ("a/Cargo.toml", "[package]\nname = \"a\"");

    #[test]
    fn a_crate_that_does_not_say_its_limits_is_found() {
        for bad in ["", "mod a;\n//! Late.", "//! The log."] {
            assert_eq!(check(&Tree::of(&[MANIFEST, ("a/src/lib.rs", bad)])).len(), 1, "{bad:?}");
        }
        assert_eq!(check(&Tree::of(&[MANIFEST, ("a/src/bin/b.rs", "fn main() {}")])).len(), 1);
        let good =
            [MANIFEST, ("a/src/lib.rs", "//! The log.\n//!\n//! Must never know: gRPC.\nmod b;"), ("a/src/b.rs", ""), ("a/src/main.rs", "//! Runs.")];
        assert_eq!(check(&Tree::of(&good)), []);
    }
}
