//! Nothing outside of tests gives up without saying why it cannot happen.

use crate::{breach::Breach, rust_file::RustFile, tree::Tree};

/// The shortest message that can state an invariant, in characters.
const SHORTEST_INVARIANT: usize = 20;

const RETURN: &str = "return an error, or `expect` with the invariant that makes it hold";
const STATE: &str = "state the invariant in a literal of at least 20 characters, or return an error";

/// See the module. Looks into the bodies and arguments of macros as well.
pub fn check(tree: &Tree) -> Vec<Breach> {
    tree.rust().iter().filter(|file| !file.is_test).flat_map(check_file).collect()
}

fn check_file(file: &RustFile) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |at: usize, wrong: String, remedy: &str| breaches.push(Breach::new(&file.path, file.tokens()[at].line, wrong, remedy));
    for method in ["unwrap", "unwrap_err", "unwrap_unchecked"] {
        for at in file.find(&[".", method, "(", ")"]) {
            breach(at + 1, format!("`.{method}()` outside of tests"), RETURN);
        }
        for of in ["Option", "Result"] {
            for at in file.find(&[of, ":", ":", method]) {
                breach(at, format!("`{of}::{method}` outside of tests"), RETURN);
            }
        }
    }
    for method in ["expect", "expect_err"] {
        for at in file.find(&[".", method, "("]) {
            let message = file.string_at(at + 3).filter(|_| file.is_at(at + 4, &[")"]) || file.is_at(at + 4, &[",", ")"]));
            if message.is_none_or(|message| message.chars().count() < SHORTEST_INVARIANT) {
                breach(at + 1, format!("`.{method}(..)` does not state what makes it hold"), STATE);
            }
        }
    }
    for name in ["panic", "todo", "unimplemented", "dbg"] {
        for at in file.find(&[name, "!"]) {
            breach(at, format!("`{name}!` outside of tests"), RETURN);
        }
    }
    for at in file.find(&["unreachable", "!"]) {
        if file.string_at(at + 3).is_none_or(|message| message.chars().count() < SHORTEST_INVARIANT) {
            breach(at, "`unreachable!` does not say why".to_owned(), STATE);
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a/src/lib.rs", text)])).iter().map(|b| b.line).collect()
    }

    #[test]
    fn giving_up_is_found_also_inside_macros() {
        // the marker in `e` is written with a code, so that whoever searches for what was left for later does not find it
        let bad = "fn a() { vec![x.unwrap()]; }\n\
            macro_rules! m { ($a:expr) => { $a.unwrap() } }\n\
            fn b() { x.map(Option::unwrap) }\n\
            fn c() { x.expect(\"short\") }\n\
            fn d() { x.expect(&format!(\"why it holds, at length {x}\")) }\n\
            fn e() { \x74odo!() }\n\
            fn f() { unreachable!() }\n\
            fn g() { x.unwrap_err(); }";
        let mut found = lines(bad);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn stated_invariants_and_tests_are_let_through() {
        let good = "/// x.unwrap()\n\
            fn a() { x.unwrap_or_default(); A::unwrap(e); debug_assert!(false, \".unwrap()\"); }\n\
            fn b() { x.expect(\"a cell holds the state that its stream names\") }\n\
            fn c() { unreachable!(\"the matcher admits nothing else: {x}\") }\n\
            #[cfg(test)] mod tests { fn a() { x.unwrap(); panic!() } }";
        assert_eq!(lines(good), [0; 0]);
        assert_eq!(check(&Tree::of(&[("tests/src/a.rs", "fn a() { x.unwrap() }")])), []);
    }
}
