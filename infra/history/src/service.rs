//! `HistoryService`.

use std::pin::Pin;

use futures::Stream;
use jari_proto::history::v1::{
    CompareStatesRequest, CompareStatesResponse, GetStateAsOfRequest, GetStateAsOfResponse, ReadLogRequest, ReadLogResponse, ReadStreamRequest,
    ReadStreamResponse, State, TraceCausesRequest, TraceCausesResponse,
    history_service_server::{HistoryService, HistoryServiceServer},
};
use tonic::{Request, Response, Status};

use crate::{
    causes, compare,
    context::HistoryContext,
    log, moment,
    refusal::HistoryError,
    state::{self, Subject},
    stream,
};

/// Answers from the log.
#[derive(Debug, Clone)]
pub struct History {
    context: HistoryContext,
}

impl History {
    /// The gRPC server over `context`.
    #[must_use]
    pub fn server(context: HistoryContext) -> HistoryServiceServer<Self> {
        HistoryServiceServer::new(Self { context })
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HistoryService for History {
    type ReadLogStream = Answers<ReadLogResponse>;
    type ReadStreamStream = Answers<ReadStreamResponse>;

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Result<Response<Self::ReadLogStream>, Status> {
        Ok(Response::new(Box::pin(log::read(self.context.clone(), request.get_ref()).await?)))
    }

    async fn read_stream(&self, request: Request<ReadStreamRequest>) -> Result<Response<Self::ReadStreamStream>, Status> {
        Ok(Response::new(Box::pin(stream::read(self.context.clone(), request.get_ref()).await?)))
    }

    async fn get_state_as_of(&self, request: Request<GetStateAsOfRequest>) -> Result<Response<GetStateAsOfResponse>, Status> {
        let _permit = self.context.permit()?;
        let asked = request.get_ref();
        let subject = Subject::parse(asked.aggregate.as_ref())?;
        let found = moment::find(&self.context, "as_of", asked.as_of.as_ref()).await?;
        Ok(Response::new(GetStateAsOfResponse { state: Some(state::as_of(&self.context, &subject, found).await?) }))
    }

    async fn compare_states(&self, request: Request<CompareStatesRequest>) -> Result<Response<CompareStatesResponse>, Status> {
        let _permit = self.context.permit()?;
        let asked = request.get_ref();
        let subject = Subject::parse(asked.aggregate.as_ref())?;
        let required = asked.before.as_ref().ok_or_else(|| HistoryError::moment("before", "is required"))?;
        let before = moment::find(&self.context, "before", Some(required)).await?;
        let after = moment::find(&self.context, "after", asked.after.as_ref()).await?;
        let before = begun(state::as_of(&self.context, &subject, before).await)?;
        let after = begun(state::as_of(&self.context, &subject, after).await)?;
        if before.is_none() && after.is_none() {
            return Err(subject.not_found().into());
        }
        let changes = compare::changes(before.as_ref(), after.as_ref());
        Ok(Response::new(CompareStatesResponse { before, after, changes }))
    }

    async fn trace_causes(&self, request: Request<TraceCausesRequest>) -> Result<Response<TraceCausesResponse>, Status> {
        let _permit = self.context.permit()?;
        Ok(Response::new(causes::trace(&self.context, request.get_ref()).await?))
    }
}

/// The state, `None` when it had not begun.
fn begun(state: Result<State, HistoryError>) -> Result<Option<State>, HistoryError> {
    match state {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
