//! Lookups as of a time: what a model was, or would have been, given then. For debugging an old prediction.
//!
//! The values come from the history of the offline tier, joined as for a training set of one time; statuses, defaults and computed
//! features follow from them by the code that answers any lookup.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use tidegate_offline::point_in_time;
use tidegate_offline::query::Limits;
use tidegate_online::Observed;
use tidegate_schemas::catalog::{Resolved, ResolvedFeature};
use tidegate_schemas::definition::Feature;
use tidegate_schemas::time::Micros;

use crate::registry::Versioned;
use crate::sealed::Options;
use crate::service::training_set::{At, spec};
use crate::service::{Error, LookupReply, LookupRequest, Principal, Result, Tidegate, keys};

/// The spine's column of times; a key may have any name but one with a space.
const TIME: &str = "as of";

impl Tidegate {
    /// Looks values up as they were known at a time, from the offline tier; the reply says so.
    ///
    /// # Errors
    /// As [`Self::lookup`] and [`Self::training_set`].
    pub async fn lookup_as_of(
        &self,
        _principal: &Principal,
        request: &LookupRequest,
        as_of: Micros,
    ) -> Result<LookupReply> {
        let (project, compiled) = self.resolve_lookup(request)?;
        let given = keys::columns(&compiled.keys, &request.keys)?;
        let rows = self.row_count(&given)?;
        let columns: Vec<(String, ArrayRef)> =
            compiled.keys.iter().zip(given).map(|(key, values)| (key.name.clone(), values)).collect();
        let spine = spine(&columns, rows, as_of)?;
        let resolved = project.catalog.resolve(&request.selection, request.full_names)?;
        let place = self.admission.training_sets.place().await?;
        let observed = self.observed(&project, &resolved, spine, as_of).await?;
        drop(place);
        let answer = self.online.answer(&compiled.plan, &observed, rows, as_of, &request.options())?;
        let computed = compiled.compute(&answer, request, true)?;
        let reply = LookupReply { answer, computed, catalog_version: compiled.version, as_of: Some(as_of) };
        self.count(&reply);
        Ok(reply)
    }

    /// What each view held for each row of the spine.
    async fn observed(
        &self,
        project: &Arc<Versioned>,
        resolved: &Resolved,
        spine: RecordBatch,
        as_of: Micros,
    ) -> Result<Vec<Observed>> {
        let catalog = &project.catalog;
        let whole = whole_views(resolved);
        let options = Options { event_time_column: TIME.to_owned(), include_event_times: true, ..Options::default() };
        let (mut spec, _) = spec(&self.tables, catalog, &whole, &options, &spine.schema(), At::Newest).await?;
        // What is too old is told apart from what was not there by whoever answers.
        spec.views.iter_mut().for_each(|view| view.ttl = None);
        let schema = spine.schema();
        let plan = point_in_time::plan(scan(spine)?, spec).map_err(tidegate_offline::Error::from)?;
        let (stream, _) = self.sql_session(project).await?.run_counted(plan, &Limits::default()).await?;
        let joined = crate::service::training_set::counted(stream, |_| ());
        let (found, batches) = (joined.schema.clone(), joined.collect().await?);
        let all = concat_batches(&found, &batches)?;
        let mut columns = all.columns()[schema.fields().len()..].iter();
        let mut take = || columns.next().cloned().ok_or_else(|| Error::internal("the join returned too few columns"));
        let view = |used: &tidegate_schemas::catalog::ResolvedView| {
            let features = used.features.iter().map(|_| take()).collect::<Result<_>>()?;
            let event = take()?;
            let event = event.as_primitive_opt::<TimestampMicrosecondType>();
            let event = event.ok_or_else(|| Error::internal("the join returned no event time where one is due"))?;
            // Windows are there for every entity and are of the time asked for, whatever they hold.
            let windowed = used.view.is_windowed();
            let event =
                if windowed { TimestampMicrosecondArray::from_value(as_of, event.len()) } else { event.clone() };
            Ok(Observed { event, features })
        };
        whole.views.iter().map(view).collect()
    }
}

/// The entities and the time, as the join takes them. A key that two views read as two types stands there once.
fn spine(keys: &[(String, ArrayRef)], rows: usize, as_of: Micros) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (at, (name, values)) in keys.iter().enumerate() {
        if keys[..at].iter().all(|(before, _)| before != name) {
            fields.push(Field::new(name, values.data_type().clone(), false));
            columns.push(values.clone());
        }
    }
    let times = TimestampMicrosecondArray::from_value(as_of, rows).with_timezone("UTC");
    fields.push(Field::new(TIME, times.data_type().clone(), false));
    columns.push(Arc::new(times));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

fn scan(spine: RecordBatch) -> Result<LogicalPlan> {
    let planned = || {
        let table = MemTable::try_new(spine.schema(), vec![vec![spine]])?;
        LogicalPlanBuilder::scan("spine", provider_as_source(Arc::new(table)), None)?.build()
    };
    Ok(planned().map_err(tidegate_offline::Error::from)?)
}

/// The views with all their features, under names that can't clash: a row is answered from as a whole.
fn whole_views(resolved: &Resolved) -> Resolved {
    let mut whole = resolved.clone();
    whole.computed.clear();
    for (nth, used) in whole.views.iter_mut().enumerate() {
        let taken = |(at, feature): (usize, &Feature)| ResolvedFeature {
            feature: feature.clone(),
            output: format!("{nth} {at}"),
        };
        used.features = used.view.features.iter().enumerate().map(taken).collect();
        used.alias = nth.to_string();
    }
    whole
}
