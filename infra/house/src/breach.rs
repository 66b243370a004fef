//! One broken rule, at one place.

use std::fmt;

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// From the root of the repository.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// The rule's name; filled in by whoever runs the rule.
    pub rule: &'static str,
    /// What is wrong here.
    pub wrong: String,
    /// What to do about it.
    pub remedy: String,
}

impl Breach {
    /// At `line` of `path`.
    pub fn new(path: &str, line: usize, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: line.max(1), rule: "", wrong: wrong.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}; {}", self.path, self.line, self.rule, self.wrong, self.remedy)
    }
}
