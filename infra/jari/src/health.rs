//! Health as `grpc.health.v1` tells it: of the server, of each service, and of a query service with the view that it answers from.
//!
//! | Service | `NOT_SERVING` |
//! |---|---|
//! | all, and the server as a whole (`""`) | from the moment at which the node is told to stop |
//! | a query service | also while its view is not ready, is further behind than `projections.unhealthy_lag_events`, or has paused for longer than a few seconds |
//!
//! The server as a whole does not become unhealthy by a view: whoever sends bookings by it must go on, for bookings do not need views.

use std::time::Duration;

use jari_projections::{ViewHealth, Views};
use jari_proto::{availability, history, inventory, operations, order, product, subject};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often the views are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Looks for which a view may pause before its service says so: a connection that broke is back sooner.
const PATIENCE: u32 = 5;

/// The query services, and the view of each.
const QUERIES: [(&str, &str); 3] = [
    (availability::v1::availability_service_server::SERVICE_NAME, "availability"),
    (order::v1::order_query_service_server::SERVICE_NAME, "orders"),
    (product::v1::product_query_service_server::SERVICE_NAME, "products"),
];

/// Those that need no view.
const OTHERS: [&str; 7] = [
    "",
    history::v1::history_service_server::SERVICE_NAME,
    inventory::v1::inventory_service_server::SERVICE_NAME,
    operations::v1::operations_service_server::SERVICE_NAME,
    order::v1::order_service_server::SERVICE_NAME,
    product::v1::product_service_server::SERVICE_NAME,
    subject::v1::subject_service_server::SERVICE_NAME,
];

/// Tells that the services are there, before anybody can ask; those that answer from a view from the first look at it.
pub(crate) async fn begin(reporter: &HealthReporter, with_queries: bool) {
    for service in OTHERS {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    for (service, _) in QUERIES.iter().filter(|_| with_queries) {
        reporter.set_service_status(*service, ServingStatus::Serving).await;
    }
}

/// Tells how the services are until `stop`, and then that they end.
pub(crate) async fn keep(reporter: HealthReporter, views: Option<Views>, most_lag: u64, stop: CancellationToken) {
    if let Some(views) = views {
        let mut all = QUERIES.map(|(service, view)| (service, view, Judged { serving: true, troubled: 0 }));
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // ends with `stop`
        while tokio::select! { _ = looks.tick() => true, () = stop.cancelled() => false } {
            let views = views.health();
            for (service, view, judged) in &mut all {
                let Some(health) = views.iter().find(|health| health.view == *view) else { continue };
                let before = judged.serving;
                judged.look(health, most_lag);
                if before != judged.serving {
                    tracing::warn!(service, view, lag = health.lag, serving = judged.serving, "the health of a query service has changed");
                }
                reporter.set_service_status(*service, status(judged.serving)).await;
            }
        }
        for (service, _) in QUERIES {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    }
    stop.cancelled().await;
    for service in OTHERS {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

struct Judged {
    serving: bool,
    /// Looks in a row at which the view paused.
    troubled: u32,
}

impl Judged {
    /// A view that was too far behind is well again at half of the bound, so that one at the bound does not come and go. A bound of 0 is none.
    fn look(&mut self, health: &ViewHealth, most_lag: u64) {
        self.troubled = if health.pauses { self.troubled.saturating_add(1) } else { 0 };
        let most = if self.serving { most_lag } else { most_lag / 2 };
        let too_far = most_lag > 0 && health.lag > most;
        self.serving = health.ready && !too_far && self.troubled < PATIENCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_service_is_well_while_its_view_is_ready_and_not_too_far_behind() {
        let mut judged = Judged { serving: true, troubled: 0 };
        let mut look = |ready, lag, pauses| {
            judged.look(&ViewHealth { view: "orders", ready, lag, pauses }, 100);
            judged.serving
        };
        assert!(look(true, 100, false));
        assert!(!look(true, 101, false), "too far behind");
        assert!(!look(true, 51, false), "not well before half of it");
        assert!(look(true, 50, false) && look(true, 100, false));
        assert!(!look(false, 0, false) && look(true, 0, false), "not ready");
        assert!((0..4).all(|_| look(true, 0, true)), "a pause is a pause");
        assert!(!look(true, 0, true) && look(true, 0, false), "a long one is not");
        judged.look(&ViewHealth { view: "orders", ready: true, lag: u64::MAX, pauses: false }, 0);
        assert!(judged.serving, "without a bound nothing is too far");
    }
}
