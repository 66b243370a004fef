//! What people write: titles and reasons.

/// Whether `text` has `least` to `most` characters, none of them a control character.
pub(crate) fn is_plain(text: &str, least: usize, most: usize) -> bool {
    let mut characters = 0;
    for c in text.chars() {
        characters += 1;
        if characters > most || c.is_control() {
            return false;
        }
    }
    characters >= least
}

/// The longest title, in characters.
pub(crate) const MAX_TITLE: usize = 200;
/// The longest reason, in characters.
pub(crate) const MAX_REASON: usize = 500;
