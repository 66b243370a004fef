//! Whatever can go on or grow says what ends or bounds it: loops, spawned tasks, channels; and an allowed lint says why.

use crate::{
    breach::Breach,
    rust_file::{Kind, RustFile},
    tree::Tree,
};

/// What begins with these words, and what its comment has to tell.
const UNBOUNDED: &[(&[&str], &str, &str)] = &[
    (&["loop", "{"], "`loop`", "what ends it, and what each round moves forward"),
    (&["tokio", ":", ":", "spawn"], "`tokio::spawn`", "who joins it, and what ends it"),
    (&["task", ":", ":", "spawn"], "`task::spawn`", "who joins it, and what ends it"),
    (&["thread", ":", ":", "spawn"], "`thread::spawn`", "who joins it, and what ends it"),
    (&["mpsc", ":", ":", "channel"], "`mpsc::channel`", "its bound, the unit, and what happens when it is full"),
    (&["broadcast", ":", ":", "channel"], "`broadcast::channel`", "its bound, the unit, and what happens to who lags"),
    (&["unbounded_channel"], "`unbounded_channel`", "what it is \"bounded by\"; better, give it a bound"),
    (&["#", "[", "allow"], "`allow`", "what would be worse without it"),
    (&["#", "!", "[", "allow"], "`allow`", "what would be worse without it"),
];

/// Fewer words than this do not say why.
const FEWEST_WORDS: usize = 3;

/// See the module. The comment stands directly above the statement, on its line, or above the line before when that needs one too.
pub fn check(tree: &Tree) -> Vec<Breach> {
    tree.rust().iter().filter(|file| !file.is_test).flat_map(check_file).collect()
}

fn check_file(file: &RustFile) -> Vec<Breach> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (kind, (pattern, ..)) in UNBOUNDED.iter().enumerate() {
        places.extend(file.find(pattern).filter(|at| !is_mention(file, *at, pattern)).map(|at| (at, kind)));
    }
    let statements: Vec<usize> = places.iter().map(|(at, _)| statement_line(file, *at)).collect();
    let mut breaches = Vec::new();
    for (at, kind) in places {
        let (pattern, name, tell) = UNBOUNDED[kind];
        let line = file.tokens()[at].line;
        let mut first = statement_line(file, at);
        let mut comment = comment_at(file, first, line);
        // Ends at a comment, or at a line that needs none: each round goes up one line.
        while comment.is_empty() && statements.contains(&(first - 1)) {
            first -= 1;
            comment = comment_at(file, first, first);
        }
        let is_told = comment.split_whitespace().count() >= FEWEST_WORDS && (pattern != ["unbounded_channel"] || comment.contains("bounded by"));
        let is_told_otherwise = (pattern.contains(&"allow") && gives_reason(file, at)) || (pattern.contains(&"channel") && is_named_bound(file, at));
        if !is_told && !is_told_otherwise {
            breaches.push(Breach::new(
                &file.path,
                line,
                format!("{name} without a word on its bound or reason"),
                format!("say directly above it {tell}"),
            ));
        }
    }
    breaches
}

/// A function's name that is imported or handed on, not called.
fn is_mention(file: &RustFile, at: usize, pattern: &[&str]) -> bool {
    let after = at + pattern.len();
    let is_function = file.word_at(after - 1).is_some() && !pattern.contains(&"[");
    is_function && !file.is_at(after, &["("]) && !file.is_at(after, &[":", ":", "<"])
}

/// The line on which the statement, match arm or argument begins that `at` belongs to.
fn statement_line(file: &RustFile, at: usize) -> usize {
    let mut start = at;
    // Ends at the statement's first token: each round goes back.
    while let Some(before) = start.checked_sub(1) {
        let token = &file.tokens()[before];
        match (token.kind, token.text.as_str()) {
            (Kind::Sign, ";" | ",") | (Kind::Open, "{") | (Kind::Close, "}") => break,
            (Kind::Close, _) => start = token.mate,
            _ => start = before,
        }
    }
    file.tokens()[start].line
}

/// The comment lines directly above `first` (attributes between them skipped) and the comments at the end of `first` to `last`.
fn comment_at(file: &RustFile, first: usize, last: usize) -> String {
    let mut comment = String::new();
    for number in (1..first).rev() {
        let line = file.line(number).trim();
        if let Some(text) = line.strip_prefix("//").filter(|text| !text.starts_with(['/', '!'])) {
            comment.insert_str(0, text);
        } else if !line.starts_with("#[") {
            break;
        }
    }
    for number in first..=last {
        comment.push_str(file.line(number).split_once(" // ").map_or("", |(_, text)| text));
    }
    comment
}

/// `#[allow(.., reason = "..")]`
fn gives_reason(file: &RustFile, at: usize) -> bool {
    let open = if file.is_at(at + 1, &["!"]) { at + 2 } else { at + 1 };
    (open..file.tokens()[open].mate).any(|at| file.is_at(at, &["reason", "="]))
}

/// `channel(WAITING)`, where the same file says above `const WAITING` what it is.
fn is_named_bound(file: &RustFile, at: usize) -> bool {
    let Some(open) = file.skip_to(at, &["(", ";"]).filter(|open| file.is_at(*open, &["("])) else { return false };
    let close = file.tokens()[open].mate;
    let Some(name) = file.word_at(close - 1).filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')) else { return false };
    let is_told = |at: usize| {
        file.line(statement_line(file, at)).trim_start().starts_with("//") || file.line(file.tokens()[at].line - 1).trim_start().starts_with("//")
    };
    file.find(&["const", name]).any(is_told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a/src/lib.rs", text)])).iter().map(|b| b.line).collect()
    }

    #[test]
    fn what_says_nothing_of_its_bound_is_found() {
        for bad in [
            "fn a() {\n    loop {}\n}",
            "fn a() {\n    // Why.\n\n    tokio::spawn(x);\n}",
            "fn a() {\n    let (a, b) = mpsc::channel::<u8>(16);\n}",
            "fn a() {\n    // A queue of whatever comes in.\n    mpsc::unbounded_channel();\n}",
            "/// Public.\n#[allow(dead_code)]\nfn a() {}",
            "macro_rules! m { () => {\n    loop { }\n} }",
        ] {
            assert_eq!(lines(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn what_says_its_bound_or_reason_passes() {
        let good = "use tokio::sync::mpsc::{self, unbounded_channel};\n\
            /// Snapshots that wait.\nconst WAITING: usize = 64;\n\
            fn a() {\n\
            // Ends with `stop`.\n'outer: loop {}\n\
            let task = tokio::spawn(x); // Joined by `close`.\n\
            // One wake is enough: more would say the same.\n\
            let (a, b) = mpsc::channel(1);\n\
            let c = tokio::spawn(x);\n\
            let (a, b) = mpsc::channel::<u8>(WAITING);\n\
            // One entry a caller, bounded by admission.\n\
            let (a, b) = mpsc::unbounded_channel();\n\
            // Joined by the caller\n\
            // when it stops.\n\
            let handle =\n    tokio::spawn(x);\n\
            }\n\
            #[allow(dead_code, reason = \"read by the macro\")]\nfn b() {}\n\
            #[cfg(test)]\nmod tests { fn a() { loop {} } }";
        assert_eq!(lines(good), [0; 0]);
    }
}
