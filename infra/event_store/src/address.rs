//! Where a database is, encryption included.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{Trust, Whom, connector};

/// A database's address, as libpq reads it: `postgresql://user:password@host/name?sslmode=verify-full`. In this form the parameters of encryption mean
/// what they mean there: `sslmode` is `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`; `sslrootcert` a file of
/// certificates in PEM, or `system`; `sslcert` and `sslkey` our own certificate and its key in PEM. The other form (`host=... user=...`) knows the
/// first three modes and no files. Connections by a socket are not encrypted.
#[derive(Clone)]
pub struct Address {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("name", &self.config.get_dbname()).finish_non_exhaustive()
    }
}

/// Why an address is none. Does not repeat it, for a password may stand in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not read by the driver: malformed, or with a parameter that it does not know.
    #[error("it is not the address of a PostgreSQL, like postgresql://user:password@host/name")]
    Unreadable,
    /// A mode that there is not.
    #[error("its sslmode must be disable, prefer, require, verify-ca or verify-full")]
    Mode,
    /// A file that it names, or the system's certificates.
    #[error("its {parameter} cannot be used: {why}")]
    Certificates {
        /// `sslrootcert`, `sslcert` or `sslkey`.
        parameter: &'static str,
        /// In words.
        why: String,
    },
}

impl Address {
    /// Where, and as whom; not how it is encrypted.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Settings with which each of its connections begins, as libpq's `options`.
    #[must_use]
    pub fn with_options(mut self, options: &str) -> Self {
        self.config.options(options);
        self
    }
}

/// As the mode of `config` says; whoever answers is believed, as libpq does for `prefer` and `require`.
impl From<Config> for Address {
    fn from(config: Config) -> Self {
        let tls = connector(&Trust::default()).expect("it reads no file, which is all that can fail");
        Self { config, tls }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, query) = text.split_once('?').filter(|_| text.contains("://")).unwrap_or((text, ""));
        let (mut trust, mut mode, mut others) = (Trust::default(), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| AddressError::Unreadable)?.into_owned();
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => trust.root = value,
                "sslcert" => trust.certificate = value,
                "sslkey" => trust.key = value,
                _ => others.push(pair),
            }
        }
        let mut config: Config = format!("{address}?{}", others.join("&")).trim_end_matches('?').parse().map_err(|_| AddressError::Unreadable)?;
        // Whoever names the system's certificates means to check, and so does who names a file with `require`: both as libpq reads it.
        let (mode, whom) = match (mode.as_deref(), trust.root.as_str()) {
            (Some("disable"), _) => (SslMode::Disable, Whom::Anybody),
            (None | Some("verify-full"), "system") | (Some("verify-full"), _) => (SslMode::Require, Whom::Named),
            (Some(_), "system") => {
                return Err(AddressError::Certificates { parameter: "sslrootcert", why: "`system` asks for sslmode=verify-full".into() });
            }
            (None, _) => (config.get_ssl_mode(), Whom::Anybody),
            (Some("prefer"), _) => (SslMode::Prefer, Whom::Anybody),
            (Some("require"), "") => (SslMode::Require, Whom::Anybody),
            (Some("require" | "verify-ca"), _) => (SslMode::Require, Whom::Certified),
            (Some(_), _) => return Err(AddressError::Mode),
        };
        trust.whom = whom;
        config.ssl_mode(mode);
        Ok(Self { config, tls: connector(&trust)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> SslMode {
        text.parse::<Address>().unwrap().config.get_ssl_mode()
    }

    #[test]
    fn modes_of_encryption_are_those_of_libpq() {
        assert_eq!(mode("postgresql://jari@db/jari"), SslMode::Prefer);
        assert_eq!(mode("postgresql://jari@db/jari?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgresql://jari@db/jari?connect_timeout=3&sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgresql://jari@db/jari?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("host=db user=jari sslmode=require"), SslMode::Require);
    }

    #[test]
    fn other_parameters_reach_the_driver_unchanged() {
        let address: Address =
            "postgresql://jari:a%3Fb@one,two/jari?sslmode=require&target_session_attrs=read-write&application_name=a%20b".parse().unwrap();
        assert_eq!(address.config.get_hosts().len(), 2);
        assert_eq!(address.config.get_application_name(), Some("a b"));
        assert_eq!(address.config.get_password(), Some(&b"a?b"[..]));
        assert_eq!(address.config.get_target_session_attrs(), tokio_postgres::config::TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn a_wrong_address_is_refused_without_being_repeated() {
        for (text, error) in [
            ("postgresql://jari:hunter2@db/jari?sslmode=hunter2", AddressError::Mode),
            ("postgresql://jari:hunter2@db/jari?hunter2=1", AddressError::Unreadable),
            ("host=db password=hunter2 sslrootcert=hunter2", AddressError::Unreadable),
            ("hunter2", AddressError::Unreadable),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err(), error, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let missing = "postgresql://jari@db/jari?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem".parse::<Address>().unwrap_err().to_string();
        assert!(missing.starts_with("its sslrootcert cannot be used: ") && missing.contains("/nowhere/ca.pem"), "{missing}");
    }
}
