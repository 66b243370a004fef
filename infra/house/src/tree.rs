//! Every file that git knows, read once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{manifest::Crate, rust_file::RustFile};

/// Where golden files stand.
pub const GOLDEN: &str = "domain/golden/";

/// Where released versions of the public contract stand, one a folder: `v1.0`. What is published now, `v1`, is none.
const RELEASED_CONTRACTS: &str = ":(glob)infra/contract/published/v*.*/**";

/// What the rules look at.
#[derive(Debug, Default)]
pub struct Tree {
    root: PathBuf,
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    rust: Vec<RustFile>,
    crates: Vec<Crate>,
    /// Golden files and contracts that were released and are no longer the same: the path and what happened to it.
    changed_since_release: Vec<(String, String)>,
}

impl Tree {
    /// Reads the clone at `root`.
    ///
    /// # Errors
    /// A sentence, when git or the disk says no.
    pub fn read(root: &Path) -> Result<Self, String> {
        let listed = git(root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut files = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty() && root.join(path).is_file()) {
            let bytes = std::fs::read(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
            files.push((path.to_owned(), String::from_utf8(bytes).ok()));
        }
        let mut tree = Self::build(files);
        root.clone_into(&mut tree.root);
        tree.changed_since_release = changed_since_release(root)?;
        Ok(tree)
    }

    /// A tree of these files: for the rules' own tests.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self::build(files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned()))).collect())
    }

    /// The same tree, in which a released golden file was changed.
    #[cfg(test)]
    pub fn with_change_since_release(mut self, path: &str, what: &str) -> Self {
        self.changed_since_release.push((path.to_owned(), what.to_owned()));
        self
    }

    fn build(files: Vec<(String, Option<String>)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            if let (Some(folder), Some(text)) = (path.strip_suffix("/Cargo.toml"), &text) {
                tree.crates.extend(Crate::parse(folder, text));
            }
            if let (true, Some(text)) = (path.ends_with(".rs"), &text) {
                tree.rust.push(RustFile::parse(&path, text));
            }
            tree.paths.insert(path.clone());
            tree.texts.extend(text.map(|text| (path, text)));
        }
        // `#[cfg(test)] mod model;` makes the other file a test, whatever its name.
        let test_modules: BTreeSet<String> = tree.rust.iter().flat_map(RustFile::test_module_paths).collect();
        for file in &mut tree.rust {
            if test_modules.iter().any(|stem| file.path == format!("{stem}.rs") || file.path.starts_with(&format!("{stem}/"))) {
                file.is_test = true;
            }
        }
        tree
    }

    /// Where the clone is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every path, text or not.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Whether `path` is a file or a folder with files in it.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.paths.contains(path) || self.paths.range(folder.clone()..).next().is_some_and(|next| next.starts_with(&folder))
    }

    /// The text of a file; `None` when there is none, or it is not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Every text file.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Every Rust file.
    pub fn rust(&self) -> &[RustFile] {
        &self.rust
    }

    /// Every crate.
    pub fn crates(&self) -> &[Crate] {
        &self.crates
    }

    /// The crate to which `path` belongs: the one with the longest folder around it.
    pub fn crate_of(&self, path: &str) -> Option<&Crate> {
        let around = self.crates.iter().filter(|c| path.strip_prefix(c.folder.as_str()).is_some_and(|rest| rest.starts_with('/')));
        around.max_by_key(|c| c.folder.len())
    }

    /// Released golden files that are not what they were, and what happened to each.
    pub fn changed_since_release(&self) -> &[(String, String)] {
        &self.changed_since_release
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("git").arg("-C").arg(root).args(arguments).output().map_err(|e| format!("git cannot be run: {e}"))?;
    if done.status.success() {
        return String::from_utf8(done.stdout).map_err(|e| format!("git {}: {e}", arguments.join(" ")));
    }
    Err(format!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
}

/// Against the newest tag `v*`; nothing before the first release.
fn changed_since_release(root: &Path) -> Result<Vec<(String, String)>, String> {
    let tags = git(root, &["tag", "--list", "v*", "--sort=-version:refname"])?;
    let Some(newest) = tags.lines().next() else { return Ok(Vec::new()) };
    let changes = git(root, &["diff", "--no-renames", "--name-status", "--diff-filter=MDT", newest, "--", GOLDEN, RELEASED_CONTRACTS])?;
    let told = |line: &str| {
        let (status, path) = line.split_once('\t')?;
        Some((path.to_owned(), format!("{} since {newest}", if status == "D" { "deleted" } else { "changed" })))
    };
    Ok(changes.lines().filter_map(told).collect())
}
