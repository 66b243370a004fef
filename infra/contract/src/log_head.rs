//! What is said of a whole log: its signed heads, behind the events that they stand for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PublicType, catalogue::events_of, value::Int64};

events_of! { "reservation.log.v1" on LogHead {
    LogHeadSigned "1.0",
}}

/// The one type of its topic. It tells of no event of the log, so it is not among the public events.
pub const TYPE: &PublicType = EVENTS[0];

/// The head of the log's chain of digests stood so when it was signed (Ed25519, over the text that `proto/reservation/log/v1` states).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogHeadSigned {
    /// The log: a UUID, in lower case.
    #[schemars(extend("format" = "uuid"))]
    pub log_id: String,
    /// Of the last event that the head stands for. 0: of none.
    pub position: Int64,
    /// SHA-256, in lower-case hexadecimal.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub head: String,
    /// When, in UTC, by the signing node's clock.
    #[schemars(extend("format" = "date-time"))]
    pub signed_at: String,
    /// The public key (32 bytes), in base64. Says which key, not that it can be trusted: that is for whoever verifies to know.
    pub public_key: String,
    /// 64 bytes, in base64.
    pub signature: String,
}
