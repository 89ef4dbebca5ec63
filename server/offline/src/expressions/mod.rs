//! Request-time features: SQL expressions over the features of one row and what its request brings.
//!
//! Lookups and training sets run the same compiled [`Expressions`], so both tiers agree by construction: a lookup calls
//! [`Expressions::evaluate`] on its reply, a training set has it as a function in its plan ([`plan`]). An expression sees one row
//! and nothing else: no table, no clock, no chance. A row in which it fails is that row's own affair.

mod functions;
mod node;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, concat};
use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr};
use tidegate_schemas::definition::{ComputedFeature, OnError};
use tidegate_schemas::types::DataType;

pub(crate) use functions::{NAMES, functions};
pub use node::plan;

use crate::error::{Error, Result};
use crate::query::{complexity, refusal};
use crate::runtime::Runtime;

/// What earlier computed features are found under in the expressions of later ones.
const COMPUTED: &str = "computed";

/// A column that expressions may use.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it is found under: a view's alias, or `request`.
    pub scope: String,
    /// Its name there.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

/// The computed features of a service, compiled for columns in a fixed order.
pub struct Expressions {
    schema: SchemaRef,
    inputs: usize,
    parts: Vec<Part>,
}

struct Part {
    feature: ComputedFeature,
    expression: Arc<dyn PhysicalExpr>,
    /// What it sees: the inputs and the features before it.
    schema: SchemaRef,
}

/// A computed column.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// A slot for each row, of the feature's type; null where the expression gave null or failed.
    pub values: ArrayRef,
    /// Rows in which the expression failed and the feature says that this is a failure; `None` where there is none.
    pub failed: Option<BooleanArray>,
}

impl std::fmt::Debug for Expressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|part| &part.feature)).finish()
    }
}

impl Expressions {
    /// Compiles the computed features of a service, in order.
    ///
    /// # Errors
    /// An expression that is no SQL, names what is not there, uses more than one row or what changes between two runs, or
    /// gives another type than the feature has: named with the feature.
    pub fn compile(runtime: &Runtime, inputs: &[Input], computed: &[ComputedFeature]) -> Result<Self> {
        let state = runtime.session().state();
        let mut fields: Vec<(String, Arc<Field>)> = Vec::new();
        for input in inputs {
            fields.push((input.scope.clone(), Arc::new(Field::new(&input.name, input.data_type.to_arrow(), true))));
        }
        let mut parts = Vec::with_capacity(computed.len());
        for feature in computed {
            let named = |why: String| Error::Expression { feature: feature.name.clone(), why };
            let scope = scope(&fields).map_err(|error| named(told(&error)))?;
            let expression = compile(&state, &scope, feature).map_err(named)?;
            parts.push(Part { feature: feature.clone(), expression, schema: scope.as_arrow().clone().into() });
            fields.push((COMPUTED.to_owned(), Arc::new(Field::new(&feature.name, feature.data_type.to_arrow(), true))));
        }
        let schema = Arc::new(Schema::new(fields.into_iter().map(|(_, field)| field).collect::<Vec<_>>()));
        Ok(Self { schema, inputs: inputs.len(), parts })
    }

    /// The computed features.
    pub fn features(&self) -> impl ExactSizeIterator<Item = &ComputedFeature> {
        self.parts.iter().map(|part| &part.feature)
    }

    /// The fields of the computed columns.
    #[must_use]
    pub(crate) fn fields(&self) -> Vec<Arc<Field>> {
        self.schema.fields()[self.inputs..].to_vec()
    }

    /// The types of the inputs, in order.
    pub(crate) fn input_types(&self) -> Vec<Arrow> {
        self.schema.fields()[..self.inputs].iter().map(|field| field.data_type().clone()).collect()
    }

    /// Computes every feature for rows whose inputs are these, in the order they were compiled for.
    ///
    /// # Errors
    /// Inputs of other types or lengths; what a row makes fail is in the result.
    pub fn evaluate(&self, inputs: &[ArrayRef], rows: usize) -> Result<Vec<Evaluated>> {
        let mut columns = inputs.to_vec();
        let mut evaluated = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(part.schema.clone(), columns.clone(), &options)?;
            let one = part.evaluate(&batch)?;
            columns.push(one.values.clone());
            evaluated.push(one);
        }
        Ok(evaluated)
    }
}

impl Part {
    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        if batch.num_rows() == 0 {
            return Ok(Evaluated { values: new_null_array(&self.feature.data_type.to_arrow(), 0), failed: None });
        }
        match self.values(batch) {
            Ok(values) => Ok(Evaluated { values, failed: None }),
            Err(_) => self.row_by_row(batch),
        }
    }

    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        self.expression.evaluate(batch)?.into_array(batch.num_rows())
    }

    /// Some row makes the expression fail: which, and what the others give.
    fn row_by_row(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let null = new_null_array(&self.feature.data_type.to_arrow(), 1);
        let rows: Vec<Option<ArrayRef>> =
            (0..batch.num_rows()).map(|row| self.values(&batch.slice(row, 1)).ok()).collect();
        let values: Vec<&dyn Array> = rows.iter().map(|row| row.as_ref().unwrap_or(&null).as_ref()).collect();
        let failed = (self.feature.on_error == OnError::Failed)
            .then(|| rows.iter().map(|row| Some(row.is_none())).collect::<BooleanArray>());
        Ok(Evaluated { values: concat(&values)?, failed })
    }
}

fn scope(fields: &[(String, Arc<Field>)]) -> Result<DFSchema, DataFusionError> {
    let qualified = |(scope, field): &(String, Arc<Field>)| (Some(TableReference::bare(scope.as_str())), field.clone());
    DFSchema::new_with_metadata(fields.iter().map(qualified).collect(), HashMap::new())
}

/// A feature's expression, giving values of the feature's type.
fn compile(state: &SessionState, scope: &DFSchema, feature: &ComputedFeature) -> Result<Arc<dyn PhysicalExpr>, String> {
    complexity::check(&format!("SELECT {}", feature.expression)).map_err(|error| error.to_string())?;
    let expr = state.create_logical_expr(&feature.expression, scope).map_err(|error| told(&error))?.unalias();
    if let Some(what) = refused(&expr).map_err(|error| told(&error))? {
        return Err(what);
    }
    let expression = state.create_physical_expr(expr, scope).and_then(checked).map_err(|error| told(&error))?;
    let found = expression.data_type(scope.as_arrow()).map_err(|error| told(&error))?;
    let wanted = feature.data_type.to_arrow();
    if found == wanted {
        return Ok(expression);
    }
    if !widens(&found, &feature.data_type) {
        let given = DataType::from_arrow(&found).map_or_else(|| found.to_string(), |found| found.to_string());
        let of = &feature.data_type;
        return Err(format!("the expression gives {given} and the feature is {of}; change its type, or cast"));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    Ok(Arc::new(CastExpr::new(expression, wanted, Some(strict))))
}

/// The same with arithmetic that fails where the result does not fit its type, instead of wrapping around.
fn checked(expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let check = |part: Arc<dyn PhysicalExpr>| {
        Ok(match part.downcast_ref::<BinaryExpr>() {
            Some(binary) => Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as _),
            None => Transformed::no(part),
        })
    };
    Ok(expression.transform_up(check)?.data)
}

/// What an expression must not be or hold, as a sentence.
fn refused(expr: &Expr) -> Result<Option<String>, DataFusionError> {
    let mut found = None;
    expr.apply(|part| {
        found = refusal(part).map(|what| format!("{what} is not allowed")).or_else(|| more_than_a_row(part));
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn more_than_a_row(expr: &Expr) -> Option<String> {
    let what = match expr {
        Expr::AggregateFunction(call) => format!("the aggregate function `{}`", call.func.name()),
        Expr::WindowFunction(call) => format!("the window function `{}`", call.fun.name()),
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
            "a subquery".to_owned()
        }
        Expr::Placeholder(_) => "a parameter".to_owned(),
        Expr::Unnest(_) => "`unnest`".to_owned(),
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            return Some(format!(
                "`{}` gives one value in training and another when served; bring what it stands for as a request column",
                call.name()
            ));
        }
        _ => return None,
    };
    Some(format!("{what} sees more than one row; an expression is about the features of one"))
}

/// Whether every value of `found` is one of the feature's type, or makes the row fail.
fn widens(found: &Arrow, wanted: &DataType) -> bool {
    let float = matches!(wanted, DataType::Float32 | DataType::Float64);
    match found {
        Arrow::Null => true,
        found if found.is_integer() => float || matches!(wanted, DataType::Int32 | DataType::Int64),
        Arrow::Float16 | Arrow::Float32 | Arrow::Float64 => float,
        Arrow::Decimal128(..) => float || matches!(wanted, DataType::Decimal(..)),
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View => matches!(wanted, DataType::String | DataType::Json),
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => *wanted == DataType::Bytes,
        Arrow::Timestamp(..) => *wanted == DataType::Timestamp,
        Arrow::Date32 | Arrow::Date64 => *wanted == DataType::Date,
        Arrow::List(item) | Arrow::LargeList(item) | Arrow::FixedSizeList(item, _) => match wanted {
            DataType::List(of) => widens(item.data_type(), of),
            DataType::Vector(_) => item.data_type().is_floating(),
            _ => false,
        },
        _ => false,
    }
}

/// What went wrong, on one line.
fn told(error: &DataFusionError) -> String {
    error.strip_backtrace().lines().collect::<Vec<_>>().join(" ")
}
