//! `POST /v1/projects/{project}/lookup`.
//!
//! ```text
//! {"service": "late_arrival", "keys": {"origin": ["JFK", "EWR"]}, "include_times": true}
//! {"features": ["origin_weather:temp"], "keys": {"origin": ["JFK"]}}
//! {"service": "fares", "keys": {"user": [7]}, "request": {"amount": [12.5]}}
//! ```
//!
//! The answer is columnar, as in gRPC: one object for each feature, with one value and one status for each row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use arrow::datatypes::DataType;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_proto::online::v1::Status as WireStatus;
use tidegate_schemas::catalog::Selection;

use super::{base64, json};
use crate::serve::error::HttpError;
use crate::serve::meter::metered;
use crate::serve::turn::Turns;
use crate::service::{Error, FeatureReply, LookupReply, LookupRequest, Principal, Result, Tidegate, ViewTimes};

/// What to look up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Lookup")]
pub(super) struct Body {
    /// A feature service; or give `features`.
    service: Option<String>,
    /// References: `view` for all of a view's features, or `view:feature`.
    features: Option<Vec<String>>,
    /// One array for each key, all of one length: integers, strings, booleans, or bytes as `{"base64": "…"}`.
    #[serde(default)]
    keys: BTreeMap<String, Vec<Value>>,
    /// One array for each request column of the service's computed features, as long as the keys.
    #[serde(default)]
    request: BTreeMap<String, Vec<Value>>,
    /// Name outputs `view__feature`.
    #[serde(default)]
    full_names: bool,
    /// Add `views`: event times and ages.
    #[serde(default)]
    include_times: bool,
    /// Return the values of expired observations; their status stays EXPIRED.
    #[serde(default)]
    return_expired: bool,
}

pub(super) async fn lookup(
    State(service): State<Arc<Tidegate>>,
    Extension(caller): Extension<Principal>,
    Extension(turns): Extension<Arc<Turns>>,
    project: std::result::Result<Path<String>, PathRejection>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> std::result::Result<Json<ReplyBody>, HttpError> {
    let answer = async {
        let Path(project) = project.map_err(|error| Error::invalid(error.body_text()))?;
        let body = body.map_err(|error| Error::invalid(format!("the body can't be read: {}", error.body_text())))?;
        let _turn = turns.wait(&service, None).await?;
        let reply = service.lookup(&caller, &request(project, &body)?)?;
        Ok(Json(reply_body(&reply)))
    };
    Ok(metered(&service, "http", "lookup", answer).await?)
}

fn request(project: String, body: &[u8]) -> Result<LookupRequest> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| Error::invalid(format!("the body is not a lookup: {error}")))?;
    let selection = match (body.service, body.features) {
        (Some(service), None) => Selection::Service(service),
        (None, Some(features)) => Selection::Features(features),
        _ => return Err(Error::invalid("name either a `service` or a list of `features`")),
    };
    let request = body.request.into_iter().map(|(name, values)| Ok((request_column(&name, &values)?, name)));
    let keys = body.keys.into_iter().map(|(name, values)| Ok((key_column(&name, values)?, name)));
    Ok(LookupRequest {
        project,
        selection,
        full_names: body.full_names,
        include_times: body.include_times,
        return_expired: body.return_expired,
        keys: keys.map(|key| key.map(|(column, name)| (name, column))).collect::<Result<_>>()?,
        request: request.map(|given| given.map(|(column, name)| (name, column))).collect::<Result<_>>()?,
    })
}

/// A key's values as a column: integers (timestamps in microseconds and dates in days too), strings, bools, or bytes as
/// `{"base64": "…"}`; all of one kind.
fn key_column(name: &str, values: Vec<Value>) -> Result<ArrayRef> {
    let first = values.first();
    let column: ArrayRef = match first {
        Some(Value::Number(_)) => Arc::new(Int64Array::from(all(name, &values, "integers of 64 bits", Value::as_i64)?)),
        Some(Value::Bool(_)) => Arc::new(BooleanArray::from(all(name, &values, "bools", Value::as_bool)?)),
        Some(Value::Object(_)) => {
            let bytes = all(name, &values, "bytes as {\"base64\": \"…\"}", |value| {
                base64::decode(value.get("base64")?.as_str()?)
            })?;
            Arc::new(BinaryArray::from_iter_values(bytes))
        }
        _ => Arc::new(StringArray::from_iter_values(all(name, &values, "strings", Value::as_str)?)),
    };
    Ok(column)
}

/// A request column: numbers, strings (times too, as RFC 3339), bools, bytes as `{"base64": "…"}`, with nulls where there is
/// nothing to say.
fn request_column(name: &str, values: &[Value]) -> Result<ArrayRef> {
    let first = values.iter().find(|value| !value.is_null());
    Ok(match first {
        None => new_null_array(&DataType::Null, values.len()),
        Some(Value::Number(_)) if values.iter().all(|value| value.is_null() || value.is_i64()) => {
            Arc::new(Int64Array::from(each(name, values, "integers", Value::as_i64)?))
        }
        Some(Value::Number(_)) => Arc::new(Float64Array::from(each(name, values, "numbers", Value::as_f64)?)),
        Some(Value::Bool(_)) => Arc::new(BooleanArray::from(each(name, values, "bools", Value::as_bool)?)),
        Some(Value::Object(_)) => {
            let bytes = |value: &Value| base64::decode(value.get("base64")?.as_str()?);
            Arc::new(BinaryArray::from_iter(each(name, values, "bytes as {\"base64\": \"…\"}", bytes)?))
        }
        Some(_) => Arc::new(StringArray::from(each(name, values, "strings", Value::as_str)?)),
    })
}

fn each<'a, T>(
    name: &str,
    values: &'a [Value],
    what: &str,
    convert: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<Option<T>>> {
    let each = values.iter().enumerate().map(|(row, value)| match value {
        Value::Null => Ok(None),
        value => convert(value).map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "request column `{name}`, row {row}: {value} is not among {what}; a column's values are all of one kind"
            ))
        }),
    });
    each.collect()
}

fn all<'a, T>(name: &str, values: &'a [Value], what: &str, convert: impl Fn(&'a Value) -> Option<T>) -> Result<Vec<T>> {
    let each = values.iter().enumerate().map(|(row, value)| {
        convert(value).ok_or_else(|| {
            Error::invalid(format!(
                "key `{name}`, row {row}: {value} is not among {what}; a key's values are all of one kind"
            ))
        })
    });
    each.collect()
}

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Answer")]
pub(super) struct ReplyBody {
    /// Entity rows answered.
    rows: usize,
    /// The version of the definitions it was resolved against.
    catalog_version: u64,
    /// One for each feature, in the order asked.
    features: Vec<FeatureBody>,
    /// One for each view used, where times were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    views: Vec<ViewBody>,
}

/// One feature's column.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Feature")]
struct FeatureBody {
    name: String,
    /// As in the definition, such as `float64`.
    #[serde(rename = "type")]
    data_type: String,
    /// One for each row; null where there is none. NaN and infinities are strings, timestamps RFC 3339, bytes base64.
    values: Vec<Value>,
    /// One for each row: PRESENT, NULL, NOT_FOUND, EXPIRED, DEFAULTED or FAILED.
    statuses: Vec<&'static str>,
    /// Where a status is DEFAULTED: what the default stands in for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<Option<&'static str>>>,
}

/// When a view's stored observations were.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ViewTimes")]
struct ViewBody {
    view: String,
    /// RFC 3339; null where there is no row.
    event_times: Vec<Value>,
    /// From the event to the server's now.
    age_seconds: Vec<Option<f64>>,
}

fn reply_body(reply: &LookupReply) -> ReplyBody {
    let LookupReply { answer, catalog_version, .. } = reply;
    ReplyBody {
        rows: answer.rows,
        catalog_version: *catalog_version,
        features: reply.features().map(|feature| feature_body(&feature, answer.rows)).collect(),
        views: answer.views.iter().map(view_body).collect(),
    }
}

fn feature_body(feature: &FeatureReply<'_>, rows: usize) -> FeatureBody {
    let reason = |reason: &u8| (*reason != WireStatus::Unspecified as u8).then(|| status_name(*reason));
    FeatureBody {
        values: json::column(feature),
        statuses: match feature.statuses {
            None => vec![status_name(WireStatus::Present as u8); rows],
            Some(statuses) => statuses.iter().map(|status| status_name(*status)).collect(),
        },
        reasons: feature.reasons.map(|reasons| reasons.iter().map(reason).collect()),
        name: feature.name.to_owned(),
        data_type: feature.type_name.to_owned(),
    }
}

/// A status as its protobuf name without the prefix.
fn status_name(status: u8) -> &'static str {
    let status = WireStatus::try_from(i32::from(status)).unwrap_or(WireStatus::Unspecified);
    status.as_str_name().trim_start_matches("STATUS_")
}

fn view_body(view: &ViewTimes) -> ViewBody {
    let event_time = |time: &i64| if *time == i64::MIN { Value::Null } else { json::timestamp(*time) };
    ViewBody {
        event_times: view.event_times.iter().map(event_time).collect(),
        age_seconds: view.ages.iter().map(|age| (*age >= 0).then_some(*age as f64 / 1e6)).collect(),
        view: view.view.clone(),
    }
}

#[cfg(test)]
mod tests;
