//! Where the configuration comes from.

use std::path::PathBuf;

use toml::Table;

use super::{
    Config, DEFAULT,
    table::{self, UnknownKey},
};

/// Looked for in this order when no file is named.
const FILES: [&str; 2] = ["jari.toml", "/etc/jari/jari.toml"];
/// What a variable begins with that overrides a key; between section and key stand two of these lines: `JARI_ENGINE__PLACES`.
pub(super) const PREFIX: &str = "JARI_";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not for us.
    #[error("the configuration {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("the configuration {} is not TOML, line {line}: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there; the line itself is left out, since it may hold a secret.
        reason: String,
    },
    /// A key that nobody knows.
    #[error("{origin} sets {key}, which is no key{}", nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean {near}?")))]
    UnknownKey {
        /// The file or variable.
        origin: String,
        /// With its section.
        key: String,
        /// Known and written like it.
        nearest: Option<String>,
    },
    /// A value that its key cannot have.
    #[error("the configuration cannot be used: {0}")]
    Invalid(String),
}

impl Config {
    /// Reads `named`, or the first file that is there, and this process' variables.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file, variable or key.
    pub fn load(named: Option<&PathBuf>) -> Result<Self, ConfigError> {
        let found = named.cloned().or_else(|| FILES.iter().map(PathBuf::from).find(|path| path.exists()));
        let file = match found {
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                Some((path, text))
            }
            None => None,
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_layers(file, variables)
    }

    /// The defaults, a file's text over them, and variables over both.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn from_layers(file: Option<(PathBuf, String)>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let defaults: Table = DEFAULT.parse().expect("the default document is TOML: a test reads it");
        let mut table = defaults.clone();
        let unknown = |origin: String| |UnknownKey { key, nearest }: UnknownKey| ConfigError::UnknownKey { origin, key, nearest };
        if let Some((path, text)) = &file {
            let over = text.parse::<Table>().map_err(|error| {
                let line = error.span().map_or(0, |span| text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count()) + 1;
                ConfigError::Malformed { path: path.clone(), line, reason: error.message().to_owned() }
            })?;
            table::lay_over(&mut table, over).map_err(unknown(path.display().to_string()))?;
        }
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX).map(str::to_lowercase) else { continue };
            // Other variables of ours, such as JARI_CONFIG, hold no `__`.
            if let Some((section, key)) = rest.split_once("__") {
                table::set(&mut table, &defaults, section, key, &value).map_err(unknown(name.clone()))?;
            } else if let Some(meant) = table::run_together(&defaults, &rest) {
                return Err(unknown(name.clone())(meant));
            }
        }
        let config: Config = table.try_into().map_err(|error: toml::de::Error| ConfigError::Invalid(error.to_string().trim().replace('\n', " ")))?;
        match config.out_of_bounds() {
            Some(wrong) => Err(ConfigError::Invalid(wrong)),
            None => Ok(config),
        }
    }
}
