//! Views whose features are aggregates of events: for each spine row, what its windows held at its time.
//!
//! Parts, in the order data moves: the join's own scan finds the events that rows of the spine may count ([`events`]) and keeps
//! them, keys as groups, with the columns to aggregate and nothing else; [`search`] drives it, group range by group range where
//! the memory pool has no room for all, and deals groups out to workers; [`fold`] makes the values of one group's rows, over
//! [`tiles`] where there are many, by the partial aggregates and the cuts of windows of `tidegate_schemas::window`, which the
//! online tier uses too.
//!
//! No event is ever paired with a row: a row's windows are ranges of its group's events. Nothing here decides what a reader
//! sees: an event is seen from the moment on that the time rule says, and counts in a window by its event time.

pub(super) mod columns;
pub(super) mod events;
mod fold;
pub(super) mod search;
mod tiles;

use arrow::datatypes::DataType;
use datafusion::common::plan_datafusion_err;
use tidegate_schemas::definition::Aggregate;
use tidegate_schemas::time::Micros;
use tidegate_schemas::window::Windows;

use super::{Error, Result, View};

/// The aggregates of a view's features, in their order.
pub(super) fn aggregates(view: &View) -> impl Iterator<Item = &Aggregate> {
    view.features.iter().filter_map(|feature| feature.aggregate.as_ref())
}

/// Checks that a view's aggregates can be computed, and that it has no other features beside them.
pub(super) fn check(view: &View) -> Result<()> {
    if view.is_windowed() && aggregates(view).count() != view.features.len() {
        return Err(Error::Plan(plan_datafusion_err!("view `{}` has both aggregates and plain features", view.alias)));
    }
    windows(view).map(|_| ())
}

/// What a view's aggregates need.
pub(super) fn windows(view: &View) -> Result<Windows> {
    let unsupported = |source| Error::Aggregate { view: view.alias.clone(), source };
    Windows::new(aggregates(view)).map_err(unsupported)
}

/// The columns that a view's windows aggregate, each once, with the types they are read as.
pub(super) fn inputs(view: &View) -> Vec<(String, DataType)> {
    let inputs = windows(view).map(|windows| windows.inputs().to_vec()).unwrap_or_default();
    inputs.into_iter().map(|input| (input.name, input.data_type.to_arrow())).collect()
}

/// How far before a row's time its windows reach at most; `None` where one has no start.
pub(super) fn reach(view: &View) -> Option<Micros> {
    let reach = |aggregate: &Aggregate| Some(aggregate.window?.saturating_add(aggregate.hop));
    aggregates(view).map(reach).try_fold(0, |longest: Micros, reach| Some(longest.max(reach?)))
}
