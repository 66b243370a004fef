//! `SubjectService`: erases the persons behind orders.

use std::{collections::BTreeMap, time::Duration};

use jari_commands::services::caller;
use jari_domain::ids::CustomerRef;
use jari_proto::{
    status::{invalid, refusal_status},
    subject::v1::{self as pb, subject_service_server::SubjectService},
};
use jari_sealing::{Sealer, SealingError, Subject};
use jari_wire::timestamp;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

const REQUEST_INVALID: &str = "REQUEST_INVALID";

/// The service.
pub(crate) struct Subjects(pub Sealer);

#[async_trait::async_trait]
impl SubjectService for Subjects {
    async fn erase_subject(&self, request: Request<pb::EraseSubjectRequest>) -> Result<Response<pb::EraseSubjectResponse>, Status> {
        let caller = caller(request.metadata())?;
        let asked = request.get_ref();
        let mut wrong = Vec::new();
        let id = Uuid::try_parse(&asked.request_id).ok().filter(|id| !id.is_nil());
        if id.is_none() {
            wrong.push(("request_id", "must be a UUID, best of version 7".to_owned()));
        }
        let subject = CustomerRef::parse(&asked.subject).map_err(|error| wrong.push(("subject", error.to_string()))).ok();
        let (Some(id), Some(subject)) = (id, subject) else { return Err(invalid(wrong, REQUEST_INVALID)) };
        let erased = self.0.erase(&Subject::of(subject.as_str()), &caller, id).await.map_err(|error| refused(&error))?;
        tracing::info!(had_personal_data = erased.had_key, request_id = %id, "a subject was erased");
        Ok(Response::new(pb::EraseSubjectResponse { erased_at: Some(timestamp(erased.at)), had_personal_data: erased.had_key }))
    }
}

fn refused(error: &SealingError) -> Status {
    let (kind, retry_after) = match error {
        SealingError::Unavailable { retry_after } => (Code::Unavailable, Some(*retry_after)),
        SealingError::Database(_) | SealingError::MasterKeyMissing { .. } => (Code::Unavailable, Some(Duration::from_secs(1))),
        // the list cannot be written, so nothing was destroyed: somebody has to look at the disk
        SealingError::File { .. } => (Code::Unavailable, Some(Duration::from_secs(10))),
        SealingError::Off { .. } => (Code::FailedPrecondition, None),
        SealingError::RequestReused => (Code::AlreadyExists, None),
        SealingError::MasterKeyMalformed { .. }
        | SealingError::TooManyMasterKeys { .. }
        | SealingError::ListUnreadable { .. }
        | SealingError::TooLarge { .. }
        | SealingError::NotOpened
        | SealingError::NoRandomness => (Code::Internal, None),
    };
    tracing::warn!(%error, "a subject was not erased");
    refusal_status(error.code(), kind, &error.to_string(), BTreeMap::new(), retry_after)
}
