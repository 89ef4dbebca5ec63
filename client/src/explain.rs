//! Why one row of a spine gets what it gets.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use prost::Message;
use tidegate_proto::convert;
use tidegate_proto::flight::{pack, v1};
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;

use crate::connect::Client;
use crate::error::{Error, Result};
use crate::flight::TrainingSetOptions;

/// What is told of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExplainOptions {
    /// How the training set is made that the row would be in.
    pub training_set: TrainingSetOptions,
    /// The features to explain, by output or feature name; none for all.
    pub outputs: Vec<String>,
    /// Observations told beside the winner, for each view; `None` for 20.
    pub runners_up: Option<u32>,
}

/// What one view gives a row, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewExplained {
    /// The view's name or alias.
    pub view: String,
    /// The source's name.
    pub table: String,
    /// The table's version that was read.
    pub table_version: i64,
    /// The row's time.
    pub at: Option<Micros>,
    /// The column of the row whose null makes it match nothing.
    pub null_column: Option<String>,
    /// `PRESENT`, `NOT_FOUND` or `EXPIRED`.
    pub status: String,
    /// Observations with the row's keys.
    pub observations: u64,
    /// Rows with these keys and a null event time, which are no observations.
    pub without_event_time: u64,
    /// How many observations had each outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// The winner if there is one, then the others nearest to the row's time, nearest first.
    pub candidates: Vec<Candidate>,
    /// For each feature the index of the candidate whose value the row gets; none where it gets a null for want of one, and for
    /// aggregates.
    pub features: Vec<(String, Option<usize>)>,
    /// The candidates' values: a row for each, a column for each feature; of aggregates those of the columns they are computed
    /// from.
    pub values: RecordBatch,
    /// What aggregates were computed over, by feature; empty for a view without.
    pub windows: BTreeMap<String, WindowSource>,
    /// Of a view of aggregates what the row gets: one row.
    pub result: Option<RecordBatch>,
}

/// What an aggregate was computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSource {
    /// Its window holds events after this time, up to the row's; none where it has no start.
    pub after: Option<Micros>,
    /// Observations in it, also those in which the column is null.
    pub counted: u64,
}

/// An observation with the row's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `WON`, `EXPIRED`, or why it lost, as `tidegate.flight.v1.Candidate` lists them.
    pub outcome: String,
    /// Path of its file in the table's folder.
    pub file: String,
    /// The table version that added the file.
    pub version: i64,
    /// The file's position among those the version added.
    pub file_order: u32,
    /// Zero-based row in the file.
    pub row: u64,
    /// Event time, or start of validity.
    pub event_time: Micros,
    /// Created time.
    pub created_time: Option<Micros>,
    /// Knowledge time; none if it was never known.
    pub known_at: Option<Micros>,
    /// End of validity.
    pub valid_to: Option<Micros>,
}

impl Client {
    /// Explains one row of a spine: `row` holds its keys and its time, and may hold anything else.
    ///
    /// # Errors
    /// Unknown names, other than one row, a row that lacks a key or the time.
    pub async fn explain_row(
        &self,
        selection: &Selection,
        row: &RecordBatch,
        options: &ExplainOptions,
    ) -> Result<Vec<ViewExplained>> {
        let training_set = v1::TrainingSet {
            project: self.project()?.to_owned(),
            selection: Some(convert::training_selection_to_wire(selection)),
            event_time_column: options.training_set.event_time_column.clone(),
            full_feature_names: options.training_set.full_names,
            as_of: options.training_set.as_of,
            ..v1::TrainingSet::default()
        };
        let message = v1::ExplainRow {
            training_set: Some(training_set),
            spine_row: encode(row)?,
            outputs: options.outputs.clone(),
            runners_up: options.runners_up,
        };
        let body = self.action("ExplainRow", pack(&message)).await?;
        let body = body.ok_or_else(|| Error::Protocol("no explanation came back".into()))?;
        v1::RowExplained::decode(body)?.views.into_iter().map(view).collect()
    }
}

fn encode(row: &RecordBatch) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), row.schema_ref())?;
    writer.write(row)?;
    Ok(writer.into_inner()?.into())
}

fn view(wire: v1::ViewExplained) -> Result<ViewExplained> {
    let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    let window = |it: &v1::FeatureSource| {
        let window = it.window.as_ref()?;
        Some((it.output.clone(), WindowSource { after: window.after, counted: window.counted }))
    };
    Ok(ViewExplained {
        view: wire.view,
        table: wire.table,
        table_version: wire.table_version,
        at: wire.at,
        null_column: wire.null_column,
        status: wire.status,
        observations: wire.observations,
        without_event_time: wire.without_event_time,
        outcomes: wire.outcomes.into_iter().map(|it| (it.outcome, it.count)).collect(),
        candidates: wire.candidates.into_iter().map(candidate).collect(),
        windows: wire.features.iter().filter_map(window).collect(),
        result: if wire.result.is_empty() { None } else { Some(batch(&wire.result)?) },
        features: wire.features.into_iter().map(|it| (it.output, it.candidate.map(index))).collect(),
        values: batch(&wire.values)?,
    })
}

fn batch(bytes: &[u8]) -> Result<RecordBatch> {
    let batches = StreamReader::try_new(bytes, None)?;
    let schema = batches.schema();
    Ok(concat_batches(&schema, &batches.collect::<std::result::Result<Vec<_>, _>>()?)?)
}

fn candidate(wire: v1::Candidate) -> Candidate {
    Candidate {
        outcome: wire.outcome,
        file: wire.file,
        version: wire.version,
        file_order: wire.file_order,
        row: wire.row,
        event_time: wire.event_time,
        created_time: wire.created_time,
        known_at: wire.known_at,
        valid_to: wire.valid_to,
    }
}
