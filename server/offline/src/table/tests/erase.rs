//! Erasing an entity: its bytes are in no file of the table afterwards, in no version, page, log or checkpoint; every other row is
//! where it was, known when it was; and versions are lost only where a file that held it was needed.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow::array::StringArray;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::runtime::Runtime;
use crate::table::erase::{ErasedTable, Erasure, ToldBy};
use crate::table::read::{ReadOptions, read_file};
use crate::table::snapshot::Snapshot;
use crate::table::{Changes, Guard, Layout, Since};

/// Sorts first, last or in the middle, so that it is a bound of statistics now and then.
const SECRETS: [&str; 3] = ["AAA-erase-me-5fd0", "MMM-erase-me-5fd0", "zzz-erase-me-5fd0"];

fn erasure(origin: &str) -> Erasure {
    let value: ArrayRef = Arc::new(StringArray::from(vec![origin]));
    Erasure { id: "receipt".to_owned(), told_by: ToldBy::Keys(vec![vec![("origin".to_owned(), value)]]) }
}

async fn erase(table: &Table, runtime: &Arc<Runtime>, origin: &str) -> ErasedTable {
    table.erase(runtime, erasure(origin)).await.unwrap()
}

fn files_below(folder: &FilePath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// The files below a folder that hold a text, as bytes or as a value of a Parquet file.
fn holding(folder: &FilePath, text: &str) -> Vec<String> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let plain = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        plain || path.extension().is_some_and(|kind| kind == "parquet") && parquet_holds(path, text)
    };
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files_below(folder).into_iter().filter(holds).map(name).collect()
}

fn parquet_holds(path: &FilePath, text: &str) -> bool {
    let file = std::fs::File::open(path).unwrap();
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.any(|batch| {
        let batch = batch.unwrap();
        batch
            .columns()
            .iter()
            .any(|column| (0..batch.num_rows()).any(|row| array_value_to_string(column, row).unwrap().contains(text)))
    })
}

/// Rows with when they were committed and the address they have, those of an origin left out.
async fn placed(snapshot: &Arc<Snapshot>, without: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in &snapshot.files {
        let options = ReadOptions { commits: true, ..ReadOptions::default() };
        let batches: Vec<_> = read_file(snapshot, file, &options).unwrap().collect().await;
        for batch in batches {
            let read = batch.unwrap();
            for row in 0..read.batch.num_rows() {
                let text = |column| array_value_to_string(read.batch.column(column), row).unwrap();
                if text(0) != without {
                    found.push(format!(
                        "{}/{} {} {} {} {:?}",
                        file.added_version,
                        file.order,
                        text(0),
                        text(1),
                        text(2),
                        read.commits[row]
                    ));
                }
            }
        }
    }
    found
}

fn known(since: Since) -> Changes {
    match since {
        Since::Known(changes) => changes,
        Since::Lost(lost) => panic!("{lost:?}"),
    }
}

#[tokio::test]
async fn its_bytes_are_in_no_file_and_other_rows_stay_where_they_were() {
    for secret in SECRETS {
        let folder = tempfile::tempdir().unwrap();
        let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
        let written = table(&path, &rules).await.unwrap();
        for commit in 0..6_i64 {
            let mut rows = vec![("EWR", commit, 1.0), ("JFK", commit, commit as f64), ("LGA", 9, 2.0)];
            if commit % 2 == 0 {
                rows.push((secret, commit, 3.0));
                rows.push((secret, commit + 1, 4.0));
            }
            append(&written, &runtime, &rules, &format!("b{commit}"), vec![weather(&rows)]).await.unwrap();
            if commit == 3 {
                let layout = Layout { keys: vec!["origin".to_owned()], event_time: "at".to_owned(), up_to: None };
                written.compact(&runtime, layout).await.unwrap();
            }
        }
        let before = holding(&path, secret);
        assert!(before.iter().any(|file| file.ends_with(".parquet")), "{before:?}");
        if secret != SECRETS[1] {
            assert!(before.iter().any(|file| file.ends_with(".json")), "a bound of statistics: {before:?}");
        }
        let newest = written.snapshot(None).await.unwrap();
        let expected = placed(&newest, secret).await;
        let done = erase(&written, &runtime, secret).await;
        assert_eq!((done.rows, done.version), (6, newest.version + 1));
        assert_eq!(holding(&path, secret), Vec::<String>::new());
        for handle in [written.clone(), table(&path, &rules).await.unwrap()] {
            let after = handle.snapshot(None).await.unwrap();
            assert_eq!(after.version, done.version);
            assert_eq!(placed(&after, "").await, expected);
        }
        // Versions from its first row on are gone, and those before are there.
        assert_eq!(done.versions_lost.first().map(|(first, _)| *first), Some(1));
        assert_eq!(done.versions_lost.last().map(|(_, last)| *last), Some(newest.version));
        assert_eq!(written.snapshot(Some(0)).await.unwrap().rows(), Some(0));

        // Doing it again finds nothing, and changes nothing.
        let again = erase(&written, &runtime, secret).await;
        assert_eq!((again.rows, again.version, again.files_deleted), (0, done.version, 0));
        // Readers that follow the log see no change of the rows that stay.
        let changes = known(written.changes(newest.version, done.version).await.unwrap());
        assert!(changes.added.is_empty() && changes.removed.is_empty(), "{changes:?}");
        let changes = known(written.changes(5, done.version).await.unwrap());
        assert!(changes.removed.is_empty() && changes.added.len() == 2, "{changes:?}");
        assert!(changes.added.iter().all(|file| file.added_version > 5), "{changes:?}");
        append(&written, &runtime, &rules, "more", vec![weather(&[("JFK", 50, 5.0)])]).await.unwrap();
        assert_eq!(count(&written).await, expected.len() as u64 + 1);
    }
}

#[tokio::test]
async fn checkpoints_are_made_again_without_it() {
    let secret = SECRETS[0];
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let written = table(&path, &rules).await.unwrap();
    for commit in 0..100_i64 {
        let origin = if commit == 40 { secret } else { "JFK" };
        append(&written, &runtime, &rules, &format!("b{commit}"), vec![weather(&[(origin, commit, 1.0)])])
            .await
            .unwrap();
    }
    let checkpoints = |folder: &FilePath| {
        files_below(folder).iter().filter(|path| path.to_string_lossy().contains("checkpoint")).count()
    };
    assert!(checkpoints(&path) > 0, "the log has a checkpoint by now");
    assert_eq!(erase(&written, &runtime, secret).await.rows, 1);
    assert!(checkpoints(&path) > 0);
    assert_eq!(holding(&path, secret), Vec::<String>::new());
    let reopened = table(&path, &rules).await.unwrap();
    assert_eq!((count(&reopened).await, reopened.version()), (99, 101));
    assert!(reopened.ingested("b40").await.unwrap().is_some(), "the batch stays known: it is not written again");
}

#[tokio::test]
async fn what_a_broken_off_write_left_goes_too() {
    let secret = SECRETS[0];
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let written = table(&path, &rules).await.unwrap();
    append(&written, &runtime, &rules, "a", vec![weather(&[("JFK", 1, 1.0)])]).await.unwrap();
    std::fs::write(path.join("part-half.parquet"), format!("PAR1{secret}")).unwrap();
    std::fs::write(path.join(".part-x.parquet.1.tmp"), secret).unwrap();
    std::fs::write(path.join("_delta_log/.00000000000000000002.json.1.tmp"), secret).unwrap();
    let done = erase(&written, &runtime, secret).await;
    assert_eq!((done.rows, done.version, done.files_deleted), (0, 1, 2));
    assert_eq!(holding(&path, secret), Vec::<String>::new());
    assert_eq!(count(&written).await, 1);
}

#[tokio::test]
async fn appends_leave_out_what_the_guard_refuses() {
    let secret = SECRETS[0];
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let written = table(&path, &rules).await.unwrap();
    written.guard(Guard::new(move |batch| {
        let origins = batch.column_by_name("origin").unwrap();
        Ok((0..batch.num_rows()).map(|row| array_value_to_string(origins, row).unwrap() == secret).collect())
    }));
    let mixed = weather(&[("JFK", 1, 1.0), (secret, 1, 1.0), ("LGA", 1, 1.0)]);
    let done = append(&written, &runtime, &rules, "a", vec![mixed, weather(&[(secret, 2, 2.0)])]).await.unwrap();
    assert_eq!((done.version, done.rows), (1, 2));
    assert_eq!(holding(&path, secret), Vec::<String>::new());
    let none = append(&written, &runtime, &rules, "b", vec![weather(&[(secret, 3, 3.0)])]).await.unwrap();
    assert_eq!((none.version, none.rows), (2, 0));
    assert_eq!(count(&written).await, 2);
}

#[tokio::test]
async fn rows_that_columns_tell_go_with_all_that_statistics_say_of_those() {
    let secret = SECRETS[0];
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    let written = table(&path, &rules).await.unwrap();
    append(&written, &runtime, &rules, "a", vec![weather(&[("AAA", 1, 1.0), (secret, 1, 1.0)])]).await.unwrap();
    append(&written, &runtime, &rules, "b", vec![weather(&[("ZZZ", 2, 2.0)])]).await.unwrap();
    let guard = Guard::new(move |batch| {
        let origins = batch.column_by_name("origin").unwrap();
        Ok((0..batch.num_rows()).map(|row| array_value_to_string(origins, row).unwrap().contains(secret)).collect())
    });
    let erasure = Erasure { id: "receipt".to_owned(), told_by: ToldBy::Columns(vec!["origin".to_owned()], guard) };
    let done = written.erase(&runtime, erasure).await.unwrap();
    assert_eq!((done.version, done.rows, done.files_rewritten), (3, 1, 1));
    assert_eq!(holding(&path, secret), Vec::<String>::new());
    assert_eq!(count(&written).await, 2);
    let stats = std::fs::read_to_string(path.join("_delta_log/00000000000000000002.json")).unwrap();
    assert!(!stats.contains("ZZZ"), "{stats}");
}

#[tokio::test]
async fn tables_of_others_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
    table(&path, &rules).await.unwrap();
    let read_only = Table::open("weather", &Location::Delta(path)).await.unwrap();
    let refused = read_only.erase(&runtime, erasure("x")).await.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
}

/// Random tables: appends, compactions and erasures of several origins in any order; what stays is what a plain list keeps.
#[tokio::test]
async fn random_tables_keep_what_a_list_keeps() {
    let cases: u64 = std::env::var("TIDEGATE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(12);
    let chosen: Option<u64> = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in chosen.map_or(0..cases.min(500), |seed| seed..seed + 1) {
        let mut rng = StdRng::seed_from_u64(seed);
        // None of them is in the base64 that Parquet files keep their schema in.
        let origins = ["AAA-1", "EWR-2", "JFK-3", "\u{7f}-zz", "a name of more than thirty-two characters, one"];
        let folder = tempfile::tempdir().unwrap();
        let (path, runtime, rules) = (folder.path().join("t"), runtime(folder.path()), weather_rules());
        let written = table(&path, &rules).await.unwrap();
        let (mut list, mut next): (Vec<(&str, i64, f64)>, f64) = (Vec::new(), 0.0);
        for step in 0..rng.random_range(3..10) {
            match rng.random_range(0..6) {
                0 => {
                    let layout = Layout { keys: vec!["origin".to_owned()], event_time: "at".to_owned(), up_to: None };
                    written.compact(&runtime, layout).await.unwrap();
                }
                1 => {
                    let origin = origins[rng.random_range(0..origins.len())];
                    let rows = list.iter().filter(|row| row.0 == origin).count() as u64;
                    assert_eq!(erase(&written, &runtime, origin).await.rows, rows, "TIDEGATE_SEED={seed}");
                    list.retain(|row| row.0 != origin);
                    assert_eq!(holding(&path, origin), Vec::<String>::new(), "TIDEGATE_SEED={seed}");
                }
                _ => {
                    let rows: Vec<(&str, i64, f64)> = (0..rng.random_range(1..30))
                        .map(|_| {
                            next += 1.0;
                            (origins[rng.random_range(0..origins.len())], rng.random_range(0..5), next)
                        })
                        .collect();
                    append(&written, &runtime, &rules, &format!("b{step}"), vec![weather(&rows)]).await.unwrap();
                    list.extend(rows);
                }
            }
        }
        let mut expected: Vec<String> = list.iter().map(|row| format!("{} {:?}", row.0, row.2)).collect();
        let mut found = Vec::new();
        for batch in rows(&written.snapshot(None).await.unwrap()).await.unwrap() {
            let text = |column: usize, row| array_value_to_string(batch.column(column), row).unwrap();
            found.extend((0..batch.num_rows()).map(|row| format!("{} {}", text(0, row), text(2, row))));
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "TIDEGATE_SEED={seed}");
    }
}
