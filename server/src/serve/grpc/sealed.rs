//! Sealed training sets over gRPC: progress as streams whose last message is the outcome. Cancelling a stream stops the work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use tidegate_proto::convert;
use tidegate_proto::flight::v1 as flight;
use tidegate_proto::sealed::v1::{self as wire, sealed_service_server::SealedService};
use tonic::{Request, Response, Status};

use crate::serve::error::{panicked, status};
use crate::serve::flight::named_training_set;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{
    Difference, Error, Origin, Result, SealProgress, SealRequest, Sealed, Tidegate, Verdict, VerifyProgress,
};

type Reply<T> = std::result::Result<Response<T>, Status>;
type Replies<T> = BoxStream<'static, std::result::Result<T, Status>>;

/// The door of sealed sets.
pub(super) struct SealedDoor {
    service: Arc<Tidegate>,
}

impl SealedDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }

    async fn answer<T>(&self, method: &'static str, call: impl Future<Output = Result<T>>) -> Reply<T> {
        metered(&self.service, "grpc", method, call).await.map(Response::new).map_err(status)
    }
}

#[tonic::async_trait]
impl SealedService for SealedDoor {
    type SealStream = Replies<wire::SealProgress>;
    type VerifyStream = Replies<wire::VerifyProgress>;

    async fn seal(&self, request: Request<wire::SealRequest>) -> Reply<Self::SealStream> {
        let caller = principal::of(&request)?;
        let wire::SealRequest { name, training_set } = request.into_inner();
        let seal = async {
            let message = training_set.ok_or_else(|| Error::invalid("nothing to seal: set `training_set`"))?;
            let request = SealRequest { name, training_set: named_training_set(&message)? };
            self.service.seal(&caller, request).await.map(|steps| contained(steps, seal_progress))
        };
        self.answer("seal", seal).await
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Reply<wire::ListResponse> {
        let caller = principal::of(&request)?;
        let project = request.into_inner().project;
        let list = async {
            let sets = self.service.sealed(&caller, &project).await?;
            Ok(wire::ListResponse { sets: sets.into_iter().map(sealed_set).collect() })
        };
        self.answer("sealed_list", list).await
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Reply<wire::SealedSet> {
        let caller = principal::of(&request)?;
        let wire::GetRequest { project, name } = request.into_inner();
        let get = async { self.service.sealed_set(&caller, &project, &name).await.map(sealed_set) };
        self.answer("sealed_get", get).await
    }

    async fn verify(&self, request: Request<wire::VerifyRequest>) -> Reply<Self::VerifyStream> {
        let caller = principal::of(&request)?;
        let wire::VerifyRequest { project, name } = request.into_inner();
        let verify = async {
            let steps = self.service.verify(&caller, &project, &name).await?;
            Ok(contained(steps, verify_progress))
        };
        self.answer("verify", verify).await
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Reply<wire::DeleteResponse> {
        let caller = principal::of(&request)?;
        let wire::DeleteRequest { project, name } = request.into_inner();
        let delete = async {
            self.service.unseal(&caller, &project, &name).await?;
            Ok(wire::DeleteResponse {})
        };
        self.answer("sealed_delete", delete).await
    }
}

/// Reports as messages. A panic below ends this stream only.
fn contained<T, M>(steps: BoxStream<'static, Result<T>>, message: fn(T) -> M) -> Replies<M>
where
    T: Send + 'static,
    M: Send + 'static,
{
    let steps = AssertUnwindSafe(steps).catch_unwind().map(move |step| match step {
        Ok(step) => step.map(message).map_err(status),
        Err(panic) => Err(status(Error::internal(format!("the training set failed: {}", panicked(&*panic))))),
    });
    steps.boxed()
}

fn seal_progress(step: SealProgress) -> wire::SealProgress {
    match step {
        SealProgress::Rows(rows) => wire::SealProgress { rows, sealed: None },
        SealProgress::Done(set) => wire::SealProgress { rows: set.result.rows, sealed: Some(sealed_set(*set)) },
    }
}

fn verify_progress(step: VerifyProgress) -> wire::VerifyProgress {
    match step {
        VerifyProgress::Rows { rows, total } => wire::VerifyProgress { rows, rows_total: total, verdict: None },
        VerifyProgress::Done(verdict) => {
            let rows = verdict.found.rows;
            wire::VerifyProgress { rows, rows_total: rows, verdict: Some(verdict_message(verdict)) }
        }
    }
}

fn verdict_message(verdict: Verdict) -> wire::Verdict {
    let difference = |of: Difference| wire::Difference {
        what: of.what.as_str().to_owned(),
        column: of.column,
        sealed: of.sealed,
        found: of.found,
    };
    wire::Verdict {
        same: verdict.differences.is_empty(),
        rows: verdict.found.rows,
        digest: verdict.found.digest,
        differences: verdict.differences.into_iter().map(difference).collect(),
        engine: verdict.engine,
    }
}

fn sealed_set(set: Sealed) -> wire::SealedSet {
    let training_set = training_set(&set);
    let (kind, text) = match set.spine.origin {
        Origin::Uploaded => ("uploaded", String::new()),
        Origin::Sql(query) => ("sql", query),
        Origin::Table(name) => ("table", name),
    };
    let spine = wire::Spine { kind: kind.to_owned(), text, rows: set.spine.rows, digest: set.spine.digest };
    let tables = set.tables.into_iter().map(|(source, version)| wire::TableVersion { source, version });
    let columns = set.result.columns.into_iter();
    let columns = columns.map(|of| wire::Column { name: of.name, r#type: of.data_type, digest: of.digest });
    wire::SealedSet {
        name: set.name,
        created_at: set.created_at,
        principal: set.principal,
        engine: set.engine,
        definitions_version: set.definitions_version,
        definitions_digest: set.definitions_digest,
        training_set: Some(training_set),
        spine: Some(spine),
        tables: tables.collect(),
        rows: set.result.rows,
        digest: set.result.digest,
        columns: columns.collect(),
    }
}

/// What was asked for, without the spine.
fn training_set(set: &Sealed) -> flight::TrainingSet {
    let options = &set.options;
    let fraction =
        |(value, fraction): &(String, f64)| flight::sample::Fraction { value: value.clone(), fraction: *fraction };
    flight::TrainingSet {
        project: set.project.clone(),
        selection: Some(convert::training_selection_to_wire(&set.selection)),
        spine: None,
        event_time_column: options.event_time_column.clone(),
        full_feature_names: options.full_names,
        as_of: options.as_of,
        include_event_times: options.include_event_times,
        include_statuses: options.include_statuses,
        split: options.split.as_ref().map(|of| flight::Split { at: of.at().to_vec(), embargo: of.embargo() }),
        sample: options.sample.as_ref().map(|of| flight::Sample {
            column: of.column().to_owned(),
            keep: of.keep().iter().map(fraction).collect(),
            seed: of.seed(),
        }),
    }
}
