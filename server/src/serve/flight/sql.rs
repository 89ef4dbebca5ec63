//! Flight SQL's statements: queries, prepared or not, with or without parameters. Nothing else is a statement here.
//!
//! The server keeps no statement. A handle is the statement itself (`tidegate.flight.v1.SqlStatement`); binding parameters answers with a
//! new handle that holds them, as Flight SQL allows stateless servers to.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandStatementIngest,
    DoPutPreparedStatementResult, TableExistsOption,
};
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use prost::Message;
use tidegate_proto::flight::v1;

use super::call::Call;
use super::decode::{self, Messages};
use super::{command, encode};
use crate::serve::error::unsupported;
use crate::service::{Batches, Error, Result};

/// What `?`, `$1`… stand for, once at most: queries run for one row of parameters.
const PARAMETER_ROWS: usize = 1;

impl Call {
    /// A statement as the client wrote it, without parameters.
    pub(super) async fn statement(&self, query: String, transaction: Option<&Bytes>) -> Result<v1::SqlStatement> {
        if transaction.is_some_and(|id| !id.is_empty()) {
            return Err(no_transactions());
        }
        Ok(v1::SqlStatement { project: self.project("").await?, query, parameters: Bytes::new() })
    }

    /// The schema of a statement's result. With parameters bound it is that of the query with those values, as the types of its
    /// columns may depend on theirs.
    pub(super) async fn statement_schema(&self, statement: &mut v1::SqlStatement) -> Result<SchemaRef> {
        statement.project = self.project(&statement.project).await?;
        if statement.parameters.is_empty() {
            let prepared = self.service.sql_prepare(&self.principal, &statement.project, &statement.query).await?;
            return Ok(prepared.schema);
        }
        // Nothing runs before the stream is polled.
        Ok(self.run(statement.clone()).await?.schema)
    }

    /// Runs a statement.
    pub(super) async fn run(&self, statement: v1::SqlStatement) -> Result<Batches> {
        let project = self.project(&statement.project).await?;
        let parameters = match statement.parameters.is_empty() {
            true => None,
            false => Some(decode_parameters(statement.parameters).await?),
        };
        self.service.sql(&self.principal, &project, &statement.query, parameters).await
    }

    /// Prepares a query: its handle, its result's schema and its parameters'.
    pub(super) async fn prepare(
        &self,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<ActionCreatePreparedStatementResult> {
        let statement = self.statement(request.query, request.transaction_id.as_ref()).await?;
        let prepared = self.service.sql_prepare(&self.principal, &statement.project, &statement.query).await?;
        let parameters = &prepared.parameters;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: statement.encode_to_vec().into(),
            dataset_schema: encode::schema_bytes(&prepared.schema)?,
            parameter_schema: if parameters.fields().is_empty() {
                Bytes::new()
            } else {
                encode::schema_bytes(parameters)?
            },
        })
    }

    /// Binds a row of parameters: a handle that holds them.
    pub(super) async fn bind(&self, handle: &[u8], messages: Messages) -> Result<DoPutPreparedStatementResult> {
        let mut statement = command::of_handle(handle)?;
        let row = one_row(decode::decode(messages).await?).await?;
        statement.parameters = encode_parameters(&row)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(statement.encode_to_vec().into()) })
    }

    /// Flight SQL's bulk ingestion as an ingest: rows for an existing source. How many there were.
    pub(super) async fn bulk_ingest(&self, command: CommandStatementIngest, messages: Messages) -> Result<i64> {
        let options = command.table_definition_options.unwrap_or_default();
        if options.if_exists() != TableExistsOption::Append {
            return Err(unsupported(
                "rows can only be appended: use ingest mode `append`; sources come from definitions (`tidegate apply`)",
            ));
        }
        if command.temporary || command.transaction_id.is_some_and(|id| !id.is_empty()) {
            return Err(unsupported(
                "there are no temporary tables and no transactions: an ingest is all or nothing by itself",
            ));
        }
        let ingest = v1::Ingest {
            project: command.catalog.unwrap_or_default(),
            target: command.table,
            batch_id: command.options.get("batch_id").cloned().unwrap_or_default(),
            ignore_extra_columns: false,
        };
        let done = self.ingest(ingest, messages).await?;
        Ok(i64::try_from(done.rows).unwrap_or(i64::MAX))
    }
}

/// What a statement other than a query is answered with.
pub(super) fn queries_only() -> Error {
    unsupported(
        "SQL here only reads: run a query; rows come in with `tidegate ingest` or DoPut, definitions with `tidegate apply`",
    )
}

/// What transactions and savepoints are answered with.
pub(super) fn no_transactions() -> Error {
    unsupported(
        "there are no transactions: queries read one version of each table, and an ingest is all or nothing by itself",
    )
}

/// What Substrait plans are answered with.
pub(super) fn no_substrait() -> Error {
    unsupported("Substrait plans are refused: send the query as SQL")
}

async fn one_row(mut batches: Batches) -> Result<RecordBatch> {
    let mut row = None;
    while let Some(batch) = batches.stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        if row.is_some() || batch.num_rows() > PARAMETER_ROWS {
            return Err(unsupported("more than one row of parameters: run the query once for each row"));
        }
        row = Some(batch);
    }
    row.ok_or_else(|| Error::invalid("no row of parameters came"))
}

fn encode_parameters(row: &RecordBatch) -> Result<Bytes> {
    let unfit = |error| Error::invalid("the parameters can't be kept").with_source(error);
    let mut writer = StreamWriter::try_new(Vec::new(), row.schema_ref()).map_err(unfit)?;
    writer.write(row).map_err(unfit)?;
    Ok(writer.into_inner().map_err(unfit)?.into())
}

async fn decode_parameters(bytes: Bytes) -> Result<RecordBatch> {
    let messages = stream::iter(ipc_messages(bytes, bad_parameters)?.into_iter().map(Ok)).boxed();
    one_row(decode::decode(messages).await?).await
}

/// Cuts an IPC stream into messages, so that it is decoded as carefully as what comes over Flight: a ticket is a client's bytes too.
/// What is no such stream is answered with `bad`.
///
/// ```text
/// FFFFFFFF | i32 header length | header | body …, until a header length of 0
/// ```
pub(super) fn ipc_messages(mut bytes: Bytes, bad: fn() -> Error) -> Result<Vec<FlightData>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let prefix = take(&mut bytes, 8).ok_or_else(bad)?;
        let (marker, length) = prefix.split_at(4);
        let length = length.first_chunk::<4>().map_or(-1, |length| i32::from_le_bytes(*length));
        if marker != [0xff; 4] {
            return Err(bad());
        }
        if length == 0 {
            break;
        }
        let data_header = take(&mut bytes, length).ok_or_else(bad)?;
        let body = arrow_ipc::root_as_message(&data_header).map_err(|_| bad())?.bodyLength();
        let data_body = take(&mut bytes, body).ok_or_else(bad)?;
        messages.push(FlightData { data_header, data_body, ..FlightData::default() });
    }
    Ok(messages)
}

fn take(bytes: &mut Bytes, length: impl TryInto<usize>) -> Option<Bytes> {
    let length = length.try_into().ok().filter(|length| *length <= bytes.len())?;
    Some(bytes.split_to(length))
}

fn bad_parameters() -> Error {
    Error::invalid("the statement's parameters are no Arrow IPC stream; bind them again")
}

#[cfg(test)]
mod tests;
