//! Which columns each column of a query's result is computed from.
//!
//! The plan is walked from its scans upwards; each node says of each of its columns which columns read it comes from. What
//! only decides which rows there are, as a filter, the keys of a join or of a group do, is kept apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan, Projection, Subquery, TableScan};

use crate::error::{Error, Result};
use crate::query::Namespace;

/// A column of a source or of a feature view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whether it is a source's or a view's.
    pub namespace: Namespace,
    /// The source or view.
    pub name: String,
    /// The column, or the view's key, time or feature.
    pub column: String,
}

/// Where one column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnLineage {
    /// The column of the result.
    pub column: String,
    /// What its values are computed from; none for a constant or a count of rows.
    pub from: BTreeSet<Origin>,
}

/// Where a query's result comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The columns in order.
    pub columns: Vec<ColumnLineage>,
    /// What decides which rows there are.
    pub rows: BTreeSet<Origin>,
}

type Origins = BTreeSet<Origin>;

pub(super) fn of(plan: &LogicalPlan) -> Result<Lineage> {
    let mut walk = Walk::default();
    let found = walk.node(plan)?;
    let names = plan.schema().fields().iter().map(|field| field.name().clone());
    let columns = names.zip(found).map(|(column, from)| ColumnLineage { column, from }).collect();
    Ok(Lineage { columns, rows: walk.rows })
}

#[derive(Default)]
struct Walk {
    rows: Origins,
    /// Limits that what is looked at stands under: an order then decides which rows there are.
    limits: usize,
    /// What the subqueries that are looked at may refer to, innermost last.
    outer: Vec<(DFSchemaRef, Vec<Origins>)>,
}

impl Walk {
    /// The origins of a node's columns, in order.
    fn node(&mut self, plan: &LogicalPlan) -> Result<Vec<Origins>> {
        Ok(match plan {
            LogicalPlan::TableScan(scan) => scanned(scan),
            LogicalPlan::Projection(projection) => match view(projection) {
                Some(shown) => shown,
                None => self.computed(&projection.expr, &projection.input)?,
            },
            LogicalPlan::Filter(filter) => {
                let input = self.node(&filter.input)?;
                self.decides([&filter.predicate], filter.input.schema(), &input)?;
                input
            }
            LogicalPlan::Sort(sort) => {
                let input = self.node(&sort.input)?;
                if self.limits > 0 {
                    self.decides(sort.expr.iter().map(|by| &by.expr), sort.input.schema(), &input)?;
                }
                input
            }
            LogicalPlan::Limit(limit) => {
                self.limits += 1;
                let input = self.node(&limit.input);
                self.limits -= 1;
                input?
            }
            LogicalPlan::Window(window) => {
                let mut input = self.node(&window.input)?;
                let computed = self.exprs(&window.window_expr, window.input.schema(), &input)?;
                input.extend(computed);
                input
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate)?,
            LogicalPlan::Join(join) => self.join(join)?,
            LogicalPlan::Union(union) => self.union(&union.inputs)?,
            LogicalPlan::Distinct(Distinct::On(on)) => {
                let input = self.node(&on.input)?;
                self.decides(&on.on_expr, on.input.schema(), &input)?;
                self.exprs(&on.select_expr, on.input.schema(), &input)?
            }
            LogicalPlan::Unnest(unnest) => {
                let input = self.node(&unnest.input)?;
                let of = |at: &usize| input.get(*at).cloned().unwrap_or_default();
                unnest.dependency_indices.iter().map(of).collect()
            }
            LogicalPlan::Distinct(Distinct::All(input)) => self.node(input)?,
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input)?,
            LogicalPlan::Subquery(subquery) => self.node(&subquery.subquery)?,
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                vec![Origins::new(); plan.schema().fields().len()]
            }
            other => {
                let what = format!("no lineage of {}", other.display());
                return Err(Error::Internal(what));
            }
        })
    }

    fn computed(&mut self, exprs: &[Expr], input: &Arc<LogicalPlan>) -> Result<Vec<Origins>> {
        let origins = self.node(input)?;
        self.exprs(exprs, input.schema(), &origins)
    }

    fn exprs<'a>(
        &mut self,
        exprs: impl IntoIterator<Item = &'a Expr>,
        schema: &DFSchemaRef,
        input: &[Origins],
    ) -> Result<Vec<Origins>> {
        exprs.into_iter().map(|expr| self.expr(expr, schema, input)).collect()
    }

    /// Notes expressions that decide which rows there are.
    fn decides<'a>(
        &mut self,
        exprs: impl IntoIterator<Item = &'a Expr>,
        schema: &DFSchemaRef,
        input: &[Origins],
    ) -> Result<()> {
        let found = self.exprs(exprs, schema, input)?;
        self.rows.extend(found.into_iter().flatten());
        Ok(())
    }

    fn expr(&mut self, expr: &Expr, schema: &DFSchemaRef, input: &[Origins]) -> Result<Origins> {
        let (mut found, mut failed) = (Origins::new(), None);
        expr.apply(|part| {
            let origins = match part {
                Expr::Column(column) => find(column, schema, input),
                Expr::OuterReferenceColumn(_, column) => Ok(self.outer_column(column)),
                Expr::ScalarSubquery(subquery) => self.subquery(subquery, schema, input),
                Expr::InSubquery(within) => self.subquery(&within.subquery, schema, input),
                Expr::Exists(exists) => self.subquery(&exists.subquery, schema, input),
                Expr::SetComparison(compared) => self.subquery(&compared.subquery, schema, input),
                _ => Ok(Origins::new()),
            };
            match origins {
                Ok(origins) => {
                    found.extend(origins);
                    Ok(TreeNodeRecursion::Continue)
                }
                Err(error) => {
                    failed = Some(error);
                    Ok(TreeNodeRecursion::Stop)
                }
            }
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// All that a subquery's value may come from, the conditions in it included.
    fn subquery(&mut self, subquery: &Subquery, schema: &DFSchemaRef, input: &[Origins]) -> Result<Origins> {
        let rows = std::mem::take(&mut self.rows);
        self.outer.push((schema.clone(), input.to_vec()));
        let found = self.node(&subquery.subquery);
        self.outer.pop();
        let within = std::mem::replace(&mut self.rows, rows);
        Ok(found?.into_iter().flatten().chain(within).collect())
    }

    fn outer_column(&self, column: &Column) -> Origins {
        let of = |(schema, input): &(DFSchemaRef, Vec<Origins>)| find(column, schema, input).ok();
        self.outer.iter().rev().find_map(of).unwrap_or_default()
    }

    /// Groups first, the marker of grouping sets where there is one, then aggregates.
    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Vec<Origins>> {
        let (input, schema) = (self.node(&aggregate.input)?, aggregate.input.schema());
        let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
        let mut found = self.exprs(groups, schema, &input)?;
        self.rows.extend(found.iter().flatten().cloned());
        let before_aggregates = aggregate.schema.fields().len().saturating_sub(aggregate.aggr_expr.len());
        found.resize(before_aggregates, Origins::new());
        found.extend(self.exprs(&aggregate.aggr_expr, schema, &input)?);
        Ok(found)
    }

    fn join(&mut self, join: &Join) -> Result<Vec<Origins>> {
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        let mut conditions = Origins::new();
        for (a, b) in &join.on {
            conditions.extend(self.expr(a, join.left.schema(), &left)?);
            conditions.extend(self.expr(b, join.right.schema(), &right)?);
        }
        if let Some(filter) = &join.filter {
            let both: DFSchema = join.left.schema().join(join.right.schema())?;
            let origins: Vec<Origins> = left.iter().chain(&right).cloned().collect();
            conditions.extend(self.expr(filter, &Arc::new(both), &origins)?);
        }
        self.rows.extend(conditions.iter().cloned());
        Ok(match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => [left, right].concat(),
            JoinType::LeftSemi | JoinType::LeftAnti => left,
            JoinType::RightSemi | JoinType::RightAnti => right,
            JoinType::LeftMark => [left, vec![conditions]].concat(),
            JoinType::RightMark => [right, vec![conditions]].concat(),
        })
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>]) -> Result<Vec<Origins>> {
        let mut all: Vec<Origins> = Vec::new();
        for input in inputs {
            let found = self.node(input)?;
            all.resize(all.len().max(found.len()), Origins::new());
            all.iter_mut().zip(found).for_each(|(so_far, more)| so_far.extend(more));
        }
        Ok(all)
    }
}

fn find(column: &Column, schema: &DFSchema, input: &[Origins]) -> Result<Origins> {
    let at = schema.index_of_column(column)?;
    Ok(input.get(at).cloned().unwrap_or_default())
}

/// A source's columns; one that is named without its schema is a source, for views come as projections.
fn scanned(scan: &TableScan) -> Vec<Origins> {
    let name = scan.table_name.table();
    let origin = |column: &str| origin(Namespace::Sources, name, column);
    scan.projected_schema.fields().iter().map(|field| origin(field.name())).collect()
}

/// What a view shows, when a projection is its own: nothing else stands right on a scan that is named as a view.
fn view(projection: &Projection) -> Option<Vec<Origins>> {
    let LogicalPlan::TableScan(scan) = projection.input.as_ref() else { return None };
    let is_view = scan.table_name.schema() == Some(Namespace::Views.as_str());
    let origin = |column: &str| origin(Namespace::Views, scan.table_name.table(), column);
    is_view.then(|| projection.schema.fields().iter().map(|field| origin(field.name())).collect())
}

fn origin(namespace: Namespace, name: &str, column: &str) -> Origins {
    Origins::from([Origin { namespace, name: name.to_owned(), column: column.to_owned() }])
}
