//! Sealed sets verify after new data, differ after late corrections exactly where they should, and pin what they need; audits
//! count what a join on event time alone would leak.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, UInt64Type};
use futures::TryStreamExt;
use tidegate_schemas::catalog::Selection;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, weather};
use crate::service::tests::windowed_sets::windowed;
use crate::service::{AuditRequest, Sample, Split};

/// Every hour of two days at two airports, with a label.
fn spine() -> Batches {
    let rows: Vec<(&str, i64)> = (0..48).flat_map(|hour| [("JFK", hour), ("EWR", hour)]).collect();
    let origins: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1 * HOUR));
    let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
    let late: ArrayRef = Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.1 % 5 == 0))));
    let batch = RecordBatch::try_from_iter([("origin", origins), ("event_timestamp", times), ("late", late)]).unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

fn request(spine: Spine) -> TrainingSetRequest {
    TrainingSetRequest {
        project: "flights".to_owned(),
        selection: Selection::Service("late_arrival".to_owned()),
        spine,
        event_time_column: String::new(),
        full_names: false,
        as_of: None,
        include_event_times: false,
        include_statuses: false,
        split: None,
        sample: None,
    }
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 20, 20.0), ("EWR", 2, 5.0)])).await.unwrap();
    bench.clock.set(100 * HOUR);
    bench
}

impl Bench {
    async fn uploaded(&self) -> Spine {
        Spine::Uploaded(self.service.upload_spine(&self.me, "flights", spine()).await.unwrap().spine_id)
    }

    async fn seal(&self, name: &str, training_set: TrainingSetRequest) -> Result<Sealed> {
        let request = SealRequest { name: name.to_owned(), training_set };
        let steps: Vec<SealProgress> = self.service.seal(&self.me, request).await?.try_collect().await?;
        match steps.into_iter().last() {
            Some(SealProgress::Done(set)) => Ok(*set),
            other => panic!("the last report is the seal: {other:?}"),
        }
    }

    async fn verify(&self, name: &str) -> Result<Verdict> {
        let steps: Vec<_> = self.service.verify(&self.me, "flights", name).await?.try_collect().await?;
        match steps.into_iter().last() {
            Some(VerifyProgress::Done(verdict)) => Ok(verdict),
            other => panic!("the last report is the verdict: {other:?}"),
        }
    }

    async fn diff(&self, name: &str, against: Option<&str>) -> Result<Vec<String>> {
        let rows = self.service.sealed_diff(&self.me, "flights", name, against).await?;
        let schema = self.service.sealed_diff_schema(&self.me, "flights", name).await?;
        assert_eq!(rows.schema, schema);
        let batches = rows.collect().await?;
        let line = |batch: &RecordBatch, row: usize| {
            let shown = [0, 2, 3, 4, 5, 9, 10].map(|at| {
                let column = batch.column(at);
                let options = arrow::util::display::FormatOptions::default().with_null("null");
                arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
            });
            shown.join(" ")
        };
        Ok(batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| line(batch, row))).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_verifies_after_new_data_and_new_definitions() {
    let bench = bench().await;
    let split = Split::new(vec![24 * HOUR, 40 * HOUR], 2 * HOUR).unwrap();
    let sample = Sample::new("late", vec![("false".to_owned(), 0.5)], 7).unwrap();
    let request = TrainingSetRequest {
        split: Some(split),
        sample: Some(sample),
        include_statuses: true,
        ..request(bench.uploaded().await)
    };
    let sealed = bench.seal("first", request.clone()).await.unwrap();
    assert_eq!((sealed.spine.rows, sealed.tables["weather"], sealed.created_at), (96, 1, 100 * HOUR));
    assert!(sealed.result.rows > 20 && sealed.result.rows < 96, "{}", sealed.result.rows);
    assert_eq!(sealed.options.event_time_column, "event_timestamp");
    let columns: Vec<&str> = sealed.result.columns.iter().map(|column| column.name.as_str()).collect();
    let expect = ["origin", "event_timestamp", "late", "split", "sample_weight", "temp", "origin_weather__status"];
    assert_eq!(columns, expect);

    // The same rows now, and from a server that starts anew after corrections and with other definitions.
    let rows = bench.service.training_set(&bench.me, &request).await.unwrap().collect().await.unwrap();
    bench.ingest("b2", weather(&[("JFK", 1, 99.0), ("EWR", 3, 7.0), ("JFK", 200, 1.0)])).await.unwrap();
    bench.apply(&FLIGHTS.replace("ttl: 24h", "ttl: 1h")).await.unwrap();
    // Compacting the table goes here, and whatever else moves rows: a set is read at the versions it pinned.
    let bench = bench.restart().await;
    let verdict = bench.verify("first").await.unwrap();
    assert_eq!(verdict.differences, []);
    assert_eq!(verdict.found, sealed.result);
    let again = bench.service.sealed_rows(&bench.me, "flights", "first").await.unwrap();
    assert_eq!(again.schema, bench.service.sealed_schema(&bench.me, "flights", "first").await.unwrap());
    let again = again.collect().await.unwrap();
    let one = |batches: &[RecordBatch]| arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap();
    assert_eq!(one(&again), one(&rows));
    assert_eq!(bench.service.sealed(&bench.me, "flights").await.unwrap(), [sealed]);
    assert_eq!(bench.spill_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_of_the_rows_not_of_the_way_they_came() {
    let bench = bench().await;
    bench.ingest("labels", weather(&[("JFK", 3, 1.0)])).await.unwrap();
    let query = "SELECT origin, time_hour AS event_timestamp FROM sources.weather ORDER BY time_hour, origin";
    let by_sql = bench.seal("sql", request(Spine::Sql(query.to_owned()))).await.unwrap();
    let rows = bench.service.sql(&bench.me, "flights", query, None).await.unwrap().collect().await.unwrap();
    let pieces = rows.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1))).collect();
    let rows = Batches::from_vec(rows[0].schema(), pieces);
    let uploaded = bench.service.upload_spine(&bench.me, "flights", rows).await.unwrap();
    let by_rows = bench.seal("rows", request(Spine::Uploaded(uploaded.spine_id))).await.unwrap();
    assert_eq!(by_sql.result, by_rows.result);
    assert_eq!(by_sql.spine.digest, by_rows.spine.digest);
    // A query's rows are kept: that it would answer otherwise now is no matter.
    bench.ingest("b3", weather(&[("LGA", 9, 1.0)])).await.unwrap();
    assert_eq!(bench.verify("sql").await.unwrap().differences, []);
    let table = bench.seal(
        "table",
        TrainingSetRequest {
            event_time_column: "time_hour".to_owned(),
            full_names: true,
            ..request(Spine::Table("weather".to_owned()))
        },
    );
    assert_eq!(table.await.unwrap().spine.rows, 5);
    assert_eq!(bench.verify("table").await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_names_exactly_what_changed_and_why() {
    let bench = bench().await;
    bench.seal("first", request(bench.uploaded().await)).await.unwrap();
    assert_eq!(bench.diff("first", None).await.unwrap(), [""; 0]);
    // A correction of EWR's only report (seen from hour 2 to 26), and a late report of JFK for hour 30 (until 44 the one of hour
    // 20 stood), in one version each.
    bench.ingest("b2", weather(&[("EWR", 2, 6.0)])).await.unwrap();
    bench.ingest("b3", weather(&[("JFK", 30, 30.0)])).await.unwrap();
    let changed = bench.diff("first", None).await.unwrap();
    let corrected = (2..=26).map(|hour| format!("{} temp 5.0 6.0 correction 1 3", hour * 2 + 1));
    let late = (30..48).map(|hour| {
        let before = if hour <= 44 { "20.0" } else { "null" };
        format!("{} temp {before} 30.0 late arrival 1 3", hour * 2)
    });
    let mut expect: Vec<String> = corrected.chain(late).collect();
    let place = |line: &String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    expect.sort_by_key(place);
    assert_eq!(changed, expect);
    let verdict = bench.verify("first").await.unwrap();
    assert_eq!(verdict.differences, [], "the sealed versions are as they were");

    // Against another seal of the same rows; of other rows there is nothing to compare.
    bench.seal("second", request(bench.uploaded().await)).await.unwrap();
    assert_eq!(bench.diff("first", Some("second")).await.unwrap(), expect);
    assert_eq!(bench.diff("second", None).await.unwrap(), [""; 0]);
    let sample = Sample::new("late", vec![("false".to_owned(), 0.5)], 7).unwrap();
    let other = TrainingSetRequest { sample: Some(sample), ..request(bench.uploaded().await) };
    bench.seal("third", other).await.unwrap();
    let error = bench.diff("first", Some("third")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    let named = TrainingSetRequest { full_names: true, ..request(bench.uploaded().await) };
    bench.seal("fourth", named).await.unwrap();
    let error = bench.diff("first", Some("fourth")).await.unwrap_err();
    assert!(error.message.contains("origin_weather__temp"), "{error}");
}

/// A late report changes what windows hold that held newer ones already.
#[tokio::test(flavor = "multi_thread")]
async fn windows_are_sealed_verified_and_compared() {
    let bench = bench().await;
    bench.apply(&windowed()).await.unwrap();
    let sealed = bench.seal("first", request(bench.uploaded().await)).await.unwrap();
    assert_eq!(sealed.result.columns.len(), 6);
    bench.ingest("b2", weather(&[("JFK", 19, 19.0)])).await.unwrap();
    assert_eq!(bench.verify("first").await.unwrap().differences, []);
    let changed = bench.diff("first", None).await.unwrap();
    let of = |feature: &str| changed.iter().filter(|line| line.contains(feature)).cloned().collect::<Vec<_>>();
    let mut expect = vec!["38 mean_6h null 19.0 late arrival 1 2".to_owned()];
    expect.extend((20..25).map(|hour| format!("{} mean_6h 20.0 19.5 other events 1 2", hour * 2)));
    assert_eq!(of("mean_6h"), expect);
    assert_eq!(of("reports").len(), 48 - 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_after_the_seal_is_a_new_observation() {
    let bench = bench().await;
    bench.clock.set(25 * HOUR);
    let with_times = TrainingSetRequest { include_event_times: true, ..request(bench.uploaded().await) };
    bench.seal("early", with_times).await.unwrap();
    bench.ingest("b2", weather(&[("JFK", 46, 46.0)])).await.unwrap();
    let changed = bench.diff("early", None).await.unwrap();
    let time = "1970-01-02T22:00:00Z";
    let expect: Vec<String> = [92, 94]
        .into_iter()
        .flat_map(|row| {
            [
                format!("{row} temp null 46.0 new observation 1 2"),
                format!("{row} origin_weather__event_time 1970-01-01T20:00:00Z {time} new observation 1 2"),
            ]
        })
        .collect();
    assert_eq!(changed, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn seals_pin_versions_until_they_are_deleted() {
    let bench = bench().await;
    let pinned = async |source: &str| bench.service.sealed_versions("flights", source).await.unwrap();
    assert_eq!(pinned("weather").await, BTreeSet::new());
    bench.seal("one", request(bench.uploaded().await)).await.unwrap();
    bench.ingest("b2", weather(&[("EWR", 2, 6.0)])).await.unwrap();
    bench.seal("two", request(bench.uploaded().await)).await.unwrap();
    bench.seal("three", request(bench.uploaded().await)).await.unwrap();
    assert_eq!(pinned("weather").await, BTreeSet::from([1, 2]));
    assert_eq!(pinned("elsewhere").await, BTreeSet::new());
    bench.service.unseal(&bench.me, "flights", "one").await.unwrap();
    bench.service.unseal(&bench.me, "flights", "two").await.unwrap();
    assert_eq!(pinned("weather").await, BTreeSet::from([2]));
    let spines = std::fs::read_dir(bench.folder.path().join("sealed/flights/spines")).unwrap().count();
    assert_eq!(spines, 1);
    // A record that can't be read pins what nobody knows.
    let record = bench.folder.path().join("sealed/flights/three.json");
    std::fs::write(&record, "{").unwrap();
    let error = bench.service.sealed_versions("flights", "weather").await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("three.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_sealed_or_made_again_is_told() {
    let bench = bench().await;
    let seal = async |name: &str| bench.seal(name, request(bench.uploaded().await)).await;
    seal("mine").await.unwrap();
    let error = seal("mine").await.unwrap_err();
    assert!(error.kind == ErrorKind::AlreadyExists && error.message.contains("`mine`"), "{error}");
    assert_eq!(seal("../mine").await.unwrap_err().kind, ErrorKind::Invalid);
    let error = bench.verify("mime").await.unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("did you mean `mine`"), "{error}");
    let without = TrainingSetRequest {
        sample: Some(Sample::new("label", vec![("false".to_owned(), 0.5)], 0).unwrap()),
        ..request(bench.uploaded().await)
    };
    let error = bench.seal("other", without).await.unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.message.contains("no column `label`"), "{error}");
    assert_eq!(bench.service.sealed(&bench.me, "flights").await.unwrap().len(), 1);

    // A spine that is not what was sealed.
    let spines = bench.folder.path().join("sealed/flights/spines");
    let file = std::fs::read_dir(&spines).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let sound = bytes.clone();
    let at = bytes.windows(3).position(|window| window == b"JFK").unwrap();
    bytes[at] = b'X';
    std::fs::write(&file, &bytes).unwrap();
    let error = bench.verify("mine").await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("spine"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = bench.verify("mine").await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("gone"), "{error}");
    std::fs::write(&file, &sound).unwrap();
    assert_eq!(bench.verify("mine").await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_vacuumed_away_is_named() {
    let bench = bench().await;
    bench.seal("mine", request(bench.uploaded().await)).await.unwrap();
    bench.ingest("b2", weather(&[("EWR", 2, 6.0)])).await.unwrap();
    let bench = bench.restart().await;
    let table = bench.folder.path().join("tables/flights/weather");
    // The files of the version, as a vacuum that does not ask would remove them.
    for entry in std::fs::read_dir(&table).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "parquet") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let error = bench.verify("mine").await.unwrap_err();
    assert!(error.chain().contains("`mine`") && error.chain().contains("weather"), "{}", error.chain());
    assert!(error.chain().contains("part-"), "the file that is gone: {}", error.chain());
    // The log of the version too.
    std::fs::remove_file(table.join("_delta_log").join(format!("{:020}.json", 1))).unwrap();
    let bench = bench.restart().await;
    let error = bench.verify("mine").await.unwrap_err();
    assert!(error.chain().contains("weather"), "{}", error.chain());
}

#[test]
fn differences_are_named_by_column() {
    let column = |name: &str, data_type: &str, digest: &str| ColumnDigest {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        digest: digest.to_owned(),
    };
    let table = |rows, columns: &[ColumnDigest]| TableDigest { rows, digest: String::new(), columns: columns.to_vec() };
    let sealed = table(3, &[column("a", "int64", "1"), column("b", "int64", "2"), column("c", "int64", "3")]);
    let found = table(4, &[column("a", "string", "9"), column("c", "int64", "4"), column("d", "bool", "5")]);
    let told: Vec<(What, String)> =
        differences(&sealed, &found).into_iter().map(|difference| (difference.what, difference.column)).collect();
    let expect = [
        (What::Rows, ""),
        (What::Type, "a"),
        (What::ColumnMissing, "b"),
        (What::Values, "c"),
        (What::ColumnAdded, "d"),
    ];
    assert_eq!(told, expect.map(|(what, column)| (what, column.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_counts_what_a_naive_join_leaks() {
    let bench = bench().await;
    bench.apply(&FLIGHTS.replace("    ttl: 24h\n", "    ttl: 24h\n    availability: {delay: 3h}\n")).await.unwrap();
    let audit = async |margin: i64| {
        let training_set = request(bench.uploaded().await);
        let rows = bench.service.audit(&bench.me, &AuditRequest { training_set, margin }).await?;
        let batches = rows.collect().await?;
        Ok::<_, Error>(batches.into_iter().next().unwrap())
    };
    let row = audit(0).await.unwrap();
    let count = |row: &RecordBatch, name: &str| row[name].as_primitive::<UInt64Type>().value(0);
    // Each report is known three hours after it was made: hours 1, 2, 3 and 20, 21, 22 of JFK, 2, 3, 4 of EWR.
    assert_eq!((count(&row, "rows"), count(&row, "leaked"), count(&row, "near")), (96, 9, 0));
    assert_eq!(row["availability"].as_string::<i32>().value(0), "delay 3h");
    assert!(row["knowledge_known"].as_boolean().value(0));
    // From three hours on a report may be seen: 4 of JFK and 23, 5 of EWR are as near as they get.
    assert_eq!(count(&audit(3 * HOUR).await.unwrap(), "near"), 3);
    assert_eq!(audit(-1).await.unwrap_err().kind, ErrorKind::Invalid);

    bench.apply(FLIGHTS).await.unwrap();
    let request = AuditRequest { training_set: request(Spine::Uploaded(String::new())), margin: 0 };
    let row = bench.service.audit_exchange(&bench.me, &request, spine()).await.unwrap();
    assert_eq!(row.schema, bench.service.audit_schema());
    let row = row.collect().await.unwrap().remove(0);
    assert_eq!((count(&row, "leaked"), count(&row, "near")), (0, 3));
    assert!(!row["knowledge_known"].as_boolean().value(0));
    let note = row["note"].as_string::<i32>().value(0);
    assert!(note.contains("not recorded") && note.contains("3 values"), "{note}");
}

/// An event that becomes known late leaks into every row whose windows it would be in until then.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_looks_into_windows() {
    let bench = bench().await;
    let late = windowed().replace("    online: false\n", "    online: false\n    availability: {delay: 3h}\n");
    bench.apply(&late).await.unwrap();
    let training_set = request(bench.uploaded().await);
    let rows = bench.service.audit(&bench.me, &AuditRequest { training_set, margin: 0 }).await.unwrap();
    let rows = rows.collect().await.unwrap().remove(0);
    let features: Vec<&str> = rows["feature"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(features, ["temp", "mean_6h", "reports"]);
    // Three rows for each of the three reports; of the mean, three more rows each have a value by right.
    assert_eq!(rows["leaked"].as_primitive::<UInt64Type>().values(), &[0, 9, 9]);
    assert_eq!(rows["present"].as_primitive::<UInt64Type>().values()[1..], [9, 96]);
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_and_samples_come_before_the_join() {
    let bench = bench().await;
    let request = TrainingSetRequest {
        split: Some(Split::new(vec![24 * HOUR], 4 * HOUR).unwrap()),
        sample: Some(Sample::new("late", vec![("false".to_owned(), 0.5)], 7).unwrap()),
        ..request(bench.uploaded().await)
    };
    let schema = bench.service.training_set_schema(&bench.me, &request).await.unwrap();
    let rows = bench.service.training_set(&bench.me, &request).await.unwrap();
    assert_eq!(rows.schema, schema);
    let batches = rows.collect().await.unwrap();
    let whole = arrow::compute::concat_batches(&schema, &batches).unwrap();
    let hours = whole["event_timestamp"].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let (parts, late) = (whole["split"].as_string::<i32>(), whole["late"].as_boolean());
    let weights = whole["sample_weight"].as_primitive::<Float64Type>();
    assert!(hours.values().is_sorted(), "the spine's order is kept");
    for row in 0..whole.num_rows() {
        let hour = hours.value(row) / HOUR;
        assert!(!(20..24).contains(&hour), "row {row} is within the embargo");
        assert_eq!(parts.value(row), if hour < 24 { "train" } else { "test" });
        assert_eq!(weights.value(row), if late.value(row) { 1.0 } else { 2.0 });
    }
    let kept = late.values().count_set_bits();
    assert_eq!(kept, 18, "every late row outside of the embargo");
    assert!((15..60).contains(&(whole.num_rows() - kept)));
}
