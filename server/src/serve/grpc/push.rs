//! Pushes over gRPC: one call each, or a stream of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use futures::stream::{BoxStream, StreamExt};
use tidegate_proto::online::v1::StreamError;
use tidegate_proto::push::v1 as wire;
use tidegate_proto::push::v1::push_service_server::PushService;
use tidegate_schemas::error::ErrorKind;
use tonic::{Request, Response, Status, Streaming};

use super::online::any_column;
use crate::serve::error::{RETRY_AFTER_MS, status};
use crate::serve::flight::decode;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{
    AppliedPush, Batches, Error, Principal, PushOutcome, PushRequest, PushTo, Quarantined, Result, Tidegate,
};

/// Pushes of one stream that wait for the disk together.
const SYNCING: usize = 32;

/// The door for pushes.
#[derive(Clone)]
pub(super) struct PushDoor {
    service: Arc<Tidegate>,
}

impl PushDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }

    async fn apply(&self, caller: &Principal, request: wire::PushRequest) -> Result<AppliedPush> {
        let (request, rows) = decoded(request)?;
        self.service.apply_push(caller, request, rows).await
    }

    /// Applies now, and gives what waits for the disk.
    async fn streamed(
        &self,
        caller: &Principal,
        request: std::result::Result<wire::PushStreamRequest, Status>,
    ) -> std::result::Result<(u64, Result<AppliedPush>), Status> {
        let wire::PushStreamRequest { id, push } = request?;
        Ok((id, self.apply(caller, push.unwrap_or_default()).await))
    }

    async fn synced(&self, id: u64, applied: Result<AppliedPush>) -> wire::PushStreamResponse {
        use wire::push_stream_response::Outcome;
        let outcome = async { self.service.sync_push(applied?).await };
        let outcome = match metered(&self.service, "grpc", "push_stream", outcome).await {
            Ok(outcome) => Outcome::Reply(response(outcome)),
            Err(error) => {
                let status = status(error);
                Outcome::Error(StreamError { code: status.code().into(), message: status.message().to_owned() })
            }
        };
        wire::PushStreamResponse { id, outcome: Some(outcome) }
    }
}

#[tonic::async_trait]
impl PushService for PushDoor {
    type PushStreamStream = BoxStream<'static, std::result::Result<wire::PushStreamResponse, Status>>;

    async fn push(
        &self,
        request: Request<wire::PushRequest>,
    ) -> std::result::Result<Response<wire::PushResponse>, Status> {
        let caller = principal::of(&request)?;
        let work = async { self.service.sync_push(self.apply(&caller, request.into_inner()).await?).await };
        let outcome = metered(&self.service, "grpc", "push", work).await.map_err(advised)?;
        Ok(Response::new(response(outcome)))
    }

    async fn push_stream(
        &self,
        request: Request<Streaming<wire::PushStreamRequest>>,
    ) -> std::result::Result<Response<Self::PushStreamStream>, Status> {
        let caller = principal::of(&request)?;
        let (applying, syncing) = (self.clone(), self.clone());
        // Applied one after the other, so that of two equal rows the later one stays; synced together.
        let replies = request
            .into_inner()
            .then(move |request| {
                let (door, caller) = (applying.clone(), caller.clone());
                async move { door.streamed(&caller, request).await }
            })
            .map(move |applied| {
                let door = syncing.clone();
                async move {
                    let (id, applied) = applied?;
                    Ok(door.synced(id, applied).await)
                }
            })
            .buffered(SYNCING);
        Ok(Response::new(replies.boxed()))
    }

    async fn flush(
        &self,
        request: Request<wire::FlushRequest>,
    ) -> std::result::Result<Response<wire::FlushResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::FlushRequest { project, target } = request.into_inner();
        let work = self.service.flush(&caller, &project, &target);
        let done = metered(&self.service, "grpc", "flush", work).await.map_err(status)?;
        Ok(Response::new(wire::FlushResponse { source: done.source, version: done.version, rows: done.rows }))
    }
}

/// An outbox that is full empties by itself: the caller is told when to come again, as one that meets an overload is.
fn advised(error: Error) -> Status {
    let full = error.kind == ErrorKind::Exhausted;
    let mut status = status(error);
    if full {
        status.metadata_mut().insert("grpc-retry-pushback-ms", (10 * RETRY_AFTER_MS).into());
    }
    status
}

fn decoded(request: wire::PushRequest) -> Result<(PushRequest, Batches)> {
    let wire::PushRequest { project, target, to, rows, event_ids } = request;
    let to = match wire::PushTo::try_from(to) {
        Ok(wire::PushTo::Unspecified | wire::PushTo::Both) => PushTo::Both,
        Ok(wire::PushTo::Online) => PushTo::Online,
        Ok(wire::PushTo::Offline) => PushTo::Offline,
        Err(_) => {
            let message =
                format!("`to` is {to}, which this version does not know; is the client newer than the server?");
            return Err(Error::invalid(message));
        }
    };
    let rows = match rows {
        Some(wire::push_request::Rows::ArrowIpc(stream)) => decode::table(&stream)?,
        Some(wire::push_request::Rows::Columns(columns)) => columnar(columns)?,
        None => return Err(Error::invalid("the push has no rows: set arrow_ipc or columns")),
    };
    let event_ids = event_ids.map(|ids| any_column(ids, "event ids")).transpose()?.map(|(_, ids)| ids);
    Ok((PushRequest { project, target, to, event_ids }, rows))
}

fn columnar(columns: wire::Columns) -> Result<Batches> {
    let columns: Vec<(String, ArrayRef)> =
        columns.columns.into_iter().map(|column| any_column(column, "column")).collect::<Result<_>>()?;
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    if let Some((name, column)) = columns.iter().find(|(_, column)| column.len() != rows) {
        let message = format!(
            "column `{name}` has {} values, the first one has {rows}; send columns of one length",
            column.len()
        );
        return Err(Error::invalid(message));
    }
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Ok(Batches::from_vec(schema, vec![batch]))
}

fn response(outcome: PushOutcome) -> wire::PushResponse {
    let quarantined = outcome.quarantined.iter().map(|bad| bad.rows).sum();
    let reason = |Quarantined { reason, rows, example }| wire::Quarantined { reason: reason.to_owned(), rows, example };
    wire::PushResponse {
        accepted: outcome.accepted,
        duplicates: outcome.duplicates,
        kept: outcome.kept,
        waiting: outcome.waiting,
        quarantined,
        reasons: outcome.quarantined.into_iter().map(reason).collect(),
        write_token: outcome.write_token,
    }
}
