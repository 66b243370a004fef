//! What the domain says, in the messages of `proto/`: one mapping for all services that answer, so that none of them says it differently. It must never
//! know a request, a database's row or the engine.

pub mod order;
pub mod personal;
pub mod product;

use jari_domain::{Money, RefusalKind};
use jari_proto::r#type::v1 as pb;
use jiff::Timestamp;
use tonic::Code;

/// A version, a count or an amount, which have at most 63 bits; more would be cut to that.
#[must_use]
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count, which has at most 31 bits; more would be cut to that.
#[must_use]
pub fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A time. The wire counts nanoseconds forwards from a whole second, also before 1970.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 { (at.as_second() - 1, nanos + 1_000_000_000) } else { (at.as_second(), nanos) };
    prost_types::Timestamp { seconds, nanos }
}

/// Money, in the currency's minor units.
#[must_use]
pub fn money(amount: Money) -> pb::Money {
    pb::Money { currency: amount.currency.into(), minor_units: signed(amount.minor) }
}

/// The gRPC status of a refusal.
#[must_use]
pub fn code(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::InvalidArgument => Code::InvalidArgument,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::AlreadyExists => Code::AlreadyExists,
        RefusalKind::FailedPrecondition => Code::FailedPrecondition,
        RefusalKind::ResourceExhausted => Code::ResourceExhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_count_forwards_also_before_1970() {
        for (text, seconds, nanos) in
            [("1969-12-31T23:59:58.75Z", -2, 750_000_000), ("1970-01-01T00:00:00Z", 0, 0), ("2026-03-01T09:00:00.000000001Z", 1_772_355_600, 1)]
        {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(at), prost_types::Timestamp { seconds, nanos }, "{text}");
        }
    }

    #[test]
    fn what_the_wire_cannot_hold_is_cut_and_never_turns_negative() {
        assert_eq!((signed(u64::MAX), count(u32::MAX)), (i64::MAX, i32::MAX));
    }
}
