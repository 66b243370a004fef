//! A Cargo.toml, as far as the rules ask.

use toml::{Table, Value};

/// A crate of the workspace.
#[derive(Debug)]
pub struct Crate {
    /// The package's name.
    pub name: String,
    /// From the root, without a slash at its end.
    pub folder: String,
    manifest: Table,
}

/// Where a dependency stands in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `[dependencies]` and `[build-dependencies]`, of every target.
    Shipped,
    /// `[dev-dependencies]`.
    Tests,
}

/// A line below `[dependencies]` or one of its likes.
#[derive(Debug)]
pub struct Dependency<'a> {
    /// As written.
    pub name: &'a str,
    /// Where.
    pub section: Section,
    /// Whether its version stands in the root manifest.
    pub inherited: bool,
}

impl Crate {
    /// Reads a manifest; `None` when it describes no package (the root's), or is no TOML (which cargo will say better).
    pub fn parse(folder: &str, text: &str) -> Option<Self> {
        let manifest: Table = text.parse().ok()?;
        let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
        Some(Self { name, folder: folder.to_owned(), manifest })
    }

    /// From the root.
    pub fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    /// Everything that the crate depends on.
    pub fn dependencies(&self) -> Vec<Dependency<'_>> {
        let targets = self.manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|t| t.values()).filter_map(Value::as_table);
        let mut found = Vec::new();
        for table in std::iter::once(&self.manifest).chain(targets) {
            for (key, section) in [("dependencies", Section::Shipped), ("build-dependencies", Section::Shipped), ("dev-dependencies", Section::Tests)]
            {
                for (name, value) in table.get(key).and_then(Value::as_table).into_iter().flatten() {
                    let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
                    found.push(Dependency { name, section, inherited });
                }
            }
        }
        found
    }

    /// The names of its programs: `[[bin]]`, `src/bin/NAME.rs` and `src/bin/NAME/main.rs` among `paths`.
    pub fn programs<'a>(&'a self, paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let tables = self.manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
        let named = tables.filter_map(|bin| bin.get("name")?.as_str());
        let found = paths.filter_map(|path| {
            let inside = path.strip_prefix(self.folder.as_str())?.strip_prefix("/src/bin/")?;
            inside.strip_suffix("/main.rs").or_else(|| inside.strip_suffix(".rs"))
        });
        named.chain(found).collect()
    }
}

/// The outside dependencies that the root manifest names: those without a path.
pub fn workspace_dependencies(root_manifest: &str) -> Vec<String> {
    let table: Table = root_manifest.parse().unwrap_or_default();
    let named = table.get("workspace").and_then(|w| w.get("dependencies")).and_then(Value::as_table);
    named.into_iter().flatten().filter(|(_, value)| value.get("path").is_none()).map(|(name, _)| name.clone()).collect()
}

/// The line of a manifest on which `name` is set; 1 when it is written in some other way.
pub fn line_of(text: &str, name: &str) -> usize {
    let sets = |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
    text.lines().position(sets).map_or(1, |at| at + 1)
}
