//! What the documents name exists: paths, links, the scripts and their arguments, the program's subcommands.

use crate::{breach::Breach, rust_file::RustFile, tree::Tree};

/// Words that stand for any name.
const PLACEHOLDERS: &[&str] = &["CODE", "NAME", "VIEW", "AGGREGATE", "VARIANT", "X"];

/// Scripts whose first argument is a program of `benches`.
const RUNNERS: &[&str] = &["infra/bench", "infra/prove"];

/// A piece of code in a document.
struct Code<'a> {
    line: usize,
    text: &'a str,
    /// In a fenced block for a shell, where every line is a command; else in a span within a sentence.
    is_command: bool,
}

/// See the module.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let folders: Vec<&str> = tree.paths().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder).collect();
    let programs = tree.crates().iter().find(|c| c.folder == "benches").map_or_else(Vec::new, |benches| benches.programs(tree.paths()));
    let subcommands = subcommands(tree);
    let mut breaches = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        let (codes, links) = read(text);
        for code in &codes {
            let words = code.text.split_whitespace().map(|word| word.trim_start_matches("./"));
            for word in words.filter(|word| word.split_once('/').is_some_and(|(folder, _)| folders.contains(&folder)) || is_page(word)) {
                breaches.extend(missing(tree, path, word).map(|wrong| Breach::new(path, code.line, wrong, CORRECT)));
            }
            breaches.extend(unknown_program(code, &programs).map(|(wrong, remedy)| Breach::new(path, code.line, wrong, remedy)));
            breaches.extend(unknown_subcommand(code, &subcommands).map(|wrong| Breach::new(path, code.line, wrong, DECLARE)));
        }
        for (line, target) in
            links.iter().filter(|(_, target)| !target.contains("://") && !target.starts_with(['#', '<']) && !target.starts_with("mailto:"))
        {
            let file = target.split('#').next().unwrap_or_default();
            if !tree.has(&resolve(path, file)) {
                breaches.push(Breach::new(path, *line, format!("links to {file}, which does not exist"), CORRECT));
            }
        }
    }
    breaches
}

const CORRECT: &str = "write its present name, or delete the sentence";
const DECLARE: &str = "write its present name, or declare it in infra/jari/src/cli.rs";

/// The code and the links of a Markdown text.
fn read(text: &str) -> (Vec<Code<'_>>, Vec<(usize, &str)>) {
    let (mut codes, mut links, mut fence) = (Vec::new(), Vec::new(), None);
    for (number, whole) in text.lines().enumerate() {
        let line = number + 1;
        if let Some(language) = whole.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim()) };
        } else if let Some(language) = fence {
            if matches!(language, "" | "sh" | "bash" | "shell" | "console") {
                codes.push(Code { line, text: whole.trim().trim_start_matches("$ "), is_command: true });
            }
        } else {
            codes.extend(whole.split('`').skip(1).step_by(2).map(|text| Code { line, text, is_command: false }));
            links.extend(whole.split("](").skip(1).filter_map(|rest| Some((line, rest.split_once(')')?.0))));
        }
    }
    (codes, links)
}

fn is_page(word: &str) -> bool {
    word.len() > 3 && word.ends_with(".md") && !word.contains("://")
}

/// What is missing, in words, if `word` names a path of ours that is not there. A pattern needs only the folder before it.
fn missing(tree: &Tree, document: &str, word: &str) -> Option<String> {
    let bare = word.trim_end_matches([',', '.', ';', ')']).split(['#', ':']).next().unwrap_or_default();
    let is_open = |part: &&str| part.contains(['*', '<', '{', '$', '…', '?']) || part.split('.').any(|stem| PLACEHOLDERS.contains(&stem));
    let fixed: Vec<&str> = bare.trim_end_matches('/').split('/').take_while(|part| !is_open(part) && *part != "..." && *part != "..").collect();
    let path = fixed.join("/");
    let found = path.is_empty() || tree.has(&path) || tree.has(&resolve(document, &path));
    (!found).then(|| format!("names {bare}, which does not exist"))
}

/// A path beside `document`, from the root.
fn resolve(document: &str, target: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// `infra/bench NAME` without a program of that name: what is wrong, and what to do.
fn unknown_program(code: &Code<'_>, programs: &[&str]) -> Option<(String, &'static str)> {
    let mut words = code.text.split_whitespace().map(|word| word.trim_start_matches("./")).skip_while(|word| !RUNNERS.contains(word));
    let (script, name) = (words.next()?, words.next()?);
    let verb = script.trim_start_matches("infra/");
    let known =
        programs.iter().any(|program| *program == name || program.strip_prefix(verb).is_some_and(|rest| rest.trim_start_matches(['-', '_']) == name));
    (is_bare(name) && !known).then(|| (format!("names `{script} {name}`, which does not exist"), "add benches/src/bin/NAME.rs, or correct the name"))
}

fn unknown_subcommand(code: &Code<'_>, subcommands: &[String]) -> Option<String> {
    let mut words = code.text.split_whitespace();
    let is_ours = |word: &str| word == "jari" || word.ends_with("/jari");
    let name =
        if code.is_command { words.skip_while(|word| !is_ours(word)).nth(1) } else { words.next().filter(|word| is_ours(word)).and(words.next()) };
    let name = name.filter(|name| is_bare(name) && *name != "help")?;
    (!subcommands.iter().any(|known| known == name)).then(|| format!("names `jari {name}`, which is no subcommand"))
}

/// A word as commands are called, not an option, a placeholder or a path.
fn is_bare(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// Every variant of an enum in the command line's file, and every name that is given in words.
fn subcommands(tree: &Tree) -> Vec<String> {
    let mut names = Vec::new();
    for file in tree.rust().iter().filter(|file| file.path == "infra/jari/src/cli.rs" || file.path.starts_with("infra/jari/src/cli/")) {
        names.extend(file.enums().iter().flat_map(|(_, variants)| variants).map(|(variant, _)| kebab_case(variant)));
        names.extend(renamed(file));
    }
    names
}

fn renamed(file: &RustFile) -> impl Iterator<Item = String> {
    ["name", "alias", "visible_alias"].into_iter().flat_map(|key| {
        let named: Vec<_> = file.find(&[key, "="]).filter_map(|at| file.string_at(at + 2)).map(str::to_owned).collect();
        named
    })
}

fn kebab_case(variant: &str) -> String {
    let mut kebab = String::new();
    for (at, letter) in variant.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        ("infra/bench", ""),
        ("domain/src/slot/decide.rs", ""),
        ("docs/errors/LATE.md", ""),
        ("benches/Cargo.toml", "[package]\nname = \"b\"\n[[bin]]\nname = \"engine\"\n"),
        ("benches/src/bin/crash.rs", ""),
        ("infra/jari/src/cli.rs", "enum Command { /// Serves.\n Serve(Serve), RebuildView { view: String }, #[command(name = \"check\")] Verify }"),
    ];

    fn wrong(text: &str) -> Vec<String> {
        let mut files = FILES.to_vec();
        files.push(("docs/guide.md", text));
        check(&Tree::of(&files)).into_iter().map(|breach| breach.wrong).collect()
    }

    #[test]
    fn what_a_document_names_but_nobody_has_is_found() {
        for bad in [
            "see `domain/src/slot/gone.rs`",
            "see [it](errors/GONE.md)",
            "see `GONE.md`",
            "run `infra/bench nothing`",
            "run `jari dance`",
            "```sh\ntarget/release/jari dance --now\n```",
            "```\ninfra/gone engine\n```",
            "see `infra/gone/*.rs`",
        ] {
            assert_eq!(wrong(bad).len(), 1, "{bad}: {:?}", wrong(bad));
        }
    }

    #[test]
    fn docs_may_name_patterns_and_foreign_paths() {
        let good = "`domain/src/slot/decide.rs:12`, `domain/src/*/error.rs`, `docs/errors/CODE.md`, `errors/LATE.md`, [x](errors/LATE.md#why), \
            [y](https://example.com/z.md), `infra/bench engine`, `./infra/bench crash --quick`, `infra/bench NAME`, `jari serve`, `jari rebuild-view`, \
            `jari check`, `jari help`, `jari --config x serve`, `and/or`, `/etc/hosts`\n```text\njari is up\n```\n";
        assert_eq!(wrong(good), [""; 0]);
    }
}
