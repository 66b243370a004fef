//! What people write: titles, reasons, names.

/// What [`is_plain`] asks of each character, as refusals say it.
pub const PLAIN: &str = "none of them a control character or a mark that turns the direction of writing";

/// Whether `text` has `least` to `most` characters, none of them a control character or a mark that turns the direction of writing (Unicode's embeddings,
/// overrides and isolates): by those a text can turn around what is shown after it, and pass for another. Letters that are written from right to left need
/// none of them.
#[must_use]
pub fn is_plain(text: &str, least: usize, most: usize) -> bool {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut characters = 0;
    for c in text.chars() {
        characters += 1;
        if characters > most || c.is_control() || turns(c) {
            return false;
        }
    }
    characters >= least
}

/// The longest title, in characters.
pub(crate) const MAX_TITLE: usize = 200;
/// The longest reason, in characters.
pub(crate) const MAX_REASON: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_turns_what_is_shown_after_it_is_not_plain() {
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\0', '\n', '\u{7f}', '\u{85}']) {
            assert!(!is_plain(&format!("a{c}b"), 0, 9), "{c:?}");
        }
        for fine in ["", "미술관의 밤", "לילה במוזיאון", "ليلة في المتحف", "👨\u{200d}👩\u{200d}👧"] {
            assert!(is_plain(fine, 0, 20), "{fine}");
        }
        assert!(is_plain("가나", 2, 2) && !is_plain("가나", 3, 9) && !is_plain("가나", 0, 1), "bounds count characters");
    }
}
