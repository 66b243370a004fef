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
    desk::HistoryDesk,
    log, moment,
    refusal::HistoryError,
    state::{self, Subject},
    stream,
};

/// Answers from the log.
#[derive(Debug, Clone)]
pub struct History {
    desk: HistoryDesk,
}

impl History {
    /// The gRPC server over `desk`.
    #[must_use]
    pub fn server(desk: HistoryDesk) -> HistoryServiceServer<Self> {
        HistoryServiceServer::new(Self { desk })
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HistoryService for History {
    type ReadLogStream = Answers<ReadLogResponse>;
    type ReadStreamStream = Answers<ReadStreamResponse>;

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Result<Response<Self::ReadLogStream>, Status> {
        Ok(Response::new(Box::pin(log::read(self.desk.clone(), request.get_ref()).await?)))
    }

    async fn read_stream(&self, request: Request<ReadStreamRequest>) -> Result<Response<Self::ReadStreamStream>, Status> {
        Ok(Response::new(Box::pin(stream::read(self.desk.clone(), request.get_ref()).await?)))
    }

    async fn get_state_as_of(&self, request: Request<GetStateAsOfRequest>) -> Result<Response<GetStateAsOfResponse>, Status> {
        let _place = self.desk.place()?;
        let asked = request.get_ref();
        let subject = Subject::parse(asked.aggregate.as_ref())?;
        let found = moment::find(&self.desk, "as_of", asked.as_of.as_ref()).await?;
        Ok(Response::new(GetStateAsOfResponse { state: Some(state::as_of(&self.desk, &subject, found).await?) }))
    }

    async fn compare_states(&self, request: Request<CompareStatesRequest>) -> Result<Response<CompareStatesResponse>, Status> {
        let _place = self.desk.place()?;
        let asked = request.get_ref();
        let subject = Subject::parse(asked.aggregate.as_ref())?;
        let required = asked.before.as_ref().ok_or_else(|| HistoryError::moment("before", "is required"))?;
        let before = moment::find(&self.desk, "before", Some(required)).await?;
        let after = moment::find(&self.desk, "after", asked.after.as_ref()).await?;
        let before = begun(state::as_of(&self.desk, &subject, before).await)?;
        let after = begun(state::as_of(&self.desk, &subject, after).await)?;
        if before.is_none() && after.is_none() {
            return Err(subject.not_found().into());
        }
        let changes = compare::changes(before.as_ref(), after.as_ref());
        Ok(Response::new(CompareStatesResponse { before, after, changes }))
    }

    async fn trace_causes(&self, request: Request<TraceCausesRequest>) -> Result<Response<TraceCausesResponse>, Status> {
        let _place = self.desk.place()?;
        Ok(Response::new(causes::trace(&self.desk, request.get_ref()).await?))
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

/// On the wire. Positions, versions and amounts have at most 63 bits.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(at: jiff::Timestamp) -> prost_types::Timestamp {
    std::time::SystemTime::try_from(at).expect("a system's time reaches further than the calendar").into()
}
