//! `jari history`: what there is to say.

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use jari_proto::history::v1::{Aggregate, AggregateKind, Moment, aggregate, moment, trace_causes_request::Origin};

/// Of `jari history`.
#[derive(Debug, Args)]
pub struct History {
    /// The server [default: where the configuration serves]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// For people: aligned columns and indented states, instead of a line of JSON each
    #[arg(long, global = true)]
    pub pretty: bool,
    /// What to tell.
    #[command(subcommand)]
    pub tell: Tell,
}

/// What history can tell. A MOMENT is a position of the log, or a time as in 2026-12-24T09:00:00Z.
#[derive(Debug, Subcommand)]
pub enum Tell {
    /// The log, or what a filter leaves of it
    Log(Log),
    /// The history of one thing
    Stream(Stream),
    /// One thing as it stood at a moment
    State(State),
    /// What is different between two moments
    Diff(Diff),
    /// From a customer's call to its last consequence
    Causes(Causes),
}

/// Of `jari history log`.
#[derive(Debug, Args)]
pub struct Log {
    /// Only what came after this position or time [default: from the first event]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub after: Option<Moment>,
    /// Only what had come by this position or time [default: up to now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, conflicts_with = "follow")]
    pub until: Option<Moment>,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    pub follow: bool,
    /// Only events of this type, as in OrderHeld; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events that happened to things of this kind; may be given several times
    #[arg(long = "kind", value_enum)]
    pub kinds: Vec<Kind>,
    /// Only events that happened to this product, or name it
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub product: Option<String>,
    /// Only events that happened to this slot, or name it
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub slot: Option<String>,
    /// Only events that happened to this order, or name it
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub order: Option<String>,
}

/// Of `jari history stream`.
#[derive(Debug, Args)]
pub struct Stream {
    /// orders/ID, slots/ID or products/ID
    #[arg(value_parser = parse_aggregate)]
    pub thing: Aggregate,
    /// Only what came after so many of its events
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub after_version: i64,
    /// Only what had come by this position or time [default: up to now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, conflicts_with = "follow")]
    pub until: Option<Moment>,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// Of `jari history state`.
#[derive(Debug, Args)]
pub struct State {
    /// orders/ID, slots/ID or products/ID
    #[arg(value_parser = parse_aggregate)]
    pub thing: Aggregate,
    /// At this position or time [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub as_of: Option<Moment>,
}

/// Of `jari history diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// orders/ID, slots/ID or products/ID
    #[arg(value_parser = parse_aggregate)]
    pub thing: Aggregate,
    /// One position or time
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub from: Moment,
    /// The other [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub to: Option<Moment>,
}

/// Of `jari history causes`.
#[derive(Debug, Args)]
pub struct Causes {
    /// orders/ID, the position of any event of the chain, or the request_id of the call that began it
    #[arg(value_parser = parse_origin)]
    pub origin: Origin,
}

/// A kind of thing.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Products
    Product,
    /// Slots of capacity
    Slot,
    /// Orders
    Order,
}

impl From<Kind> for AggregateKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Product => Self::Product,
            Kind::Slot => Self::Slot,
            Kind::Order => Self::Order,
        }
    }
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(position) = text.parse() {
        return Ok(Moment { moment: Some(moment::Moment::Position(position)) });
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| "neither a position nor a time as in 2026-12-24T09:00:00Z".to_owned())?;
    let nanos = time.subsec_nanosecond();
    // a time before 1970 counts its fraction backwards, which the wire does not
    let (seconds, nanos) = if nanos < 0 { (time.as_second() - 1, nanos + 1_000_000_000) } else { (time.as_second(), nanos) };
    Ok(Moment { moment: Some(moment::Moment::Time(prost_types::Timestamp { seconds, nanos })) })
}

fn parse_aggregate(text: &str) -> Result<Aggregate, String> {
    let aggregate = match text.split_once('/') {
        Some(("orders", id)) => aggregate::Aggregate::OrderId(id.into()),
        Some(("slots", id)) => aggregate::Aggregate::SlotId(id.into()),
        Some(("products", id)) => aggregate::Aggregate::ProductId(id.into()),
        _ => return Err("must be orders/ID, slots/ID or products/ID".to_owned()),
    };
    Ok(Aggregate { aggregate: Some(aggregate) })
}

fn parse_origin(text: &str) -> Result<Origin, String> {
    match (text.parse(), text.strip_prefix("orders/")) {
        (Ok(position), _) => Ok(Origin::Position(position)),
        (_, Some(id)) => Ok(Origin::OrderId(id.into())),
        _ => match uuid::Uuid::parse_str(text) {
            Ok(id) => Ok(Origin::CorrelationId(id.to_string())),
            Err(_) => Err("must be orders/ID, a position, or a request_id (a UUID)".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!(parse_moment("17").unwrap().moment, Some(moment::Moment::Position(17)));
        let at = prost_types::Timestamp { seconds: 1_798_102_800, nanos: 250_000_000 };
        assert_eq!(parse_moment("2026-12-24T09:00:00.25Z").unwrap().moment, Some(moment::Moment::Time(at)));
        assert_eq!(parse_moment("2026-12-24T18:00:00.25+09:00").unwrap().moment, Some(moment::Moment::Time(at)));
        for bad in ["", "yesterday", "2026-12-24", "1.5"] {
            assert!(parse_moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_thing_is_named_as_events_name_their_subject() {
        let slot = aggregate::Aggregate::SlotId("poster@stock".into());
        assert_eq!(parse_aggregate("slots/poster@stock").unwrap().aggregate, Some(slot));
        assert!(parse_aggregate("poster").is_err() && parse_aggregate("seats/poster").is_err());
    }

    #[test]
    fn causes_are_taken_hold_of_by_order_position_or_call() {
        assert_eq!(parse_origin("4711").unwrap(), Origin::Position(4711));
        assert_eq!(parse_origin("orders/4711").unwrap(), Origin::OrderId("4711".into()));
        let id = "019b4f2e-8c00-7a31-9f00-00000000cafe";
        assert_eq!(parse_origin(&format!("{{{}}}", id.to_uppercase())).unwrap(), Origin::CorrelationId(id.into()));
        assert!(parse_origin("order-7").is_err());
    }
}
