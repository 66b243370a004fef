//! Every error code has its page, every page its code, and a code that is used is listed.
//!
//! A code is a string literal in an array constant called `CODES`, the value of a string constant that such an array names, or a literal
//! handed to a macro whose definition writes a `CODES`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    breach::Breach,
    rust_file::{Kind, RustFile},
    tree::Tree,
};

/// The page that lists all others; written by `jari-house errors-index`.
pub const INDEX: &str = "docs/errors/README.md";
const PAGES: &str = "docs/errors/";

/// What each page says, as a label or a heading.
const SECTIONS: [&str; 3] = ["gRPC status", "What happened", "What to do"];

/// Where a code was first met.
type Place<'a> = (&'a str, usize);

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let (codes, mut breaches) = declared(tree);
    for (code, (path, line)) in &codes {
        if !is_code(code) {
            breaches.push(Breach::new(path, *line, format!("code {code:?} is not UPPER_SNAKE_CASE"), "rename it while nobody depends on it"));
        } else if tree.text(&format!("{PAGES}{code}.md")).is_none() {
            let remedy = format!("write {PAGES}{code}.md: its gRPC status, what happened, what to do");
            breaches.push(Breach::new(path, *line, format!("code {code} has no page"), remedy));
        }
    }
    breaches.extend(pages(tree).filter_map(|(path, code, text)| check_page(path, code, text, codes.contains_key(code))));
    if tree.text(INDEX) != Some(&index(tree)) && !codes.is_empty() {
        let remedy = "run `cargo run -q -p jari-house -- errors-index`";
        breaches.push(Breach::new(INDEX, 1, "is not the list of the pages beside it", remedy));
    }
    for file in tree.rust() {
        for (code, line) in used(file).into_iter().filter(|(code, _)| !codes.contains_key(*code)) {
            let remedy = "put it into the `CODES` of the error that it belongs to, or correct its spelling";
            breaches.push(Breach::new(&file.path, line, format!("code {code} is in no `CODES`"), remedy));
        }
    }
    breaches
}

/// The index: every page with its gRPC status and the first sentence of what happened.
pub fn index(tree: &Tree) -> String {
    let mut index =
        "# Error codes\n\nAn error's code is the `reason` of the `ErrorInfo` in its status. Codes are stable: a program may branch on them, and \
        should never read messages.\nWhere the status is none, no call is answered with the code: its page says where it is shown.\nThis list is written by `cargo run -q -p jari-house -- errors-index`.\n\n| Code | gRPC status | What happened |\n|---|---|---|\n"
            .to_owned();
    for (_, code, text) in pages(tree) {
        index.push_str(&format!("| [{code}]({code}.md) | {} | {} |\n", status(text), what_happened(text)));
    }
    index
}

fn pages(tree: &Tree) -> impl Iterator<Item = (&str, &str, &str)> {
    let pages = tree.texts().filter(|(path, _)| *path != INDEX);
    pages.filter_map(|(path, text)| Some((path, path.strip_prefix(PAGES)?.strip_suffix(".md")?, text)))
}

fn check_page(path: &str, code: &str, text: &str, is_known: bool) -> Option<Breach> {
    if !is_known {
        return Some(Breach::new(path, 1, format!("no `CODES` lists {code}"), "delete the page, or list the code where it is given"));
    }
    if text.lines().next() != Some(&format!("# {code}")) {
        return Some(Breach::new(path, 1, "does not begin with its code", format!("make `# {code}` its first line")));
    }
    let missing: Vec<&str> = SECTIONS.iter().copied().filter(|section| !text.contains(section)).collect();
    let remedy = "write it, so that a caller can act on the error";
    (!missing.is_empty()).then(|| Breach::new(path, 1, format!("does not say: {}", missing.join(", ")), remedy))
}

/// `` gRPC status: `NOT_FOUND` ``
fn status(page: &str) -> &str {
    page.split_once(SECTIONS[0]).and_then(|(_, after)| after.split('`').nth(1)).unwrap_or_default()
}

/// The first sentence after "What happened", without what would break a table.
fn what_happened(page: &str) -> String {
    let after = page.split_once(SECTIONS[1]).map_or("", |(_, after)| after.trim_start_matches(['.', ':', '*']).trim_start());
    let paragraph = after.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |end| end + 1);
    paragraph[..end].replace('|', "\\|")
}

/// Every code with its first place, and what in a `CODES` cannot be read.
fn declared(tree: &Tree) -> (BTreeMap<&str, Place<'_>>, Vec<Breach>) {
    let makers: BTreeSet<&str> = tree.rust().iter().flat_map(macros_with_codes).collect();
    let constants: BTreeMap<&str, &str> = tree.rust().iter().flat_map(string_constants).collect();
    let (mut codes, mut breaches) = (BTreeMap::new(), Vec::new());
    for file in tree.rust() {
        for (at, line) in listed(file) {
            let name = file.word_at(at).unwrap_or_default();
            if let Some(code) = file.string_at(at).or_else(|| constants.get(name).copied()) {
                codes.entry(code).or_insert((file.path.as_str(), line));
            } else {
                let remedy = "list literals or names of string constants, so that the pages can be checked";
                breaches.push(Breach::new(&file.path, line, format!("`CODES` names {name}, which is no string constant"), remedy));
            }
        }
        for maker in &makers {
            for at in file.find(&[maker, "!"]) {
                let Some(group) = (at + 2..at + 4).find(|at| file.tokens().get(*at).is_some_and(|t| t.kind == Kind::Open)) else { continue };
                for literal in group..file.tokens()[group].mate {
                    let code = file.string_at(literal).filter(|code| is_code(code));
                    codes.extend(code.filter(|code| !codes.contains_key(code)).map(|code| (code, (file.path.as_str(), file.tokens()[literal].line))));
                }
            }
        }
    }
    (codes, breaches)
}

/// The literals, and the names of constants, in each `const CODES ... = &[...]`. What a macro fills in, and another `CODES`, is left out.
fn listed(file: &RustFile) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for at in file.find(&["const", "CODES"]).chain(file.find(&["static", "CODES"])) {
        let Some(value) = file.skip_to(at, &["=", ";"]).filter(|value| file.is_at(*value, &["="])) else { continue };
        let end = file.skip_to(value, &[";"]).unwrap_or(value);
        let is_element = |at: &usize| {
            let constant = file.word_at(*at).is_some_and(|name| is_code(name) && name != "CODES") && !file.is_at(at - 1, &["$"]);
            file.string_at(*at).is_some() || constant
        };
        found.extend((value..end).filter(is_element).map(|at| (at, file.tokens()[at].line)));
    }
    found
}

fn macros_with_codes(file: &RustFile) -> Vec<&str> {
    let defined = file.find(&["macro_rules", "!"]);
    defined
        .filter_map(|at| {
            let end = file.tokens().get(at + 3)?.mate;
            (at..end).any(|at| file.is_at(at, &["const", "CODES"])).then(|| file.word_at(at + 2))?
        })
        .collect()
}

/// `const NAME: &str = "VALUE";`
fn string_constants(file: &RustFile) -> Vec<(&str, &str)> {
    let constants = file.find(&["const"]);
    constants
        .filter_map(|at| {
            let value = file.skip_to(at, &["=", ";"])?;
            Some((file.word_at(at + 1)?, file.string_at(value + 1)?))
        })
        .collect()
}

/// Literals that are given out as codes, or compared with one.
fn used(file: &RustFile) -> Vec<(&str, usize)> {
    let mut found: Vec<usize> = Vec::new();
    for name in ["code", "reason"] {
        found.extend(file.find(&[name, ":"]).map(|at| at + 2));
        found.extend(file.find(&[name, "=", "="]).map(|at| at + 3));
        found.extend(file.find(&[name, "(", ")", "=", "="]).map(|at| at + 5));
        for at in file.find(&["fn", name]) {
            let body = file.skip_to(at, &["{", ";"]).filter(|body| file.is_at(*body, &["{"]));
            found.extend(body.into_iter().flat_map(|body| body..file.tokens()[body].mate));
        }
    }
    for call in ["refusal_status", "invalid", "with_error_info", "set_error_info"] {
        found.extend(file.find(&[call, "("]).flat_map(|at| at + 1..file.tokens()[at + 1].mate));
    }
    let constants = file.find(&["const"]).filter(|at| {
        let value = file.skip_to(*at, &["=", ";"]).and_then(|value| file.string_at(value + 1));
        value.is_some() && value == file.word_at(at + 1)
    });
    let values: Vec<usize> = constants.filter_map(|at| file.skip_to(at, &["="])).map(|value| value + 1).collect();
    found.extend(values);
    found
        .into_iter()
        .filter_map(|at| Some((file.string_at(at).filter(|code| is_code(code) && code.contains('_'))?, file.tokens()[at].line)))
        .collect()
}

/// `UPPER_SNAKE_CASE`.
fn is_code(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && !text.ends_with('_')
        && !text.contains("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: &str = "macro_rules! refusals { ($($c:literal)*) => { const CODES: &'static [&'static str] = &[$($c),*]; } }\n\
        refusals! { \"SLOT_CLOSED\" }\n\
        const LATE: &str = \"LATE\";\n\
        pub const CODES: &[&str] = &[\"SLOT_CLOSED\", LATE];\n\
        pub trait Refuse { const CODES: &'static [&'static str]; }\n";

    const LATE: &str = "# LATE\n\ngRPC status: `ABORTED`.\n\n**What happened.** It came\ntoo late. So it goes.\n\n**What to do.** Hurry.\n";
    const CLOSED: &str = "# SLOT_CLOSED\n\n**gRPC status:** `NOT_FOUND`\n\n## What happened\n\nClosed.\n\n## What to do\n\nWait.\n";

    fn pages(extra: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let pages = [("domain/src/error.rs", ERRORS), ("docs/errors/LATE.md", LATE), ("docs/errors/SLOT_CLOSED.md", CLOSED)];
        [pages.as_slice(), extra].concat()
    }

    fn indexed(files: Vec<(&str, &str)>) -> Tree {
        let index = index(&Tree::of(&files));
        Tree::of(&[files.as_slice(), &[(INDEX, &index)]].concat())
    }

    #[test]
    fn a_code_without_page_or_list_is_found() {
        let wrong = |tree: &Tree| check(tree).iter().map(|b| b.wrong.clone()).collect::<Vec<_>>();
        assert_eq!(wrong(&indexed(pages(&[]))), [""; 0]);
        let rows = "| [LATE](LATE.md) | ABORTED | It came too late. |\n| [SLOT_CLOSED](SLOT_CLOSED.md) | NOT_FOUND | Closed. |\n";
        assert!(index(&indexed(pages(&[]))).ends_with(rows));

        assert_eq!(wrong(&indexed(vec![("domain/src/error.rs", "const CODES: &[&str] = &[\"SLOT_GONE\"];")])), ["code SLOT_GONE has no page"]);
        assert_eq!(wrong(&indexed(pages(&[("docs/errors/OLD.md", "# OLD\n\nOld.\n")]))), ["no `CODES` lists OLD"]);
        assert_eq!(wrong(&Tree::of(&pages(&[]))), ["is not the list of the pages beside it"]);
        for bad in [
            "fn a() { Refusal { code: \"SLOT_FULLL\".into() } }",
            "impl E { fn code(&self) -> &str { match self { A => \"SLOT_FULLL\" } } }",
            "const SLOT_FULLL: &str = \"SLOT_FULLL\";",
            "fn a(r: R) -> bool { r.code() == \"SLOT_FULLL\" }",
        ] {
            assert_eq!(wrong(&indexed(pages(&[("commands/src/a.rs", bad)]))), ["code SLOT_FULLL is in no `CODES`"], "{bad}");
        }
        let empty = pages(&[])
            .into_iter()
            .map(|(path, text)| (path, if path.ends_with("LATE.md") { "# LATE\n\ngRPC status: `ABORTED`." } else { text }))
            .collect();
        assert_eq!(wrong(&indexed(empty)), ["does not say: What happened, What to do"]);
    }
}
