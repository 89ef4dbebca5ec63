//! The use cases without a door: what a project goes through from its first definitions to a lookup.

mod as_of;
pub(crate) mod bench;
mod computed;
mod evolve;
mod jobs;
mod window_parity;
pub(crate) mod windowed_sets;
mod windows;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::problem::Problem;

use super::*;
use bench::{Bench, FLIGHTS, HOUR, files, weather};

fn training_set(spine: Spine) -> TrainingSetRequest {
    TrainingSetRequest {
        project: "flights".to_owned(),
        selection: Selection::Service("late_arrival".to_owned()),
        spine,
        event_time_column: String::new(),
        full_names: false,
        as_of: None,
        include_event_times: false,
        include_statuses: true,
        split: None,
        sample: None,
    }
}

fn spine(rows: &[(&str, i64)]) -> Batches {
    let origins: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1 * HOUR)).with_timezone("UTC"));
    let labels: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
    let batch =
        arrow::array::RecordBatch::try_from_iter([("origin", origins), ("event_timestamp", times), ("label", labels)]);
    let batch = batch.unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

pub(crate) fn lookup(origins: &[&str]) -> LookupRequest {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(origins.to_vec())))];
    let service = Selection::Service("late_arrival".to_owned());
    LookupRequest { include_times: true, ..LookupRequest::new("flights", service, keys) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_loop() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 3, 30.0), ("EWR", 2, 20.0)])).await.unwrap();

    let again = bench.ingest("b1", weather(&[("JFK", 9, 90.0)])).await.unwrap();
    assert!(again.already_ingested && again.rows == 3, "{again:?}");

    let request = training_set(Spine::Uploaded(String::new()));
    let rows = spine(&[("JFK", 2), ("LGA", 2), ("JFK", 3), ("EWR", 100)]);
    let set = bench.service.exchange(&bench.me, &request, rows).await.unwrap();
    let schema = set.schema.clone();
    let batches = set.collect().await.unwrap();
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let expected = "\
+--------+----------------------+-------+------+------------------------+
| origin | event_timestamp      | label | temp | origin_weather__status |
+--------+----------------------+-------+------+------------------------+
| JFK    | 1970-01-01T02:00:00Z | 0     | 10.0 | PRESENT                |
| LGA    | 1970-01-01T02:00:00Z | 1     |      | NOT_FOUND              |
| JFK    | 1970-01-01T03:00:00Z | 2     | 30.0 | PRESENT                |
| EWR    | 1970-01-01T04:00:00Z | 3     |      | EXPIRED                |
+--------+----------------------+-------+------+------------------------+";
    assert_eq!(text.replace("1970-01-05T04:00:00Z", "1970-01-01T04:00:00Z"), expected);

    let done = bench.materialize(false).await.unwrap();
    // Of JFK's two rows in one write, only the newer is stored.
    assert_eq!((done.rows_written, done.rows_read, done.full), (2, 3, true));
    bench.clock.set(5 * HOUR);
    let reply = bench.service.lookup(&bench.me, &lookup(&["JFK", "EWR", "LGA"])).unwrap();
    let Values::Doubles(values) = reply.answer.feature(0).values else { panic!("{reply:?}") };
    assert_eq!(values.iter().next(), Some(30.0));
    assert_eq!(reply.answer.feature(0).statuses, Some([1, 4, 3].as_slice()));
    assert_eq!(reply.answer.views[0].ages, [2 * HOUR, 3 * HOUR, -1]);
    assert!(bench.service.metrics().contains("tidegate_lookup_values_total{status=\"expired\"} 1"));

    let query = "SELECT origin, count(*) AS n FROM origin_weather GROUP BY origin ORDER BY origin";
    let rows = bench.sql(query).await.unwrap();
    assert_eq!(rows, [["EWR", "1"], ["JFK", "2"]]);
    let query = "SELECT temp FROM training_set('late_arrival', 'SELECT ''JFK'' AS origin, \
                 to_timestamp_micros(3600000000) AS event_timestamp')";
    assert_eq!(bench.sql(query).await.unwrap(), [["10.0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_is_explained() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 3, 30.0), ("EWR", 2, 20.0)])).await.unwrap();
    let row = spine(&[("JFK", 2)]).collect().await.unwrap().remove(0);
    let ask = |outputs: &[&str], runners_up| ExplainRequest {
        training_set: training_set(Spine::Uploaded(String::new())),
        row: row.clone(),
        outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
        runners_up,
    };
    let told = bench.service.explain_row(&bench.me, ask(&["temp"], None)).await.unwrap();
    assert_eq!((told[0].view.as_str(), told[0].status, told[0].observations), ("origin_weather", "PRESENT", 2));
    let outcomes: Vec<Outcome> = told[0].candidates.iter().map(|found| found.outcome).collect();
    assert_eq!(outcomes, [Outcome::Won, Outcome::AfterRowTime]);
    assert_eq!(told[0].values.column(0).as_primitive::<Float64Type>().values(), &[10.0, 30.0]);
    let unknown = bench.service.explain_row(&bench.me, ask(&["tmp"], None)).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound);
    assert!(unknown.to_string().contains("did you mean `temp`?"), "{unknown}");
    let many = bench.service.explain_row(&bench.me, ask(&[], Some(1_001))).await.unwrap_err();
    assert_eq!(many.kind, ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_held_back_are_refused_online_and_joined_offline() {
    let bench = Bench::new().await;
    let skipping = FLIGHTS.replace("    ttl: 24h\n", "    ttl: 24h\n    nulls: skip\n");
    let refused = bench.apply(&skipping).await.unwrap_err();
    assert!(refused.problems.iter().any(|problem| problem.to_string().contains("`online: false`")), "{refused:?}");
    bench.apply(&skipping.replace("    nulls: skip\n", "    nulls: skip\n    online: false\n")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn spines_are_kept_for_their_owner_and_forgotten() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    let kept = bench.service.upload_spine(&bench.me, "flights", spine(&[("JFK", 1)])).await.unwrap();
    let request = training_set(Spine::Uploaded(kept.spine_id.clone()));
    let schema = bench.service.training_set_schema(&bench.me, &request).await.unwrap();
    for _ in 0..2 {
        let set = bench.service.training_set(&bench.me, &request).await.unwrap();
        assert_eq!(set.schema, schema);
        let batches = set.collect().await.unwrap();
        assert_eq!(batches[0].column(3).as_primitive::<Float64Type>().value(0), 10.0);
        assert_eq!(batches[0].column(1).as_primitive::<TimestampMicrosecondType>().value(0), HOUR);
    }
    bench.clock.set(kept.expires_at);
    bench.service.look_around().await;
    let error = bench.service.training_set(&bench.me, &request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(bench.spill_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spines_that_do_not_fit_are_refused() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    let without = |name: &str| {
        let Batches { schema, .. } = spine(&[]);
        let keep: Vec<usize> = (0..3).filter(|at| schema.field(*at).name() != name).collect();
        let schema = Arc::new(schema.project(&keep).unwrap());
        Batches::from_vec(schema, Vec::new())
    };
    let request = training_set(Spine::Uploaded(String::new()));
    for (name, expect) in [("origin", "origin"), ("event_timestamp", "event_timestamp")] {
        let error = bench.service.exchange(&bench.me, &request, without(name)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains(expect), "{error}");
    }
    let empty = bench.service.exchange(&bench.me, &request, spine(&[])).await.unwrap();
    assert_eq!(empty.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 0);
    assert_eq!(bench.spill_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_applies_from_one_base() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let request = |description: &str| ApplyRequest {
        files: files(&FLIGHTS.replace("hourly weather", description)),
        base_version: Some(1),
        ..ApplyRequest::default()
    };
    let (a, b) = tokio::join!(
        bench.service.apply(&bench.me, request("daily weather")),
        bench.service.apply(&bench.me, request("yearly weather"))
    );
    let lost = match (a, b) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => {
            assert_eq!(won.version, 2);
            lost
        }
        other => panic!("one of two should win: {other:?}"),
    };
    assert_eq!(lost.kind, ErrorKind::Conflict);
    assert!(lost.message.contains("plan again"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_lead_to_what_is_applied() {
    let bench = Bench::new().await;
    let planned = bench.service.plan(&bench.me, &files(FLIGHTS), false).await.unwrap();
    assert_eq!((planned.project.as_str(), planned.base_version, planned.changes.len()), ("flights", 0, 4));
    let request = ApplyRequest {
        files: files(FLIGHTS),
        base_version: Some(0),
        expected_digest: planned.target_digest.clone(),
        ..ApplyRequest::default()
    };
    let applied = bench.service.apply(&bench.me, request.clone()).await.unwrap();
    assert_eq!((applied.version, applied.changes.len()), (1, 4));
    let other = ApplyRequest { base_version: None, expected_digest: "0".repeat(64), ..request };
    assert_eq!(bench.service.apply(&bench.me, other).await.unwrap_err().kind, ErrorKind::Conflict);
    let same = bench.apply(FLIGHTS).await.unwrap();
    assert_eq!((same.version, same.changes.len()), (1, 0));
    let bad =
        bench.service.plan(&bench.me, &files("version: 1\nproject: flights\nsourcez: []\n"), false).await.unwrap();
    assert!(!bad.problems.is_empty() && bad.changes.is_empty());
    let error = bench.apply("version: 1\nproject: flights\nsourcez: []\n").await.unwrap_err();
    assert_eq!((error.kind, error.problems.len()), (ErrorKind::Invalid, bad.problems.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn breaking_changes_need_permission_and_can_be_rolled_back() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let extended = FLIGHTS.replace(
        "      - {name: temp, type: float64}\n",
        "      - {name: temp, type: float64}\n      - {name: wind, type: float64}\n",
    );
    assert_ne!(extended, FLIGHTS);
    bench.apply(&extended).await.unwrap();
    let error = bench.apply(FLIGHTS).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    assert!(error.message.contains("wind"), "{error}");
    let error = bench.service.rollback(&bench.me, "flights", 1, false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    let back = bench.service.rollback(&bench.me, "flights", 1, true).await.unwrap();
    assert_eq!(back.version, 3);
    let history = bench.service.history(&bench.me, "flights").await.unwrap();
    let causes: Vec<_> = history.iter().map(|version| (version.version, version.cause.as_str())).collect();
    assert_eq!(causes, [(3, "rollback to 1"), (2, "apply"), (1, "apply")]);
    let error = bench.service.rollback(&bench.me, "flights", 9, true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_shown_and_removed() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    let request =
        GetRequest { project: "flights".to_owned(), name: "origin_weather".to_owned(), ..GetRequest::default() };
    let shown = bench.service.get(&bench.me, &request).await.unwrap();
    let [view] = shown.definitions.as_slice() else { panic!("{shown:?}") };
    assert!(view.yaml.contains("temp"), "{}", view.yaml);
    assert_eq!(view.dependents, ["feature_service/late_arrival"]);
    assert!(view.facts.iter().any(|(name, _)| name == "table version"), "{:?}", view.facts);
    let slip = GetRequest { name: "origin_wether".to_owned(), ..request };
    let error = bench.service.get(&bench.me, &slip).await.unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("origin_weather"), "{error}");
    let error = bench.service.delete(&bench.me, "flights", "feature_view", "origin_weather").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition);
    assert!(error.message.contains("late_arrival"), "{error}");
    let gone = bench.service.delete(&bench.me, "flights", "feature_service", "late_arrival").await.unwrap();
    assert_eq!(gone.version, 2);
    assert_eq!(bench.service.lookup(&bench.me, &lookup(&["JFK"])).unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_outside_the_roots_are_refused() {
    let bench = Bench::new().await;
    for uri in ["/etc", "file:///etc", "/srv/../etc"] {
        let error =
            bench.apply(&FLIGHTS.replace("table: managed", &format!("table: {{delta: {uri}}}"))).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Invalid), "{error}");
    }
    assert!(bench.service.list_projects(&bench.me).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_read_and_checked() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    // Somebody else's table: the same files, elsewhere.
    let lake = bench.folder.path().join("lake/weather");
    let moved = std::fs::rename(bench.folder.path().join("tables/flights/weather"), &lake);
    moved.unwrap();
    let theirs = FLIGHTS
        .replace("project: flights", "project: theirs")
        .replace("table: managed", &format!("table: {{delta: {}}}", lake.display()));
    let wrong_type = theirs.replace("{name: temp, type: float64}", "{name: temp, type: string}");
    let error = bench.apply(&wrong_type).await.unwrap_err();
    assert!(error.kind == ErrorKind::Precondition && error.message.contains("`temp`"), "{error}");
    let no_column = theirs.replace("{name: temp, type: float64}", "{name: tempp, type: float64}");
    let error = bench.apply(&no_column).await.unwrap_err();
    assert!(error.message.contains("did you mean `temp`"), "{error}");
    let missing = theirs.replace("lake/weather", "lake/elsewhere");
    assert!(bench.apply(&missing).await.is_err());
    bench.apply(&theirs).await.unwrap();
    let ingest =
        IngestRequest { project: "theirs".to_owned(), target: "weather".to_owned(), ..IngestRequest::default() };
    let error = bench.service.ingest(&bench.me, ingest, weather(&[("JFK", 2, 1.0)])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition);
    let request = TrainingSetRequest { project: "theirs".to_owned(), ..training_set(Spine::Uploaded(String::new())) };
    let set = bench.service.exchange(&bench.me, &request, spine(&[("JFK", 1)])).await.unwrap();
    let batches = set.collect().await.unwrap();
    assert_eq!(batches[0].column(3).as_primitive::<Float64Type>().value(0), 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_registry_file_stops_its_project_only() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.apply(&FLIGHTS.replace("project: flights", "project: trips")).await.unwrap();
    let file = bench.folder.path().join("registry/flights").join(format!("{:020}.json", 1));
    std::fs::write(&file, "{").unwrap();
    let bench = bench.restart().await;
    let error = bench.service.lookup(&bench.me, &lookup(&["JFK"])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains(file.to_str().unwrap()), "{error}");
    assert_eq!(bench.apply(FLIGHTS).await.unwrap_err().kind, ErrorKind::Corrupt);
    let other = LookupRequest { project: "trips".to_owned(), ..lookup(&["JFK"]) };
    bench.service.lookup(&bench.me, &other).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_do_not_exist_are_named() {
    let bench = Bench::new().await;
    let error = bench.service.lookup(&bench.me, &lookup(&["JFK"])).unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("apply definitions first"), "{error}");
    bench.apply(FLIGHTS).await.unwrap();
    let mut request = lookup(&["JFK"]);
    request.project = "flight".to_owned();
    let error = bench.service.lookup(&bench.me, &request).unwrap_err();
    assert!(error.message.contains("did you mean `flights`"), "{error}");
    request = lookup(&["JFK"]);
    request.selection = Selection::Features(vec!["origin_weather:tmp".to_owned()]);
    let error = bench.service.lookup(&bench.me, &request).unwrap_err();
    assert!(error.message.contains("origin_weather:temp"), "{error}");
    let ingest =
        IngestRequest { project: "flights".to_owned(), target: "weathr".to_owned(), ..IngestRequest::default() };
    let error = bench.service.ingest(&bench.me, ingest, weather(&[])).await.unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.message.contains("weathr"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_and_nothing_else() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    for query in [
        "DROP TABLE weather",
        "COPY weather TO '/tmp/x'",
        "INSERT INTO weather VALUES (1)",
        "CREATE VIEW v AS SELECT 1",
    ] {
        let error = bench.sql(query).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Invalid), "{query}: {error}");
    }
    let tables = bench.service.tables(&bench.me, "flights").await.unwrap();
    let names: Vec<_> = tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).collect();
    assert_eq!(names, [("views", "origin_weather"), ("sources", "weather")]);
    let prepared =
        bench.service.sql_prepare(&bench.me, "flights", "SELECT temp FROM weather WHERE origin = $1").await.unwrap();
    assert_eq!((prepared.schema.fields().len(), prepared.parameters.fields().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_vanished_is_told() {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0)])).await.unwrap();
    std::fs::remove_dir_all(bench.folder.path().join("tables/flights/weather")).unwrap();
    let request = training_set(Spine::Uploaded(String::new()));
    let error = bench.service.exchange(&bench.me, &request, spine(&[("JFK", 1)])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{}", error.chain());
    assert!(error.chain().contains("weather"), "{error}");
    assert!(bench.materialize(false).await.is_err());
    bench.service.lookup(&bench.me, &lookup(&["JFK"])).unwrap();
}

#[test]
fn problems_are_counted_in_the_message() {
    let problem = Problem { message: "`evnt_time` is not a field".to_owned(), ..Problem::default() };
    assert!(Error::problems(vec![problem.clone()]).message.contains("evnt_time"));
    assert!(Error::problems(vec![problem; 2]).message.contains("2 problems"));
}
