//! What a query of a source must not do: give other rows when it is asked again.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

/// The schema in which DataFusion lists tables and columns.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Aggregates that depend on the order of rows.
const ORDERED_AGGREGATES: &[&str] = &["array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// Functions of a window that depend on the order of rows.
const ORDERED_WINDOWS: &[&str] =
    &["first_value", "lag", "last_value", "lead", "nth_value", "ntile", "row_number", "array_agg", "string_agg"];

/// Why a plan would give other rows each time, if it would.
pub(super) fn refusal(plan: &LogicalPlan) -> Result<Option<String>, DataFusionError> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        refused = node_refusal(node);
        if refused.is_none() {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    refused = expr_refusal(expr);
                    Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                })
            })?;
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(refused)
}

fn node_refusal(node: &LogicalPlan) -> Option<String> {
    match node {
        LogicalPlan::Limit(limit) if !is_sorted(&limit.input) => {
            Some("LIMIT without ORDER BY gives other rows each time; order the rows, or leave the limit out".to_owned())
        }
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::On(on)) if on.sort_expr.is_none() => {
            Some("DISTINCT ON without ORDER BY gives other rows each time; order the rows".to_owned())
        }
        LogicalPlan::TableScan(scan) if scan.table_name.schema() == Some(INFORMATION_SCHEMA) => {
            Some(format!("a query of a source can't read `{}`", scan.table_name))
        }
        _ => None,
    }
}

/// Whether the rows come in an order; what is computed from single rows keeps it.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

fn expr_refusal(expr: &Expr) -> Option<String> {
    let unordered = |name: &str| {
        Some(format!("`{name}` without ORDER BY gives another value each time; say in which order it takes the rows"))
    };
    match expr {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => Some(format!(
            "`{}` gives another value each time, and rows that are computed again must come out the same; use a column",
            call.name()
        )),
        Expr::AggregateFunction(call) if call.func.name() == "any_value" => {
            Some("`any_value` gives another value each time; use `min` or `max`".to_owned())
        }
        Expr::AggregateFunction(call)
            if ORDERED_AGGREGATES.contains(&call.func.name()) && call.params.order_by.is_empty() =>
        {
            unordered(call.func.name())
        }
        Expr::WindowFunction(call) if ORDERED_WINDOWS.contains(&call.fun.name()) && call.params.order_by.is_empty() => {
            unordered(call.fun.name())
        }
        _ => None,
    }
}
