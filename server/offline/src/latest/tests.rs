//! The newest observation per key equals the one found by comparing every pair, also when memory forces several passes.

use std::collections::BTreeMap;

use arrow::array::{Float64Array, StringArray};
use arrow::datatypes::Float64Type;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use super::*;
use crate::fixtures::{append, runtime_with, table, weather, weather_rules};

fn spec() -> Spec {
    Spec {
        keys: vec!["origin".into()],
        event_time: "at".into(),
        created_time: None,
        features: vec!["temp".into()],
        until: None,
        later: false,
    }
}

async fn all(runtime: &Runtime, snapshot: &Arc<Snapshot>, spec: &Spec) -> Result<Vec<RecordBatch>> {
    let (found, mut batches) = tokio::sync::mpsc::channel(1);
    let (mut all, seen) = (Vec::new(), Arc::new(Seen::default()));
    let collect = async {
        while let Some(Newest { version, batch }) = batches.recv().await {
            assert!(snapshot.files.iter().any(|file| file.added_version == version));
            all.push(batch);
        }
        Ok(())
    };
    tokio::try_join!(latest(runtime, snapshot, &snapshot.files, spec, found, &seen), collect)?;
    let rows = snapshot.files.iter().map(|file| file.rows.unwrap()).sum::<u64>();
    assert_eq!((seen.rows.load(Relaxed), seen.skipped.load(Relaxed)), (rows, 0));
    Ok(all)
}

async fn found(runtime: &Runtime, snapshot: &Arc<Snapshot>, spec: &Spec) -> BTreeMap<String, (i64, f64)> {
    let batches = all(runtime, snapshot, spec).await.unwrap();
    let mut found = BTreeMap::new();
    for batch in batches {
        let keys: &StringArray = batch.column(0).as_string();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let temps: &Float64Array = batch.column(2).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let old = found.insert(keys.value(row).to_owned(), (times.value(row), temps.value(row)));
            assert!(old.is_none(), "a key came twice");
        }
    }
    found
}

#[tokio::test]
async fn equals_the_newest_by_address_over_random_histories() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let plenty = runtime_with(folder.path(), 256 << 20);
    // The pool grants one reservation of the map and no second one.
    let scarce = runtime_with(folder.path(), 3 << 20);
    let rules = weather_rules();
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    let mut expected: BTreeMap<String, (i64, f64)> = BTreeMap::new();
    for commit in 0..6 {
        let rows: Vec<(String, i64, f64)> = (0..10_000)
            .map(|row| {
                (
                    format!("k{}", random.random_range(0..20_000)),
                    random.random_range(0..50),
                    f64::from(commit * 10_000 + row),
                )
            })
            .collect();
        for (key, at, temp) in &rows {
            let best = expected.entry(key.clone()).or_insert((*at, *temp));
            if *at >= best.0 {
                *best = (*at, *temp);
            }
        }
        let rows: Vec<(&str, i64, f64)> = rows.iter().map(|(key, at, temp)| (key.as_str(), *at, *temp)).collect();
        append(&table, &plenty, &rules, &format!("c{commit}"), vec![weather(&rows)]).await.unwrap();
    }
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(found(&plenty, &snapshot, &spec()).await, expected, "TIDEGATE_SEED={seed}");
    assert_eq!(found(&scarce, &snapshot, &spec()).await, expected, "TIDEGATE_SEED={seed}, several passes");
}

#[tokio::test]
async fn a_view_without_keys_has_one_newest_row() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime_with(folder.path(), 64 << 20);
    let rules = weather_rules();
    let table = table(&folder.path().join("t"), &rules).await.unwrap();
    append(&table, &runtime, &rules, "a", vec![weather(&[("A", 5, 1.0), ("B", 9, 2.0)])]).await.unwrap();
    append(&table, &runtime, &rules, "b", vec![weather(&[("C", 7, 3.0)])]).await.unwrap();
    let spec = Spec { keys: Vec::new(), features: vec!["origin".into(), "temp".into()], ..spec() };
    let snapshot = table.snapshot(None).await.unwrap();
    let batches = all(&runtime, &snapshot, &spec).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(batches[0].column(1).as_string::<i32>().value(0), "B");
}

#[tokio::test]
async fn a_column_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime_with(folder.path(), 64 << 20);
    let table = table(&folder.path().join("t"), &weather_rules()).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    let wrong = Spec { features: vec!["tmp".into()], ..spec() };
    let error = all(&runtime, &snapshot, &wrong).await.err().unwrap();
    assert!(error.to_string().contains("did you mean `temp`?"), "{error}");
}

/// What happens later does not take the place of what holds now, and is handed over beside it when that is asked for.
#[tokio::test]
async fn what_happens_later_stands_aside() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime_with(folder.path(), 64 << 20);
    let table = table(&folder.path().join("t"), &weather_rules()).await.unwrap();
    let rows = weather(&[("A", 5, 1.0), ("A", 7, 2.0), ("B", 9, 3.0), ("A", 8, 4.0), ("C", 6, 5.0)]);
    append(&table, &runtime, &weather_rules(), "a", vec![rows]).await.unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    for (later, expected) in [(false, vec![1.0, 5.0]), (true, vec![1.0, 2.0, 3.0, 4.0, 5.0])] {
        let spec = Spec { until: Some(6), later, ..spec() };
        let batches = all(&runtime, &snapshot, &spec).await.unwrap();
        let mut temps: Vec<f64> =
            batches.iter().flat_map(|batch| batch.column(2).as_primitive::<Float64Type>().values().to_vec()).collect();
        temps.sort_by(f64::total_cmp);
        assert_eq!(temps, expected);
    }
}
