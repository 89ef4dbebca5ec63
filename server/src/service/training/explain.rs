//! Why one row of a spine gets what it gets.

use arrow::array::RecordBatch;
use tidegate_offline::point_in_time::explain::explain;
pub use tidegate_offline::point_in_time::explain::{Candidate, Explanation, FeatureSource, Outcome, WindowSource};
use tidegate_schemas::catalog::{Resolved, ResolvedFeature, nearest};

use crate::service::training_set::{At, spec};
use crate::service::{Error, Principal, Result, Tidegate, TrainingSetRequest};

/// Observations told beside the winner where a request names no number.
const RUNNERS_UP: usize = 20;

/// Most that can be asked for.
const RUNNERS_UP_MAX: usize = 1_000;

/// A question about one row.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// The training set the row would be in; its spine does not matter.
    pub training_set: TrainingSetRequest,
    /// The row: keys and time, and whatever else.
    pub row: RecordBatch,
    /// The features to explain, by output or feature name; none for all.
    pub outputs: Vec<String>,
    /// Observations told beside the winner, for each view; `None` for 20.
    pub runners_up: Option<usize>,
}

impl Tidegate {
    /// For each view, which observation a row gets and why the others lost.
    ///
    /// # Errors
    /// As [`Self::training_set`]; `Invalid` for other than one row and for more than 1,000 others.
    pub async fn explain_row(&self, _principal: &Principal, request: ExplainRequest) -> Result<Vec<Explanation>> {
        let runners_up = request.runners_up.unwrap_or(RUNNERS_UP);
        if runners_up > RUNNERS_UP_MAX {
            return Err(Error::invalid(format!(
                "{runners_up} observations beside the winner are too many; {RUNNERS_UP_MAX} is the limit"
            )));
        }
        let project = self.project(&request.training_set.project).await?;
        let catalog = &project.catalog;
        let resolved = catalog.resolve(&request.training_set.selection, request.training_set.full_names)?;
        let resolved = chosen(resolved, &request.outputs)?;
        let options = request.training_set.options();
        let (spec, _) = spec(&self.tables, catalog, &resolved, &options, &request.row.schema(), At::Newest).await?;
        let row = request.row;
        Ok(self.plans.run(async move { explain(&row, &spec, runners_up).await }).await?)
    }
}

/// The features named, with their views.
fn chosen(resolved: Resolved, outputs: &[String]) -> Result<Resolved> {
    let is = |feature: &ResolvedFeature, name: &String| feature.output == *name || feature.feature.name == *name;
    let all: Vec<&ResolvedFeature> = resolved.views.iter().flat_map(|view| &view.features).collect();
    if let Some(unknown) = outputs.iter().find(|name| !all.iter().any(|feature| is(feature, name))) {
        let names: Vec<&str> = all.iter().map(|feature| feature.output.as_str()).collect();
        let help = match nearest(unknown, names.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => format!("; there are {}", names.join(", ")),
        };
        return Err(Error::not_found(format!("no feature `{unknown}` among those asked for{help}")));
    }
    if outputs.is_empty() {
        return Ok(resolved);
    }
    let mut views = resolved.views;
    for view in &mut views {
        view.features.retain(|feature| outputs.iter().any(|name| is(feature, name)));
    }
    views.retain(|view| !view.features.is_empty());
    // What is computed has no observation of its own.
    Ok(Resolved { views, request: Vec::new(), computed: Vec::new() })
}
