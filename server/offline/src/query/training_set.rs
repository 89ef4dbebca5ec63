//! The table function `training_set('service', 'SELECT …' [, full_names])`.
//!
//! Planning a statement is synchronous and resolving a training set is not. So a call that is met for the first time is
//! written down and fails the planning; the caller resolves it and plans again.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;

/// The function's name.
pub(super) const NAME: &str = "training_set";

/// How it is called, for messages.
const USAGE: &str = "call it as training_set('service', 'SELECT …') or training_set('service', 'SELECT …', true) for full \
                     names, with literal arguments";

/// One call's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Arguments {
    pub(super) service: String,
    pub(super) spine: String,
    pub(super) full_names: bool,
}

/// The calls known so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    resolved: Mutex<HashMap<Arguments, LogicalPlan>>,
    /// The calls a planning has met that are not resolved yet.
    met: Mutex<Vec<Arguments>>,
}

impl Calls {
    pub(super) fn take_met(&self) -> Vec<Arguments> {
        std::mem::take(&mut self.met.lock())
    }

    pub(super) fn resolve(&self, call: Arguments, plan: LogicalPlan) {
        self.resolved.lock().insert(call, plan);
    }
}

/// The function as a planner sees it.
#[derive(Debug)]
pub(super) struct TrainingSetFunction {
    pub(super) calls: Arc<Calls>,
}

impl TableFunctionImpl for TrainingSetFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let call = arguments(args.exprs())?;
        let known = self.calls.resolved.lock().get(&call).cloned();
        if let Some(plan) = known {
            return Ok(Arc::new(ViewTable::new(plan, None)));
        }
        let mut met = self.calls.met.lock();
        if !met.contains(&call) {
            met.push(call);
        }
        Err(DataFusionError::Plan(format!("{NAME} is not resolved yet")))
    }
}

fn arguments(exprs: &[Expr]) -> Result<Arguments> {
    let (service, spine, full_names) = match exprs {
        [service, spine] => (text(service), text(spine), Some(false)),
        [service, spine, full_names] => (text(service), text(spine), flag(full_names)),
        _ => (None, None, None),
    };
    match (service, spine, full_names) {
        (Some(service), Some(spine), Some(full_names)) => Ok(Arguments { service, spine, full_names }),
        _ => plan_err!("{NAME} has other arguments than expected; {USAGE}"),
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(value) | ScalarValue::Utf8View(value) | ScalarValue::LargeUtf8(value), _) => {
            value.clone()
        }
        _ => None,
    }
}

fn flag(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value,
        _ => None,
    }
}
