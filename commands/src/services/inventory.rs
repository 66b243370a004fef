//! `InventoryService`: slots and their holds.

use std::sync::Arc;

use jari_domain::{
    Quantity,
    ids::{HoldId, PoolId, SlotId},
    slot::{InventorySlot, SlotCommand, Window},
};
use jari_proto::inventory::v1::{self as pb, inventory_service_server::InventoryService};
use prost::Message;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{
    WriteContext,
    wire::{self, Violations},
};
use crate::booking::{CancelUnits, OneStream};

/// The service.
#[derive(Debug)]
pub struct InventoryCommands(pub(super) Arc<WriteContext>);

impl InventoryCommands {
    async fn run(
        &self,
        metadata: &MetadataMap,
        name: &'static str,
        id: Uuid,
        canonical: &impl Message,
        slot: &SlotId,
        command: SlotCommand,
    ) -> Result<i64, Status> {
        self.0.position(metadata, id, canonical, OneStream::<InventorySlot>::on(name, slot, command)).await
    }
}

/// Takes the request apart, reads its slot and whatever `$more` reads besides, and runs the command that they make.
macro_rules! on_slot {
    ($self:ident, $incoming:ident, $name:literal, $response:ident, |$request:ident, $violations:ident| $more:expr, |$taken:pat_param| $command:expr) => {{
        let (metadata, _, mut $request) = $incoming.into_parts();
        let mut $violations = Violations::default();
        let id = $violations.request_id(&mut $request.request_id);
        let slot = $violations.id("slot_id", &$request.slot_id, SlotId::parse);
        let more = $more;
        let (id, (slot, $taken)) = $violations.finish(id, slot.zip(more))?;
        let position = $self.run(&metadata, $name, id, &$request, &slot, $command).await?;
        Ok(Response::new(pb::$response { position }))
    }};
}

#[async_trait::async_trait]
impl InventoryService for InventoryCommands {
    async fn open_slot(&self, request: Request<pb::OpenSlotRequest>) -> Result<Response<pb::OpenSlotResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let pool_id = violations.id("pool_id", &request.pool_id, PoolId::parse);
        let capacity = violations.quantity("capacity", request.capacity, Quantity::ZERO);
        let window = match &request.window {
            None => Some(None),
            Some(window) => {
                let starts_at = violations.required_time("window.starts_at", window.starts_at.as_ref());
                let ends_at = violations.required_time("window.ends_at", window.ends_at.as_ref());
                starts_at.zip(ends_at).map(|(starts_at, ends_at)| Some(Window { starts_at, ends_at }))
            }
        };
        let (id, ((pool_id, capacity), window)) = violations.finish(id, pool_id.zip(capacity).zip(window))?;
        let slot = SlotId::of(&pool_id, window.map(|w| w.starts_at));
        let command = SlotCommand::OpenSlot { pool_id, window, capacity };
        let position = self.run(&metadata, "open_slot", id, &request, &slot, command).await?;
        Ok(Response::new(pb::OpenSlotResponse { slot_id: slot.to_string(), position }))
    }

    async fn hold_units(&self, request: Request<pb::HoldUnitsRequest>) -> Result<Response<pb::HoldUnitsResponse>, Status> {
        on_slot!(
            self,
            request,
            "hold_units",
            HoldUnitsResponse,
            |request, violations| {
                let hold_id = violations.id("hold_id", &request.hold_id, HoldId::parse);
                let quantity = violations.quantity("quantity", request.quantity, Quantity::ONE);
                let expires_at = violations.required_time("expires_at", request.expires_at.as_ref()).map(wire::stored);
                hold_id.zip(quantity).zip(expires_at)
            },
            |((hold_id, quantity), expires_at)| SlotCommand::HoldUnits { hold_id, quantity, expires_at }
        )
    }

    async fn extend_hold(&self, request: Request<pb::ExtendHoldRequest>) -> Result<Response<pb::ExtendHoldResponse>, Status> {
        on_slot!(
            self,
            request,
            "extend_hold",
            ExtendHoldResponse,
            |request, violations| {
                let hold_id = violations.id("hold_id", &request.hold_id, HoldId::parse);
                let expires_at = violations.required_time("expires_at", request.expires_at.as_ref()).map(wire::stored);
                hold_id.zip(expires_at)
            },
            |(hold_id, expires_at)| SlotCommand::ExtendHold { hold_id, expires_at }
        )
    }

    async fn confirm_hold(&self, request: Request<pb::ConfirmHoldRequest>) -> Result<Response<pb::ConfirmHoldResponse>, Status> {
        on_slot!(
            self,
            request,
            "confirm_hold",
            ConfirmHoldResponse,
            |request, violations| violations.id("hold_id", &request.hold_id, HoldId::parse),
            |hold_id| SlotCommand::ConfirmHold { hold_id }
        )
    }

    async fn release_hold(&self, request: Request<pb::ReleaseHoldRequest>) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        on_slot!(
            self,
            request,
            "release_hold",
            ReleaseHoldResponse,
            |request, violations| violations.id("hold_id", &request.hold_id, HoldId::parse),
            |hold_id| SlotCommand::ReleaseHold { hold_id }
        )
    }

    async fn cancel_units(&self, request: Request<pb::CancelUnitsRequest>) -> Result<Response<pb::CancelUnitsResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let slot_id = violations.id("slot_id", &request.slot_id, SlotId::parse);
        let hold_id = violations.id("hold_id", &request.hold_id, HoldId::parse);
        let quantity = violations.quantity("quantity", request.quantity, Quantity::ONE);
        let (id, ((slot_id, hold_id), quantity)) = violations.finish(id, slot_id.zip(hold_id).zip(quantity))?;
        let work = CancelUnits { slot_id, hold_id, quantity };
        let position = self.0.position(&metadata, id, &request, work).await?;
        Ok(Response::new(pb::CancelUnitsResponse { position }))
    }

    async fn adjust_capacity(&self, request: Request<pb::AdjustCapacityRequest>) -> Result<Response<pb::AdjustCapacityResponse>, Status> {
        on_slot!(
            self,
            request,
            "adjust_capacity",
            AdjustCapacityResponse,
            |request, violations| violations.quantity("capacity", request.capacity, Quantity::ZERO),
            |capacity| SlotCommand::AdjustCapacity { capacity }
        )
    }

    async fn suspend_slot(&self, request: Request<pb::SuspendSlotRequest>) -> Result<Response<pb::SuspendSlotResponse>, Status> {
        on_slot!(self, request, "suspend_slot", SuspendSlotResponse, |request, violations| Some(request.reason.clone()), |reason| {
            SlotCommand::SuspendSlot { reason }
        })
    }

    async fn resume_slot(&self, request: Request<pb::ResumeSlotRequest>) -> Result<Response<pb::ResumeSlotResponse>, Status> {
        on_slot!(self, request, "resume_slot", ResumeSlotResponse, |request, violations| Some(()), |()| SlotCommand::ResumeSlot)
    }

    async fn close_slot(&self, request: Request<pb::CloseSlotRequest>) -> Result<Response<pb::CloseSlotResponse>, Status> {
        on_slot!(self, request, "close_slot", CloseSlotResponse, |request, violations| Some(()), |()| SlotCommand::CloseSlot)
    }
}
