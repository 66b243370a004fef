//! The rules, one a file. Each says in its breach what to do, and has one bad and one good example in its own test.

pub mod arrows;
pub mod bounds;
pub mod codes;
pub mod dependencies;
pub mod docs;
pub mod endpoints;
pub mod golden;
pub mod heads;
pub mod migrations;
pub mod names;
pub mod tails;
pub mod test_names;
pub mod unwraps;
pub mod views;
pub mod words;

use crate::{breach::Breach, tree::Tree};

/// A rule: the name that its breaches carry, and the look at the tree.
pub struct Rule {
    /// One word.
    pub name: &'static str,
    /// Finds every breach.
    pub check: fn(&Tree) -> Vec<Breach>,
}

/// All of them, in the order in which they report.
pub const RULES: &[Rule] = &[
    Rule { name: "arrows", check: arrows::check },
    Rule { name: "tails", check: tails::check },
    Rule { name: "names", check: names::check },
    Rule { name: "unwraps", check: unwraps::check },
    Rule { name: "codes", check: codes::check },
    Rule { name: "golden", check: golden::check },
    Rule { name: "migrations", check: migrations::check },
    Rule { name: "endpoints", check: endpoints::check },
    Rule { name: "docs", check: docs::check },
    Rule { name: "bounds", check: bounds::check },
    Rule { name: "dependencies", check: dependencies::check },
    Rule { name: "words", check: words::check },
    Rule { name: "heads", check: heads::check },
    Rule { name: "views", check: views::check },
    Rule { name: "test-names", check: test_names::check },
];

/// Every breach of every rule; files that cannot be read as Rust first, for the rules did not see them.
pub fn check_all(tree: &Tree) -> Vec<Breach> {
    let unread = tree.rust().iter().filter_map(|file| {
        let fault = file.fault.as_ref()?;
        let breach = Breach::new(&file.path, 1, format!("is no Rust: {fault}"), "make its brackets and quotes match, as the compiler says");
        Some(Breach { rule: "rust", ..breach })
    });
    let kept = RULES.iter().flat_map(|rule| (rule.check)(tree).into_iter().map(|breach| Breach { rule: rule.name, ..breach }));
    unread.chain(kept).collect()
}
