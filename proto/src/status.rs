//! Errors on the wire: `google.rpc.Status` with an `ErrorInfo` whose reason is the stable code, and what else a program can act on.
//!
//! All of it travels in response headers, which many clients and proxies cut off at 8 KiB. So texts and details are bounded here: without that,
//! a long enough complaint arrives as a broken stream.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error of ours.
pub const DOMAIN: &str = "jari";
/// Most bytes of a status' message; it is cut at a character.
pub const MAX_MESSAGE_BYTES: usize = 512;
/// Most bytes of one value or description.
pub const MAX_TEXT_BYTES: usize = 640;
/// Most bytes of all details together; what comes after is left off.
pub const MAX_DETAILS_BYTES: usize = 3_072;

/// The reason of a message that cannot be decoded.
pub const REQUEST_MALFORMED: &str = "REQUEST_MALFORMED";
/// The reason of a message that is larger than the server takes.
pub const REQUEST_TOO_LARGE: &str = "REQUEST_TOO_LARGE";
/// The reason of a request whose end was not there in time.
pub const REQUEST_TOO_SLOW: &str = "REQUEST_TOO_SLOW";
/// The reason of a call whose own time was over before its answer was there.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// When who was too slow may come again: by then a crowd that sent all at once has been taken in.
const TOO_SLOW_DELAY: Duration = Duration::from_secs(1);
/// The codes that this crate gives by itself; each has its page in `docs/errors/`.
pub const CODES: &[&str] = &[REQUEST_MALFORMED, REQUEST_TOO_LARGE, REQUEST_TOO_SLOW, DEADLINE_EXCEEDED];

/// A refusal with its stable code (`ErrorInfo.reason`), its facts (`ErrorInfo.metadata`) and, if any, the delay after which another attempt
/// makes sense (`RetryInfo`).
#[must_use]
pub fn refusal_status(code: &str, kind: Code, message: &str, details: BTreeMap<String, String>, retry_after: Option<Duration>) -> Status {
    let mut room = Room::new();
    let metadata = details.into_iter().map_while(|(name, value)| room.take(name, &value)).collect();
    let mut rich = error_info(code, metadata);
    if retry_after.is_some() {
        rich.set_retry_info(retry_after);
    }
    Status::with_error_details(kind, cut(message, MAX_MESSAGE_BYTES), rich)
}

/// Bad input, `INVALID_ARGUMENT`: which fields (paths as in `lines[2].units[0].quantity`) and what is wrong with each. `reason` is the stable
/// code. The message tells the first; `violations_left_off` in the metadata counts those that found no room.
#[must_use]
pub fn invalid<F: Into<String>, D: AsRef<str>>(violations: Vec<(F, D)>, reason: &str) -> Status {
    let total = violations.len();
    let mut room = Room::new();
    let told: Vec<_> = violations
        .into_iter()
        .map_while(|(field, what)| room.take(field.into(), what.as_ref()))
        .map(|(field, what)| (field, what, total - 1))
        .collect();
    let message = match told.first() {
        None => "the request is not valid".to_owned(),
        Some((field, what, 0)) => format!("{field}: {what}"),
        Some((field, what, more)) => format!("{field}: {what} (and {more} more)"),
    };
    let mut metadata = HashMap::new();
    if told.len() < total {
        metadata.insert("violations_left_off".to_owned(), (total - told.len()).to_string());
    }
    let mut rich = error_info(reason, metadata);
    for (field, what, _) in told {
        rich.add_bad_request_violation(field, what);
    }
    Status::with_error_details(Code::InvalidArgument, cut(&message, MAX_MESSAGE_BYTES), rich)
}

/// The stable code of an error; `None` when it bears none, which is so for errors of the transport.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// What an error tells a program beside its code: ids, counts, times, by name. Empty when it bears no code.
#[must_use]
pub fn facts(status: &Status) -> BTreeMap<String, String> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default()
}

/// The delay after which the server asks to try again, if it does.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// The request cannot be read; `why` is the reader's word.
pub fn malformed(why: &str) -> Status {
    refusal_status(REQUEST_MALFORMED, Code::InvalidArgument, &format!("the request cannot be read: {why}"), BTreeMap::new(), None)
}

/// The request had begun, and was not whole `within` so long: nothing of it was looked at, and the same one may come again.
#[must_use]
pub fn too_slow(within: Duration) -> Status {
    let message = format!("the request was not whole within {} s: nothing was done", within.as_secs());
    refusal_status(REQUEST_TOO_SLOW, Code::Unavailable, &message, BTreeMap::new(), Some(TOO_SLOW_DELAY))
}

/// The request is too large; `why` names size and limit.
pub(crate) fn too_large(why: &str) -> Status {
    refusal_status(REQUEST_TOO_LARGE, Code::InvalidArgument, &format!("the request is too large: {why}"), BTreeMap::new(), None)
}

fn error_info(reason: &str, metadata: HashMap<String, String>) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// What is left of [`MAX_DETAILS_BYTES`].
struct Room(usize);

impl Room {
    fn new() -> Self {
        Self(MAX_DETAILS_BYTES)
    }

    /// The pair, cut to size; `None` when it does not fit any more.
    fn take(&mut self, name: String, value: &str) -> Option<(String, String)> {
        /// Tags and lengths of the nested messages, at most.
        const FRAMING: usize = 16;
        let (name, value) = (cut(&name, MAX_TEXT_BYTES), cut(value, MAX_TEXT_BYTES));
        self.0 = self.0.checked_sub(name.len() + value.len() + FRAMING)?;
        Some((name, value))
    }
}

/// At most `max` bytes of `text`, whole characters, with an ellipsis where something is missing.
fn cut(text: &str, max: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max - MORE.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{MORE}", &text[..end])
}
