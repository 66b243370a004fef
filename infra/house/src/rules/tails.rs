//! Tails, not medians: how many files and functions are long, and how long the longest is.

use crate::{breach::Breach, rust_file::RustFile, tree::Tree};

const LONG_FILE: usize = 400;
const LONGEST_FILE: usize = 800;
/// Long files per hundred.
const LONG_FILES_PERCENT: usize = 5;
const LONG_FUNCTION: usize = 70;
const LONGEST_FUNCTION: usize = 120;
/// Long functions per hundred.
const LONG_FUNCTIONS_PERCENT: usize = 1;

/// Something with a length.
struct Measured<'a> {
    path: &'a str,
    line: usize,
    what: String,
    lines: usize,
}

/// See the module. Tests may be long in their functions, not in their files.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let (tests, files): (Vec<_>, Vec<_>) = tree.rust().iter().map(|file| (is_test(file), file_length(file))).partition(|(test, _)| *test);
    let test_files: Vec<_> = tests.into_iter().map(|(_, measured)| measured).collect();
    let files: Vec<_> = files.into_iter().map(|(_, measured)| measured).collect();
    let split = "split it where a reader would turn the page";
    let mut breaches = over(&test_files, LONGEST_FILE, LONGEST_FILE, 0, split);
    breaches.extend(over(&files, LONG_FILE, LONGEST_FILE, LONG_FILES_PERCENT, split));
    breaches.extend(over(&functions(tree), LONG_FUNCTION, LONGEST_FUNCTION, LONG_FUNCTIONS_PERCENT, "name its steps and make each a function"));
    breaches
}

/// The longest file and function, for the last line of the report.
pub fn worst(tree: &Tree) -> String {
    let files: Vec<_> = tree.rust().iter().map(file_length).collect();
    let functions = functions(tree);
    let tell = |all: &[Measured<'_>], kind: &str| {
        let longest = all.iter().max_by_key(|one| one.lines);
        longest.map_or_else(String::new, |one| format!("; longest {kind}: {}:{} ({} lines)", one.path, one.line, one.lines))
    };
    let lines: usize = files.iter().map(|file| file.lines).sum();
    format!(
        "{} files, {} of Rust with {lines} lines and {} functions{}{}",
        tree.paths().count(),
        files.len(),
        functions.len(),
        tell(&files, "file"),
        tell(&functions, "function")
    )
}

fn is_test(file: &RustFile) -> bool {
    file.is_test && !file.path.starts_with("benches/")
}

fn file_length(file: &RustFile) -> Measured<'_> {
    Measured { path: &file.path, line: 1, what: "the file".to_owned(), lines: file.line_count() }
}

fn functions(tree: &Tree) -> Vec<Measured<'_>> {
    let shipped = tree.rust().iter().filter(|file| !is_test(file));
    let measured = shipped.flat_map(|file| {
        let functions = file.functions().into_iter().filter(|f| file.path.starts_with("benches/") || !file.is_test_line(f.line));
        functions.map(|f| Measured { path: &file.path, line: f.line, what: format!("function {}", f.name), lines: f.lines })
    });
    measured.collect()
}

/// Those above `longest`, and those above `long` when they are more than so many in a hundred; the longest first.
fn over(all: &[Measured<'_>], long: usize, longest: usize, percent: usize, remedy: &str) -> Vec<Breach> {
    let mut long_ones: Vec<_> = all.iter().filter(|one| one.lines > long).collect();
    long_ones.sort_by_key(|one| std::cmp::Reverse(one.lines));
    let many = long_ones.len() * 100 > percent * all.len();
    let breach = |one: &&Measured<'_>| {
        let why = if one.lines > longest {
            format!("the most is {longest}")
        } else {
            format!("{} of {} are above {long}, {percent} % may be", long_ones.len(), all.len())
        };
        Breach::new(one.path, one.line, format!("{} has {} lines, and {why}", one.what, one.lines), remedy)
    };
    long_ones.iter().filter(|one| many || one.lines > longest).map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "a();\n".repeat(lines - 2))
    }

    #[test]
    fn long_files_and_functions_are_found_worst_first() {
        let bad = Tree::of(&[("a/src/a.rs", &function(121)), ("a/src/b.rs", &function(801)), ("a/src/tests.rs", &"// x\n".repeat(801))]);
        let found: Vec<_> = check(&bad).iter().map(|b| (b.path.clone(), b.wrong.clone())).collect();
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["a/src/tests.rs", "a/src/b.rs", "a/src/b.rs", "a/src/a.rs"], "{found:?}");

        let good = Tree::of(&[("a/src/a.rs", &function(70)), ("a/src/tests.rs", &function(799))]);
        assert_eq!(check(&good), []);
    }

    #[test]
    fn a_few_long_files_among_many_are_borne() {
        let (long, short) = (function(65).repeat(7), function(50));
        let mut files: Vec<(String, &str)> = (0..19).map(|n| (format!("a/src/f{n}.rs"), short.as_str())).collect();
        files.push(("a/src/long.rs".into(), &long));
        let tree = |files: &[(String, &str)]| Tree::of(&files.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>());
        assert_eq!(check(&tree(&files)), []);
        assert_eq!(check(&tree(&files[1..])).len(), 1);
    }
}
