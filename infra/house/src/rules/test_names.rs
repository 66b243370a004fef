//! A test's name tells the rule that is broken when it fails.

use crate::{breach::Breach, tree::Tree};

const FEWEST_WORDS: usize = 5;

/// See the module: five words or more, also for tests in a macro's body.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.rust() {
        for (name, line) in file.test_functions() {
            let words = name.split('_').filter(|word| !word.is_empty()).count();
            if words < FEWEST_WORDS {
                let remedy = "say in five words or more which rule is broken when it fails";
                breaches.push(Breach::new(&file.path, line, format!("test `{name}` has {words} words"), remedy));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_name_that_tells_nothing_is_found() {
        let bad = "#[test]\nfn holds() {}\n#[tokio::test(flavor = \"x\")]\nasync fn a_hold_works() {}\nproptest! { #[test]\nfn prop(x in 0..9) {} }";
        assert_eq!(check(&Tree::of(&[("a/src/tests.rs", bad)])).iter().map(|b| b.line).collect::<Vec<_>>(), [2, 4, 6]);
        let good = "#[test]\nfn a_lapsed_hold_gives_its_units_back() {}\nfn setup() {}";
        assert_eq!(check(&Tree::of(&[("a/src/tests.rs", good)])), []);
    }
}
