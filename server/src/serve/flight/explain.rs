//! The action that explains one row of a spine.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow_flight::Action;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use prost::Message;
use tidegate_proto::flight::{self, v1};

use super::call::Call;
use super::sql::ipc_messages;
use super::{decode, training_set};
use crate::service::{Candidate, Error, ExplainRequest, Explanation, FeatureSource, Outcome, Result, Spine};

/// The action's name.
pub(super) const EXPLAIN_ROW: &str = "ExplainRow";

impl Call {
    /// The answer's body.
    pub(super) async fn explain_row(&self, action: &Action) -> Result<Vec<u8>> {
        let wrong = || Error::invalid("the body of action `ExplainRow` is not a packed tidegate.flight.v1.ExplainRow");
        let Ok(flight::Command::ExplainRow(message)) = flight::unpack(&action.body) else { return Err(wrong()) };
        let mut asked = message
            .training_set
            .ok_or_else(|| Error::invalid("`training_set` is empty: say there what the row is asked for"))?;
        asked.project = self.project(&asked.project).await?;
        let request = ExplainRequest {
            training_set: training_set::request(&asked, Spine::Uploaded(String::new()))?,
            row: spine_row(message.spine_row).await?,
            outputs: message.outputs,
            runners_up: message.runners_up.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        };
        let told = self.service.explain_row(&self.principal, request).await?;
        let views = told.iter().map(view).collect::<Result<_>>()?;
        Ok(v1::RowExplained { views }.encode_to_vec())
    }
}

async fn spine_row(bytes: Bytes) -> Result<RecordBatch> {
    let bad = || Error::invalid("`spine_row` is no Arrow IPC stream; send the row's keys and time as one");
    let messages = stream::iter(ipc_messages(bytes, bad)?.into_iter().map(Ok)).boxed();
    let batches = decode::decode(messages).await?;
    let schema = batches.schema.clone();
    concat_batches(&schema, &batches.collect().await?).map_err(|error| bad().with_source(error))
}

fn view(told: &Explanation) -> Result<v1::ViewExplained> {
    let count =
        |(outcome, count): (&Outcome, &u64)| v1::OutcomeCount { outcome: outcome.as_str().to_owned(), count: *count };
    let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let source = |feature: &FeatureSource| v1::FeatureSource {
        output: feature.output.clone(),
        candidate: feature.candidate.map(index),
        window: feature.window.map(|window| v1::WindowSource { after: window.after, counted: window.counted }),
    };
    Ok(v1::ViewExplained {
        view: told.view.clone(),
        table: told.table.clone(),
        table_version: told.table_version,
        at: told.at,
        null_column: told.null_column.clone(),
        status: told.status.to_owned(),
        observations: told.observations,
        without_event_time: told.without_event_time,
        outcomes: told.outcomes.iter().map(count).collect(),
        candidates: told.candidates.iter().map(candidate).collect(),
        features: told.features.iter().map(source).collect(),
        values: ipc(&told.values)?,
        result: told.result.as_ref().map(ipc).transpose()?.unwrap_or_default(),
    })
}

fn candidate(told: &Candidate) -> v1::Candidate {
    v1::Candidate {
        outcome: told.outcome.as_str().to_owned(),
        file: told.file.clone(),
        version: told.address.version,
        file_order: told.address.file,
        row: told.address.row,
        event_time: told.event,
        created_time: told.created,
        known_at: told.known,
        valid_to: told.valid_to,
    }
}

fn ipc(batch: &RecordBatch) -> Result<Bytes> {
    let unfit = |error| Error::internal("the values can't be sent").with_source(error);
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).map_err(unfit)?;
    writer.write(batch).map_err(unfit)?;
    Ok(writer.into_inner().map_err(unfit)?.into())
}
