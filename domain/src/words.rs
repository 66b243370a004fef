//! Where a thing stands, and of which kind it is, as one word: stored in columns and payloads, and shown.

/// Gives an enum its words, both ways from one table. A variant without a word does not compile; a word that serde writes otherwise fails a test.
macro_rules! words {
    ($name:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $name {
            /// Each of them.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Reads that word; `None` when it is none of them.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::{
        order::OrderStatus,
        product::{ProductStatus, SaleMode},
        slot::SlotStatus,
    };

    #[test]
    fn a_word_is_read_back_and_is_what_payloads_say() {
        macro_rules! same {
            ($($name:ident),*) => {$(
                for said in $name::ALL {
                    assert_eq!($name::parse(said.as_str()), Some(*said));
                    assert_eq!(serde_json::to_value(said).unwrap(), said.as_str(), "{said:?}");
                }
                assert_eq!($name::parse("NONE_OF_THEM"), None);
            )*};
        }
        same!(OrderStatus, ProductStatus, SaleMode, SlotStatus);
    }
}
