//! `jari status`: the database and how to reach it, and what the node says of log, views and settlement.

use std::time::Duration;

use jari_postgres::{Standing, VERSION};
use jari_proto::{
    operations::v1::{
        GetStatusRequest, GetStatusResponse, IntakeState, IntakeStatus, RebuildStatus, RelayState, RelayStatus,
        operations_service_client::OperationsServiceClient,
    },
    status::reason,
};
use tonic::Status;

use super::print;
use crate::{config::Config, database, kafka};

/// How long the node may take to answer, more than it waits for its database itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// Prints what is found. A node or database that does not run is an answer, too.
pub async fn run(config: &Config) {
    print(&database_lines(config));
    print(&kafka::line(config));
    let address = config.advertised();
    match ask(address.clone()).await {
        Ok(status) => print(&node_lines(&address, &status)),
        Err(error) if error.downcast_ref::<Status>().and_then(reason).is_some_and(|code| code == "DATABASE_UNAVAILABLE") => {
            print(&format!("node         {address} answers; its database does not\n"));
        }
        Err(error) => print(&format!("node         {address} does not answer: {error:#}\n")),
    }
}

fn database_lines(config: &Config) -> String {
    if !config.database.url.is_empty() {
        return "PostgreSQL   your own, as database.url says\n".to_owned();
    }
    let Standing { server, is_ready, owner, may_enter, psql, log } = database::folder(config).standing();
    let (log, owner) = (log.display(), owner.map_or_else(String::new, |owner| format!(", owned by {owner}")));
    match server {
        None => format!("PostgreSQL   private, {VERSION}, not running; `jari serve` starts it\n"),
        Some(pid) if !is_ready => format!("PostgreSQL   private, {VERSION}, process {pid}, starting or stopping{owner}; see {log}\n"),
        Some(pid) => {
            let way = if may_enter { psql } else { "only the account that started it may enter".to_owned() };
            format!("PostgreSQL   private, {VERSION}, process {pid}, ready{owner}\n             log   {log}\n             psql  {way}\n")
        }
    }
}

async fn ask(address: String) -> anyhow::Result<GetStatusResponse> {
    let endpoint = tonic::transport::Endpoint::from_shared(address)?.connect_timeout(PATIENCE).timeout(PATIENCE);
    let mut node = OperationsServiceClient::new(endpoint.connect().await?);
    Ok(node.get_status(GetStatusRequest { min_position: 0 }).await?.into_inner())
}

fn node_lines(address: &str, status: &GetStatusResponse) -> String {
    let mut lines = String::new();
    if let Some(node) = &status.engine {
        let counters: Vec<String> = node.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push_str(&format!("node         {address}, {} {}\n             {}\n", node.version, node.node, counters.join(", ")));
    }
    if let Some(log) = &status.log {
        lines.push_str(&format!("log          {}, {} events\n", log.log_id, log.head_position));
    }
    for view in &status.projections {
        let beside = view.rebuild.as_ref().map_or_else(String::new, |rebuild| rebuild_line(rebuild, view.position.saturating_add(view.lag_events)));
        let behind = if view.lag_events == 0 { "level with the log".to_owned() } else { format!("{} events behind", view.lag_events) };
        let aside = if view.quarantined_streams == 0 { String::new() } else { format!(", {} streams set aside", view.quarantined_streams) };
        lines.push_str(&format!("view         {} v{}, {behind}{aside}{beside}\n", view.projection, view.version));
        if !view.trouble.is_empty() {
            lines.push_str(&format!("             pauses: {}\n", view.trouble));
        }
    }
    if let Some(settlement) = &status.settlement {
        let owner = if settlement.owner.is_empty() { "nobody" } else { &settlement.owner };
        let (queued, parked) = (settlement.queued_orders, settlement.parked_orders);
        lines.push_str(&format!("settlement   by {owner}, {queued} orders in line, {parked} parked\n"));
    }
    if let Some(relay) = &status.relay {
        lines.push_str(&format!("relay        {}\n", relay_line(relay)));
    }
    if let Some(intake) = &status.intake {
        lines.push_str(&format!("intake       {}\n", intake_line(intake)));
    }
    if let Some(keys) = &status.keys {
        let told = match (keys.enabled, keys.answers) {
            (false, _) => format!("off: {}", keys.message),
            (true, true) => "answer".to_owned(),
            (true, false) => "DO NOT ANSWER: orders with personal data hear KEYS_UNAVAILABLE, all others go on".to_owned(),
        };
        lines.push_str(&format!("keys         {told}\n"));
    }
    lines
}

fn rebuild_line(rebuild: &RebuildStatus, head: i64) -> String {
    let RebuildStatus { position, under_way, events_per_second, time_left } = rebuild;
    if !under_way {
        return format!("; a rebuild was begun and not finished, at {position} of {head}: `jari rebuild` goes on with it");
    }
    let left = time_left.as_ref().map_or_else(String::new, |left| format!(", {} s left", left.seconds + i64::from(left.nanos > 0)));
    format!("; rebuilding, {position} of {head}, {events_per_second} a second{left}")
}

fn intake_line(intake: &IntakeStatus) -> String {
    let IntakeStatus { code, message, executed, refused, .. } = intake;
    let counts = format!("{executed} commands from Kafka executed, {refused} refused");
    match intake.state() {
        IntakeState::Off | IntakeState::Unspecified => format!("off: {message}"),
        IntakeState::Starting => "starting".to_owned(),
        IntakeState::Running => counts,
        IntakeState::Waiting => format!("{counts}, waits: {message} ({code})"),
        IntakeState::Halted => format!("{counts}, STANDS STILL: {message} ({code})"),
    }
}

fn relay_line(relay: &RelayStatus) -> String {
    let RelayStatus { position, lag_events, owner, message, .. } = relay;
    let is_unknown = (*position, *lag_events) == (0, 0) && relay.state() != RelayState::Running;
    let reached = if is_unknown {
        "its place in Kafka not read yet".to_owned()
    } else if *lag_events == 0 {
        format!("level with the log at {position}")
    } else {
        format!("at {position}, {lag_events} events behind")
    };
    match relay.state() {
        RelayState::Off | RelayState::Unspecified => format!("off: {message}"),
        RelayState::Standby if owner.is_empty() => "standing by; nobody relays".to_owned(),
        RelayState::Standby => format!("standing by; {owner} relays"),
        RelayState::Starting => "taking over".to_owned(),
        RelayState::Running => reached,
        RelayState::Waiting => format!("{reached}, waits: {message} ({})", relay.code),
        RelayState::Halted if is_unknown => format!("STANDS STILL: {message} ({})", relay.code),
        RelayState::Halted => format!("{reached}, STANDS STILL: {message} ({})", relay.code),
    }
}
