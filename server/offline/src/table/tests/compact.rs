//! Compaction: what a point-in-time join answers is the same to the byte before and after, at every availability, with
//! ties, and with appends before, between and after; doing it again does nothing. `TIDEGATE_SEED` repeats a case.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use datafusion::datasource::MemTable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::tempdir;
use tidegate_schemas::time::{Availability, UpperBound};

use crate::fixtures::{append, column, drawn, incoming, runtime, table, weather, weather_rules};
use crate::point_in_time::{Feature, Key, Nulls, Spec, View, plan};
use crate::runtime::Runtime;
use crate::table::snapshot::Snapshot;
use crate::table::{Layout, Location, Table, Vacuum};

const ORIGINS: [&str; 5] = ["EWR", "JFK", "LGA", "ewr", ""];

fn layout() -> Layout {
    Layout { keys: vec!["origin".to_owned()], event_time: "at".to_owned(), up_to: None }
}

/// Rows with few origins and times, so that ties are common, and temperatures that tell them apart.
fn batch(rng: &mut StdRng, next: &mut u32) -> RecordBatch {
    let rows: Vec<(&str, i64, f64)> = (0..rng.random_range(1..60))
        .map(|_| {
            *next += 1;
            (ORIGINS[rng.random_range(0..5)], rng.random_range(0..12) * 1_000_000, f64::from(*next))
        })
        .collect();
    weather(&rows)
}

async fn join(
    runtime: &Arc<Runtime>,
    snapshot: &Arc<Snapshot>,
    availability: Availability,
    commits: i64,
) -> RecordBatch {
    let mut labels = Vec::new();
    for origin in ORIGINS {
        labels.extend((-1..14).map(|second| (origin, second * 1_000_000, 0.0)));
        // Commits happen now: labels after each of them.
        labels.extend((0..40).map(|step| (origin, commits + step * 2_000, 0.0)));
    }
    let spine = weather(&labels).project(&[0, 1]).unwrap();
    let view = View {
        alias: "weather".to_owned(),
        snapshot: snapshot.clone(),
        keys: vec![Key { spine_column: "origin".to_owned(), table_column: "origin".to_owned() }],
        event_time: "at".to_owned(),
        valid_to: None,
        created_time: None,
        availability,
        upper: UpperBound::Inclusive,
        ttl: None,
        nulls: Nulls::Keep,
        features: vec![Feature {
            column: "temp".to_owned(),
            output: "temp".to_owned(),
            data_type: DataType::Float64,
            aggregate: None,
        }],
        event_time_output: Some("event".to_owned()),
        status_output: Some("status".to_owned()),
    };
    let session = runtime.session();
    let spine = MemTable::try_new(spine.schema(), vec![vec![spine]]).unwrap();
    let spine = session.read_table(Arc::new(spine)).unwrap().into_unoptimized_plan();
    let spec = Spec { spine_time: "at".to_owned(), views: vec![view], as_of: None };
    let joined = session.execute_logical_plan(plan(spine, spec).unwrap()).await.unwrap();
    let schema = Arc::new(joined.schema().as_arrow().clone());
    concat_batches(&schema, &joined.collect().await.unwrap()).unwrap()
}

async fn answers(runtime: &Arc<Runtime>, table: &Table, commits: i64) -> Vec<RecordBatch> {
    let snapshot = table.snapshot(None).await.unwrap();
    let mut answers = Vec::new();
    for availability in [Availability::Event, Availability::Delay(2_000_000), Availability::Commit] {
        answers.push(join(runtime, &snapshot, availability, commits).await);
    }
    answers
}

#[tokio::test]
async fn no_answer_changes() {
    let first = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    for seed in first..first + 12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let folder = tempdir().unwrap();
        let runtime = runtime(folder.path());
        let rules = weather_rules();
        let table = table(&folder.path().join("weather"), &rules).await.unwrap();
        let (mut next, mut appended, mut commits) = (0, 0, None);
        for _ in 0..rng.random_range(1..4) {
            for _ in 0..rng.random_range(1..5) {
                let id = format!("batch-{appended}");
                append(&table, &runtime, &rules, &id, vec![batch(&mut rng, &mut next)]).await.unwrap();
                appended += 1;
            }
            let files = &table.snapshot(None).await.unwrap().files;
            let commits = *commits.get_or_insert_with(|| files[0].committed.unwrap());
            let before = answers(&runtime, &table, commits).await;
            let done = table.compact(&runtime, layout()).await.unwrap();
            assert_eq!(answers(&runtime, &table, commits).await, before, "TIDEGATE_SEED={seed}, {done:?}");
            let again = table.compact(&runtime, layout()).await.unwrap();
            assert_eq!((again.version, again.files_before), (table.version(), 0), "TIDEGATE_SEED={seed}");
            let reopened = Table::open("weather", &Location::Delta(folder.path().join("weather"))).await.unwrap();
            assert_eq!(answers(&runtime, &reopened, commits).await, before, "TIDEGATE_SEED={seed}");
        }
    }
}

#[tokio::test]
async fn rows_lie_by_key_and_time_and_the_old_version_stays_readable() {
    let folder = tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("weather"), &rules).await.unwrap();
    for (id, row) in [("a", ("LGA", 3, 1.0)), ("b", ("EWR", 9, 2.0)), ("c", ("EWR", 4, 3.0))] {
        append(&table, &runtime, &rules, id, vec![weather(&[row])]).await.unwrap();
    }
    let before = table.snapshot(None).await.unwrap();
    let done = table.compact(&runtime, layout()).await.unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows), (3, 1, 3));
    let after = table.snapshot(None).await.unwrap();
    assert_eq!(after.version, done.version);
    assert_eq!(after.rows(), Some(3));
    let expected = "\
+--------+-----------------------------+------+
| origin | at                          | temp |
+--------+-----------------------------+------+
| EWR    | 1970-01-01T00:00:00.000004Z | 3.0  |
| EWR    | 1970-01-01T00:00:00.000009Z | 2.0  |
| LGA    | 1970-01-01T00:00:00.000003Z | 1.0  |
+--------+-----------------------------+------+";
    assert_eq!(drawn(&after).await, expected);
    let old = table.snapshot(Some(before.version)).await.unwrap();
    assert!(drawn(&old).await.contains("LGA    | 1970-01-01T00:00:00.000003Z | 1.0"));
    let changes = super::changes(&table, before.version, after.version).await;
    assert!(
        changes.added.is_empty() && changes.removed.is_empty(),
        "no row is new to who has read them all: {changes:?}"
    );
}

/// A column that is to hold doubles where it holds floats: what there was is answered as before, at every availability, the next append
/// brings doubles, and who has read the old rows reads none again.
#[tokio::test]
async fn a_wider_column_changes_no_answer() {
    let first = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    for seed in first..first + 6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let folder = tempdir().unwrap();
        let (runtime, wide) = (runtime(folder.path()), weather_rules());
        let mut narrow = wide.clone();
        narrow.columns[2] = column("temp", "float32");
        let path = folder.path().join("weather");
        let made = table(&path, &narrow).await.unwrap();
        let (mut next, mut compacted_at) = (0, 0);
        for nth in 0..rng.random_range(0..6) {
            let rows = batch(&mut rng, &mut next);
            let temps = cast(rows.column(2), &DataType::Float32).unwrap();
            let columns = [("origin", rows.column(0).clone()), ("at", rows.column(1).clone()), ("temp", temps)];
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            append(&made, &runtime, &narrow, &format!("batch-{nth}"), vec![rows]).await.unwrap();
            if rng.random_bool(0.2) {
                made.compact(&runtime, layout()).await.unwrap();
                compacted_at = made.version();
            }
        }
        let old = made.snapshot(None).await.unwrap();
        let commits = old.files.first().map_or(0, |file| file.committed.unwrap());
        let before = answers(&runtime, &made, commits).await;
        made.extend(&wide.columns, &wide.required()).await.unwrap();
        assert_eq!(made.snapshot(None).await.unwrap().version, old.version, "nothing is to be written yet");
        append(&made, &runtime, &wide, "wide", vec![weather(&[("of another place", 1, 0.1)])]).await.unwrap();
        for table in [&made, &Table::open("weather", &Location::Delta(path)).await.unwrap()] {
            let now = table.snapshot(None).await.unwrap();
            assert_eq!(now.field("temp").unwrap().data_type(), &DataType::Float64);
            assert!(drawn(&now).await.contains("| 0.1 "), "TIDEGATE_SEED={seed}");
            assert_eq!(answers(&runtime, table, commits).await, before, "TIDEGATE_SEED={seed}");
            // Nothing moved for whoever had read some of it.
            for from in compacted_at..=old.version {
                let since: u64 =
                    old.files.iter().filter(|file| file.added_version > from).filter_map(|file| file.rows).sum();
                let changes = super::changes(table, from, now.version).await;
                let added: u64 = changes.added.iter().filter_map(|file| file.rows).sum();
                assert_eq!((added, changes.removed.len()), (since + 1, 0), "TIDEGATE_SEED={seed}, since {from}");
            }
            let places = |snapshot: &Snapshot| {
                snapshot.files.iter().map(|file| (file.added_version, file.order)).collect::<Vec<_>>()
            };
            assert_eq!(places(&now)[..old.files.len()], places(&old), "TIDEGATE_SEED={seed}");
            let then = table.snapshot(Some(old.version)).await.unwrap();
            assert_eq!(then.field("temp").unwrap().data_type(), &DataType::Float32);
            assert_eq!(drawn(&then).await, drawn(&old).await);
        }
        let narrower = made.extend(&narrow.columns, &narrow.required()).await.unwrap_err();
        assert!(narrower.to_string().contains("only change to a wider one"), "{narrower}");
    }
}

#[tokio::test]
async fn a_vacuum_deletes_what_no_kept_version_needs() {
    let folder = tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("weather"), &rules).await.unwrap();
    for (id, row) in [("a", ("LGA", 3, 1.0)), ("b", ("EWR", 9, 2.0)), ("c", ("EWR", 4, 3.0))] {
        append(&table, &runtime, &rules, id, vec![weather(&[row])]).await.unwrap();
    }
    let before = table.snapshot(None).await.unwrap();
    table.compact(&runtime, layout()).await.unwrap();
    let after = table.snapshot(None).await.unwrap();
    let orphan = folder.path().join("weather/part-of-a-write-that-broke-off.parquet");
    std::fs::write(&orphan, b"PAR1").unwrap();
    let now = before.files[2].committed.unwrap();
    let vacuum = |now, older_than, keep: &[i64]| {
        let vacuum = Vacuum { now, older_than, keep: keep.iter().copied().collect(), dry_run: false };
        let (table, after) = (&table, &after);
        async move {
            let would = table.vacuum(&Vacuum { dry_run: true, ..vacuum.clone() }).await.unwrap();
            let done = table.vacuum(&vacuum).await.unwrap();
            assert_eq!(would, done);
            assert_eq!(done.version, after.version);
            done.files
        }
    };
    let day = 86_400_000_000;
    assert_eq!(vacuum(now, day, &[]).await, 0, "they were live today");
    assert_eq!(vacuum(now + 2 * day, day, &[before.version]).await, 1, "the orphan");
    assert!(!orphan.exists());
    assert!(drawn(&before).await.contains("1.0"));
    assert_eq!(vacuum(now + 2 * day, day, &[before.version - 1]).await, 1, "the last before the compaction");
    assert_eq!(vacuum(now + 1_000_000, 0, &[]).await, 2);
    assert_eq!(vacuum(now + 1_000_000, 0, &[]).await, 0);
    assert!(drawn(&after).await.contains("1.0"));
    append(&table, &runtime, &rules, "d", vec![weather(&[("JFK", 1, 4.0)])]).await.unwrap();
    assert_eq!(table.snapshot(None).await.unwrap().rows(), Some(4));
}

#[tokio::test]
async fn what_comes_after_a_version_can_be_left_alone() {
    let folder = tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("weather"), &rules).await.unwrap();
    let mut versions = Vec::new();
    for (id, row) in [("a", ("LGA", 3, 1.0)), ("b", ("EWR", 9, 2.0)), ("c", ("EWR", 4, 3.0))] {
        versions.push(append(&table, &runtime, &rules, id, vec![weather(&[row])]).await.unwrap().version);
    }
    let done = table.compact(&runtime, Layout { up_to: Some(versions[1]), ..layout() }).await.unwrap();
    assert_eq!((done.files_before, done.files_after), (2, 1));
    let changes = super::changes(&table, versions[1], done.version).await;
    assert!(changes.removed.is_empty() && changes.added.len() == 1, "{changes:?}");
}

#[tokio::test]
async fn appends_during_a_compaction_lose_nothing() {
    let folder = tempdir().unwrap();
    let (runtime, rules) = (runtime(folder.path()), weather_rules());
    let table = table(&folder.path().join("weather"), &rules).await.unwrap();
    append(&table, &runtime, &rules, "first", vec![weather(&[("EWR", 1, 1.0)])]).await.unwrap();
    let appends = async {
        for at in 0..20 {
            let rows = weather(&[("JFK", at, 0.5)]);
            let request = crate::table::AppendRequest { batch_id: format!("{at}"), rules: rules.clone() };
            table.append(&runtime, request, incoming(vec![rows])).await.unwrap();
        }
    };
    let compactions = async {
        for _ in 0..5 {
            table.compact(&runtime, layout()).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::join!(appends, compactions);
    assert_eq!(table.snapshot(None).await.unwrap().rows(), Some(21));
    assert_eq!(drawn(&table.snapshot(None).await.unwrap()).await.matches("JFK").count(), 20);
}
