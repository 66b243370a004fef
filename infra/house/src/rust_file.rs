//! A Rust file as a flat row of tokens, so that a rule sees the inside of macros as it sees anything else.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Word,
    /// One character of punctuation.
    Sign,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// A string literal; the token's text is what stands between its quotes, escapes as written.
    Text,
    /// Any other literal.
    Literal,
}

/// One token.
#[derive(Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// As written, except for [`Kind::Text`].
    pub text: String,
    /// Counted from 1.
    pub line: usize,
    /// For an opening or closing bracket, the index of the other one; else its own.
    pub mate: usize,
}

/// A function, wherever it stands, also in a macro's body.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Of `fn`.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

/// A file.
#[derive(Debug)]
pub struct RustFile {
    /// From the root.
    pub path: String,
    /// Whether all of it is test code: by its path, by `#![cfg(test)]`, or because its module is declared under `#[cfg(test)]`.
    pub is_test: bool,
    /// Why it could not be read; it has no tokens then.
    pub fault: Option<String>,
    lines: Vec<String>,
    tokens: Vec<Token>,
    /// First and last line of each item under `#[cfg(test)]` or `#[test]`.
    test_items: Vec<(usize, usize)>,
}

impl RustFile {
    /// Reads a file. It need not compile, but its brackets must match.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            is_test: is_test_path(path),
            fault: None,
            lines: text.lines().map(str::to_owned).collect(),
            tokens: Vec::new(),
            test_items: Vec::new(),
        };
        match text.parse::<TokenStream>() {
            Ok(stream) => flatten(stream, &mut file.tokens),
            Err(fault) => file.fault = Some(fault.to_string()),
        }
        file.is_test |= file.is_at(0, &["#", "!", "[", "cfg", "(", "test", ")", "]"]);
        let tests = file.test_attributes().map(|at| (file.tokens[at].line, file.tokens[file.item_end(at)].line)).collect();
        file.test_items = tests;
        file
    }

    /// The tokens.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// How many lines.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// A line, counted from 1; empty outside of the file.
    pub fn line(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|at| self.lines.get(at)).map_or("", String::as_str)
    }

    /// Whether this line is test code.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_items.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Whether the tokens from `at` on are these. A string literal never is.
    pub fn is_at(&self, at: usize, pattern: &[&str]) -> bool {
        let here = self.tokens.get(at..).unwrap_or_default();
        here.len() >= pattern.len() && here.iter().zip(pattern).all(|(token, wanted)| token.kind != Kind::Text && token.text == *wanted)
    }

    /// Where in the code that is not test code the tokens are these.
    pub fn find<'a>(&'a self, pattern: &'a [&'a str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |at| self.is_at(*at, pattern) && !self.is_test_line(self.tokens[*at].line))
    }

    /// The string literal at `at`, if there is one.
    pub fn string_at(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|token| token.kind == Kind::Text).map(|token| token.text.as_str())
    }

    /// The name at `at`, if there is one.
    pub fn word_at(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|token| token.kind == Kind::Word).map(|token| token.text.as_str())
    }

    /// The functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let named = (0..self.tokens.len()).filter(|at| self.is_at(*at, &["fn"]));
        named
            .filter_map(|at| {
                let name = self.word_at(at + 1)?.to_owned();
                let body = self.skip_to(at, &["{", ";"])?;
                let end = &self.tokens[self.tokens[body].mate];
                (self.tokens[body].text == "{").then(|| Function { name, line: self.tokens[at].line, lines: end.line - self.tokens[at].line + 1 })
            })
            .collect()
    }

    /// The enums, each with the names and lines of its variants.
    pub fn enums(&self) -> Vec<(&str, Vec<(&str, usize)>)> {
        let named = (0..self.tokens.len()).filter(|at| self.is_at(*at, &["enum"]));
        named
            .filter_map(|at| {
                let body = self.skip_to(at, &["{", ";"]).filter(|body| self.is_at(*body, &["{"]))?;
                let mut variants = Vec::new();
                let mut next = Some(body + 1);
                // Ends with the body: each round goes past one variant.
                while let Some(mut variant) = next {
                    while self.is_at(variant, &["#", "["]) {
                        variant = self.tokens[variant + 1].mate + 1;
                    }
                    variants.extend(self.word_at(variant).map(|name| (name, self.tokens[variant].line)));
                    next = self.skip_to(variant, &[","]).map(|comma| comma + 1);
                }
                Some((self.word_at(at + 1)?, variants))
            })
            .collect()
    }

    /// The names and lines of the test functions, also of those in a macro's body.
    pub fn test_functions(&self) -> Vec<(&str, usize)> {
        let marked = self.test_attributes().filter(|at| !self.is_at(at + 2, &["cfg"]));
        marked
            .filter_map(|at| {
                let function = (at..=self.item_end(at)).find(|at| self.is_at(*at, &["fn"]))?;
                Some((self.word_at(function + 1)?, self.tokens[function].line))
            })
            .collect()
    }

    /// The first of `ends` from `at` on, brackets skipped; `None` where the surrounding bracket closes before.
    pub fn skip_to(&self, at: usize, ends: &[&str]) -> Option<usize> {
        let mut at = at;
        // Ends with the tokens: each round goes forward.
        while let Some(token) = self.tokens.get(at) {
            match token.kind {
                Kind::Sign | Kind::Open | Kind::Word if ends.contains(&token.text.as_str()) => return Some(at),
                Kind::Open => at = token.mate + 1,
                Kind::Close => return None,
                _ => at += 1,
            }
        }
        None
    }

    /// The modules that are declared as `#[cfg(test)] mod NAME;`, as paths without `.rs`.
    pub fn test_module_paths(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = file.trim_end_matches(".rs");
        let inside = if matches!(stem, "mod" | "lib" | "main") { folder.to_owned() } else { format!("{folder}/{stem}") };
        let declared = self.test_attributes().filter_map(|at| {
            let end = self.item_end(at);
            let name = end.checked_sub(1).and_then(|name| self.word_at(name))?;
            (self.is_at(end - 2, &["mod"]) && self.is_at(end, &[";"])).then(|| format!("{inside}/{name}"))
        });
        declared.collect()
    }

    /// Where `#[test]`, `#[tokio::test(..)]`, `#[cfg(test)]` or `#[cfg(all(test, ..))]` begins.
    fn test_attributes(&self) -> impl Iterator<Item = usize> {
        (0..self.tokens.len()).filter(|at| {
            let inside = at + 2;
            let cfg = [&["cfg", "(", "test", ")"][..], &["cfg", "(", "all", "(", "test"]].iter().any(|cfg| self.is_at(inside, cfg));
            let mut name = inside;
            while self.is_at(name + 1, &[":", ":"]) {
                name += 3;
            }
            let test = self.is_at(name, &["test"]) && (self.is_at(name + 1, &["]"]) || self.is_at(name + 1, &["("]));
            self.is_at(*at, &["#", "["]) && (cfg || test)
        })
    }

    /// The last token of the item that the attribute at `at` stands above.
    fn item_end(&self, at: usize) -> usize {
        let mut start = at;
        // Ends at the item: each round skips one attribute.
        while self.is_at(start, &["#", "["]) {
            start = self.tokens[start + 1].mate + 1;
        }
        let ends: &[&str] = if self.is_at(start, &["use"]) { &[";"] } else { &["{", ";"] };
        self.skip_to(start, ends).map_or(start.min(self.tokens.len() - 1), |end| self.tokens[end].mate)
    }
}

/// `tests.rs`, and anything below a folder called `tests` or `benches`.
fn is_test_path(path: &str) -> bool {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    file == "tests.rs" || folders.split('/').any(|folder| folder == "tests" || folder == "benches")
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let mate = tokens.len();
        match tree {
            TokenTree::Ident(word) => tokens.push(Token { kind: Kind::Word, text: word.to_string(), line, mate }),
            TokenTree::Punct(sign) => tokens.push(Token { kind: Kind::Sign, text: sign.as_char().to_string(), line, mate }),
            TokenTree::Literal(literal) => {
                let written = literal.to_string();
                let (kind, text) = string_value(&written).map_or((Kind::Literal, written.clone()), |value| (Kind::Text, value.to_owned()));
                tokens.push(Token { kind, text, line, mate });
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token { kind: Kind::Open, text: open.to_owned(), line: group.span_open().start().line, mate });
                flatten(group.stream(), tokens);
                tokens[mate].mate = tokens.len();
                tokens.push(Token { kind: Kind::Close, text: close.to_owned(), line: group.span_close().end().line, mate });
            }
        }
    }
}

/// What stands between the quotes of `"..."` or `r#"..."#`; `None` for any other literal.
fn string_value(written: &str) -> Option<&str> {
    let bare = written.strip_prefix('r').map_or(written, |raw| raw.trim_matches('#'));
    bare.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_known_by_attribute_path_and_declaration() {
        let file = RustFile::parse(
            "a/src/b.rs",
            "fn a() {}\n#[cfg(test)]\nmod model;\n#[cfg(test)]\nuse x::{y,\nz};\n#[tokio::test(flavor = \"x\")]\nasync fn c() {\n}\nfn d() {}\n",
        );
        let tests: Vec<usize> = (1..=10).filter(|line| file.is_test_line(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(file.test_module_paths(), ["a/src/b/model"]);
        assert!(RustFile::parse("domain/src/slot/tests.rs", "").is_test);
        assert!(RustFile::parse("tests/src/main.rs", "").is_test);
        assert!(!RustFile::parse("domain/src/latest/mod.rs", "").is_test);
    }

    #[test]
    fn functions_inside_macros_are_measured_too() {
        let file = RustFile::parse("a.rs", "macro_rules! m { () => {\n fn inner(x: [u8; 3]) -> u8\n where u8: Copy {\n 1\n }\n fn none();\n} }");
        let found: Vec<_> = file.functions().iter().map(|f| (f.name.clone(), f.line, f.lines)).collect();
        assert_eq!(found, [("inner".to_owned(), 2, 4)]);
    }

    #[test]
    fn a_file_whose_brackets_differ_has_a_fault() {
        assert!(RustFile::parse("a.rs", "fn a( {").fault.is_some());
    }
}
