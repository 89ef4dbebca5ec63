//! Arrow Flight and Flight SQL: tables in and out of the service, in Arrow's own format.
//!
//! A request becomes a [`command`]; [`call`] says who asks about which project. GetFlightInfo and GetSchema describe a command and
//! DoGet runs it: training sets and uploads in [`training_set`], one row of them in [`explain`], sealed sets and audits in
//! [`sealed`], queries in [`sql`], catalogs and tables in [`metadata`], the choice of a project in [`session`]. [`decode`] reads
//! what clients send, [`encode`] writes what they get.
//!
//! The server keeps nothing between calls: tickets and handles hold the request, and a ticket grants nothing.

mod call;
mod command;
pub(super) mod decode;
pub(crate) mod encode;
mod explain;
mod metadata;
mod sealed;
mod session;
mod sql;
mod training_set;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, Command as FlightSql, DoPutUpdateResult,
    ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use self::call::Call;
use self::command::Command;
use self::decode::Messages;
use self::encode::FlightStream;
pub(crate) use self::training_set::named_training_set;
use crate::serve::error::{status_in_full as status, unsupported};
use crate::serve::meter::metered;
use crate::service::{Batches, Error, Result, Tidegate};

const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";

type Reply<T> = std::result::Result<Response<T>, Status>;
type Replies<T> = BoxStream<'static, std::result::Result<T, Status>>;

/// The Flight door.
pub(crate) struct FlightDoor {
    service: Arc<Tidegate>,
}

impl FlightDoor {
    pub(crate) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }

    async fn answer<T>(&self, method: &'static str, call: impl Future<Output = Result<T>>) -> Reply<T> {
        metered(&self.service, "flight", method, call).await.map(Response::new).map_err(status)
    }
}

#[tonic::async_trait]
impl FlightService for FlightDoor {
    type HandshakeStream = Replies<HandshakeResponse>;
    type ListFlightsStream = Replies<FlightInfo>;
    type DoGetStream = FlightStream;
    type DoPutStream = Replies<PutResult>;
    type DoExchangeStream = FlightStream;
    type DoActionStream = Replies<ActionResult>;
    type ListActionsStream = Replies<ActionType>;

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Reply<Self::HandshakeStream> {
        Err(status(unsupported("this server has no users: connect without a user name and a password")))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        Err(status(unsupported(
            "flights are not listed: list tables with Flight SQL, or ask for a training set with GetFlightInfo",
        )))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Reply<PollInfo> {
        Err(status(unsupported("there is nothing to poll for: call GetFlightInfo, it answers at once")))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let call = Call::new(&self.service, &request)?;
        let descriptor = request.into_inner();
        self.answer("get_flight_info", call.flight_info(descriptor)).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let call = Call::new(&self.service, &request)?;
        let schema = async {
            let (schema, _) = call.describe(command::of_descriptor(request.get_ref())?).await?;
            Ok(SchemaResult { schema: encode::schema_bytes(&schema)? })
        };
        self.answer("get_schema", schema).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        let call = Call::new(&self.service, &request)?;
        let batches = async { call.get(command::of_ticket(request.get_ref())?).await.map(encode::encode) };
        self.answer("do_get", batches).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        let call = Call::new(&self.service, &request)?;
        let done = async {
            let (command, messages) = opening(request.into_inner()).await?;
            call.put(command, messages).await.map(one)
        };
        self.answer("do_put", done).await
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        let call = Call::new(&self.service, &request)?;
        let batches = async {
            match opening(request.into_inner()).await? {
                (Command::TrainingSet(request), messages) => call.exchange(request, messages).await.map(encode::encode),
                (Command::Audit(audit), messages) => call.audit_exchange(audit, messages).await.map(encode::encode),
                _ => Err(Error::invalid(
                    "DoExchange takes a tidegate.flight.v1.TrainingSet or Audit; uploads go by DoPut, the rest by DoGet",
                )),
            }
        };
        self.answer("do_exchange", batches).await
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        let call = Call::new(&self.service, &request)?;
        metered(&self.service, "flight", "do_action", call.act(request.into_inner())).await.map_err(status)
    }

    async fn list_actions(&self, _: Request<Empty>) -> Reply<Self::ListActionsStream> {
        let actions = [
            (CREATE_PREPARED_STATEMENT, "Prepares a query: ActionCreatePreparedStatementRequest, then its result"),
            (CLOSE_PREPARED_STATEMENT, "Forgets a prepared query, which the server never kept"),
            (
                explain::EXPLAIN_ROW,
                "Why one row of a spine gets what it gets: tidegate.flight.v1.ExplainRow, then RowExplained",
            ),
            (session::SET, "Sets `catalog` to the project that later calls are about; answers with a cookie"),
            (session::GET, "The session's options"),
            (session::CLOSE, "Clears the session's cookie"),
        ];
        let types =
            actions.map(|(name, what)| Ok(ActionType { r#type: name.to_owned(), description: what.to_owned() }));
        Ok(Response::new(stream::iter(types).boxed()))
    }
}

impl Call {
    async fn flight_info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo> {
        let (schema, ticket) = self.describe(command::of_descriptor(&descriptor)?).await?;
        Ok(FlightInfo {
            schema: encode::schema_bytes(&schema)?,
            flight_descriptor: Some(descriptor),
            endpoint: vec![FlightEndpoint { ticket: Some(ticket), ..FlightEndpoint::default() }],
            total_records: -1,
            total_bytes: -1,
            ordered: true,
            ..FlightInfo::default()
        })
    }

    /// The schema a command's result has, and the ticket for it.
    async fn describe(&self, command: Command) -> Result<(SchemaRef, Ticket)> {
        match command {
            Command::TrainingSet(mut message) => {
                let request = self.training_set_request(&mut message).await?;
                let schema = self.service.training_set_schema(&self.principal, &request).await?;
                Ok((schema, command::training_set_ticket(message)))
            }
            Command::SealedSet(_) | Command::SealedDiff(_) | Command::Audit(_) => self.describe_sealed(command).await,
            Command::Sql(mut statement) => {
                let schema = self.statement_schema(&mut statement).await?;
                Ok((schema, command::statement_ticket(statement)))
            }
            Command::FlightSql(sql) => match *sql {
                FlightSql::CommandStatementQuery(query) => {
                    let statement = self.statement(query.query, query.transaction_id.as_ref()).await?;
                    Box::pin(self.describe(Command::Sql(statement))).await
                }
                FlightSql::CommandPreparedStatementQuery(query) => {
                    let statement = command::of_handle(&query.prepared_statement_handle)?;
                    Box::pin(self.describe(Command::Sql(statement))).await
                }
                other => {
                    let batch = self.metadata(&other).await?.ok_or_else(|| refusal(&other))?;
                    Ok((batch.schema(), Ticket { ticket: other.into_any().encode_to_vec().into() }))
                }
            },
            Command::SpineUpload(_) | Command::Ingest(_) => {
                Err(Error::invalid("this command takes rows: send it with DoPut"))
            }
        }
    }

    /// Runs what a ticket holds.
    async fn get(&self, command: Command) -> Result<Batches> {
        match command {
            Command::TrainingSet(mut message) => {
                let request = self.training_set_request(&mut message).await?;
                self.service.training_set(&self.principal, &request).await
            }
            Command::SealedSet(_) | Command::SealedDiff(_) | Command::Audit(_) => self.get_sealed(command).await,
            Command::Sql(statement) => self.run(statement).await,
            Command::FlightSql(sql) => match *sql {
                FlightSql::CommandPreparedStatementQuery(query) => {
                    self.run(command::of_handle(&query.prepared_statement_handle)?).await
                }
                other => {
                    let batch = self.metadata(&other).await?.ok_or_else(|| refusal(&other))?;
                    Ok(Batches::from_vec(batch.schema(), vec![batch]))
                }
            },
            Command::SpineUpload(_) | Command::Ingest(_) => {
                Err(Error::invalid("this command takes rows: send it with DoPut"))
            }
        }
    }

    /// Takes rows in.
    async fn put(&self, command: Command, messages: Messages) -> Result<PutResult> {
        let result = |message: Vec<u8>| PutResult { app_metadata: message.into() };
        match command {
            Command::SpineUpload(upload) => self.upload_spine(&upload, messages).await,
            Command::Ingest(ingest) => self.ingest(ingest, messages).await.map(|done| result(done.encode_to_vec())),
            Command::FlightSql(sql) => match *sql {
                FlightSql::CommandPreparedStatementQuery(query) => {
                    let bound = self.bind(&query.prepared_statement_handle, messages).await?;
                    Ok(result(bound.encode_to_vec()))
                }
                FlightSql::CommandStatementIngest(ingest) => {
                    let record_count = self.bulk_ingest(ingest, messages).await?;
                    Ok(result(DoPutUpdateResult { record_count }.encode_to_vec()))
                }
                other => Err(refusal(&other)),
            },
            Command::SealedSet(_) | Command::SealedDiff(_) => {
                Err(Error::invalid("a sealed training set takes no rows: call GetFlightInfo or DoGet"))
            }
            Command::TrainingSet(_) | Command::Audit(_) => Err(Error::invalid(
                "a training set takes its rows with DoExchange, or name an uploaded spine and call GetFlightInfo",
            )),
            Command::Sql(_) => Err(Error::invalid("a query takes no rows: call GetFlightInfo or DoGet")),
        }
    }

    async fn act(&self, action: Action) -> Result<Response<Replies<ActionResult>>> {
        let answer = match action.r#type.as_str() {
            CREATE_PREPARED_STATEMENT => {
                let request: ActionCreatePreparedStatementRequest = command::of_action(&action)?;
                let prepared = self.prepare(request).await?;
                session::Answer { body: prepared.as_any().encode_to_vec(), cookie: None }
            }
            CLOSE_PREPARED_STATEMENT => {
                let _: ActionClosePreparedStatementRequest = command::of_action(&action)?;
                return Ok(Response::new(stream::empty().boxed()));
            }
            explain::EXPLAIN_ROW => session::Answer { body: self.explain_row(&action).await?, cookie: None },
            session::SET => self.set_session_options(&action.body).await?,
            session::GET => self.get_session_options(),
            session::CLOSE => session::close(),
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
                return Err(sql::no_transactions());
            }
            "CreatePreparedSubstraitPlan" => return Err(sql::no_substrait()),
            "CancelQuery" | "CancelFlightInfo" => {
                return Err(unsupported("to cancel a query, close the stream of its results"));
            }
            other => {
                return Err(unsupported(format!("there is no action `{other}`; ListActions names those there are")));
            }
        };
        let mut response = Response::new(one(ActionResult { body: answer.body.into() }));
        if let Some(cookie) = answer.cookie {
            response.metadata_mut().append("set-cookie", cookie);
        }
        Ok(response)
    }
}

/// What a Flight SQL command that has no place here is answered with.
fn refusal(command: &FlightSql) -> Error {
    match command {
        FlightSql::CommandStatementUpdate(_) | FlightSql::CommandPreparedStatementUpdate(_) => sql::queries_only(),
        FlightSql::CommandStatementSubstraitPlan(_) => sql::no_substrait(),
        other => Error::invalid(format!("`{}` does not go with this call", other.type_url())),
    }
}

/// The command in the first message's descriptor, and all messages, the first included.
async fn opening(mut messages: Streaming<FlightData>) -> Result<(Command, Messages)> {
    let first = match messages.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(decode::of_status(&error)),
        None => return Err(Error::invalid("no message came: send a descriptor with a command first")),
    };
    let descriptor = first.flight_descriptor.as_ref();
    let descriptor =
        descriptor.ok_or_else(|| Error::invalid("the first message has no descriptor: put the command there"))?;
    let command = command::of_descriptor(descriptor)?;
    Ok((command, stream::once(async { Ok(first) }).chain(messages).boxed()))
}

fn one<T: Send + 'static>(item: T) -> Replies<T> {
    stream::once(async { Ok(item) }).boxed()
}
