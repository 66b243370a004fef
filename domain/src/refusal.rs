//! A refusal as everybody outside the domain sees it: a stable code, a kind, and facts to act on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What sort of refusal: decides the gRPC status. Never `internal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The command makes no sense whatever the state.
    InvalidArgument,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists.
    AlreadyExists,
    /// The state does not allow it, now.
    FailedPrecondition,
    /// There is no room left; `details` say whether some may come back.
    ResourceExhausted,
}

/// A refusal, ready to be stored beside its command id and to be told again, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, `UPPER_SNAKE_CASE`, has a page in `docs/errors/`.
    pub code: String,
    /// See [`RefusalKind`].
    pub kind: RefusalKind,
    /// English, one sentence, for developers.
    pub message: String,
    /// Facts by name: counts, ids, times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// Whether the same command under a new id can succeed later without anybody repairing it.
    pub retryable: bool,
}

/// An error of the domain, told to the outside. `refusals!` implements it from one table for each: the aggregates' enums, and what an id and a currency say.
pub trait Refuse: std::error::Error + Send + Sync + 'static {
    /// Every code that [`Refuse::code`] can give: the house rules check that each has a page.
    const CODES: &'static [&'static str];
    /// [`Refuse::CODES`] with [`Refuse::kind`] and [`Refuse::retryable`] of each.
    const TABLE: &'static [(&'static str, RefusalKind, bool)];
    /// The stable code.
    fn code(&self) -> &'static str;
    /// What sort.
    fn kind(&self) -> RefusalKind;
    /// Whether time or other customers can make it succeed.
    fn retryable(&self) -> bool;
    /// Facts by name.
    fn details(&self) -> BTreeMap<String, String>;
    /// All of it.
    fn to_refusal(&self) -> Refusal {
        Refusal { code: self.code().into(), kind: self.kind(), message: self.to_string(), details: self.details(), retryable: self.retryable() }
    }
}

/// Implements [`Refuse`] from one table: a variant, its code, its kind, and whether a retry can help; for an error that is no enum, its one
/// row. A variant that is missing here does not compile; a code without its page in `docs/errors/` fails a test.
macro_rules! refusals {
    ($error:ident, details: $details:path, { $($variant:ident => $code:literal, $kind:ident, $retryable:literal;)* }) => {
        $crate::refusal::refusals! { @of $error, $details, $(Self::$variant { .. } => $code, $kind, $retryable;)* }
    };
    ($error:ident, details: $details:path, $code:literal, $kind:ident, $retryable:literal) => {
        $crate::refusal::refusals! { @of $error, $details, Self { .. } => $code, $kind, $retryable; }
    };
    (@of $error:ident, $details:path, $($which:pat => $code:literal, $kind:ident, $retryable:literal;)*) => {
        impl $crate::Refuse for $error {
            const CODES: &'static [&'static str] = &[$($code),*];
            const TABLE: &'static [(&'static str, $crate::RefusalKind, bool)] = &[$(($code, $crate::RefusalKind::$kind, $retryable)),*];
            fn code(&self) -> &'static str {
                match self { $($which => $code,)* }
            }
            fn kind(&self) -> $crate::RefusalKind {
                match self { $($which => $crate::RefusalKind::$kind,)* }
            }
            fn retryable(&self) -> bool {
                match self { $($which => $retryable,)* }
            }
            fn details(&self) -> std::collections::BTreeMap<String, String> {
                $details(self)
            }
        }
    };
}
pub(crate) use refusals;

/// Facts by name, from anything that can be shown.
pub(crate) fn facts<const N: usize>(facts: [(&str, &dyn std::fmt::Display); N]) -> BTreeMap<String, String> {
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact.to_string())).collect()
}

/// Of an error that says all by its code.
pub(crate) fn no_facts<E>(_: &E) -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// Every code that the domain can give, with its kind and whether a retry can help. Two aggregates share a code only when it means the
/// same in both.
#[must_use]
pub fn table() -> BTreeMap<&'static str, (RefusalKind, bool)> {
    use crate::{ids::IdError, money::CurrencyError, order::OrderError, product::ProductError, slot::SlotError};
    let tables = [IdError::TABLE, CurrencyError::TABLE, ProductError::TABLE, SlotError::TABLE, OrderError::TABLE];
    tables.into_iter().flatten().map(|(code, kind, retryable)| (*code, (*kind, *retryable))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{IdError, OrderId},
        money::CurrencyError,
        order::OrderError,
        product::ProductError,
        slot::SlotError,
    };

    fn grpc_status(kind: RefusalKind) -> &'static str {
        match kind {
            RefusalKind::InvalidArgument => "INVALID_ARGUMENT",
            RefusalKind::NotFound => "NOT_FOUND",
            RefusalKind::AlreadyExists => "ALREADY_EXISTS",
            RefusalKind::FailedPrecondition => "FAILED_PRECONDITION",
            RefusalKind::ResourceExhausted => "RESOURCE_EXHAUSTED",
        }
    }

    #[test]
    fn every_code_has_a_page_that_tells_its_status_and_whether_to_retry() {
        for (code, (kind, retryable)) in table() {
            let path = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}. Write a page for the code, like its neighbours"));
            assert!(page.starts_with(&format!("# {code}\n")), "{path} must begin with the title `# {code}`");
            let retry = if retryable { "A retry can help" } else { "A retry cannot help" };
            let status = format!("gRPC status: `{}`. {retry}", grpc_status(kind));
            assert!(page.contains(&status), "{path} must say: {status}");
            for section in ["**What happened.**", "**What to do.**"] {
                assert!(page.contains(section), "{path} must have a paragraph that begins with {section}");
            }
        }
    }

    #[test]
    fn a_code_means_the_same_wherever_it_is_given() {
        let tables = [IdError::TABLE, CurrencyError::TABLE, ProductError::TABLE, SlotError::TABLE, OrderError::TABLE];
        let known = table();
        for (code, kind, retryable) in tables.into_iter().flatten() {
            assert_eq!(known[code], (*kind, *retryable), "{code} has two meanings: give one of them another code");
            assert!(code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code} must be UPPER_SNAKE_CASE");
        }
    }

    #[test]
    fn a_refusal_is_read_back_word_for_word() {
        let refusal = OrderId::parse("a b").unwrap_err().to_refusal();
        assert_eq!(refusal.details["field"], "order_id");
        let stored = serde_json::to_string(&refusal).unwrap();
        assert_eq!(serde_json::from_str::<Refusal>(&stored).unwrap(), refusal);
    }
}
