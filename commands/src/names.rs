//! The names of spans, of the log lines that tell of calls, and of the figures that `GetStatus` counts: in one place, so that dashboards can rely on
//! them.

/// A caller's command, from its request to its outcome. Field: command_id. It has no `name`: in a JSON line that is the span's own.
pub const COMMAND: &str = "command";
/// The line at a command's end, within its span. Fields: name, position (unless nothing is known of it), code (when refused), duration_us.
pub const COMMAND_EXECUTED: &str = "command executed";
/// The line of a request that became no command. Fields: code, fields (those that cannot be used).
pub const REQUEST_REFUSED: &str = "request refused";
/// One batch on its way to the log. Fields: batch, groups.
pub const APPEND: &str = "append";

/// Units of work that have come and have no answer yet.
pub const UNITS_UNDER_WAY: &str = "units_under_way";
/// Streams kept in memory.
pub const STREAMS_IN_MEMORY: &str = "streams_in_memory";
/// Callers that hold a place in the engine.
pub const CALLERS_WITH_A_PLACE: &str = "callers_with_a_place";
/// Callers sent away since the start.
pub const CALLERS_SENT_AWAY: &str = "callers_sent_away";
/// Batches sent to the log since the start.
pub const BATCHES: &str = "batches";
/// Groups in them.
pub const GROUPS: &str = "groups";
