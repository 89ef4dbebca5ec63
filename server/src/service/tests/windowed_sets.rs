//! Windows through the use cases: training sets, SQL and explanations, next to plain features.

use arrow::datatypes::Int64Type;

use super::*;

/// The flights with a view of windows over the same source, in the same service.
pub(crate) fn windowed() -> String {
    let view = "  - name: recent_weather
    entities: [airport]
    source: weather
    online: false
    features:
      - {name: mean_6h, type: float64, aggregate: {fn: mean, column: temp, window: 6h, hop: 1h}}
      - {name: reports, type: int64, aggregate: {fn: count, window: all}}
feature_services:";
    let used = "      - view: origin_weather\n      - view: recent_weather\n";
    FLIGHTS.replace("feature_services:", view).replace("      - view: origin_weather\n", used)
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(&windowed()).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("JFK", 3, 30.0), ("EWR", 2, 20.0)])).await.unwrap();
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn training_sets_and_sql_have_windows() {
    let bench = bench().await;
    let request = training_set(Spine::Uploaded(String::new()));
    let rows = spine(&[("JFK", 2), ("LGA", 2), ("JFK", 3), ("EWR", 20)]);
    let set = bench.service.exchange(&bench.me, &request, rows).await.unwrap();
    let schema = set.schema.clone();
    let batches = set.collect().await.unwrap();
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    let expected = "\
+--------+----------------------+-------+------+------------------------+---------+---------+------------------------+
| origin | event_timestamp      | label | temp | origin_weather__status | mean_6h | reports | recent_weather__status |
+--------+----------------------+-------+------+------------------------+---------+---------+------------------------+
| JFK    | 1970-01-01T02:00:00Z | 0     | 10.0 | PRESENT                | 10.0    | 1       | PRESENT                |
| LGA    | 1970-01-01T02:00:00Z | 1     |      | NOT_FOUND              |         | 0       | PRESENT                |
| JFK    | 1970-01-01T03:00:00Z | 2     | 30.0 | PRESENT                | 20.0    | 2       | PRESENT                |
| EWR    | 1970-01-01T20:00:00Z | 3     | 20.0 | PRESENT                |         | 1       | PRESENT                |
+--------+----------------------+-------+------+------------------------+---------+---------+------------------------+";
    assert_eq!(pretty_format_batches(&batches).unwrap().to_string(), expected);
    let query = "SELECT mean_6h, reports FROM training_set('late_arrival', 'SELECT ''JFK'' AS origin, \
                 to_timestamp_micros(14400000000) AS event_timestamp')";
    assert_eq!(bench.sql(query).await.unwrap(), [["20.0", "2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_windows_value_is_explained() {
    let bench = bench().await;
    let row = spine(&[("JFK", 8)]).collect().await.unwrap().remove(0);
    let request = ExplainRequest {
        training_set: training_set(Spine::Uploaded(String::new())),
        row,
        outputs: vec!["mean_6h".to_owned(), "reports".to_owned()],
        runners_up: None,
    };
    let told = bench.service.explain_row(&bench.me, request).await.unwrap().remove(0);
    assert_eq!((told.view.as_str(), told.status, told.observations), ("recent_weather", "PRESENT", 2));
    let candidates: Vec<(i64, Outcome)> = told.candidates.iter().map(|it| (it.event / HOUR, it.outcome)).collect();
    assert_eq!(candidates, [(3, Outcome::Counted), (1, Outcome::Counted)], "the count goes back to the first");
    let sources: Vec<_> = told.features.iter().map(|it| (it.candidate, it.window.expect("a window"))).collect();
    let mean = WindowSource { after: Some(2 * HOUR), counted: 1 };
    assert_eq!(sources, [(None, mean), (None, WindowSource { after: None, counted: 2 })]);
    let result = told.result.expect("what the row gets");
    assert_eq!(result.column(0).as_primitive::<Float64Type>().values(), &[30.0]);
    assert_eq!(result.column(1).as_primitive::<Int64Type>().values(), &[2]);
    assert_eq!(told.values.column(0).as_primitive::<Float64Type>().values(), &[30.0, 10.0]);
}
