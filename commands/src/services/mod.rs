//! The write services: from a request to a typed command to its outcome, and nothing else.

mod door;
mod forward;
mod inventory;
mod order;
mod personal;
mod product;
mod prompt;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use door::DoorLayer;
pub use forward::{ForwardLayer, OwnerRoute};
use jari_domain::Refusal;
use jari_event_store::{CommandKey, Reader, StreamWatchers};
use jari_proto::{
    inventory::v1::inventory_service_server::InventoryServiceServer, order::v1::order_service_server::OrderServiceServer,
    product::v1::product_service_server::ProductServiceServer,
};
use jari_sealing::Sealer;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Status, metadata::MetadataMap};
use tracing::Instrument;
use uuid::Uuid;
pub use wire::{CODES, caller};

use crate::engine::{Digester, Engine, Mark, Origin, Outcome, UnitOfWork};
use crate::names;

/// What every write service works with.
#[derive(Clone, Debug)]
pub struct WriteContext {
    /// Executes.
    pub engine: Engine,
    /// Makes reused ids visible.
    pub digester: Digester,
    /// Seals personal data, and opens it for answers.
    pub sealer: Sealer,
    /// For callers who wait for the settlement of their order.
    pub watchers: StreamWatchers,
    /// For the state of an order whose settlement is long past.
    pub reader: Reader,
    /// The longest `wait` of a request; a longer one is cut.
    pub longest_wait: Duration,
    /// Places for callers who wait for a settlement. Without one a caller is told at once that its order is accepted: it holds no place in the engine
    /// any more, and there could be any number of them.
    pub waiters: Arc<Semaphore>,
    /// The largest message that is taken, in bytes.
    pub max_message_bytes: usize,
}

impl WriteContext {
    /// The three services, ready to be added to a server.
    #[must_use]
    pub fn servers(
        &self,
    ) -> (
        ProductServiceServer<product::ProductCommands>,
        InventoryServiceServer<inventory::InventoryCommands>,
        OrderServiceServer<order::OrderCommands>,
    ) {
        let shared = Arc::new(self.clone());
        let most = self.max_message_bytes;
        (
            ProductServiceServer::new(product::ProductCommands(shared.clone())).max_decoding_message_size(most),
            InventoryServiceServer::new(inventory::InventoryCommands(shared.clone())).max_decoding_message_size(most),
            OrderServiceServer::new(order::OrderCommands(shared)).max_decoding_message_size(most),
        )
    }

    /// Executes a caller's command and gives its outcome, refusals included.
    ///
    /// `canonical` is the request without its id, without what only this call is about (its wait), and without personal data, for which `mark`
    /// stands.
    async fn execute(
        &self,
        metadata: &MetadataMap,
        id: Uuid,
        canonical: &impl Message,
        mark: Option<Mark>,
        work: impl UnitOfWork,
    ) -> Result<Outcome, Status> {
        let caller = wire::caller(metadata)?;
        let name = work.name();
        let origin = Origin {
            digest: match mark {
                Some(mark) => self.digester.with_mark(name, &canonical.encode_to_vec(), mark),
                None => self.digester.digest(name, &canonical.encode_to_vec()),
            },
            is_marked: mark.is_some(),
            actor: Some(caller.clone()),
            correlation_id: wire::correlation(metadata)?,
            trace: wire::trace(metadata),
            key: Some(CommandKey { caller, id }),
            ..Origin::default()
        };
        let span = tracing::debug_span!(names::COMMAND, command_id = %id);
        let began = (!span.is_disabled()).then(Instant::now);
        let outcome = self.engine.execute(work, origin).instrument(span.clone()).await;
        span.in_scope(|| {
            let (position, code) = match &outcome {
                Ok(outcome) => (Some(outcome.position.get()), outcome.refusal.as_ref().map(|refusal| refusal.code.as_str())),
                Err(error) => (None, Some(error.code())),
            };
            let duration_us = began.and_then(|began| u64::try_from(began.elapsed().as_micros()).ok());
            tracing::debug!(name, position, code, duration_us, "{}", names::COMMAND_EXECUTED);
        });
        outcome.map_err(|error| wire::failed(&error))
    }

    /// Executes a command whose answer is its position; a refusal is an error.
    async fn position(&self, metadata: &MetadataMap, id: Uuid, canonical: &impl Message, work: impl UnitOfWork) -> Result<i64, Status> {
        let outcome = self.execute(metadata, id, canonical, None, work).await?;
        match outcome.refusal {
            Some(refusal) => Err(self.refused(&refusal)),
            None => Ok(outcome.position.to_i64()),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Status {
        wire::refused(refusal, self.engine.clock().now())
    }
}
