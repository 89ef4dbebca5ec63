//! Request-time features of a selection: compiled for a plan, and checked when definitions are planned.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use tidegate_offline::expressions::{Evaluated, Expressions, Input};
use tidegate_offline::runtime::Runtime;
use tidegate_online::{FeatureReply, Packed, Reply, Status, Texts, Values};
use tidegate_schemas::catalog::{Catalog, Resolved, Selection};
use tidegate_schemas::definition::{Column, ComputedFeature};
use tidegate_schemas::file::Definitions;
use tidegate_schemas::problem::Problem;
use tidegate_schemas::types::DataType;

use crate::service::{Error, Result, keys};

/// What the columns of a request are found under in expressions.
const REQUEST: &str = "request";

/// The computed features of a selection, and the columns they are computed from.
#[derive(Debug, Clone)]
pub(in crate::service) struct Computed {
    pub(in crate::service) expressions: Arc<Expressions>,
    /// The name that each input's column has in a training set and in a reply: outputs of views first, then the request's
    /// columns.
    pub(in crate::service) inputs: Vec<String>,
}

impl Computed {
    /// Compiles them; `None` for a selection without any.
    ///
    /// # Errors
    /// An expression that can't be compiled, by the name of its feature.
    pub(in crate::service) fn of(plans: &Runtime, resolved: &Resolved) -> Result<Option<Self>> {
        if resolved.computed.is_empty() {
            return Ok(None);
        }
        let (mut inputs, mut names) = (Vec::new(), Vec::new());
        for view in &resolved.views {
            for taken in &view.features {
                let (scope, name) = (view.alias.clone(), taken.feature.name.clone());
                inputs.push(Input { scope, name, data_type: taken.feature.data_type.clone() });
                names.push(taken.output.clone());
            }
        }
        for column in &resolved.request {
            let (scope, name) = (REQUEST.to_owned(), column.name.clone());
            names.push(name.clone());
            inputs.push(Input { scope, name, data_type: column.data_type.clone() });
        }
        let expressions = Arc::new(Expressions::compile(plans, &inputs, &resolved.computed)?);
        Ok(Some(Self { expressions, inputs: names }))
    }
}

impl Computed {
    /// What a lookup's answer and request compute.
    ///
    /// # Errors
    /// A request column that is missing, extra, of another length or type: by name.
    pub(in crate::service) fn columns(
        &self,
        answer: &Reply,
        wanted: &[Column],
        given: &[(String, ArrayRef)],
    ) -> Result<Vec<ComputedColumn>> {
        if let Some((name, array)) = given.iter().find(|(_, array)| array.len() != answer.rows) {
            return Err(Error::invalid(format!(
                "request column `{name}` has {} values for {} entity rows; give one for each",
                array.len(),
                answer.rows
            )));
        }
        let features = answer.features().map(|feature| Ok(feature.present_to_arrow()?));
        let request = keys::request_columns(wanted, given)?.into_iter().map(Ok);
        let inputs = features.chain(request).collect::<Result<Vec<_>>>()?;
        let evaluated = self.expressions.evaluate(&inputs, answer.rows)?;
        let columns = self.expressions.features().zip(evaluated);
        Ok(columns.map(|(feature, one)| ComputedColumn::new(feature, &one)).collect())
    }
}

impl Computed {
    /// What there was no time to compute.
    pub(in crate::service) fn failed(&self, rows: usize) -> Vec<ComputedColumn> {
        let none = |feature: &ComputedFeature| {
            let values = new_null_array(&feature.data_type.to_arrow(), rows);
            let failed = Some(BooleanArray::from(vec![true; rows]));
            ComputedColumn::new(feature, &Evaluated { values, failed })
        };
        self.expressions.features().map(none).collect()
    }
}

/// Refuses columns that nothing is computed from.
pub(in crate::service) fn none(given: &[(String, ArrayRef)]) -> Result<Vec<ComputedColumn>> {
    match given.first() {
        None => Ok(Vec::new()),
        Some((name, _)) => {
            Err(Error::invalid(format!("request column `{name}` is not needed: none of these features is computed")))
        }
    }
}

/// A computed feature's column, laid out as replies are.
#[derive(Debug)]
pub(in crate::service) struct ComputedColumn {
    name: String,
    data_type: DataType,
    type_name: String,
    slots: Slots,
    held: Option<Vec<u8>>,
    statuses: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Slots {
    /// Little-endian values end to end, zero where there is none.
    Packed(Vec<u8>),
    Text(Vec<u8>, Vec<usize>),
    Arrow(ArrayRef),
}

impl ComputedColumn {
    fn new(feature: &ComputedFeature, evaluated: &Evaluated) -> Self {
        let Evaluated { values, failed } = evaluated;
        let status = |row: usize| match failed {
            Some(failed) if failed.value(row) => Status::Failed,
            _ if values.is_null(row) => Status::Null,
            _ => Status::Present,
        };
        let all = values.null_count() == 0;
        Self {
            name: feature.name.clone(),
            data_type: feature.data_type.clone(),
            type_name: feature.data_type.to_string(),
            slots: slots(&feature.data_type, values),
            held: (!all).then(|| (0..values.len()).map(|row| u8::from(values.is_valid(row))).collect()),
            statuses: (!all).then(|| (0..values.len()).map(|row| status(row) as u8).collect()),
        }
    }

    pub(in crate::service) fn feature(&self) -> FeatureReply<'_> {
        let values = match (&self.slots, &self.data_type) {
            (Slots::Arrow(values), _) => Values::Arrow(values),
            (Slots::Text(bytes, ends), DataType::Bytes) => Values::Bytes(Texts { bytes, ends }),
            (Slots::Text(bytes, ends), _) => Values::Strings(Texts { bytes, ends }),
            (Slots::Packed(bytes), DataType::Float64) => Values::Doubles(Packed::of(bytes)),
            (Slots::Packed(bytes), DataType::Float32) => Values::Floats(Packed::of(bytes)),
            (Slots::Packed(bytes), DataType::Int32 | DataType::Date) => Values::Int32s(Packed::of(bytes)),
            (Slots::Packed(bytes), DataType::Bool) => Values::Bools(bytes),
            (Slots::Packed(bytes), _) => Values::Int64s(Packed::of(bytes)),
        };
        FeatureReply {
            name: &self.name,
            data_type: &self.data_type,
            type_name: &self.type_name,
            values,
            held: self.held.as_deref(),
            statuses: self.statuses.as_deref(),
            reasons: None,
        }
    }
}

fn slots(data_type: &DataType, values: &ArrayRef) -> Slots {
    fn packed<T: ArrowPrimitiveType, const N: usize>(values: &ArrayRef, bytes: fn(T::Native) -> [u8; N]) -> Slots {
        let values = values.as_primitive::<T>().iter();
        Slots::Packed(values.flat_map(|value| bytes(value.unwrap_or_default())).collect())
    }
    fn text<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Slots {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for value in values {
            bytes.extend_from_slice(value.unwrap_or_default());
            ends.push(bytes.len());
        }
        Slots::Text(bytes, ends)
    }
    match data_type {
        DataType::Bool => {
            Slots::Packed(values.as_boolean().iter().map(|value| u8::from(value.unwrap_or_default())).collect())
        }
        DataType::Int32 => packed::<Int32Type, 4>(values, i32::to_le_bytes),
        DataType::Date => packed::<Date32Type, 4>(values, i32::to_le_bytes),
        DataType::Int64 => packed::<Int64Type, 8>(values, i64::to_le_bytes),
        DataType::Timestamp => packed::<TimestampMicrosecondType, 8>(values, i64::to_le_bytes),
        DataType::Float32 => packed::<Float32Type, 4>(values, f32::to_le_bytes),
        DataType::Float64 => packed::<Float64Type, 8>(values, f64::to_le_bytes),
        DataType::String | DataType::Json => {
            text(values.as_string::<i32>().iter().map(|value| value.map(str::as_bytes)))
        }
        DataType::Bytes => text(values.as_binary::<i32>().iter()),
        _ => Slots::Arrow(values.clone()),
    }
}

/// What is wrong with the expressions of a catalog's services, each where its service is defined.
pub(in crate::service) fn problems(plans: &Runtime, catalog: &Catalog, definitions: &Definitions) -> Vec<Problem> {
    let mut problems = Vec::new();
    for service in catalog.services.values().filter(|service| !service.computed.is_empty()) {
        // What can't be resolved was reported before.
        let Ok(resolved) = catalog.resolve(&Selection::Service(service.name.clone()), false) else { continue };
        if let Err(error) = Computed::of(plans, &resolved) {
            problems.push(definitions.service_problem(&service.name, &error.message));
        }
    }
    problems
}
