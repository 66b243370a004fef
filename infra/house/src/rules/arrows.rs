//! Arrows point one way: who may depend on whom, and what the domain may not touch.

use crate::{
    breach::Breach,
    manifest::{Section, line_of},
    rust_file::{Kind, RustFile},
    tree::Tree,
};

/// A crate, and the crates of ours that it may depend on. `jari` wires everything; measurements and tests may look at anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("jari-proto", &[]),
    ("jari-domain", &[]),
    ("jari-process", &[]),
    ("jari-kafka", &["jari-process"]),
    ("jari-postgres", &["jari-process"]),
    ("jari-house", &[]),
    ("jari-event-store", &["jari-domain"]),
    ("jari-contract", &["jari-domain", "jari-event-store"]),
    ("jari-heads", &["jari-contract", "jari-event-store"]),
    ("jari-relay", &["jari-contract", "jari-event-store"]),
    ("jari-sealing", &["jari-domain", "jari-event-store"]),
    ("jari-export", &["jari-contract", "jari-event-store"]),
    ("jari-wire", &["jari-domain", "jari-proto", "jari-sealing"]),
    ("jari-history", &["jari-contract", "jari-domain", "jari-event-store", "jari-proto", "jari-wire"]),
    ("jari-intake", &["jari-contract", "jari-proto", "jari-relay"]),
    ("jari-commands", &["jari-domain", "jari-event-store", "jari-proto", "jari-sealing", "jari-wire"]),
    ("jari-projections", &["jari-domain", "jari-event-store", "jari-proto", "jari-sealing", "jari-wire"]),
    (
        "jari",
        &[
            "jari-commands",
            "jari-contract",
            "jari-domain",
            "jari-event-store",
            "jari-export",
            "jari-heads",
            "jari-history",
            "jari-intake",
            "jari-kafka",
            "jari-postgres",
            "jari-projections",
            "jari-proto",
            "jari-relay",
            "jari-sealing",
            "jari-wire",
        ],
    ),
    ("jari-benches", EVERYTHING),
    ("jari-tests", EVERYTHING),
];

const EVERYTHING: &[&str] = &[
    "jari",
    "jari-benches",
    "jari-commands",
    "jari-contract",
    "jari-domain",
    "jari-event-store",
    "jari-export",
    "jari-heads",
    "jari-history",
    "jari-intake",
    "jari-kafka",
    "jari-postgres",
    "jari-projections",
    "jari-proto",
    "jari-relay",
    "jari-sealing",
    "jari-tests",
    "jari-wire",
];

/// What the domain may use: traits, times, JSON, errors, maps. Nothing that does I/O.
const DOMAIN_OUTSIDE: &[&str] = &["cqrs-es", "imbl", "jiff", "rustc-hash", "serde", "serde_json", "thiserror"];

/// Names that bring a clock, chance or I/O into a decision.
const DOMAIN_FORBIDDEN: &[&[&str]] = &[
    &["SystemTime"],
    &["Instant"],
    &[":", ":", "now", "("],
    &["rand", ":", ":"],
    &["uuid", ":", ":"],
    &["tokio", ":", ":"],
    &["tokio_postgres", ":", ":"],
    &["sqlx", ":", ":"],
    &["std", ":", ":", "env"],
    &["std", ":", ":", "fs"],
    &["std", ":", ":", "io"],
    &["std", ":", ":", "net"],
    &["std", ":", ":", "process"],
    &["std", ":", ":", "thread"],
];

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = manifests(tree);
    for file in tree.rust().iter().filter(|file| file.path.starts_with("domain/src/")) {
        breaches.extend(pure(file));
    }
    breaches
}

fn manifests(tree: &Tree) -> Vec<Breach> {
    let ours = |name: &str| tree.crates().iter().any(|c| c.name == name) || ARROWS.iter().any(|(known, _)| *known == name);
    let mut breaches = Vec::new();
    for krate in tree.crates() {
        let path = krate.manifest_path();
        let line = |name: &str| line_of(tree.text(&path).unwrap_or_default(), name);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == krate.name) else {
            let remedy = "say in ARROWS of infra/house/src/rules/arrows.rs what it may depend on";
            breaches.push(Breach::new(&path, 1, format!("{} is a crate that no arrow knows", krate.name), remedy));
            continue;
        };
        for dependency in krate.dependencies().iter().filter(|d| d.section == Section::Shipped) {
            let name = dependency.name;
            if ours(name) && !allowed.contains(&name) {
                let wrong = format!("{} must not depend on {name}", krate.name);
                breaches.push(Breach::new(&path, line(name), wrong, "move what you need to a crate below both, or wire the two in infra/jari"));
            } else if krate.name == "jari-domain" && !ours(name) && !DOMAIN_OUTSIDE.contains(&name) {
                let wrong = format!("the domain must not depend on {name}");
                breaches.push(Breach::new(&path, line(name), wrong, "do it at the edge and hand the domain the result as an argument"));
            }
        }
    }
    breaches
}

fn pure(file: &RustFile) -> Vec<Breach> {
    let remedy = "decisions take time, ids and facts as arguments; do it where the decision is called";
    let paths = DOMAIN_FORBIDDEN.iter().flat_map(|pattern| file.find(pattern).map(move |at| (at, pattern.concat())));
    let mut breaches: Vec<_> = paths
        .filter(|(at, _)| file.tokens()[*at].kind == Kind::Sign || at.checked_sub(1).is_none_or(|before| !file.is_at(before, &["."])))
        .map(|(at, what)| Breach::new(&file.path, file.tokens()[at].line, format!("the domain uses {what}"), remedy))
        .collect();
    // `use std::{fs, fmt}`.
    for at in file.find(&["std", ":", ":", "{"]) {
        let group = at + 3..file.tokens()[at + 3].mate;
        let named = group.filter(|at| file.is_at(at - 1, &["{"]) || file.is_at(at - 1, &[","]));
        for at in named.filter(|at| ["env", "fs", "io", "net", "process", "thread"].iter().any(|name| file.is_at(*at, &[name]))) {
            let token = &file.tokens()[at];
            breaches.push(Breach::new(&file.path, token.line, format!("the domain uses std::{}", token.text), remedy));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "[package]\nname = \"jari-domain\"\n[dependencies]\nserde.workspace = true\n[dev-dependencies]\ntokio.workspace = true\n";

    #[test]
    fn an_arrow_that_points_the_wrong_way_is_found() {
        let bad = "[package]\nname = \"jari-domain\"\n\n[dependencies]\njari-event-store.workspace = true\nsqlx.workspace = true\n";
        let breaches = check(&Tree::of(&[("domain/Cargo.toml", bad)]));
        assert_eq!(breaches.iter().map(|b| b.line).collect::<Vec<_>>(), [5, 6], "{breaches:?}");
        assert_eq!(check(&Tree::of(&[("domain/Cargo.toml", DOMAIN)])), []);
    }

    #[test]
    fn a_crate_without_arrows_is_found() {
        assert_eq!(check(&Tree::of(&[("infra/new/Cargo.toml", "[package]\nname = \"jari-new\"\n")])).len(), 1);
    }

    #[test]
    fn a_clock_in_the_domain_is_found_in_every_spelling() {
        for bad in [
            "use std::time::SystemTime;",
            "fn a() { let now = jiff::Timestamp::now(); }",
            "use std::{fmt, fs};",
            "macro_rules! a { () => { rand::random() } }",
        ] {
            assert_eq!(check(&Tree::of(&[("domain/src/slot/decide.rs", bad)])).len(), 1, "{bad}");
        }
        let good = "use std::{fmt, collections::BTreeMap};\nfn a(now: Timestamp) { held.now(); }\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(check(&Tree::of(&[("domain/src/slot/decide.rs", good)])), []);
    }
}
