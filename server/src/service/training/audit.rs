//! What a training set would have leaked: for each feature, the rows that another value would have if every observation had been
//! known at its event time, and those whose value is suspiciously near to the row's own time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use tidegate_offline::point_in_time::View;
use tidegate_offline::training::nanos;
use tidegate_schemas::duration;
use tidegate_schemas::time::{Availability, Micros};

use crate::registry::Versioned;
use crate::service::diff::{ViewColumns, view_columns, with_event_times};
use crate::service::lockstep::{Lockstep, differing};
use crate::service::spines::{self, Spool};
use crate::service::training_set::{At, Reading, reading};
use crate::service::{Batches, Error, Principal, Result, Tidegate, TrainingSetRequest, work};

/// A training set to audit.
#[derive(Debug, Clone)]
pub struct AuditRequest {
    /// The set. Its spine is ignored by [`Tidegate::audit_exchange`], which brings its own.
    pub training_set: TrainingSetRequest,
    /// How near before a row's time an observation is suspicious, in microseconds.
    pub margin: Micros,
}

/// Counts of one feature.
struct Counts {
    view: String,
    feature: String,
    leaked: u64,
    near: u64,
    present: u64,
}

impl Tidegate {
    /// One row for each feature: `view`, `feature`, `rows`, `present`, `leaked`, `near`, `availability`, `knowledge_known` and a
    /// `note` on what was found.
    ///
    /// # Errors
    /// As [`Self::training_set`]; `Invalid` for a negative margin.
    pub async fn audit(&self, principal: &Principal, request: &AuditRequest) -> Result<Batches> {
        let project = self.project(&request.training_set.project).await?;
        // Kept, so that both joins get the same rows whatever the query.
        let spool = self.spooled(principal, &project, &request.training_set.spine).await?;
        self.run_audit(&project, request, spool).await
    }

    /// The same for rows that come along; they are forgotten when the result is dropped.
    ///
    /// # Errors
    /// As [`Self::upload_spine`] and [`Self::audit`].
    pub async fn audit_exchange(
        &self,
        _principal: &Principal,
        request: &AuditRequest,
        spine: Batches,
    ) -> Result<Batches> {
        let project = self.project(&request.training_set.project).await?;
        project.catalog.resolve(&request.training_set.selection, request.training_set.full_names)?;
        let spool = self.spines.spool(spine).await?;
        self.run_audit(&project, request, Arc::new(spool)).await
    }

    /// The schema of [`Self::audit`].
    #[must_use]
    pub fn audit_schema(&self) -> SchemaRef {
        schema()
    }

    async fn run_audit(&self, project: &Versioned, request: &AuditRequest, spool: Arc<Spool>) -> Result<Batches> {
        if request.margin < 0 {
            return Err(Error::invalid(
                "the margin of an audit is a length of time and can't be negative; write it as `1h`",
            ));
        }
        let (catalog, set) = (&project.catalog, &request.training_set);
        let resolved = catalog.resolve(&set.selection, set.full_names)?;
        let spine = spines::scan(spool)?;
        let reading = reading(&self.plans, &self.tables, catalog, &resolved, &set.options(), spine, At::Newest).await?;
        // Both joins read the same snapshots.
        let asked = with_event_times(reading);
        let naive = known_at_once(asked.clone());
        let mut audit = Audit::new(&asked, request.margin)?;
        let place = self.admission.training_sets.place().await?;
        let rows = Lockstep::new(self.run(&catalog.project, asked).await?, self.run(&catalog.project, naive).await?);
        let batches = work::start(&self.plans, place, async move |reports| {
            audit.run(rows).await?;
            reports.send(audit.result()?).await;
            Ok(())
        });
        Ok(Batches::new(schema(), batches))
    }
}

/// The join of somebody who takes every observation as known when it happened.
fn known_at_once(mut reading: Reading) -> Reading {
    for view in &mut reading.spec.views {
        view.availability = Availability::Event;
    }
    reading
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("view", DataType::Utf8, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("present", DataType::UInt64, false),
        Field::new("leaked", DataType::UInt64, false),
        Field::new("near", DataType::UInt64, false),
        Field::new("availability", DataType::Utf8, false),
        Field::new("knowledge_known", DataType::Boolean, false),
        Field::new("note", DataType::Utf8, false),
    ]))
}

/// An audit under way.
struct Audit {
    views: Vec<View>,
    columns: Vec<ViewColumns>,
    time: usize,
    margin: Micros,
    rows: u64,
    counts: Vec<Vec<Counts>>,
}

impl Audit {
    fn new(reading: &Reading, margin: Micros) -> Result<Self> {
        let spine = reading.spine.schema().as_arrow();
        let time = spine.index_of(&reading.spec.spine_time)?;
        let counts = |view: &View| {
            let feature = |feature: &tidegate_offline::point_in_time::Feature| Counts {
                view: view.alias.clone(),
                feature: feature.output.clone(),
                leaked: 0,
                near: 0,
                present: 0,
            };
            view.features.iter().map(feature).collect()
        };
        Ok(Self {
            columns: view_columns(reading)?,
            counts: reading.spec.views.iter().map(counts).collect(),
            views: reading.spec.views.clone(),
            time,
            margin,
            rows: 0,
        })
    }

    async fn run(&mut self, mut rows: Lockstep) -> Result<()> {
        while let Some((asked, naive)) = rows.next().await? {
            self.rows += asked.num_rows() as u64;
            let near = self.near(&asked)?;
            for ((counts, columns), near) in self.counts.iter_mut().zip(&self.columns).zip(near) {
                for (counts, column) in counts.iter_mut().zip(&columns.features) {
                    let values = asked.column(*column);
                    counts.leaked += differing(values, naive.column(*column))?.len() as u64;
                    counts.present += (values.len() - values.logical_null_count()) as u64;
                    counts.near += near.iter().filter(|row| values.is_valid(**row)).count() as u64;
                }
            }
        }
        Ok(())
    }

    /// For each view, the rows whose winner is from just before the row's time.
    fn near(&self, batch: &RecordBatch) -> Result<Vec<Vec<usize>>> {
        let labelled = nanos(batch.column(self.time)).map_err(tidegate_offline::Error::from)?;
        let margin = i128::from(self.margin) * 1_000;
        let of_view = |columns: &ViewColumns| {
            let times = batch.column(columns.event_time).as_primitive::<TimestampMicrosecondType>();
            let near = |row: &usize| {
                let event = times.is_valid(*row).then(|| i128::from(times.value(*row)) * 1_000);
                labelled(*row).zip(event).is_some_and(|(labelled, event)| labelled - event <= margin)
            };
            (0..batch.num_rows()).filter(near).collect()
        };
        Ok(self.columns.iter().map(of_view).collect())
    }

    fn result(&self) -> Result<RecordBatch> {
        let all: Vec<(&View, &Counts)> = self
            .views
            .iter()
            .zip(&self.counts)
            .flat_map(|(view, counts)| counts.iter().map(move |of| (view, of)))
            .collect();
        let texts = |text: &dyn Fn(&View, &Counts) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(all.iter().map(|(view, counts)| text(view, counts))))
        };
        let numbers = |number: &dyn Fn(&Counts) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(all.iter().map(|(_, counts)| number(counts))))
        };
        let columns: Vec<ArrayRef> = vec![
            texts(&|_, counts| counts.view.clone()),
            texts(&|_, counts| counts.feature.clone()),
            numbers(&|_| self.rows),
            numbers(&|counts| counts.present),
            numbers(&|counts| counts.leaked),
            numbers(&|counts| counts.near),
            texts(&|view, _| availability(view)),
            Arc::new(all.iter().map(|(view, _)| Some(is_known(view))).collect::<BooleanArray>()),
            texts(&|view, counts| self.note(view, counts)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }

    /// What a reader should make of a feature's counts.
    fn note(&self, view: &View, counts: &Counts) -> String {
        let mut notes = Vec::new();
        match (view.availability, &view.created_time) {
            (Availability::Event, None) => notes.push(
                "when values were known is not recorded: a late observation leaks unseen; declare created_time or availability"
                    .to_owned(),
            ),
            (Availability::Event, Some(created)) => {
                notes.push(format!("availability `event` ignores the created time `{created}`; late observations leak"));
            }
            _ if counts.leaked > 0 => notes.push(format!("a join on event time alone leaks into {} rows", counts.leaked)),
            _ => {}
        }
        if counts.near > 0 {
            let margin = duration::format(self.margin);
            notes.push(format!("{} values are from within {margin} of their row's time", counts.near));
        }
        notes.join("; ")
    }
}

/// Whether a view says when its values became known.
fn is_known(view: &View) -> bool {
    view.availability != Availability::Event
}

fn availability(view: &View) -> String {
    match view.availability {
        Availability::Created => "created".to_owned(),
        Availability::Event => "event".to_owned(),
        Availability::Delay(delay) => format!("delay {}", duration::format(delay)),
        Availability::Commit => "commit".to_owned(),
    }
}
