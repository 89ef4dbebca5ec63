//! Rows going in and training sets coming out, over Arrow Flight.

use std::error::Error as StdError;
use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, PutResult, Ticket};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tidegate_proto::flight::v1::training_set::Spine as WireSpine;
use tidegate_proto::flight::{pack, v1};
use tidegate_proto::{convert, flight};
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;

use crate::batches::Batches;
use crate::connect::Client;
use crate::error::{Error, Result};

const DO_PUT: &str = "/arrow.flight.protocol.FlightService/DoPut";
const DO_EXCHANGE: &str = "/arrow.flight.protocol.FlightService/DoExchange";

/// Rows for a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ingest {
    /// A source, or a view whose source is meant.
    pub target: String,
    /// The same id is accepted once; a repeat answers with what the first did. Empty: the server makes one.
    pub batch_id: String,
    /// Drop columns the table does not have, instead of refusing them.
    pub ignore_extra_columns: bool,
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The source written.
    pub source: String,
    /// The table version that holds the rows.
    pub version: i64,
    /// Rows written, now or when the batch id was first seen.
    pub rows: u64,
    /// The batch id had been ingested before; nothing was written now.
    pub already_ingested: bool,
    /// The batch id, the caller's or the server's.
    pub batch_id: String,
    /// Columns dropped.
    pub ignored_columns: Vec<String>,
}

/// A spine that the server keeps for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpineUploaded {
    /// What [`Spine::Uploaded`] takes.
    pub spine_id: String,
    /// Its rows.
    pub rows: u64,
    /// When the server forgets it, in UTC microseconds.
    pub expires_at: Micros,
}

/// The rows to label: keys, an event time, and anything else.
pub enum Spine {
    /// Sent along, as a schema and batches of it. Build it with [`Spine::batches`].
    Batches(SchemaRef, BoxStream<'static, std::result::Result<RecordBatch, BoxError>>),
    /// Uploaded before with [`Client::upload_spine`].
    Uploaded(String),
    /// A query over the project's tables and views.
    Sql(String),
    /// A table or source of the project.
    Table(String),
}

/// An error of whoever supplies batches.
pub type BoxError = Box<dyn StdError + Send + Sync>;

impl Spine {
    /// A spine sent along.
    pub fn batches<S, E>(schema: SchemaRef, batches: S) -> Self
    where
        S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        Self::Batches(schema, batches.map_err(Into::into).boxed())
    }

    /// A spine in memory.
    #[must_use]
    pub fn batch(batch: RecordBatch) -> Self {
        Self::batches(batch.schema(), futures::stream::iter([Ok::<_, BoxError>(batch)]))
    }
}

impl fmt::Debug for Spine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batches(schema, _) => f.debug_tuple("Batches").field(schema).finish_non_exhaustive(),
            Self::Uploaded(id) => f.debug_tuple("Uploaded").field(id).finish(),
            Self::Sql(query) => f.debug_tuple("Sql").field(query).finish(),
            Self::Table(name) => f.debug_tuple("Table").field(name).finish(),
        }
    }
}

/// Parts of a training set by the time of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// One cut (train, test) or two (train, validation, test), ascending, in UTC microseconds.
    pub at: Vec<Micros>,
    /// Rows so long before a cut, or less, are left out; microseconds.
    pub embargo: Micros,
}

/// A share of a training set's rows, by the value of a spine column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// The column.
    pub column: String,
    /// Values, as text, and the fraction of their rows to keep: above 0, at most 1.
    pub keep: Vec<(String, f64)>,
    /// What makes another sample of the same rows.
    pub seed: i64,
}

/// How a training set is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingSetOptions {
    /// The spine's column of the time each row is labelled at; empty: `event_timestamp`.
    pub event_time_column: String,
    /// Name outputs `view__feature`.
    pub full_names: bool,
    /// Knowledge cut: only what was known by then.
    pub as_of: Option<Micros>,
    /// Add `view__event_time` columns.
    pub include_event_times: bool,
    /// Add `view__status` columns.
    pub include_statuses: bool,
    /// Label rows by time: adds a column `split`.
    pub split: Option<Split>,
    /// Keep a share of the rows: adds a column `sample_weight`.
    pub sample: Option<Sample>,
}

impl Client {
    /// Appends rows to a managed source: all of them, or none when anything fails, a failure of `batches` included.
    ///
    /// # Errors
    /// [`Error::Input`] with the failure of `batches`; the server's refusals name column, row and value.
    pub async fn ingest<S, E>(&self, ingest: &Ingest, schema: SchemaRef, batches: S) -> Result<Ingested>
    where
        S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let command = pack(&v1::Ingest {
            project: self.project()?.to_owned(),
            target: ingest.target.clone(),
            batch_id: ingest.batch_id.clone(),
            ignore_extra_columns: ingest.ignore_extra_columns,
        });
        let v1::Ingested { source, version, rows, already_ingested, batch_id, ignored_columns } =
            self.put(command, schema, batches).await?;
        Ok(Ingested { source, version, rows, already_ingested, batch_id, ignored_columns })
    }

    /// Uploads a spine for several training sets.
    ///
    /// # Errors
    /// [`Error::Input`] with the failure of `batches`; the server's refusals.
    pub async fn upload_spine<S, E>(&self, schema: SchemaRef, batches: S) -> Result<SpineUploaded>
    where
        S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let command = pack(&v1::SpineUpload { project: self.project()?.to_owned() });
        let v1::SpineUploaded { spine_id, rows, expires_at } = self.put(command, schema, batches).await?;
        Ok(SpineUploaded { spine_id, rows, expires_at })
    }

    /// A training set: one row for each row of the spine, in its order, its columns first.
    ///
    /// # Errors
    /// Unknown names, a spine that lacks a key or the event time, the failure of the spine's batches.
    pub async fn training_set(
        &self,
        selection: &Selection,
        spine: Spine,
        options: &TrainingSetOptions,
    ) -> Result<Batches> {
        let mut command = self.training_set_message(selection, options)?;
        command.spine = match spine {
            Spine::Batches(schema, batches) => return self.exchange(flight::pack(&command), schema, batches).await,
            Spine::Uploaded(id) => Some(WireSpine::SpineId(id)),
            Spine::Sql(query) => Some(WireSpine::Sql(query)),
            Spine::Table(name) => Some(WireSpine::Table(name)),
        };
        let info = self.flight_info(flight::pack(&command)).await?;
        self.fetch(info).await
    }

    /// A training set as a message that names no spine.
    pub(crate) fn training_set_message(
        &self,
        selection: &Selection,
        options: &TrainingSetOptions,
    ) -> Result<v1::TrainingSet> {
        let fraction =
            |(value, fraction): &(String, f64)| v1::sample::Fraction { value: value.clone(), fraction: *fraction };
        Ok(v1::TrainingSet {
            project: self.project()?.to_owned(),
            selection: Some(convert::training_selection_to_wire(selection)),
            spine: None,
            event_time_column: options.event_time_column.clone(),
            full_feature_names: options.full_names,
            as_of: options.as_of,
            include_event_times: options.include_event_times,
            include_statuses: options.include_statuses,
            split: options.split.as_ref().map(|of| v1::Split { at: of.at.clone(), embargo: of.embargo }),
            sample: options.sample.as_ref().map(|of| v1::Sample {
                column: of.column.clone(),
                keep: of.keep.iter().map(fraction).collect(),
                seed: of.seed,
            }),
        })
    }

    pub(crate) async fn exchange(
        &self,
        command: Bytes,
        schema: SchemaRef,
        batches: BoxStream<'static, std::result::Result<RecordBatch, BoxError>>,
    ) -> Result<Batches> {
        let (replies, failure) = self.send_batches::<FlightData, _, _>(DO_EXCHANGE, command, schema, batches).await?;
        let address = self.address.clone();
        let replies = replies.map_err(move |status| match failure.explain(&address, &status) {
            Error::Input(source) => FlightError::ExternalError(source),
            _ => FlightError::from(status),
        });
        Batches::from_flight(&self.address, replies).await
    }

    /// DoPut; the one result's metadata is the answer.
    async fn put<R, S, E>(&self, command: Bytes, schema: SchemaRef, batches: S) -> Result<R>
    where
        R: Message + Default,
        S: Stream<Item = std::result::Result<RecordBatch, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let (mut replies, failure) = self.send_batches::<PutResult, _, _>(DO_PUT, command, schema, batches).await?;
        let mut answer = None;
        while let Some(result) = replies.message().await.map_err(|status| failure.explain(&self.address, &status))? {
            if !result.app_metadata.is_empty() {
                answer = Some(R::decode(result.app_metadata)?);
            }
        }
        answer.ok_or_else(|| Error::Protocol("the server did not say what it wrote".into()))
    }

    pub(crate) async fn flight_info(&self, command: Bytes) -> Result<FlightInfo> {
        let request = self.request(FlightDescriptor::new_cmd(command))?;
        let info = self.flight().get_flight_info(request).await.map_err(|status| self.failed(&status))?;
        Ok(info.into_inner())
    }

    /// The batches of all endpoints, one after the other, over this connection.
    pub(crate) async fn fetch(&self, info: FlightInfo) -> Result<Batches> {
        let mut tickets = info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket);
        let first = tickets.next().ok_or_else(|| Error::Protocol("the result has no endpoint".into()))?;
        let Batches { schema, stream } = self.redeem(first).await?;
        let client = self.clone();
        let rest = futures::stream::iter(tickets).then(move |ticket| {
            let client = client.clone();
            async move { client.redeem(ticket).await.map(|batches| batches.stream) }
        });
        Ok(Batches { schema, stream: stream.chain(rest.try_flatten()).boxed() })
    }

    async fn redeem(&self, ticket: Ticket) -> Result<Batches> {
        let reply = self.flight().do_get(self.request(ticket)?).await.map_err(|status| self.failed(&status))?;
        Batches::from_flight(&self.address, reply.into_inner().map_err(FlightError::from)).await
    }
}
