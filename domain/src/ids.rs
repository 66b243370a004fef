//! Ids as types. All are opaque text that the caller chooses; the bound keeps keys and indexes small.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest id, in bytes. A slot's id is longer: it holds its pool's id and its start.
pub const MAX_ID_BYTES: usize = 64;

/// About what an id takes on the heap: two counts and some thirty bytes of text, as an allocator rounds them up.
pub(crate) const HEAP_BYTES: usize = 64;

/// An id that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {form}")]
pub struct IdError {
    /// Which kind of id, as in `product_id`.
    pub kind: &'static str,
    /// What it looks like.
    pub form: IdForm,
}

/// What an id looks like, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// Chosen by a caller.
    Chosen,
    /// A slot's: made of its pool's id and its start.
    Slot,
}

impl fmt::Display for IdForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => write!(f, "1 to {MAX_ID_BYTES} characters of A-Z a-z 0-9 - _ . and begin with a letter or digit"),
            Self::Slot => f.write_str("the id of a pool and then @stock, or @ and the start in UTC, as in gallery@20261224T090000Z"),
        }
    }
}

crate::refusal::refusals! { IdError, details: details, "ID_INVALID", InvalidArgument, false }

fn details(error: &IdError) -> BTreeMap<String, String> {
    crate::refusal::facts([("field", &error.kind)])
}

fn well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=MAX_ID_BYTES).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes an id.
            ///
            /// # Errors
            /// [`IdError`] when it is empty, too long, or has other characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if well_formed(text) { Ok(Self(text.into())) } else { Err(IdError { kind: $kind, form: IdForm::Chosen }) }
            }
            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
            /// The shared text, without a copy.
            #[must_use]
            pub fn shared(&self) -> Arc<str> { self.0.clone() }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

ids! {
    /// A product.
    ProductId, "product_id";
    /// An option of a product.
    OptionId, "option_id";
    /// A unit of an option: adult, child, family.
    UnitId, "unit_id";
    /// A pool of capacity that options draw on: a gallery, a deck, a shelf.
    PoolId, "pool_id";
    /// An order.
    OrderId, "order_id";
    /// A hold in a slot. An order's holds bear the order's id.
    HoldId, "hold_id";
    /// Whoever books, as an opaque reference: no personal data.
    CustomerRef, "customer_ref";
}

impl From<&OrderId> for HoldId {
    fn from(order: &OrderId) -> Self {
        Self(order.0.clone())
    }
}

impl From<&HoldId> for OrderId {
    /// The order whose hold this would be: not every hold is an order's.
    fn from(hold: &HoldId) -> Self {
        Self(hold.0.clone())
    }
}

/// One pool in one window, or its stock without one: `gallery@20261224T090000Z`, `poster@stock`.
///
/// It is derived from pool and start, so that an order's line finds its slots without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(Arc<str>);

impl SlotId {
    /// The slot of `pool` that starts at `starts_at`; the pool's stock when there is no start. Starts are whole seconds.
    #[must_use]
    pub fn of(pool: &PoolId, starts_at: Option<jiff::Timestamp>) -> Self {
        match starts_at {
            Some(at) => Self(format!("{pool}@{}", at.strftime("%Y%m%dT%H%M%SZ")).into()),
            None => Self(format!("{pool}@stock").into()),
        }
    }

    /// Checks and takes a slot's id.
    ///
    /// # Errors
    /// [`IdError`] when it is not `POOL@YYYYMMDDTHHMMSSZ` or `POOL@stock`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let bad = IdError { kind: "slot_id", form: IdForm::Slot };
        let (pool, window) = text.split_once('@').ok_or(bad.clone())?;
        PoolId::parse(pool).map_err(|_| bad.clone())?;
        let starts_at = match window {
            "stock" => None,
            at => Some(
                jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", at)
                    .and_then(|at| jiff::tz::TimeZone::UTC.to_timestamp(at))
                    .map_err(|_| bad.clone())?,
            ),
        };
        let canonical = Self::of(&PoolId(pool.into()), starts_at);
        if canonical.as_str() == text { Ok(canonical) } else { Err(bad) }
    }
    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The shared text, without a copy.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_id_is_read_back_as_it_was_made() {
        let pool = PoolId::parse("gallery").unwrap();
        let dated = SlotId::of(&pool, Some("2026-12-24T09:00:00Z".parse().unwrap()));
        assert_eq!(dated.as_str(), "gallery@20261224T090000Z");
        assert_eq!(SlotId::parse(dated.as_str()), Ok(dated));
        assert_eq!(SlotId::parse("poster@stock").unwrap().as_str(), "poster@stock");
    }

    #[test]
    fn malformed_ids_are_refused_with_their_kind_and_the_form_of_that_kind() {
        for text in ["", "-a", "a b", "가", "a/b", &"x".repeat(65)] {
            assert_eq!(OrderId::parse(text), Err(IdError { kind: "order_id", form: IdForm::Chosen }), "{text:?}");
        }
        for text in ["a", "@stock", "a@", "a@20261324T090000Z", "a@2026", "a@stock@stock", "a@20261224T0900Z"] {
            assert_eq!(SlotId::parse(text), Err(IdError { kind: "slot_id", form: IdForm::Slot }), "{text:?}");
        }
        let told = SlotId::parse("gallery").unwrap_err().to_string();
        let example = told.rsplit(' ').next().unwrap();
        assert!(SlotId::parse(example).is_ok(), "the example that it names is one: {told}");
    }
}
