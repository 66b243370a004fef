//! What the parts of a node are given of the configuration.

use std::{path::Path, time::Duration};

use jari_commands::{
    engine::{AdmissionLimits, CoreLimits, EngineSettings},
    settlement::SettlementSettings,
};
use jari_event_store::BatchLimits;
use jari_heads::SignerSettings;
use jari_projections::ViewSettings;

use super::Config;

impl Config {
    /// Of the engine.
    #[must_use]
    pub fn engine_settings(&self) -> EngineSettings {
        let engine = &self.engine;
        EngineSettings {
            admission: AdmissionLimits { places: engine.places, waiting: engine.waiting, wait: Duration::from_millis(engine.waiting_ms) },
            limits: CoreLimits {
                cells: engine.cells,
                cell_bytes: engine.cells_mb << 20,
                recent_outcomes: engine.recent_outcomes,
                attempts: engine.attempts,
                snapshot_every: engine.snapshot_every_events,
                retention_days: engine.retention_days,
                batch: BatchLimits { groups: engine.batch_groups, events: engine.batch_events, bytes: engine.batch_bytes },
                ..CoreLimits::default()
            },
            answer_within: Duration::from_millis(engine.answer_within_ms),
            // well before those who wait give up, nobody else is let in to wait
            stalled_after: Duration::from_millis(engine.answer_within_ms) * 3 / 10,
        }
    }

    /// Of the settlement of orders, for the node with this id.
    #[must_use]
    pub fn settlement_settings(&self, node: &str) -> SettlementSettings {
        let lease = Duration::from_millis(self.settlement.lease_ms);
        SettlementSettings { node: node.to_owned(), address: self.advertised(), enabled: self.settlement.enabled, lease }
    }

    /// Of the signer of heads.
    #[must_use]
    pub fn signer_settings(&self) -> SignerSettings {
        let folder = crate::database::folder(self).root().to_owned();
        let or = |path: &Path, name: &str| if path.as_os_str().is_empty() { folder.join(name) } else { path.to_owned() };
        let heads = &self.heads;
        SignerSettings {
            file: or(&heads.file, "heads.jsonl"),
            key_file: or(&heads.key_file, "heads.key"),
            every: Duration::from_secs(heads.every_seconds),
        }
    }

    /// Of the views.
    #[must_use]
    pub fn view_settings(&self) -> ViewSettings {
        let projections = &self.projections;
        let (wait, lease) = (Duration::from_millis(projections.wait_ms), Duration::from_millis(projections.lease_ms));
        ViewSettings { wait, lease, ..ViewSettings::default() }
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub fn advertised(&self) -> String {
        if self.server.advertise.is_empty() { format!("http://{}", self.server.listen) } else { self.server.advertise.clone() }
    }
}
