//! The logical node, its checks and output schema, and the planner that makes the physical operator of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result as PlanResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use tidegate_schemas::definition::Aggregate;

use super::columns::{Family, Unit, reads_as};
use super::{Error, Nulls, PointInTimeExec, Result, Spec, View, windows};

/// Joins `spine` to the views of `spec` as of its times.
///
/// Output: the spine's columns untouched, in spine order, one row per spine row; then per view its features (nullable),
/// its event time and its status, the last two where the view names them. The session that runs the plan needs
/// [`Planner`] (see [`query_planner`]), and no elimination of sorts in subqueries where the plan becomes a subquery of SQL:
/// that would drop the spine's ORDER BY.
///
/// # Errors
/// A column that the spine or a table lacks, key types that don't compare without loss, a time column that is no time, a
/// feature whose column has another type, or output columns with the same name.
pub fn plan(spine: LogicalPlan, spec: Spec) -> Result<LogicalPlan> {
    check(spine.schema().as_arrow(), &spec)?;
    let node = PointInTime::new(spine, Arc::new(spec))?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The columns that the views of `spec` add to a spine, in order.
#[must_use]
pub(super) fn view_fields(spec: &Spec) -> Vec<Field> {
    let utc_micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = Vec::new();
    for view in &spec.views {
        fields.extend(view.features.iter().map(|feature| Field::new(&feature.output, feature.data_type.clone(), true)));
        fields.extend(view.event_time_output.iter().map(|name| Field::new(name, utc_micros.clone(), true)));
        fields.extend(view.status_output.iter().map(|name| Field::new(name, DataType::Utf8, false)));
    }
    fields
}

/// The physical output schema: the spine's fields and what the views add.
pub(super) fn output_schema(spine: &Schema, spec: &Spec) -> SchemaRef {
    let added = view_fields(spec).into_iter().map(Arc::new);
    let fields: Fields = spine.fields().iter().cloned().chain(added).collect();
    Arc::new(Schema::new_with_metadata(fields, spine.metadata().clone()))
}

/// Checks that `spec` fits a spine of this schema.
pub(super) fn check(spine: &Schema, spec: &Spec) -> Result<()> {
    check_columns(spine, spec)?;
    check_names(spine, spec)
}

/// The part of [`check`] that is about what is read.
pub(super) fn check_columns(spine: &Schema, spec: &Spec) -> Result<()> {
    let time = spine_field(spine, "time", &spec.spine_time, None)?;
    check_time("the spine's time", time)?;
    spec.views.iter().try_for_each(|view| check_view(spine, view))
}

fn check_view(spine: &Schema, view: &View) -> Result<()> {
    check_time(&format!("view `{}`: event time", view.alias), table_field(view, &view.event_time)?)?;
    if let Some(end) = &view.valid_to {
        check_time(&format!("view `{}`: end of validity", view.alias), table_field(view, end)?)?;
    }
    if let Some(created) = &view.created_time {
        check_time(&format!("view `{}`: created time", view.alias), table_field(view, created)?)?;
    }
    for key in &view.keys {
        let in_spine = spine_field(spine, "key", &key.spine_column, Some(&view.alias))?;
        let in_table = table_field(view, &key.table_column)?;
        let families = (Family::of(in_spine.data_type()), Family::of(in_table.data_type()));
        // A column of nulls has no type of its own: it matches nothing, as any null key.
        let comparable = in_spine.data_type() == &DataType::Null || families.0 == families.1;
        if families.1.is_none() || !comparable {
            return Err(Error::KeyTypes {
                view: view.alias.clone(),
                spine_column: key.spine_column.clone(),
                spine_type: in_spine.data_type().clone(),
                table_column: key.table_column.clone(),
                table_type: in_table.data_type().clone(),
            });
        }
    }
    for feature in &view.features {
        match &feature.aggregate {
            None => check_type(view, &feature.column, &feature.data_type)?,
            Some(Aggregate { input: Some(input), .. }) => check_type(view, &input.name, &input.data_type.to_arrow())?,
            Some(_) => {}
        }
    }
    windows::check(view)
}

/// Checks that a table's column reads as a type.
fn check_type(view: &View, column: &str, wanted: &DataType) -> Result<()> {
    let in_table = table_field(view, column)?;
    if reads_as(in_table.data_type(), wanted) {
        return Ok(());
    }
    Err(Error::FeatureType {
        view: view.alias.clone(),
        column: column.to_owned(),
        table_type: in_table.data_type().clone(),
        feature_type: wanted.clone(),
    })
}

fn check_time(place: &str, field: &Field) -> Result<()> {
    if Unit::of(field.data_type()).is_some() || field.data_type() == &DataType::Null {
        return Ok(());
    }
    let data_type = field.data_type().clone();
    Err(Error::TimeType { place: place.to_owned(), column: field.name().clone(), data_type })
}

fn check_names(spine: &Schema, spec: &Spec) -> Result<()> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for field in spine.fields() {
        // A spine may repeat a name under two qualifiers; only what the views add must be new.
        seen.insert(field.name(), 1);
    }
    let added = view_fields(spec);
    for field in &added {
        *seen.entry(field.name()).or_default() += 1;
    }
    let clashes: BTreeSet<&str> = seen.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name).collect();
    if clashes.is_empty() { Ok(()) } else { Err(Error::Clash(clashes.into_iter().map(str::to_owned).collect())) }
}

fn spine_field<'a>(spine: &'a Schema, role: &'static str, column: &str, view: Option<&str>) -> Result<&'a Field> {
    spine.field_with_name(column).map_err(|_| Error::SpineColumn {
        role,
        column: column.to_owned(),
        view: view.map(str::to_owned),
        available: spine.fields().iter().map(|field| field.name().clone()).collect(),
    })
}

fn table_field<'a>(view: &'a View, column: &str) -> Result<&'a Field> {
    view.snapshot.schema.field_with_name(column).map_err(|_| Error::TableColumn {
        view: view.alias.clone(),
        table: view.snapshot.name.clone(),
        column: column.to_owned(),
        available: view.snapshot.schema.fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// The logical node of a point-in-time join.
#[derive(Clone)]
pub struct PointInTime {
    spine: LogicalPlan,
    spec: Arc<Spec>,
    schema: DFSchemaRef,
}

impl PointInTime {
    fn new(spine: LogicalPlan, spec: Arc<Spec>) -> Result<Self> {
        let added = view_fields(&spec).into_iter().map(|field| (None, Arc::new(field)));
        let in_spine = spine.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
        let metadata = spine.schema().metadata().clone();
        let schema = DFSchema::new_with_metadata(in_spine.chain(added).collect(), metadata)?;
        Ok(Self { spine, spec, schema: Arc::new(schema) })
    }

    /// What is joined.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }
}

impl fmt::Debug for PointInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UserDefinedLogicalNodeCore::fmt_for_explain(self, f)
    }
}

/// Two nodes are the same when they join the same spine to the same spec, not to one that looks alike.
impl PartialEq for PointInTime {
    fn eq(&self, other: &Self) -> bool {
        self.spine == other.spine && Arc::ptr_eq(&self.spec, &other.spec)
    }
}

impl Eq for PointInTime {}

impl PartialOrd for PointInTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other { Some(Ordering::Equal) } else { None }
    }
}

impl Hash for PointInTime {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spine.hash(state);
        Arc::as_ptr(&self.spec).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for PointInTime {
    fn name(&self) -> &str {
        "PointInTime"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.spine]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A filter on spine columns gives the same rows below the join, where it saves work.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        view_fields(&self.spec).into_iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointInTime: {}", describe(&self.spec))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> PlanResult<Self> {
        let spine = inputs.into_iter().next();
        let spine = spine.ok_or_else(|| datafusion::common::plan_datafusion_err!("PointInTime needs a spine"))?;
        Ok(Self::new(spine, self.spec.clone())?)
    }

    /// One output row per spine row, in order: the first n rows need the first n spine rows.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// One line for EXPLAIN: the time column, the cut, and each view with its table version, keys and rule.
pub(super) fn describe(spec: &Spec) -> String {
    use std::fmt::Write;
    let mut line = format!("time={}", spec.spine_time);
    if let Some(cut) = spec.as_of {
        let _ = write!(line, ", as_of={cut}us");
    }
    let views: Vec<String> = spec.views.iter().map(describe_view).collect();
    let _ = write!(line, ", views=[{}]", views.join(", "));
    line
}

fn describe_view(view: &View) -> String {
    let keys: Vec<String> = view
        .keys
        .iter()
        .map(|key| match key.spine_column == key.table_column {
            true => key.spine_column.clone(),
            false => format!("{}={}", key.spine_column, key.table_column),
        })
        .collect();
    let ttl = view.ttl.map_or_else(String::new, |ttl| format!(", ttl={ttl}us"));
    let valid_to = view.valid_to.as_ref().map_or_else(String::new, |column| format!(", valid_to={column}"));
    let nulls = if view.nulls == Nulls::Skip { ", nulls=skip" } else { "" };
    format!(
        "{}(table={}@{}, keys=[{}], availability={:?}, upper={:?}{ttl}{valid_to}{nulls}, features={})",
        view.alias,
        view.snapshot.name,
        view.snapshot.version,
        keys.join(", "),
        view.availability,
        view.upper,
        view.features.len(),
    )
}

/// Makes [`PointInTimeExec`] of [`PointInTime`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Planner;

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _planning: &PhysicalPlanningContext,
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [spine]) = (node.as_any().downcast_ref::<PointInTime>(), physical_inputs) else {
            return Ok(None);
        };
        let spine = match (logical_inputs, session.as_any().downcast_ref::<SessionState>()) {
            ([spine], Some(state)) => planner.create_physical_plan(spine, &in_order(state)).await?,
            _ => spine.clone(),
        };
        Ok(Some(Arc::new(PointInTimeExec::try_new(spine, node.spec.clone())?)))
    }
}

/// A session whose plans keep the order of their input: one partition, nothing dealt out.
///
/// A training set's rows come in the spine's order, the same every time; several threads give theirs in any order.
pub(crate) fn in_order(state: &SessionState) -> SessionState {
    let config = state.config().clone().with_target_partitions(1).with_round_robin_repartition(false);
    // The new state shares the catalogs of the old one: making the default ones anew would empty them.
    let config = config.with_create_default_catalog_and_schema(false);
    SessionStateBuilder::new_from_existing(state.clone()).with_config(config).build()
}

/// A session whose plans deal nothing out to other threads: the join has threads of its own, and what stands on top of it keeps
/// its order.
pub(crate) fn undealt(state: &SessionState) -> SessionState {
    let config = state.config().clone().with_round_robin_repartition(false);
    let config = config.with_create_default_catalog_and_schema(false);
    SessionStateBuilder::new_from_existing(state.clone()).with_config(config).build()
}

/// A query planner for sessions that run point-in-time joins: DataFusion's own with [`Planner`].
#[must_use]
pub fn query_planner() -> Arc<dyn QueryPlanner + Send + Sync> {
    Arc::new(WithPointInTime)
}

#[derive(Debug)]
struct WithPointInTime;

#[async_trait]
impl QueryPlanner for WithPointInTime {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Planner)]);
        planner.create_physical_plan(plan, session).await
    }
}
