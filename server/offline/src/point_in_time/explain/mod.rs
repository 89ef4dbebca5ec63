//! Why a spine row gets what it gets: the observations with its keys, which of them won, and why the others lost.
//!
//! `matches` reads keys and times of the view's files and finds the row's observations; `tally` ranks
//! them by `tidegate_schemas::time` and keeps the winner, the nearest others and a count of the rest; then the payload of
//! those kept is read. Where features are aggregates nothing wins: `windows` adds up what is visible, and the
//! nearest observations are told with whether a window counts them. It shares nothing with the fast path but the description of the read, so that the two can be held
//! against each other, and it takes one pass over keys and times: a question, not a query.
//!
//! Memory: what is kept, and one chunk of matching rows.

mod matches;
mod tally;
#[cfg(test)]
mod tests;
mod windows;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{Field, Schema};
use futures::TryStreamExt;
use tidegate_schemas::time::{Address, Micros, Nulls};

use super::columns::{Rounding, Times};
use super::plan::check_columns;
use super::{EXPIRED, Error, Feature, NOT_FOUND, PRESENT, Spec, View};
use crate::error::Result;
use matches::{Matches, feature_columns, payload};
use tally::{Reader, Seen, Tally};
use windows::Held;

/// What became of an observation with the row's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is the winner, and fresh.
    Won,
    /// It is the winner, and older than the view's ttl at the row's time: the values are null.
    Expired,
    /// It happened after the row's time, or at it with an exclusive bound.
    AfterRowTime,
    /// It has no created or commit time where the view needs one to know when it was known.
    NeverKnown,
    /// It became known after the row's time.
    NotYetKnown,
    /// It became known after the cut of the whole read.
    CutByAsOf,
    /// Its validity had ended by the row's time.
    NoLongerValid,
    /// The winner has a later event time.
    LaterEventTime,
    /// The winner has the same event time and a later created time.
    LaterCreatedTime,
    /// The winner has the same times and was written later.
    LaterAddress,
    /// It is visible, and in a window at least.
    Counted,
    /// It is visible, and older than every window.
    BeforeWindow,
}

impl Outcome {
    /// All outcomes, in order.
    pub const ALL: [Self; 12] = [
        Self::Won,
        Self::Expired,
        Self::AfterRowTime,
        Self::NeverKnown,
        Self::NotYetKnown,
        Self::CutByAsOf,
        Self::NoLongerValid,
        Self::LaterEventTime,
        Self::LaterCreatedTime,
        Self::LaterAddress,
        Self::Counted,
        Self::BeforeWindow,
    ];

    /// The name on the wire and in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "WON",
            Self::Expired => EXPIRED,
            Self::AfterRowTime => "AFTER_ROW_TIME",
            Self::NeverKnown => "NEVER_KNOWN",
            Self::NotYetKnown => "NOT_YET_KNOWN",
            Self::CutByAsOf => "CUT_BY_AS_OF",
            Self::NoLongerValid => "NO_LONGER_VALID",
            Self::LaterEventTime => "LATER_EVENT_TIME_WON",
            Self::LaterCreatedTime => "LATER_CREATED_TIME_WON",
            Self::LaterAddress => "LATER_ADDRESS_WON",
            Self::Counted => "COUNTED",
            Self::BeforeWindow => "BEFORE_WINDOW",
        }
    }
}

/// An observation with the row's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Path of its file in the table's folder.
    pub file: String,
    /// Where it stands in the table's history; `row` is its number in the file.
    pub address: Address,
    /// Event time, or start of validity.
    pub event: Micros,
    /// Created time.
    pub created: Option<Micros>,
    /// Knowledge time; none if it was never known.
    pub known: Option<Micros>,
    /// End of validity.
    pub valid_to: Option<Micros>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where a feature's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSource {
    /// The output's name.
    pub output: String,
    /// Index of the candidate whose value it is; none where the row gets a null for want of one, and for aggregates.
    pub candidate: Option<usize>,
    /// What an aggregate was computed from.
    pub window: Option<WindowSource>,
}

/// What an aggregate was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSource {
    /// Its window holds events after this time, up to the row's; none where it has no start.
    pub after: Option<Micros>,
    /// Observations in it, also those in which the column is null.
    pub counted: u64,
}

/// What one view gives a spine row, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
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
    /// `PRESENT`, `NOT_FOUND` or `EXPIRED`, as the training set has it.
    pub status: &'static str,
    /// Observations with the row's keys.
    pub observations: u64,
    /// Rows with these keys and a null event time, which are no observations.
    pub without_event_time: u64,
    /// How many observations had each outcome; only those that occur.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// The winner if there is one, then the others nearest to the row's time, nearest first.
    pub candidates: Vec<Candidate>,
    /// Each feature's source, in output order.
    pub features: Vec<FeatureSource>,
    /// The candidates' values: one row for each, in their order, a column for each feature under its output's name. Of aggregates
    /// those of the columns they are computed from; of counted rows their event times.
    pub values: RecordBatch,
    /// Of a view of windows the aggregates that the row gets: one row.
    pub result: Option<RecordBatch>,
}

/// Explains one row of a spine for each view of `spec`. Beside the winner at most `runners_up` others are told for each view,
/// and those that features come from where nulls are skipped.
///
/// # Errors
/// `spine` has not exactly one row; as [`super::plan()`] for columns that do not fit; unreadable files. Columns of `spine` may share a
/// name with outputs.
pub async fn explain(spine: &RecordBatch, spec: &Spec, runners_up: usize) -> Result<Vec<Explanation>> {
    if spine.num_rows() != 1 {
        return Err(Error::OneRow { rows: spine.num_rows() }.into());
    }
    check_columns(spine.schema_ref(), spec)?;
    let time = spine.column_by_name(&spec.spine_time).and_then(|array| Times::read(array, Rounding::Down));
    let at = time.filter(|times| !times.is_null(0)).map(|times| times.values[0]);
    let mut explanations = Vec::with_capacity(spec.views.len());
    for view in &spec.views {
        let null_key = view.keys.iter().map(|key| &key.spine_column).find(|name| is_null(spine, name));
        explanations.push(match (at, null_key) {
            (None, _) => unmatched(view, at, &spec.spine_time)?,
            (Some(_), Some(column)) => unmatched(view, at, column)?,
            (Some(at), None) => {
                let reader = Reader { at, as_of: spec.as_of, upper: view.upper, ttl: view.ttl };
                matched(spine, view, reader, runners_up).await?
            }
        });
    }
    Ok(explanations)
}

fn is_null(spine: &RecordBatch, column: &str) -> bool {
    spine.column_by_name(column).is_none_or(|array| array.logical_null_count() > 0)
}

/// A row that a null in `column` lets match nothing.
fn unmatched(view: &View, at: Option<Micros>, column: &str) -> Result<Explanation> {
    let source = |feature: &Feature| FeatureSource { output: feature.output.clone(), candidate: None, window: None };
    let result = view.is_windowed().then(|| {
        let nulls = view.features.iter().map(|feature| new_null_array(&feature.data_type, 1));
        windows::one_row(view, nulls.collect())
    });
    Ok(Explanation {
        view: view.alias.clone(),
        table: view.snapshot.name.clone(),
        table_version: view.snapshot.version,
        at,
        null_column: Some(column.to_owned()),
        status: NOT_FOUND,
        observations: 0,
        without_event_time: 0,
        outcomes: BTreeMap::new(),
        candidates: Vec::new(),
        features: view.features.iter().map(source).collect(),
        values: values(&shown(view), &[], 0, Vec::new())?,
        result: result.transpose()?,
    })
}

async fn matched(spine: &RecordBatch, view: &View, reader: Reader, runners_up: usize) -> Result<Explanation> {
    let skips = view.nulls == Nulls::Skip && !view.is_windowed();
    let mut tally = Tally::new(reader, runners_up, if skips { view.features.len() } else { 0 });
    tally.windows = view.is_windowed().then(|| Held::new(view, reader.at)).transpose()?;
    let shown = shown(view);
    let mut matches = Matches::new(&shown, spine)?;
    for file in 0..view.snapshot.files.len() {
        matches.file(file, &mut tally).await?;
    }
    let kept = tally.kept();
    let outcomes = tally.outcomes();
    let index = |seen: Seen| kept.iter().position(|other| other.rank.address == seen.rank.address);
    let source = |(number, feature): (usize, &Feature)| FeatureSource {
        output: feature.output.clone(),
        candidate: tally.source(number).and_then(index),
        window: tally.windows.as_ref().map(|held| held.source(number)),
    };
    Ok(Explanation {
        view: view.alias.clone(),
        table: view.snapshot.name.clone(),
        table_version: view.snapshot.version,
        at: Some(reader.at),
        null_column: None,
        status: match tally.best().map(|best| tally.outcome(&best)) {
            None if view.is_windowed() => PRESENT,
            None => NOT_FOUND,
            Some(Outcome::Expired) => EXPIRED,
            Some(_) => PRESENT,
        },
        observations: outcomes.values().sum(),
        without_event_time: matches.without_event_time,
        outcomes,
        candidates: kept.iter().map(|seen| candidate(view, &tally, seen)).collect(),
        features: view.features.iter().enumerate().map(source).collect(),
        values: kept_values(&shown, &kept).await?,
        result: tally.windows.as_ref().map(|held| held.result(view)).transpose()?,
    })
}

/// The view whose features are the values that candidates are told with.
fn shown(view: &View) -> Cow<'_, View> {
    if view.is_windowed() { Cow::Owned(windows::of_inputs(view)) } else { Cow::Borrowed(view) }
}

fn candidate(view: &View, tally: &Tally, seen: &Seen) -> Candidate {
    Candidate {
        file: view.snapshot.files[seen.file].path.to_string(),
        address: seen.rank.address,
        event: seen.rank.event,
        created: seen.rank.created,
        known: seen.known,
        valid_to: seen.valid_to,
        outcome: tally.outcome(seen),
    }
}

/// The features of the observations kept, read file by file and put in their order.
async fn kept_values(view: &View, kept: &[Seen]) -> Result<RecordBatch> {
    let mut by_file: BTreeMap<usize, BTreeMap<u64, usize>> = BTreeMap::new();
    for (place, seen) in kept.iter().enumerate() {
        by_file.entry(seen.file).or_default().insert(seen.rank.address.row, place);
    }
    // For each observation, the number of the batch it was read in and its row there.
    let (mut batches, mut places) = (Vec::new(), vec![(0, 0); kept.len()]);
    for (file, rows) in by_file {
        let mut found = payload(view, file, rows.keys().copied().collect())?;
        while let Some(found) = found.try_next().await? {
            for (at, row) in found.rows.iter().enumerate() {
                if let Some(place) = rows.get(row) {
                    places[*place] = (batches.len(), at);
                }
            }
            batches.push(feature_columns(view, &found.batch)?);
        }
    }
    values(view, &batches, kept.len(), places)
}

/// One row for each place, a column for each feature.
fn values(view: &View, batches: &[Vec<ArrayRef>], rows: usize, places: Vec<(usize, usize)>) -> Result<RecordBatch> {
    let column = |number: usize, feature: &Feature| -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = batches.iter().map(|columns| columns[number].as_ref()).collect();
        if arrays.is_empty() {
            return Ok(new_empty_array(&feature.data_type));
        }
        Ok(interleave(&arrays, &places)?)
    };
    let features = view.features.iter().enumerate();
    let columns = features.map(|(number, feature)| column(number, feature)).collect::<Result<Vec<_>>>()?;
    let field = |feature: &Feature| Field::new(&feature.output, feature.data_type.clone(), true);
    let schema = Schema::new(view.features.iter().map(field).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
}
