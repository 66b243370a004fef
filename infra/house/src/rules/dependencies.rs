//! Few dependencies, each with its reason: versions stand once, each has its line, and each is used.

use std::collections::BTreeSet;

use crate::{
    breach::Breach,
    manifest::{Crate, line_of, workspace_dependencies},
    rust_file::RustFile,
    tree::Tree,
};

const REASONS: &str = "docs/dependencies.md";
const ROOT: &str = "Cargo.toml";

/// Fewer words than this are no reason.
const FEWEST_WORDS: usize = 5;

/// Named only by code that is generated at build time.
const INVISIBLE: &[(&str, &str)] = &[("jari-proto", "prost-types")];

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let root = tree.text(ROOT).unwrap_or_default();
    let named = workspace_dependencies(root);
    let reasons = tree.text(REASONS).unwrap_or_default();
    let used: BTreeSet<&str> = tree.crates().iter().flat_map(Crate::dependencies).map(|d| d.name).collect();
    let mut breaches = Vec::new();
    for name in &named {
        if !reasons.lines().any(|line| reason_for(line).is_some_and(|(of, words)| of == name && words >= FEWEST_WORDS)) {
            let remedy = format!("add \"- `{name}`: why this one\" to {REASONS}");
            breaches.push(Breach::new(ROOT, line_of(root, name), format!("{name} has no reason"), remedy));
        }
        if !used.contains(name.as_str()) {
            breaches.push(Breach::new(ROOT, line_of(root, name), format!("no crate uses {name}"), "delete its line here and its reason"));
        }
    }
    for (number, line) in reasons.lines().enumerate() {
        if let Some((name, _)) = reason_for(line).filter(|(name, _)| !named.iter().any(|known| known == name)) {
            breaches.push(Breach::new(REASONS, number + 1, format!("{name} is no dependency of ours"), "delete the line"));
        }
    }
    breaches.extend(tree.crates().iter().flat_map(|krate| check_crate(tree, krate)));
    breaches
}

/// "- `NAME`: reason", as the name and the number of words after it.
fn reason_for(line: &str) -> Option<(&str, usize)> {
    let (name, reason) = line.strip_prefix("- `")?.split_once('`')?;
    Some((name, reason.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count()))
}

fn check_crate(tree: &Tree, krate: &Crate) -> Vec<Breach> {
    let path = krate.manifest_path();
    let line = |name: &str| line_of(tree.text(&path).unwrap_or_default(), name);
    let files: Vec<_> = tree.rust().iter().filter(|file| tree.crate_of(&file.path).is_some_and(|of| of.name == krate.name)).collect();
    let is_named = |name: &str| files.iter().any(|file| names(file, &name.replace('-', "_")));
    let mut breaches = Vec::new();
    for dependency in krate.dependencies() {
        let name = dependency.name;
        if !dependency.inherited {
            let wrong = format!("{name} has a version of its own");
            breaches.push(Breach::new(&path, line(name), wrong, "write `.workspace = true`; versions stand in the root manifest"));
        }
        if !is_named(name) && !INVISIBLE.contains(&(krate.name.as_str(), name)) {
            breaches.push(Breach::new(&path, line(name), format!("nothing in {} names {name}", krate.name), "delete the line"));
        }
    }
    breaches
}

/// `name::...` or `use name`, in tests too; a field or a variable of the same name is another thing.
fn names(file: &RustFile, name: &str) -> bool {
    let is_path = |at: usize| file.is_at(at, &[name, ":", ":"]) || file.is_at(at, &["use", name]);
    (0..file.tokens().len()).any(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: (&str, &str) = (ROOT, "[workspace.dependencies]\nours = { path = \"ours\" }\nserde-x = \"1\"\n");
    const USER: (&str, &str) = ("a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nserde-x.workspace = true\n");
    const SOURCE: (&str, &str) = ("a/src/lib.rs", "use serde_x::X;");
    const REASON: (&str, &str) = (REASONS, "- `serde-x`: everybody reads and writes it already.\n");

    #[test]
    fn a_dependency_without_reason_or_use_is_found() {
        let wrong = |files: &[(&str, &str)]| check(&Tree::of(files)).into_iter().map(|b| b.wrong).collect::<Vec<_>>();
        assert_eq!(wrong(&[WORKSPACE, USER, SOURCE, REASON]), [""; 0]);
        assert_eq!(wrong(&[WORKSPACE, USER, SOURCE, (REASONS, "- `serde-x`: good.")]), ["serde-x has no reason"]);
        assert_eq!(wrong(&[WORKSPACE, REASON]), ["no crate uses serde-x"]);
        assert_eq!(wrong(&[WORKSPACE, USER, REASON, ("a/src/lib.rs", "// serde_x")]), ["nothing in a names serde-x"]);
        let stale = (REASONS, "- `serde-x`: everybody reads and writes it already.\n- `old`: it was here once long ago.");
        assert_eq!(wrong(&[WORKSPACE, USER, SOURCE, stale]), ["old is no dependency of ours"]);
        let pinned = ("a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nserde-x = \"1\"\n");
        assert_eq!(wrong(&[WORKSPACE, pinned, SOURCE, REASON]), ["serde-x has a version of its own"]);
    }
}
