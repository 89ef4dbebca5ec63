//! What may pass: an allow-list of statements, plan nodes, tables and functions.
//!
//! A statement is looked at twice: as parsed, so that nothing but a query is ever planned, and as planned, so that nothing hides
//! in a subquery, a common table expression or an argument. What is not named here is refused.

use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::functions;
use crate::error::{Error, Result};

/// The schema in which DataFusion lists tables and columns.
const INFORMATION_SCHEMA: &str = "information_schema";

/// What of it may be read: not the server's settings.
const INFORMATION_TABLES: &[&str] = &["tables", "columns", "schemata", "views", "routines", "parameters"];

/// Operators of our own that may appear in plans.
const OWN_OPERATORS: &[&str] = &["PointInTime"];

/// Parses one statement and allows it if it is a query, or asks about tables or about a query.
pub(super) fn parse(query: &str) -> Result<Statement> {
    let mut statements = DFParser::parse_sql(query).map_err(|error| Error::Sql(told(&error)))?;
    match (statements.pop_front(), statements.pop_front()) {
        (Some(statement), None) => {
            allow_statement(&statement)?;
            Ok(statement)
        }
        (None, _) => Err(Error::Sql("the query is empty".to_owned())),
        (Some(_), Some(_)) => Err(Error::Refused { what: "more than one statement".to_owned() }),
    }
}

/// What went wrong, without the name of the engine's stage before it.
pub(super) fn told(error: &datafusion::error::DataFusionError) -> String {
    error.strip_backtrace()
}

fn allow_statement(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(sql) => match sql.as_ref() {
            Sql::Query(_) | Sql::ShowTables { .. } | Sql::ShowColumns { .. } | Sql::ExplainTable { .. } => Ok(()),
            Sql::Explain { statement, .. } => match statement.as_ref() {
                Sql::Query(_) => Ok(()),
                other => refuse(verb(&other.to_string())),
            },
            other => refuse(verb(&other.to_string())),
        },
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Statement(sql) if matches!(sql.as_ref(), Sql::Query(_)) => Ok(()),
            other => refuse(verb(&other.to_string())),
        },
        Statement::CreateExternalTable(_) => refuse("CREATE EXTERNAL TABLE".to_owned()),
        Statement::CopyTo(_) => refuse("COPY".to_owned()),
        Statement::Reset(_) => refuse("RESET".to_owned()),
    }
}

/// The first words of a statement: what it is, without what it says.
fn verb(statement: &str) -> String {
    statement.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Refused { what })
}

/// Walks a plan with its subqueries and expressions.
pub(super) fn allow_plan(plan: &LogicalPlan, project: &str) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        refused = node_refusal(node, project);
        if refused.is_none() {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    refused = functions::refusal(expr);
                    Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })?;
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    refused.map_or(Ok(()), refuse)
}

fn node_refusal(node: &LogicalPlan, project: &str) -> Option<String> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_) => None,
        LogicalPlan::TableScan(scan) => table_refusal(&scan.table_name, project),
        LogicalPlan::Extension(extension) if OWN_OPERATORS.contains(&extension.node.name()) => None,
        LogicalPlan::Extension(extension) => Some(format!("the operator `{}`", extension.node.name())),
        LogicalPlan::RecursiveQuery(_) => Some("WITH RECURSIVE".to_owned()),
        LogicalPlan::Repartition(_) => Some("a repartition".to_owned()),
        LogicalPlan::Statement(statement) => Some(statement.name().to_owned()),
        LogicalPlan::Dml(dml) => Some(dml.name().to_owned()),
        LogicalPlan::Ddl(ddl) => Some(ddl.name().to_owned()),
        LogicalPlan::Copy(_) => Some("COPY".to_owned()),
    }
}

/// A table of another project or of the server. Names that exist nowhere have failed before.
fn table_refusal(table: &TableReference, project: &str) -> Option<String> {
    let foreign = table.catalog().is_some_and(|catalog| catalog != project);
    let settings = table.schema() == Some(INFORMATION_SCHEMA) && !INFORMATION_TABLES.contains(&table.table());
    (foreign || settings).then(|| format!("the table `{table}`"))
}
