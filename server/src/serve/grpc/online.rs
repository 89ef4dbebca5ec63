//! Lookups over gRPC. Columns move from the message to Arrow and from the reply to the message; numbers are never copied one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use tidegate_proto::convert;
use tidegate_proto::online::v1::{self as wire, feature_column, key_column, online_service_server::OnlineService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{Error, FeatureReply, LookupReply, LookupRequest, Result, Tidegate, Values, ViewTimes};

/// The lookup door.
pub(super) struct OnlineDoor {
    service: Arc<Tidegate>,
}

impl OnlineDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl OnlineService for OnlineDoor {
    async fn get_online_features(
        &self,
        request: Request<wire::GetOnlineFeaturesRequest>,
    ) -> std::result::Result<Response<wire::GetOnlineFeaturesResponse>, Status> {
        let caller = principal::of(&request)?;
        let answer = async {
            let reply = self.service.lookup(&caller, &lookup_request(request.into_inner())?)?;
            lookup_reply(reply)
        };
        metered(&self.service, "grpc", "get_online_features", answer).await.map(Response::new).map_err(status)
    }
}

fn lookup_request(message: wire::GetOnlineFeaturesRequest) -> Result<LookupRequest> {
    Ok(LookupRequest {
        project: message.project,
        selection: convert::lookup_selection(message.selection)?,
        full_names: message.full_feature_names,
        include_times: message.include_times,
        return_expired: message.return_expired,
        keys: message.keys.into_iter().map(key_column).collect::<Result<_>>()?,
    })
}

fn key_column(column: wire::KeyColumn) -> Result<(String, ArrayRef)> {
    let values: ArrayRef = match column.values {
        Some(key_column::Values::Int64s(values)) => Arc::new(Int64Array::from(values.values)),
        Some(key_column::Values::Strings(values)) => Arc::new(StringArray::from_iter_values(values.values)),
        Some(key_column::Values::Bytes(values)) => Arc::new(BinaryArray::from_iter_values(values.values)),
        Some(key_column::Values::Bools(values)) => Arc::new(BooleanArray::from(values.values)),
        None => {
            let message = format!("key column `{}` has no values: set int64s, strings, bytes or bools", column.name);
            return Err(Error::invalid(message));
        }
    };
    Ok((column.name, values))
}

fn lookup_reply(reply: LookupReply) -> Result<wire::GetOnlineFeaturesResponse> {
    let rows = u32::try_from(reply.rows).map_err(|_| Error::invalid("too many rows in one lookup; ask in parts"))?;
    Ok(wire::GetOnlineFeaturesResponse {
        rows,
        features: reply.features.into_iter().map(feature_column).collect::<Result<_>>()?,
        views: reply.views.into_iter().map(view_times).collect(),
        catalog_version: reply.catalog_version,
    })
}

fn feature_column(feature: FeatureReply) -> Result<wire::FeatureColumn> {
    use feature_column::Values as Wire;
    let values = match feature.values {
        Values::Doubles(values) => Wire::Doubles(wire::DoubleValues { values }),
        Values::Floats(values) => Wire::Floats(wire::FloatValues { values }),
        Values::Int64s(values) => Wire::Int64s(wire::Int64Values { values }),
        Values::Int32s(values) => Wire::Int32s(wire::Int32Values { values }),
        Values::Bools(values) => Wire::Bools(wire::BoolValues { values }),
        Values::Strings(values) => Wire::Strings(wire::StringValues { values }),
        Values::Bytes(values) => {
            Wire::Bytes(wire::BytesValues { values: values.into_iter().map(Bytes::from).collect() })
        }
        Values::Arrow(column) => Wire::ArrowIpc(ipc_stream(&feature.name, column)?),
    };
    Ok(wire::FeatureColumn {
        name: feature.name,
        data_type: feature.data_type.to_string(),
        values: Some(values),
        presence: feature.presence.unwrap_or_default().into(),
        statuses: feature.statuses.unwrap_or_default().into(),
        reasons: feature.reasons.unwrap_or_default().into(),
    })
}

fn view_times(times: ViewTimes) -> wire::ViewTimes {
    wire::ViewTimes { view: times.view, event_times: times.event_times, ages: times.ages }
}

/// One batch of one column as an IPC stream: how types without a message of their own travel.
fn ipc_stream(name: &str, column: ArrayRef) -> Result<Bytes> {
    let encode = || {
        let schema = Arc::new(Schema::new(vec![Field::new(name, column.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![column])?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    let encoded =
        encode().map_err(|error| Error::internal(format!("feature `{name}` can't be encoded")).with_source(error))?;
    Ok(encoded.into())
}

#[cfg(test)]
mod tests;
