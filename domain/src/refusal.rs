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
    /// Settled against the caller by a competing command; a new attempt may succeed.
    Aborted,
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

/// An aggregate's error, told to the outside. Implemented once for each aggregate's enum, without `_`.
pub trait Refuse: std::error::Error + Send + Sync + 'static {
    /// Every code that [`Refuse::code`] can give: the house rules check that each has a page.
    const CODES: &'static [&'static str];
    /// The stable code.
    fn code(&self) -> &'static str;
    /// What sort.
    fn kind(&self) -> RefusalKind;
    /// Whether time or other customers can make it succeed.
    fn retryable(&self) -> bool;
    /// Facts by name.
    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// All of it.
    fn to_refusal(&self) -> Refusal {
        Refusal { code: self.code().into(), kind: self.kind(), message: self.to_string(), details: self.details(), retryable: self.retryable() }
    }
}

/// Implements [`Refuse`] from one table: a variant, its code, its kind, and whether a retry can help. A variant that is missing here
/// does not compile; a code without its page in `docs/errors/` fails a test.
macro_rules! refusals {
    ($error:ident, details: $details:path, { $($variant:ident => $code:literal, $kind:ident, $retryable:literal;)* }) => {
        impl $crate::Refuse for $error {
            const CODES: &'static [&'static str] = &[$($code),*];
            fn code(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $code,)* }
            }
            fn kind(&self) -> $crate::RefusalKind {
                match self { $(Self::$variant { .. } => $crate::RefusalKind::$kind,)* }
            }
            fn retryable(&self) -> bool {
                match self { $(Self::$variant { .. } => $retryable,)* }
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

/// Every code that the domain can give, sorted. Codes may be shared between aggregates when they mean the same.
#[must_use]
pub fn codes() -> std::collections::BTreeSet<&'static str> {
    use crate::{ids::IdError, money::CurrencyError, order::OrderError, product::ProductError, slot::SlotError};
    [IdError::CODES, CurrencyError::CODES, ProductError::CODES, SlotError::CODES, OrderError::CODES].into_iter().flatten().copied().collect()
}
