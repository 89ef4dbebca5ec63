//! What tests of this crate share: a small runtime, a weather table, batches from literals.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::{StreamExt, TryStreamExt};
use tidegate_schemas::definition::Column;

use crate::error::{Error, Result};
use crate::ingest::Rules;
use crate::runtime::{Runtime, Settings};
use crate::table::snapshot::Snapshot;
use crate::table::{AppendRequest, Appended, Incoming, Location, Table, read};

pub(crate) fn runtime(folder: &Path) -> Arc<Runtime> {
    runtime_with(folder, 256 << 20)
}

pub(crate) fn runtime_with(folder: &Path, memory_bytes: usize) -> Arc<Runtime> {
    let spill_dir = folder.join("spill");
    Runtime::new(&Settings { memory_bytes, spill_dir, spill_bytes: 1 << 30, threads: 2, batch_rows: 1024 }).unwrap()
}

pub(crate) fn column(name: &str, data_type: &str) -> Column {
    Column { name: name.to_owned(), data_type: data_type.parse().unwrap() }
}

/// Weather by origin: key, event time, one feature.
pub(crate) fn weather_rules() -> Rules {
    Rules {
        table: "weather".to_owned(),
        columns: vec![column("origin", "string"), column("at", "timestamp"), column("temp", "float64")],
        keys: BTreeSet::from(["origin".to_owned()]),
        event_time: "at".to_owned(),
        created_time: None,
        optional: BTreeSet::new(),
        ignore_extra_columns: false,
    }
}

pub(crate) async fn table(path: &Path, rules: &Rules) -> Result<Table> {
    Table::open_or_create(&rules.table, &Location::Delta(path.to_owned()), &rules.columns, &rules.required()).await
}

pub(crate) fn utc(times: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}

/// Rows of (origin, time, temperature).
pub(crate) fn weather(rows: &[(&str, i64, f64)]) -> RecordBatch {
    let origins: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>());
    let temps: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float64Array>());
    let times = utc(rows.iter().map(|row| Some(row.1)).collect());
    RecordBatch::try_from_iter([("origin", origins), ("at", times), ("temp", temps)]).unwrap()
}

pub(crate) fn incoming(batches: Vec<RecordBatch>) -> Incoming {
    Incoming { schema: batches[0].schema(), batches: futures::stream::iter(batches.into_iter().map(Ok)).boxed() }
}

pub(crate) async fn append(
    table: &Table,
    runtime: &Arc<Runtime>,
    rules: &Rules,
    id: &str,
    batches: Vec<RecordBatch>,
) -> Result<Appended> {
    let request = AppendRequest { batch_id: id.to_owned(), rules: rules.clone() };
    table.append(runtime, request, incoming(batches)).await
}

/// All rows of a snapshot in address order.
pub(crate) async fn rows(snapshot: &Arc<Snapshot>) -> Result<Vec<RecordBatch>> {
    read::read_files(snapshot, &snapshot.files, &read::ReadOptions::default())?.try_collect().await
}

/// All rows of a snapshot in address order, as a drawn table.
pub(crate) async fn drawn(snapshot: &Arc<Snapshot>) -> String {
    draw(&rows(snapshot).await.unwrap())
}

pub(crate) fn draw(batches: &[RecordBatch]) -> String {
    arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
}

/// An error with everything below it, as an edge would print it.
pub(crate) fn chain(error: &Error) -> String {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
