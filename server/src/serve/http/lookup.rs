//! `POST /v1/projects/{project}/lookup`.
//!
//! ```text
//! {"service": "late_arrival", "keys": {"origin": ["JFK", "EWR"]}, "include_times": true}
//! {"features": ["origin_weather:temp"], "keys": {"origin": ["JFK"]}}
//! {"service": "fares", "keys": {"user": [7]}, "request": {"amount": [12.5]}}
//! {"service": "fares", "keys": {"user": [7]}, "as_of": "2026-03-01T12:00:00Z"}
//! ```
//!
//! The answer is columnar, as in gRPC: one object for each feature, with one value and one status for each row.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use arrow::datatypes::DataType;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tidegate_proto::online::v1::Status as WireStatus;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;

use super::{BodyLimit, json};
use crate::base64;
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
    keys: Columns,
    /// One array for each request column of the service's computed features, as long as the keys.
    #[serde(default)]
    request: Columns,
    /// Name outputs `view__feature`.
    #[serde(default)]
    full_names: bool,
    /// Add `views`: event times and ages.
    #[serde(default)]
    include_times: bool,
    /// Return the values of expired observations; their status stays EXPIRED.
    #[serde(default)]
    return_expired: bool,
    /// Answer as of this time (RFC 3339) from the history of the offline tier instead of what is served: for debugging an old
    /// prediction. Slow.
    #[schemars(with = "Option<String>")]
    as_of: Option<DateTime<Utc>>,
    /// Milliseconds that the caller waits for the answer.
    timeout_ms: Option<u64>,
    /// When that time is nearly over, answer with what was read by then, and FAILED for the rest.
    #[serde(default)]
    allow_partial: bool,
    /// The token of a write: the answer sees at least that write.
    after_write: Option<String>,
}

/// Columns by name.
#[derive(Debug, Default, JsonSchema)]
#[schemars(transparent)]
struct Columns(BTreeMap<String, Vec<Value>>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

/// Refuses a name that comes twice: which of the two was meant is not known.
struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = Columns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of arrays")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Columns, A::Error> {
        let mut columns = BTreeMap::new();
        while let Some((name, values)) = map.next_entry::<String, Vec<Value>>()? {
            if columns.insert(name.clone(), values).is_some() {
                return Err(serde::de::Error::custom(format!("column `{name}` is given twice; give each once")));
            }
        }
        Ok(Columns(columns))
    }
}

pub(super) async fn lookup(
    State(service): State<Arc<Tidegate>>,
    Extension(caller): Extension<Principal>,
    Extension(turns): Extension<Arc<Turns>>,
    Extension(BodyLimit(most)): Extension<BodyLimit>,
    project: std::result::Result<Path<String>, PathRejection>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> std::result::Result<Json<ReplyBody>, HttpError> {
    let answer = async {
        let Path(project) = project.map_err(|error| Error::invalid(error.body_text()))?;
        let body = body.map_err(|rejection| unreadable(&rejection, most))?;
        let (mut request, as_of) = request(project, &body)?;
        let reply = match as_of {
            Some(as_of) => service.lookup_as_of(&caller, &request, as_of).await?,
            None => {
                let turn = turns.wait(&service, request.patience).await?;
                request.patience = turn.left(request.patience);
                service.lookup(&caller, &request)?
            }
        };
        Ok(Json(reply_body(&reply)))
    };
    Ok(metered(&service, "http", "lookup", answer).await?)
}

fn unreadable(rejection: &BytesRejection, most: usize) -> Error {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::invalid(format!(
            "the body is larger than {most} bytes; send fewer entity rows at once, or raise `http.max_body_bytes`"
        )),
        _ => Error::invalid(format!("the body can't be read: {}", rejection.body_text())),
    }
}

/// A body's lookup, and the time it is to be as of.
fn request(project: String, body: &[u8]) -> Result<(LookupRequest, Option<Micros>)> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| Error::invalid(format!("the body is not a lookup: {error}")))?;
    let selection = match (body.service, body.features) {
        (Some(service), None) => Selection::Service(service),
        (None, Some(features)) => Selection::Features(features),
        _ => return Err(Error::invalid("name either a `service` or a list of `features`")),
    };
    let request = body.request.0.into_iter().map(|(name, values)| Ok((request_column(&name, &values)?, name)));
    let keys = body.keys.0.into_iter().map(|(name, values)| Ok((key_column(&name, values)?, name)));
    let keys = keys.map(|key| key.map(|(column, name)| (name, column))).collect::<Result<_>>()?;
    let as_of = body.as_of.map(|as_of| as_of.timestamp_micros());
    let lookup = LookupRequest {
        full_names: body.full_names,
        include_times: body.include_times,
        return_expired: body.return_expired,
        request: request.map(|given| given.map(|(column, name)| (name, column))).collect::<Result<_>>()?,
        patience: body.timeout_ms.map(Duration::from_millis),
        allow_partial: body.allow_partial,
        after_write: body.after_write,
        ..LookupRequest::new(project, selection, keys)
    };
    Ok((lookup, as_of))
}

/// A key's values as a column: integers (timestamps in microseconds and dates in days too), strings, bools, or bytes as
/// `{"base64": "…"}`; all of one kind.
fn key_column(name: &str, values: Vec<Value>) -> Result<ArrayRef> {
    if let Some(row) = values.iter().position(Value::is_null) {
        return Err(Error::invalid(format!("key `{name}` is null in row {row}; leave such rows out")));
    }
    let first = values.first();
    let column: ArrayRef = match first {
        None => new_null_array(&DataType::Null, 0),
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
    /// The time the answer is as of, where that was asked for: it comes from the offline tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Value>,
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
    let LookupReply { answer, catalog_version, as_of, .. } = reply;
    ReplyBody {
        rows: answer.rows,
        catalog_version: *catalog_version,
        as_of: as_of.map(json::timestamp),
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
