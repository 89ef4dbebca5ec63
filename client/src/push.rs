//! Rows that are served as soon as they are acknowledged.

use arrow::array::{Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use futures::{Stream, StreamExt};
use tidegate_proto::online::v1::RequestColumn;
use tidegate_proto::online::v1::request_column::Values;
use tidegate_proto::push::v1;
use tidegate_proto::push::v1::push_service_client::PushServiceClient;
pub use tidegate_proto::push::v1::{FlushResponse as Flushed, PushResponse as Pushed, Quarantined};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::connect::{Client, MESSAGE_BYTES_MAX};
use crate::error::{Error, Result};

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PushTo {
    /// Lookups only.
    Online,
    /// The table only.
    Offline,
    /// Both.
    #[default]
    Both,
}

/// Rows to push: one request, and one atomic write.
#[derive(Debug, Clone)]
pub struct Push {
    /// A source, or a view whose source is meant; with [`PushTo::Online`] that view alone.
    pub target: String,
    /// Where they go.
    pub to: PushTo,
    /// The rows, with the source's columns.
    pub rows: RecordBatch,
    /// One id for each row, in a column of text, bytes or integers; `None` for those of the source's `event_id` column, if it has one.
    pub event_ids: Option<RecordBatch>,
}

impl Push {
    /// Rows for lookups and the table, without ids of their own.
    #[must_use]
    pub fn new(target: impl Into<String>, rows: RecordBatch) -> Self {
        Self { target: target.into(), to: PushTo::Both, rows, event_ids: None }
    }
}

impl Client {
    fn pushes(&self) -> PushServiceClient<Channel> {
        PushServiceClient::new(self.channel.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Pushes rows. When it returns they are durable and lookups see them; rows that can't be taken are counted in the answer, and
    /// are in the table `sources._quarantine` with the reason.
    ///
    /// # Errors
    /// An unknown target, columns that don't fit; `Exhausted` when too much waits for the tables: push again in a moment.
    pub async fn push(&self, push: &Push) -> Result<Pushed> {
        let request = self.push_request(push)?;
        Ok(self.pushes().push(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Pushes many batches over one stream; gives one answer for each, in their order. The server syncs its disk for many at once.
    ///
    /// # Errors
    /// The stream breaks. A push that fails fails alone, as an item.
    pub async fn push_stream<S>(&self, pushes: S) -> Result<impl Stream<Item = Result<Pushed>> + Send + use<S>>
    where
        S: Stream<Item = Push> + Send + 'static,
    {
        self.project()?;
        let client = self.clone();
        let requests = pushes.enumerate().filter_map(move |(nth, push)| {
            // What can't be encoded is sent empty, and refused.
            let push = client.push_request(&push).unwrap_or_default();
            async move { Some(v1::PushStreamRequest { id: nth as u64, push: Some(push) }) }
        });
        let replies = self.pushes().push_stream(requests).await.map_err(|status| self.failed(&status))?.into_inner();
        let client = self.clone();
        Ok(replies.map(move |reply| {
            use v1::push_stream_response::Outcome;
            let reply = reply.map_err(|status| client.failed(&status))?;
            match reply.outcome {
                Some(Outcome::Reply(pushed)) => Ok(pushed),
                Some(Outcome::Error(error)) => {
                    Err(client.failed(&Status::new(Code::from_i32(error.code), error.message)))
                }
                None => Err(Error::Protocol("a push was answered with nothing".into())),
            }
        }))
    }

    /// Waits until the table of a source, or of a view's source, has everything that was pushed before.
    ///
    /// # Errors
    /// An unknown target, or a table that can't be written.
    pub async fn flush(&self, target: &str) -> Result<Flushed> {
        let request = v1::FlushRequest { project: self.project()?.to_owned(), target: target.to_owned() };
        Ok(self.pushes().flush(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    fn push_request(&self, push: &Push) -> Result<v1::PushRequest> {
        let to = match push.to {
            PushTo::Online => v1::PushTo::Online,
            PushTo::Offline => v1::PushTo::Offline,
            PushTo::Both => v1::PushTo::Both,
        };
        let ids = |ids: &RecordBatch| match ids.num_columns() {
            1 => Ok(RequestColumn {
                name: "event_ids".to_owned(),
                values: Some(Values::ArrowIpc(ipc(ids)?.into())),
                presence: Vec::new(),
            }),
            columns => Err(Error::Argument(format!("event ids are one column, and {columns} were given"))),
        };
        Ok(v1::PushRequest {
            project: self.project()?.to_owned(),
            target: push.target.clone(),
            to: to.into(),
            rows: Some(v1::push_request::Rows::ArrowIpc(ipc(&push.rows)?.into())),
            event_ids: push.event_ids.as_ref().map(ids).transpose()?,
        })
    }
}

/// Rows as an Arrow IPC stream.
fn ipc(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(rows.columns().iter().map(|column| column.get_buffer_memory_size()).sum());
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).map_err(Error::Arrow)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(Error::Arrow)?;
    drop(writer);
    Ok(bytes)
}
