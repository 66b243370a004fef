//! `jari history`: asks the running node, and prints what it tells: a line of JSON each, or for people.

use std::io::Write;

use anyhow::{Context, anyhow};
use jari_proto::history::v1::{
    AggregateKind, CompareStatesRequest, Event, GetStateAsOfRequest, ReadLogRequest, ReadStreamRequest, State, TraceCausesRequest,
    history_service_client::HistoryServiceClient, state,
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use tonic::{Streaming, transport::Channel};

use crate::{
    cli::history::{Causes, Diff, History, Log, Stream, Tell},
    config::Config,
    connect::{self, refused},
};

/// Events of a page of causes.
const PAGE: i32 = 1_000;

/// Whoever reads our output has seen enough.
struct Enough;

/// Tells. An interruption ends it without a word, and so does a reader that goes away.
///
/// # Errors
/// A server that does not answer, or what it refuses.
pub async fn run(config: &Config, options: History) -> anyhow::Result<()> {
    let History { server, pretty, tell } = options;
    let asking = async {
        let history = HistoryServiceClient::new(connect::node(config, server.as_deref()).await?);
        match tell {
            Tell::Log(log) => follow_log(history, log, pretty).await,
            Tell::Stream(stream) => follow_stream(history, stream, pretty).await,
            Tell::State(one) => {
                let asked = GetStateAsOfRequest { aggregate: Some(one.thing), as_of: one.as_of };
                let told = { history }.get_state_as_of(asked).await.map_err(|status| refused(&status))?.into_inner();
                let _ = say(&told.state.as_ref().map_or_else(String::new, |state| shown(&as_json(state), pretty)));
                Ok(())
            }
            Tell::Diff(diff) => compare(history, diff, pretty).await,
            Tell::Causes(causes) => trace(history, causes, pretty).await,
        }
    };
    tokio::select! {
        done = asking => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow_log(mut history: HistoryServiceClient<Channel>, log: Log, pretty: bool) -> anyhow::Result<()> {
    let asked = ReadLogRequest {
        after: log.after,
        until: log.until,
        follow: log.follow,
        event_types: log.types,
        kinds: log.kinds.into_iter().map(|kind| AggregateKind::from(kind).into()).collect(),
        product_id: log.product.unwrap_or_default(),
        slot_id: log.slot.unwrap_or_default(),
        order_id: log.order.unwrap_or_default(),
    };
    let answers = history.read_log(asked).await.map_err(|status| refused(&status))?.into_inner();
    print_all(answers, "--after", pretty, |answer| (answer.events, answer.position)).await
}

async fn follow_stream(mut history: HistoryServiceClient<Channel>, stream: Stream, pretty: bool) -> anyhow::Result<()> {
    let Stream { thing, after_version, until, follow } = stream;
    let asked = ReadStreamRequest { aggregate: Some(thing), after_version, until, follow };
    let answers = history.read_stream(asked).await.map_err(|status| refused(&status))?.into_inner();
    print_all(answers, "--after-version", pretty, |answer| (answer.events, answer.version)).await
}

/// Prints events as they come. A stream that breaks says how to go on.
async fn print_all<T>(mut answers: Streaming<T>, option: &str, pretty: bool, open: impl Fn(T) -> (Vec<Event>, i64)) -> anyhow::Result<()> {
    let mut reached = None;
    // Ends with the stream, or with whoever reads our output.
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(()),
            Err(status) => {
                let how = reached.map_or_else(String::new, |reached| format!("; go on with {option} {reached}"));
                return Err(anyhow!("{}{how}", refused(&status)));
            }
        };
        let (events, position) = open(answer);
        if print_events(&events, pretty)?.is_err() {
            return Ok(());
        }
        reached = Some(position);
    }
}

async fn compare(mut history: HistoryServiceClient<Channel>, diff: Diff, pretty: bool) -> anyhow::Result<()> {
    let asked = CompareStatesRequest { aggregate: Some(diff.thing), before: Some(diff.from), after: diff.to };
    let told = history.compare_states(asked).await.map_err(|status| refused(&status))?.into_inner();
    for change in told.changes {
        let line = if pretty {
            let shown = |json: &str| if json.is_empty() { "-".to_owned() } else { json.to_owned() };
            format!("{:<32} {} -> {}\n", change.path, shown(&change.before_json), shown(&change.after_json))
        } else {
            let value = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
            format!("{}\n", json!({ "path": change.path, "before": value(&change.before_json), "after": value(&change.after_json) }))
        };
        if say(&line).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn trace(mut history: HistoryServiceClient<Channel>, causes: Causes, pretty: bool) -> anyhow::Result<()> {
    let (mut page_token, mut may_go_on) = (String::new(), false);
    // Ends with the last page, which the server bounds.
    loop {
        let asked = TraceCausesRequest { origin: Some(causes.origin.clone()), page_size: PAGE, page_token };
        let told = history.trace_causes(asked).await.map_err(|status| refused(&status))?.into_inner();
        may_go_on |= told.may_go_on;
        if print_events(&told.events, pretty)?.is_err() || told.next_page_token.is_empty() {
            break;
        }
        page_token = told.next_page_token;
    }
    if may_go_on {
        // beside the events, which programs read
        eprintln!(
            "the chain may go on: there may be more of it in the log, behind what is read for an answer; `jari history stream` tells all of an order or a slot"
        );
    }
    Ok(())
}

/// An event as a line of JSON: its attributes, and its data as they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    position: i64,
    time: String,
    r#type: &'a str,
    subject: &'a str,
    stream_version: i64,
    id: &'a str,
    source: &'a str,
    data_schema: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    causation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_parent: &'a str,
    data: &'a RawValue,
}

fn print_events(events: &[Event], pretty: bool) -> anyhow::Result<Result<(), Enough>> {
    let mut lines = String::new();
    for event in events {
        lines.push_str(&if pretty { row(event) } else { line(event)? });
    }
    Ok(say(&lines))
}

fn line(event: &Event) -> anyhow::Result<String> {
    let line = Line {
        position: event.position,
        time: time(event),
        r#type: &event.r#type,
        subject: &event.subject,
        stream_version: event.stream_version,
        id: &event.id,
        source: &event.source,
        data_schema: &event.data_schema,
        correlation_id: &event.correlation_id,
        causation_id: &event.causation_id,
        trace_parent: &event.trace_parent,
        data: serde_json::from_str(&event.data_json).context("the server sent data that is no JSON")?,
    };
    Ok(format!("{}\n", serde_json::to_string(&line)?))
}

/// Position, time, type, whose, and by which event.
fn row(event: &Event) -> String {
    let name = event.r#type.rsplit('.').next().unwrap_or_default();
    let cause = if event.causation_id.is_empty() { String::new() } else { format!("by {}", event.causation_id) };
    let row = format!("{:>10}  {}  {name:<19}  {:<48}  {cause}", event.position, time(event), event.subject);
    format!("{}\n", row.trim_end())
}

fn time(event: &Event) -> String {
    let at = event.time.unwrap_or_default();
    jiff::Timestamp::new(at.seconds, at.nanos).map_or_else(|_| String::new(), |at| format!("{at:.6}"))
}

fn as_json(state: &State) -> Value {
    let (kind, told) = match &state.state {
        None => ("nothing", Value::Null),
        Some(state::State::Product(product)) => ("product", jari_history::json("reservation.product.v1.Product", product)),
        Some(state::State::Slot(slot)) => ("slot", jari_history::json("reservation.availability.v1.Slot", slot)),
        Some(state::State::Order(order)) => ("order", jari_history::json("reservation.order.v1.Order", order)),
    };
    let at = state.time.unwrap_or_default();
    let at = jiff::Timestamp::new(at.seconds, at.nanos).map_or_else(|_| String::new(), |at| format!("{at:.6}"));
    json!({ "position": state.position, "time": at, "version": state.version, kind: told })
}

fn shown(value: &Value, pretty: bool) -> String {
    if pretty { format!("{value:#}\n") } else { format!("{value}\n") }
}

/// Writes at once, so that a pipe sees each line when it comes.
fn say(text: &str) -> Result<(), Enough> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| Enough)
}
