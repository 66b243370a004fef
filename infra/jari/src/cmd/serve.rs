//! `jari serve`

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    catalogue,
    cli::Serve,
    config::Config,
    database,
    kafka::{self, Broker},
    keys,
    node::Node,
};

/// Said where another node would take the address for its own.
const UNREACHABLE: &str = "server.listen names no address of this machine, and server.advertise is empty: another node of this database could not hand \
    calls to this one. Set server.advertise, as in \"http://10.0.0.7:50051\"";

/// The exit code of a process that did not wait for its own end.
const AT_ONCE: i32 = 1;
/// How long after Kafka could not be had it is tried again: somebody has to do something first.
const FIND_AGAIN: Duration = Duration::from_secs(300);
/// How long after a Kafka that was there did not come up it is started again, at first; it doubles up to [`FIND_AGAIN`].
const START_AGAIN: Duration = Duration::from_secs(5);

/// Serves until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or ends it.
pub async fn run(config: &Config, options: &Serve) -> anyhow::Result<()> {
    // heard from now on: a stop during the start is a stop, too
    let stop = CancellationToken::new();
    // ends with the process, or is aborted just before: until then a second signal finds somebody who hears it, whatever is waited for here
    let hearing = tokio::spawn(hear(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, stop.clone()));
    let mut home = database::open(config).await?;
    let private = home.private.take();
    home.migrate().await?;
    let sealer = keys::open(config, home.access.as_ref()).await?;
    let mut node = Node::start_with(config, home.database.clone(), sealer).await?;
    if let Some(path) = &options.examples {
        let text = std::fs::read_to_string(path).with_context(|| format!("catalogue {}", path.display()))?;
        let catalogue = catalogue::read(&text).with_context(|| format!("catalogue {}", path.display()))?;
        let put = catalogue.put_on_sale(&node.engine, jari_domain::Timestamp::now()).await?;
        tracing::info!(products = put.products, slots = put.slots, "the catalogue is on sale");
    }
    node.sign_heads();
    if !config.database.url.is_empty() && config.server.advertise.is_empty() && node.address.ip().is_unspecified() {
        tracing::warn!("{}", UNREACHABLE);
    }
    print(&welcome(&node));
    let (mut broker, mut said, mut failed_starts) = (None, String::new(), 0);
    // joined in the loop below when it has ended, else aborted after it; what it may be about to start ends with this process
    let mut finding = tokio::spawn(find_kafka(config.clone(), Duration::ZERO));
    // Ends with a signal, or with the server. Kafka may come minutes later: nobody waits for it.
    let failed = loop {
        tokio::select! {
            () = stop.cancelled() => break None,
            failed = node.failed() => break Some(failed),
            found = &mut finding, if broker.is_none() => match found? {
                Ok(found) => {
                    node.relay_to(&found.brokers);
                    node.take_commands_from(&found.brokers);
                    broker = Some(found);
                }
                Err(NoKafka { reason, is_failed_start }) => {
                    node.relay.is_off(&reason);
                    node.intake.is_off(&reason);
                    if reason != said {
                        tracing::warn!("{reason}");
                        said = reason;
                    }
                    failed_starts = if is_failed_start { failed_starts + 1 } else { 0 };
                    // joined or aborted like the one before it
                    finding = tokio::spawn(find_kafka(config.clone(), pause_after(failed_starts)));
                }
            },
        }
    };
    finding.abort();
    tracing::info!("stopping: calls under way end, what was accepted is settled; a second signal ends the process at once");
    node.stop().await;
    drop(home);
    if let Some(kafka) = broker.and_then(|broker| broker.private) {
        tokio::task::spawn_blocking(move || kafka.stop()).await?;
    }
    if let Some(private) = private {
        tokio::task::spawn_blocking(move || private.stop()).await?;
    }
    hearing.abort();
    tracing::info!("stopped; everything is kept");
    failed.unwrap_or(Ok(()))
}

/// The first signal stops the node; the second ends the process, in whatever it is: the log is whole after it, as after a crash.
async fn hear(mut interrupt: Signal, mut terminate: Signal, stop: CancellationToken) {
    let mut told = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    told().await;
    stop.cancel();
    told().await;
    tracing::warn!("a second signal: the process ends at once. What was answered is kept; the next start finds what was under way, as after a crash");
    std::process::exit(AT_ONCE);
}

/// Why there is no Kafka.
struct NoKafka {
    /// For people, with what to do about it.
    reason: String,
    /// Whether all that it needs was there, and it did not come up.
    is_failed_start: bool,
}

/// How long after so many starts in a row that failed it is tried again; 0 when there was nothing to start. What stood in the way may be gone by then: a
/// broker was killed, a network came late, a Java was installed.
fn pause_after(failed_starts: u32) -> Duration {
    let Some(doublings) = failed_starts.checked_sub(1) else { return FIND_AGAIN };
    START_AGAIN.saturating_mul(2_u32.saturating_pow(doublings)).min(FIND_AGAIN)
}

/// Where Kafka is, looked for after `pause`; or why nothing is relayed, and what to do about it.
async fn find_kafka(config: Config, pause: Duration) -> Result<Broker, NoKafka> {
    tokio::time::sleep(pause).await;
    if !config.relay.enabled && !config.intake.enabled {
        let reason = "relay.enabled and intake.enabled are false: nothing goes to Kafka, and nothing comes from there".into();
        return Err(NoKafka { reason, is_failed_start: false });
    }
    kafka::open(&config).await.map_err(|error| NoKafka {
        reason: format!("nothing is relayed to Kafka or taken from there, all else works. {error}"),
        is_failed_start: error.is_failed_start(),
    })
}

fn welcome(node: &Node) -> String {
    let address = node.address;
    format!(
        "
Jari serves on {address} (gRPC, reflection on). Log {log}.

Try, in another terminal:
  target/release/jari demo              1,000 customers want the 100 seats of one slot
  target/release/jari status            how the log, the views and settlement stand
  target/release/jari verify            prove the whole log
  grpcurl -plaintext {address} list     the services, for any gRPC client

Ctrl-C stops it; everything is kept.
",
        log = node.identity.log_id
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kafka_that_did_not_come_up_is_tried_soon_and_one_that_is_missing_later() {
        let pauses = [0, 1, 2, 3, 6, 7, 8, u32::MAX].map(|failed_starts| pause_after(failed_starts).as_secs());
        assert_eq!(pauses, [300, 5, 10, 20, 160, 300, 300, 300]);
    }
}
