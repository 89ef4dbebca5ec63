//! Tables that others wrote: delta-rs with removes, partitions and deletion vectors, and folders of Parquet files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;
use parquet::arrow::ArrowWriter;

use super::*;
use crate::fixtures::{draw, runtime};

async fn write(table: DeltaTable, batch: RecordBatch) -> DeltaTable {
    table.write([batch]).with_save_mode(SaveMode::Append).with_partition_columns(["day"]).await.unwrap()
}

fn days(rows: &[(&str, i64)]) -> RecordBatch {
    let day: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>());
    let n: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>());
    let at = utc(rows.iter().map(|row| Some(row.1)).collect());
    RecordBatch::try_from_iter([("day", day), ("n", n), ("at", at)]).unwrap()
}

async fn sql(snapshot: &Arc<Snapshot>, folder: &Path, query: &str) -> String {
    let session: SessionContext = runtime(folder).session();
    let config = session.state().config().clone().with_create_default_catalog_and_schema(true);
    let state = datafusion::execution::SessionStateBuilder::new_from_existing(session.state()).with_config(config);
    let session = SessionContext::new_with_state(state.build());
    session.register_table("t", snapshot.provider()).unwrap();
    draw(&session.sql(query).await.unwrap().collect().await.unwrap())
}

#[tokio::test]
async fn partitions_removes_and_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    std::fs::create_dir(&path).unwrap();
    let url = Url::from_directory_path(&path).unwrap();
    let delta = DeltaTable::try_from_url(url).await.unwrap();
    let delta = write(delta, days(&[("a", 1), ("b", 2), ("b", 3)])).await;
    let delta = write(delta, days(&[("a", 4), ("c/d e", 5)])).await;
    let (_, _) = delta.delete().with_predicate("day = 'b'").await.unwrap();

    let table = Table::open("days", &Location::Delta(path.clone())).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!((snapshot.version, snapshot.rows()), (2, Some(3)));
    let found = sql(&snapshot, folder.path(), "SELECT n, day FROM t ORDER BY n").await;
    assert!(found.contains("| 1 | a     |") && found.contains("| 5 | c/d e |") && !found.contains("| b "), "{found}");
    let filtered = sql(&snapshot, folder.path(), "SELECT count(*) AS n FROM t WHERE day = 'a' AND n > 1").await;
    assert!(filtered.contains("| 1 |"), "{filtered}");
    let read = draw(&rows(&snapshot).await.unwrap());
    assert!(read.contains("c/d e") && !read.contains("| b "), "{read}");

    let first = table.snapshot(Some(0)).await.unwrap();
    assert_eq!(first.rows(), Some(3));
    let deleted = changes(&table, 0, 2).await;
    assert!(!deleted.removed.is_empty() && deleted.removed.iter().all(|it| it.file.path.as_ref().starts_with("day=b")));
    assert_eq!(deleted.rows_removed(), 2);
    let added = changes(&table, 0, 1).await;
    assert!(added.removed.is_empty() && added.added.len() == 2, "{added:?}");
}

#[tokio::test]
async fn folders_of_parquet_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    std::fs::create_dir_all(path.join("sub")).unwrap();
    let save = |name: &str, batch: &RecordBatch| {
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(path.join(name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    };
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_001, 2_000]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    save("b.parquet", &RecordBatch::try_from_iter([("n", small), ("at", nanos)]).unwrap());
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let extra: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    save("sub/a.parquet", &RecordBatch::try_from_iter([("n", wide.clone()), ("extra", extra)]).unwrap());
    save("_temporary.parquet", &RecordBatch::try_from_iter([("other", wide)]).unwrap());

    let table = Table::open("p", &Location::Parquet(path.clone())).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    let names: Vec<&str> = snapshot.files.iter().map(|file| file.path.as_ref()).collect();
    assert_eq!(names, ["b.parquet", "sub/a.parquet"]);
    assert_eq!(snapshot.schema.field(0).data_type(), &DataType::Int64);
    let expected = "\
+---+-----------------------------+-------+
| n | at                          | extra |
+---+-----------------------------+-------+
| 1 | 1970-01-01T00:00:00.000002Z |       |
| 2 | 1970-01-01T00:00:00.000002Z |       |
| 3 |                             | x     |
+---+-----------------------------+-------+";
    assert_eq!(drawn(&snapshot).await, expected);
    assert!(sql(&snapshot, folder.path(), "SELECT sum(n) AS s FROM t").await.contains("| 6 |"));
    // A file that comes later is seen.
    let more: ArrayRef = Arc::new(Int64Array::from(vec![4]));
    save("c.parquet", &RecordBatch::try_from_iter([("n", more)]).unwrap());
    assert_eq!(table.snapshot(None).await.unwrap().rows(), Some(4));
    let clash: ArrayRef = Arc::new(StringArray::from(vec!["4"]));
    save("d.parquet", &RecordBatch::try_from_iter([("n", clash)]).unwrap());
    let error = table.snapshot(None).await.unwrap_err().to_string();
    assert!(error.contains("d.parquet") && error.contains("string") && error.contains("int64"), "{error}");
    std::fs::write(path.join("d.parquet"), "not parquet at all").unwrap();
    assert!(matches!(table.snapshot(None).await, Err(Error::Parquet { .. })));
    std::fs::remove_dir_all(&path).unwrap();
    assert!(matches!(table.snapshot(None).await, Err(Error::TableMissing { .. })));
}

/// A commit by hand on top of a table written by us: rows 1 and 3 of the file are deleted by an inline vector.
#[tokio::test]
async fn deletion_vectors_hide_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let table_ = table(&path, &rules).await.unwrap();
    let batch = weather(&[("A", 0, 0.0), ("B", 1, 1.0), ("C", 2, 2.0), ("D", 3, 3.0)]);
    append(&table_, &runtime, &rules, "a", vec![batch]).await.unwrap();
    let log = path.join("_delta_log");
    let first = std::fs::read_to_string(log.join(format!("{:020}.json", 1))).unwrap();
    let mut add: serde_json::Value = first
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|action| action.get("add").is_some())
        .unwrap();
    let remove =
        serde_json::json!({"remove": {"path": add["add"]["path"], "dataChange": true, "deletionTimestamp": 1}});
    add["add"]["deletionVector"] = serde_json::json!({
        "storageType": "i", "pathOrInlineDv": inline_vector(&[1, 3]), "sizeInBytes": 40, "cardinality": 2
    });
    let protocol = serde_json::json!({"protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]
    }});
    let commit = [protocol, remove, add].map(|action| action.to_string()).join("\n");
    std::fs::write(log.join(format!("{:020}.json", 2)), commit).unwrap();

    let table = Table::open("weather", &Location::Delta(path.clone())).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.files[0].deleted_rows.as_deref(), Some(&[1, 3][..]));
    assert_eq!((snapshot.rows(), snapshot.files[0].added_version), (Some(2), 1));
    let read = drawn(&snapshot).await;
    assert!(
        read.contains("| A ") && read.contains("| C ") && !read.contains("| B ") && !read.contains("| D "),
        "{read}"
    );
    let counted = sql(&snapshot, folder.path(), "SELECT count(*) AS n, sum(temp) AS s FROM t WHERE temp >= 0").await;
    assert!(counted.contains("| 2 | 2.0 |"), "{counted}");
    let marked = changes(&table, 1, 2).await;
    assert!(marked.added.is_empty() && marked.removed.len() == 1, "{marked:?}");
    assert_eq!(marked.removed[0].rows.as_deref(), Some(&[1, 3][..]));
    assert!(changes(&table, 0, 2).await.added.len() == 1);
}

/// A roaring bitmap array of one 32-bit bitmap with one array container, in Z85.
fn inline_vector(rows: &[u16]) -> String {
    let mut bytes = 1_681_511_377_u32.to_le_bytes().to_vec();
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(12_346_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((rows.len() as u16 - 1).to_le_bytes());
    bytes.extend(16_u32.to_le_bytes());
    rows.iter().for_each(|row| bytes.extend(row.to_le_bytes()));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let alphabet: Vec<char> =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#".chars().collect();
    let encode = |chunk: &[u8]| {
        let mut value = u32::from_be_bytes(chunk.try_into().unwrap());
        let mut digits = [0_usize; 5];
        for digit in digits.iter_mut().rev() {
            *digit = (value % 85) as usize;
            value /= 85;
        }
        digits.map(|digit| alphabet[digit])
    };
    bytes.chunks(4).flat_map(encode).collect()
}

#[tokio::test]
async fn features_that_are_not_understood_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    table(&path, &weather_rules()).await.unwrap();
    let log = path.join("_delta_log");
    let first = std::fs::read_to_string(log.join(format!("{:020}.json", 0))).unwrap();
    let metadata = first.lines().find(|line| line.contains("\"metaData\"")).unwrap();
    let mut mapped: serde_json::Value = serde_json::from_str(metadata).unwrap();
    mapped["metaData"]["configuration"]["delta.columnMapping.mode"] = "name".into();
    let protocol = r#"{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}"#;
    std::fs::write(log.join(format!("{:020}.json", 1)), format!("{protocol}\n{mapped}\n")).unwrap();
    let error = Table::open("weather", &Location::Delta(path.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", chain(&error));
    assert!(error.to_string().to_lowercase().contains("column"), "{error}");
    let unknown = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["fromTheFuture"],"writerFeatures":["fromTheFuture"]}}"#;
    std::fs::write(log.join(format!("{:020}.json", 1)), unknown).unwrap();
    let error = Table::open("weather", &Location::Delta(path)).await.unwrap_err();
    assert!(error.to_string().contains("fromTheFuture"), "{}", chain(&error));
}
