//! `jari erase SUBJECT`

use std::time::Duration;

use jari_proto::subject::v1::{EraseSubjectRequest, subject_service_client::SubjectServiceClient};
use tonic::{Code, Request};
use uuid::Uuid;

use super::print;
use crate::{
    cli::Erase,
    config::Config,
    connect::{self, refused},
};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Erases one person.
///
/// # Errors
/// What the server said; the id with which to ask again.
pub async fn run(config: &Config, options: &Erase) -> anyhow::Result<()> {
    let channel = connect::node(config, options.server.as_deref()).await?;
    let request_id = options.request_id.unwrap_or_else(Uuid::now_v7).to_string();
    let mut request = Request::new(EraseSubjectRequest { request_id: request_id.clone(), subject: options.subject.clone() });
    request.set_timeout(PATIENCE);
    let erased = SubjectServiceClient::new(channel).erase_subject(request).await.map_err(|status| {
        // what was decided stays as it is, whoever asks again
        let again = !matches!(status.code(), Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition);
        let advice = if again { format!("; ask again with --request-id {request_id}") } else { String::new() };
        anyhow::anyhow!("{}{advice}", refused(&status))
    })?;
    let erased = erased.into_inner();
    let at =
        erased.erased_at.and_then(|at| jari_domain::Timestamp::new(at.seconds, at.nanos).ok()).map_or_else(String::new, |at| format!(" at {at}"));
    print(&match erased.had_personal_data {
        true => format!("erased{at}: the key is destroyed. Nodes that had it in memory let it go within seconds.\n"),
        false => format!("noted{at}: there was no key, so nothing of this person can be read\n"),
    });
    Ok(())
}
