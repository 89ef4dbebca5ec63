//! Training sets, spines and ingest: Tidegate's own commands, from messages to the service and back.

use arrow_flight::PutResult;
use prost::Message;
use tidegate_proto::convert;
use tidegate_proto::flight::v1;

use super::call::Call;
use super::decode::{self, Messages};
use crate::service::{Batches, Error, IngestRequest, Result, Sample, Spine, Split, TrainingSetRequest};

impl Call {
    /// A training set's message as a request. Its project is filled in, so that a ticket made of it names one.
    pub(super) async fn training_set_request(&self, message: &mut v1::TrainingSet) -> Result<TrainingSetRequest> {
        message.project = self.project(&message.project).await?;
        named_training_set(message)
    }

    /// The request of rows that come along.
    pub(super) async fn exchanged_request(&self, message: &mut v1::TrainingSet) -> Result<TrainingSetRequest> {
        if message.spine.is_some() {
            return Err(Error::invalid(
                "the training set names a spine and DoExchange brings one: leave `spine` unset, or call DoGet",
            ));
        }
        message.project = self.project(&message.project).await?;
        request(message, Spine::Uploaded(String::new()))
    }

    /// The training set of the spine that the client sends.
    pub(super) async fn exchange(&self, mut message: v1::TrainingSet, messages: Messages) -> Result<Batches> {
        let request = self.exchanged_request(&mut message).await?;
        let spine = decode::decode(messages).await?;
        self.service.exchange(&self.principal, &request, spine).await
    }

    /// Keeps the client's rows as a spine.
    pub(super) async fn upload_spine(&self, upload: &v1::SpineUpload, messages: Messages) -> Result<PutResult> {
        let project = self.project(&upload.project).await?;
        let rows = decode::decode(messages).await?;
        let done = self.service.upload_spine(&self.principal, &project, rows).await?;
        let done = v1::SpineUploaded { spine_id: done.spine_id, rows: done.rows, expires_at: done.expires_at };
        Ok(PutResult { app_metadata: done.encode_to_vec().into() })
    }

    /// Appends the client's rows to a source.
    pub(super) async fn ingest(&self, ingest: v1::Ingest, messages: Messages) -> Result<v1::Ingested> {
        let request = IngestRequest {
            project: self.project(&ingest.project).await?,
            target: ingest.target,
            batch_id: ingest.batch_id,
            ignore_extra_columns: ingest.ignore_extra_columns,
        };
        let rows = decode::decode(messages).await?;
        let done = self.service.ingest(&self.principal, request, rows).await?;
        Ok(v1::Ingested {
            source: done.source,
            version: done.version,
            rows: done.rows,
            already_ingested: done.already_ingested,
            batch_id: done.batch_id,
            ignored_columns: done.ignored_columns,
        })
    }
}

/// A training set's message as a request: it names its project and where its rows are.
///
/// # Errors
/// It names no spine, no features, or a split or sample that can't be.
pub(crate) fn named_training_set(message: &v1::TrainingSet) -> Result<TrainingSetRequest> {
    let spine = message.spine.clone().ok_or_else(|| {
        Error::invalid(
            "the training set names no spine: set `spine_id`, `sql` or `table`, or send the rows along with DoExchange",
        )
    })?;
    let spine = match spine {
        v1::training_set::Spine::SpineId(id) => Spine::Uploaded(id),
        v1::training_set::Spine::Sql(query) => Spine::Sql(query),
        v1::training_set::Spine::Table(name) => Spine::Table(name),
    };
    request(message, spine)
}

/// A training set's message as a request for the rows of `spine`.
pub(super) fn request(message: &v1::TrainingSet, spine: Spine) -> Result<TrainingSetRequest> {
    Ok(TrainingSetRequest {
        project: message.project.clone(),
        selection: convert::training_selection(message.selection.clone())?,
        spine,
        event_time_column: message.event_time_column.clone(),
        full_names: message.full_feature_names,
        as_of: message.as_of,
        include_event_times: message.include_event_times,
        include_statuses: message.include_statuses,
        split: message.split.as_ref().map(|of| Split::new(of.at.clone(), of.embargo)).transpose()?,
        sample: message.sample.as_ref().map(sample).transpose()?,
    })
}

fn sample(message: &v1::Sample) -> Result<Sample> {
    let keep = message.keep.iter().map(|of| (of.value.clone(), of.fraction)).collect();
    Ok(Sample::new(&message.column, keep, message.seed)?)
}
