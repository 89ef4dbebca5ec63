//! Tables as writers and readers use them: created, appended to, reopened, raced for, taken away underneath.

mod changes;
mod compact;
mod erase;
mod foreign;

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use futures::StreamExt;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::fixtures::{append, chain, column, drawn, rows, runtime, runtime_with, table, utc, weather, weather_rules};

/// What became of the rows between two versions, which must be known.
async fn changes(table: &Table, from: i64, to: i64) -> Changes {
    match table.changes(from, to).await.unwrap() {
        Since::Known(changes) => changes,
        Since::Lost(lost) => panic!("{lost:?}"),
    }
}

async fn count(table: &Table) -> u64 {
    table.snapshot(None).await.unwrap().rows().unwrap()
}

fn files_in(folder: &std::path::Path) -> usize {
    let entries = folder.read_dir().unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "parquet")).count()
}

#[tokio::test]
async fn a_table_is_created_appended_to_and_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let created = table(&path, &rules).await.unwrap();
    assert_eq!((created.version(), count(&created).await), (0, 0));
    let first = append(&created, &runtime, &rules, "a", vec![weather(&[("LGA", 2, 1.0), ("JFK", 1, 2.0)])]).await;
    assert_eq!(first.unwrap(), Appended { version: 1, rows: 2, already: false });
    append(&created, &runtime, &rules, "b", vec![weather(&[("JFK", 0, 3.0)])]).await.unwrap();
    let reopened = table(&path, &rules).await.unwrap();
    assert_eq!(reopened.version(), 2);
    let snapshot = reopened.snapshot(None).await.unwrap();
    let addresses: Vec<(i64, u32)> = snapshot.files.iter().map(|file| (file.added_version, file.order)).collect();
    assert_eq!(addresses, [(1, 0), (2, 0)]);
    assert!(snapshot.files.iter().all(|file| file.committed.is_some()));
    assert!(!snapshot.schema.field(0).is_nullable() && !snapshot.schema.field(1).is_nullable());
    // Sorted by key within the commit, commits in order.
    let expected = "\
+--------+-----------------------------+------+
| origin | at                          | temp |
+--------+-----------------------------+------+
| JFK    | 1970-01-01T00:00:00.000001Z | 2.0  |
| LGA    | 1970-01-01T00:00:00.000002Z | 1.0  |
| JFK    | 1970-01-01T00:00:00Z        | 3.0  |
+--------+-----------------------------+------+";
    assert_eq!(drawn(&snapshot).await, expected);
    let earlier = reopened.snapshot(Some(1)).await.unwrap();
    assert_eq!(earlier.rows(), Some(2));
    assert!(matches!(reopened.snapshot(Some(9)).await, Err(Error::VersionMissing { latest: 2, .. })));
}

#[tokio::test]
async fn a_table_whose_making_was_cut_short_is_made_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let log = path.join("_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join(format!(".{:020}.json.0.tmp", 0)), "{").unwrap();
    let location = Location::Delta(path.clone());
    assert!(!Table::is_at(&location));
    let made = table(&path, &rules).await.unwrap();
    assert!(Table::is_at(&location));
    append(&made, &runtime, &rules, "a", vec![weather(&[("LGA", 2, 1.0)])]).await.unwrap();
    let other = folder.path().join("of-a-query");
    std::fs::create_dir_all(other.join("_delta_log")).unwrap();
    let filled = Table::open_filled("weather", &Location::Delta(other), Some(&rules.columns)).await.unwrap();
    assert_eq!(count(&filled).await, 0);
}

#[tokio::test]
async fn a_handle_sees_what_another_one_appended() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let one = table(&path, &rules).await.unwrap();
    let other = Table::open("weather", &Location::Delta(path.clone())).await.unwrap();
    append(&one, &runtime, &rules, "a", vec![weather(&[("LGA", 2, 1.0)])]).await.unwrap();
    assert_eq!(count(&other).await, 1);
    let refused = append(&other, &runtime, &rules, "b", vec![weather(&[("LGA", 2, 1.0)])]).await;
    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
}

#[tokio::test]
async fn a_batch_id_writes_once_and_its_outcome_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let table_ = table(&path, &rules).await.unwrap();
    let rows = || vec![weather(&[("LGA", 2, 1.0), ("JFK", 1, 2.0)])];
    append(&table_, &runtime, &rules, "day/1", rows()).await.unwrap();
    append(&table_, &runtime, &rules, "day/2", rows()).await.unwrap();
    let again = append(&table_, &runtime, &rules, "day/1", rows()).await.unwrap();
    assert_eq!(again, Appended { version: 1, rows: 2, already: true });
    let reopened = table(&path, &rules).await.unwrap();
    assert_eq!(reopened.ingested("day/2").await.unwrap(), Some(Appended { version: 2, rows: 2, already: true }));
    assert_eq!(reopened.ingested("day/3").await.unwrap(), None);
    assert_eq!(count(&reopened).await, 4);
    for id in ["", "with space", "tab\t", "ünïcode", &"x".repeat(201)] {
        assert!(matches!(append(&table_, &runtime, &rules, id, rows()).await, Err(Error::BadBatchId { .. })), "{id}");
    }
}

#[tokio::test]
async fn an_empty_batch_is_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let none = append(&table, &runtime, &rules, "empty", vec![weather(&[])]).await.unwrap();
    assert_eq!((none.rows, none.already), (0, false));
    assert!(append(&table, &runtime, &rules, "empty", vec![weather(&[])]).await.unwrap().already);
    assert_eq!(count(&table).await, 0);
}

#[tokio::test]
async fn concurrent_appends_all_land_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    table(&path, &rules).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (path, runtime, rules) = (path.clone(), runtime.clone(), rules.clone());
        tasks.spawn(async move {
            // A handle of its own: nothing in memory keeps the writers apart.
            let table = table(&path, &rules).await.unwrap();
            for batch in 0..5 {
                let rows = [("LGA", i64::from(writer), 1.0), ("JFK", i64::from(batch), 2.0)];
                append(&table, &runtime, &rules, &format!("w{writer}-{batch}"), vec![weather(&rows)]).await.unwrap();
                // Two writers race for this id; one writes.
                append(&table, &runtime, &rules, &format!("shared-{batch}"), vec![weather(&rows)]).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let table = table(&path, &rules).await.unwrap();
    assert_eq!(count(&table).await, (4 * 5 + 5) * 2);
    assert_eq!(table.version(), 25);
}

#[tokio::test]
async fn a_bad_row_in_the_middle_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let table = table(&path, &rules).await.unwrap();
    let good = weather(&[("LGA", 2, 1.0)]);
    let keys: ArrayRef = std::sync::Arc::new(arrow::array::StringArray::from(vec![Some("A"), None]));
    let temps: ArrayRef = std::sync::Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let bad = RecordBatch::try_from_iter_with_nullable([
        ("origin", keys, true),
        ("at", utc(vec![Some(1), Some(2)]), true),
        ("temp", temps, true),
    ])
    .unwrap();
    let error = append(&table, &runtime, &rules, "a", vec![good.clone(), bad, good.clone()]).await.unwrap_err();
    assert!(error.to_string().contains("column `origin` must not be null and has 1 null (row 3)"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!((table.version(), files_in(&path)), (0, 0));

    let broken = Incoming {
        schema: good.schema(),
        batches: futures::stream::iter([Ok(good.clone()), Err("the connection is gone".into())]).boxed(),
    };
    let request = AppendRequest { batch_id: "a".to_owned(), rules: rules.clone() };
    let error = table.append(&runtime, request, broken).await.unwrap_err();
    assert!(chain(&error).contains("the connection is gone"), "{}", chain(&error));
    assert_eq!((count(&table).await, files_in(&path)), (0, 0));
    // The id was not used up.
    append(&table, &runtime, &rules, "a", vec![good]).await.unwrap();
    assert_eq!(count(&table).await, 1);
}

#[tokio::test]
async fn a_thousand_columns() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let mut rules = weather_rules();
    rules.columns.truncate(2);
    rules.columns.extend((0..1_000).map(|n| column(&format!("f{n}"), "float64")));
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let base = weather(&[("JFK", 1, 0.0), ("LGA", 2, 0.0)]);
    let mut columns: Vec<(String, ArrayRef)> =
        vec![("origin".into(), base.column(0).clone()), ("at".into(), base.column(1).clone())];
    for n in 0..1_000 {
        columns.push((format!("f{n}"), std::sync::Arc::new(Float64Array::from(vec![f64::from(n), -1.0]))));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    append(&table, &runtime, &rules, "wide", vec![batch.clone()]).await.unwrap();
    let back = rows(&table.snapshot(None).await.unwrap()).await.unwrap();
    assert_eq!(back[0].columns(), batch.columns());
}

#[tokio::test]
async fn far_times_and_odd_floats_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let (year_1600, year_2262) = (-11_676_096_000_000_001, 9_214_646_400_000_001);
    let nan = f64::from_bits(0xfff8_0000_0000_0042);
    let batch = weather(&[("A", year_1600, nan), ("B", year_2262, -0.0), ("C", i64::MAX, 0.0), ("D", i64::MIN, 0.0)]);
    append(&table, &runtime, &rules, "far", vec![batch]).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    let back = rows(&snapshot).await.unwrap();
    let times = back[0].column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values().as_ref(), [year_1600, year_2262, i64::MAX, i64::MIN]);
    let temps = back[0].column(2).as_primitive::<arrow::datatypes::Float64Type>();
    assert_eq!((temps.value(0).to_bits(), temps.value(1).to_bits()), (nan.to_bits(), (-0.0_f64).to_bits()));
}

#[tokio::test]
async fn the_log_gives_ranges_that_hold_every_value() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let batch = weather(&[("A", -1, 1.0), (&"z".repeat(100), 1_001, 2.0)]);
    append(&table, &runtime, &rules, "a", vec![batch]).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    let (low, high) = &snapshot.files[0].ranges["at"];
    assert_eq!((low.to_string(), high.to_string()), ("-1".to_owned(), "1001".to_owned()));
    let (low, high) = &snapshot.files[0].ranges["origin"];
    assert!(*low <= datafusion::common::ScalarValue::from("A"));
    assert!(*high >= datafusion::common::ScalarValue::from("z".repeat(100)));
}

#[tokio::test]
async fn columns_are_added_and_old_rows_read_them_as_null() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, mut rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let old = table(&path, &rules).await.unwrap();
    append(&old, &runtime, &rules, "a", vec![weather(&[("A", 1, 1.0)])]).await.unwrap();
    rules.columns.push(column("wind", "float64"));
    rules.optional.insert("wind".to_owned());
    let wide = table(&path, &rules).await.unwrap();
    append(&wide, &runtime, &rules, "b", vec![weather(&[("B", 2, 2.0)])]).await.unwrap();
    let batches = rows(&wide.snapshot(None).await.unwrap()).await.unwrap();
    assert!(batches.iter().all(|batch| batch.num_columns() == 4 && batch.column(3).null_count() == 1));
    // The older handle still appends, though its rules do not know the column.
    append(&old, &runtime, &weather_rules(), "c", vec![weather(&[("C", 3, 3.0)])]).await.unwrap();
    assert_eq!(count(&wide).await, 3);

    let mut wrong = weather_rules();
    wrong.columns[2] = column("temp", "string");
    let error = table(&path, &wrong).await.unwrap_err();
    assert!(error.to_string().contains("column `temp` is stored as float64 and defined as string"), "{error}");

    // A key that is no key any more may be missing from new rows.
    let mut fewer = weather_rules();
    fewer.columns.remove(0);
    fewer.keys = BTreeSet::new();
    let loose = table(&path, &fewer).await.unwrap();
    let batch = weather(&[("-", 4, 4.0)]).project(&[1, 2]).unwrap();
    append(&loose, &runtime, &fewer, "d", vec![batch]).await.unwrap();
    assert_eq!(count(&loose).await, 4);
}

#[tokio::test]
async fn changes_between_versions() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    for id in ["a", "b", "c"] {
        append(&table, &runtime, &rules, id, vec![weather(&[(id, 1, 1.0)])]).await.unwrap();
    }
    let found = changes(&table, 1, 3).await;
    assert_eq!(found.added.iter().map(|file| file.added_version).collect::<Vec<_>>(), [2, 3]);
    assert!(found.removed.is_empty());
    assert!(changes(&table, 3, 3).await.added.is_empty());
    assert!(changes(&table, -1, 3).await.added.len() == 3);
    let newest = table.snapshot(None).await.unwrap();
    let waiting = table.waiting_since(1, &newest).await.unwrap();
    assert!(waiting.versions == 2 && waiting.oldest.is_some(), "{waiting:?}");
    assert_eq!(table.waiting_since(3, &newest).await.unwrap(), Waiting::default());
    let all = newest.waiting();
    assert!(all.versions == 3 && all.oldest < waiting.oldest, "{all:?}");
}

/// Where rows stand must not depend on when a table was looked at.
#[tokio::test]
async fn files_have_the_same_place_whether_followed_or_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let followed = table(&path, &rules).await.unwrap();
    let places = |snapshot: &Snapshot| {
        let place = |file: &snapshot::DataFile| {
            (file.path.clone(), file.added_version, file.order, file.committed, file.compacted)
        };
        snapshot.files.iter().map(place).collect::<Vec<_>>()
    };
    for round in 0..6 {
        append(&followed, &runtime, &rules, &format!("b{round}"), vec![weather(&[("A", round, 1.0)])]).await.unwrap();
        if round == 3 {
            let layout = Layout { keys: vec!["origin".to_owned()], event_time: "at".to_owned(), up_to: None };
            followed.compact(&runtime, layout).await.unwrap();
        }
        let afresh = Table::open("t", &Location::Delta(path.clone())).await.unwrap();
        let (one, other) = (followed.snapshot(None).await.unwrap(), afresh.snapshot(None).await.unwrap());
        assert_eq!(places(&one), places(&other), "after {round}");
    }
}

#[tokio::test]
async fn a_table_deleted_underneath_is_named_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let table = table(&path, &rules).await.unwrap();
    append(&table, &runtime, &rules, "a", vec![weather(&[("A", 1, 1.0)])]).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let error = table.snapshot(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("restore"), "{error}");
    assert!(matches!(rows(&snapshot).await.unwrap_err(), Error::FileMissing { .. }));
    let append_after = append(&table, &runtime, &rules, "b", vec![weather(&[("A", 1, 1.0)])]).await;
    assert!(matches!(append_after, Err(Error::TableMissing { .. })));
    assert!(!path.exists(), "an append brought the folder back");
}

#[tokio::test]
async fn more_rows_than_memory_make_several_files_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, rules) = (runtime_with(folder.path(), 4 << 20), weather_rules());
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let batch = |n: i64| {
        let rows: Vec<(&str, i64, f64)> = (0..10_000).map(|row| ("K", row, (n * 10_000 + row) as f64)).collect();
        weather(&rows)
    };
    let appended = append(&table, &runtime, &rules, "big", (0..100).map(batch).collect()).await.unwrap();
    assert_eq!(appended.rows, 1_000_000);
    let snapshot = table.snapshot(None).await.unwrap();
    assert!(snapshot.files.len() > 1, "one file holds what memory can't");
    assert!(snapshot.files.iter().enumerate().all(|(at, file)| file.order as usize == at && file.added_version == 1));
    assert_eq!(snapshot.rows(), Some(1_000_000));
    // Of rows with one key and time, those that came later have the later address.
    let batches = rows(&snapshot).await.unwrap();
    let last = batches.iter().flat_map(|batch| {
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let temps = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>().values().to_vec();
        times.into_iter().zip(temps).filter(|(at, _)| *at == 7).map(|(_, temp)| temp)
    });
    assert!(last.collect::<Vec<_>>().is_sorted());
}

#[tokio::test]
async fn history_survives_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let table_ = table(&path, &rules).await.unwrap();
    for n in 0..12 {
        append(&table_, &runtime, &rules, &format!("b{n}"), vec![weather(&[("A", n, 1.0)])]).await.unwrap();
    }
    let before = table_.snapshot(None).await.unwrap();
    let delta = deltalake::open_table(Url::from_directory_path(&path).unwrap()).await.unwrap();
    deltalake::checkpoints::create_checkpoint(&delta, None).await.unwrap();
    // As a log cleanup would: the commits before the checkpoint go.
    for version in 0..10 {
        std::fs::remove_file(path.join("_delta_log").join(format!("{version:020}.json"))).unwrap();
    }
    let reopened = table(&path, &rules).await.unwrap();
    let after = reopened.snapshot(None).await.unwrap();
    let addresses = |snapshot: &Snapshot| snapshot.files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
    assert_eq!(addresses(&before), addresses(&after));
    let known: Vec<i64> = after.files.iter().map(|file| file.added_version).filter(|version| *version >= 10).collect();
    assert_eq!(known, [10, 11, 12]);
    assert!(after.files.iter().filter(|file| file.added_version < 10).all(|file| file.added_version == 9));
    assert_eq!(reopened.ingested("b3").await.unwrap().unwrap().version, 4);
    assert!(
        matches!(reopened.changes(2, 12).await.unwrap(), Since::Lost(Lost::Commit(3))),
        "the commits needed to tell are gone"
    );
}

#[test]
fn locations_are_absolute_paths_or_file_uris() {
    assert_eq!(absolute_path("/data/x").unwrap(), PathBuf::from("/data/x"));
    assert_eq!(absolute_path("file:///data/a%20b").unwrap(), PathBuf::from("/data/a b"));
    for bad in ["data/x", "", "s3://bucket/x", "file://host/x", "/data/../etc", "http://x/y", "file:relative"] {
        assert!(absolute_path(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_folder_that_is_no_table_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Table::open("x", &Location::Delta(folder.path().join("nothing"))).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let other = Table::open("x", &Location::Delta(folder.path().to_owned())).await.unwrap_err();
    assert!(other.to_string().contains("not a Delta table"), "{other}");
    let empty = Table::open("x", &Location::Parquet(folder.path().to_owned())).await.unwrap_err();
    assert!(empty.to_string().contains("*.parquet"), "{empty}");
}
