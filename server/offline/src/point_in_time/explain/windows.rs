//! What the windows of one row hold, added event by event as they are found.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::{Class, Partial, Windows, tail};

use super::WindowSource;
use super::tally::Seen;
use crate::error::Result;
use crate::point_in_time::windows::columns::{Answers, Column};
use crate::point_in_time::windows::{aggregates, windows};
use crate::point_in_time::{Feature, View};

/// The windows of a view's features at a row's time.
#[derive(Debug)]
pub(super) struct Held {
    windows: Windows,
    /// Per feature what its window begins after; none where it has no start.
    after: Vec<Option<Micros>>,
    partials: Vec<Partial>,
    counted: Vec<u64>,
}

impl Held {
    /// Windows without events yet.
    ///
    /// # Errors
    /// A function that can't be computed of its input.
    pub(super) fn new(view: &View, at: Micros) -> Result<Self> {
        let windows = windows(view)?;
        let after = aggregates(view).map(|aggregate| Some(tail(aggregate.window?, aggregate.hop, at))).collect();
        let partials = (0..view.features.len()).map(|feature| windows.spec(feature).empty()).collect();
        Ok(Self { windows, after, partials, counted: vec![0; view.features.len()] })
    }

    /// Whether a visible event is in any of the windows.
    pub(super) fn reach(&self, event: Micros) -> bool {
        self.after.iter().any(|after| after.is_none_or(|after| event > after))
    }

    /// Takes events in, which bring the columns that features are computed from, one for each feature.
    ///
    /// # Errors
    /// Text that is too long to lie in one array.
    pub(super) fn add(&mut self, events: &[Seen], columns: &[ArrayRef]) -> Result<()> {
        for (feature, array) in columns.iter().enumerate() {
            let spec = *self.windows.spec(feature);
            let class = spec.input.and_then(|input| Class::of(&self.windows.inputs()[input].data_type));
            let column = spec.input.map(|_| Column::read(array, class)).transpose()?;
            for (row, seen) in events.iter().enumerate() {
                if self.after[feature].is_none_or(|after| seen.rank.event > after) {
                    let value = column.as_ref().and_then(|column| column.get(row));
                    self.partials[feature].add(&spec, seen.rank.event, seen.rank.created, value);
                    self.counted[feature] += 1;
                }
            }
        }
        Ok(())
    }

    /// Where a feature's window begins, and how many events it holds.
    pub(super) fn source(&self, feature: usize) -> WindowSource {
        WindowSource { after: self.after[feature], counted: self.counted[feature] }
    }

    /// What the row gets of each feature.
    pub(super) fn result(&self, view: &View) -> Result<RecordBatch> {
        let column = |(number, feature): (usize, &Feature)| -> Result<ArrayRef> {
            let mut answers = Answers::new(&feature.data_type);
            answers.push(&self.windows.finish(number, &self.partials[number]));
            Ok(answers.finish()?)
        };
        one_row(view, view.features.iter().enumerate().map(column).collect::<Result<_>>()?)
    }
}

/// One row of a view's features.
pub(super) fn one_row(view: &View, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let field = |feature: &Feature| Field::new(&feature.output, feature.data_type.clone(), true);
    let schema = Schema::new(view.features.iter().map(field).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
}

/// The view whose features are the columns that a view of windows is computed from; of counted rows their event times.
pub(super) fn of_inputs(view: &View) -> View {
    let plain = |feature: &Feature| match feature.aggregate.as_ref().and_then(|aggregate| aggregate.input.as_ref()) {
        Some(input) => Feature {
            column: input.name.clone(),
            data_type: input.data_type.to_arrow(),
            aggregate: None,
            ..feature.clone()
        },
        None => Feature {
            column: view.event_time.clone(),
            data_type: DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            aggregate: None,
            ..feature.clone()
        },
    };
    View { features: view.features.iter().map(plain).collect(), ..view.clone() }
}
