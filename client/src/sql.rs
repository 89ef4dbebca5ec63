//! Queries over Flight SQL, as any other Flight SQL client sends them.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, IpcMessage, PutResult};
use bytes::Bytes;
use futures::stream;
use prost::Message;

use crate::batches::Batches;
use crate::connect::Client;
use crate::error::{Error, Result};

const DO_PUT: &str = "/arrow.flight.protocol.FlightService/DoPut";

/// A query that the server has planned.
#[derive(Debug, Clone)]
pub struct Prepared {
    handle: Bytes,
    /// The result's columns.
    pub schema: SchemaRef,
    /// The parameters' types, `$1` first.
    pub parameters: SchemaRef,
}

impl Client {
    /// Runs a query; column `i` of the one row of `parameters` stands for `$i+1`.
    ///
    /// # Errors
    /// The query is none, or names what does not exist; parameters of other number or type.
    pub async fn sql(&self, query: &str, parameters: Option<RecordBatch>) -> Result<Batches> {
        match parameters {
            None => {
                let command = CommandStatementQuery { query: query.to_owned(), transaction_id: None };
                let info = self.flight_info(command.as_any().encode_to_vec().into()).await?;
                self.fetch(info).await
            }
            Some(parameters) => {
                let prepared = self.prepare(query).await?;
                self.execute(prepared, parameters).await
            }
        }
    }

    /// The columns a query would have, without running it.
    ///
    /// # Errors
    /// As [`Client::sql`].
    pub async fn sql_schema(&self, query: &str) -> Result<SchemaRef> {
        let command = CommandStatementQuery { query: query.to_owned(), transaction_id: None };
        let info = self.flight_info(command.as_any().encode_to_vec().into()).await?;
        Ok(info.try_decode_schema()?.into())
    }

    /// Plans a query with parameters.
    ///
    /// # Errors
    /// The query is none, or names what does not exist.
    pub async fn prepare(&self, query: &str) -> Result<Prepared> {
        let request = ActionCreatePreparedStatementRequest { query: query.to_owned(), transaction_id: None };
        let body = self.action("CreatePreparedStatement", request.as_any().encode_to_vec().into()).await?;
        let body = body.ok_or_else(|| Error::Protocol("no prepared statement came back".into()))?;
        let result: ActionCreatePreparedStatementResult = Any::decode(body)?
            .unpack()?
            .ok_or_else(|| Error::Protocol("something other than a prepared statement came back".into()))?;
        Ok(Prepared {
            handle: result.prepared_statement_handle,
            schema: decode_schema(result.dataset_schema)?,
            parameters: decode_schema(result.parameter_schema)?,
        })
    }

    /// Runs a prepared query and lets it go.
    ///
    /// # Errors
    /// Parameters of other number or type, and whatever stops the query.
    pub async fn execute(&self, prepared: Prepared, parameters: RecordBatch) -> Result<Batches> {
        let handle = self.bind(prepared.handle, parameters).await?;
        let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
        let info = self.flight_info(command.as_any().encode_to_vec().into()).await?;
        let batches = self.fetch(info).await?;
        let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
        // A courtesy: a server that keeps nothing may not know the action.
        let _ = self.action("ClosePreparedStatement", close.as_any().encode_to_vec().into()).await;
        Ok(batches)
    }

    /// Binds parameters; a server may answer with another handle that stands for both.
    async fn bind(&self, handle: Bytes, parameters: RecordBatch) -> Result<Bytes> {
        let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
        let command = command.as_any().encode_to_vec().into();
        let batches = stream::iter([Ok::<_, std::convert::Infallible>(parameters.clone())]);
        let (mut replies, failure) =
            self.send_batches::<PutResult, _, _>(DO_PUT, command, parameters.schema(), batches).await?;
        let mut handle = handle;
        while let Some(result) = replies.message().await.map_err(|status| failure.explain(&self.address, &status))? {
            let result = DoPutPreparedStatementResult::decode(result.app_metadata)?;
            handle = result.prepared_statement_handle.unwrap_or(handle);
        }
        Ok(handle)
    }

    /// Does an action; the body of its first result.
    pub(crate) async fn action(&self, name: &str, body: Bytes) -> Result<Option<Bytes>> {
        let action = Action { r#type: name.to_owned(), body };
        let reply = self.flight().do_action(self.request(action)?).await.map_err(|status| self.failed(&status))?;
        let mut results = reply.into_inner();
        let mut first = None;
        while let Some(result) = results.message().await.map_err(|status| self.failed(&status))? {
            first.get_or_insert(result.body);
        }
        Ok(first)
    }
}

fn decode_schema(encoded: Bytes) -> Result<SchemaRef> {
    if encoded.is_empty() {
        return Ok(Schema::empty().into());
    }
    Ok(Schema::try_from(IpcMessage(encoded))?.into())
}
