//! Windows in small tables that can be read: borders, late knowledge, plain views beside them, what is refused and what it costs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType as Arrow;
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use tidegate_schemas::definition::{Aggregate, Column, Function};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::{Availability, Micros};
use tidegate_schemas::types::DataType;

use crate::point_in_time::tests::named::{batch, ints, maybe_ints, spec, table, times, view};
use crate::point_in_time::tests::world::{run, session};
use crate::point_in_time::{Error, Feature, Key, Spec, View, plan};
use crate::table::snapshot::Snapshot;

/// An aggregate of `value` with hops of 10 µs.
fn over(function: Function, window: Option<Micros>) -> Feature {
    let length = window.map_or_else(|| "all".to_owned(), |window| window.to_string());
    Feature {
        column: "value".to_owned(),
        output: format!("{}_{length}", function.name()),
        data_type: function.output(&DataType::Int64).expect("an output").to_arrow(),
        aggregate: Some(Aggregate {
            function,
            input: Some(Column { name: "value".to_owned(), data_type: DataType::Int64 }),
            window,
            hop: 10,
        }),
    }
}

fn windowed(snapshot: &Snapshot, features: Vec<Feature>) -> View {
    View { features, ..view(snapshot, &["k"]) }
}

async fn joined(session: &SessionContext, spine: RecordBatch, views: Vec<View>) -> RecordBatch {
    run(session, spine.schema(), vec![vec![spine]], spec(views)).await.expect("join")
}

fn shown(batch: RecordBatch) -> String {
    pretty_format_batches(&[batch]).expect("table").to_string()
}

/// The head is exact, the tail goes back to the hop before: at 35 a window of 20 begins after 10, at 29 after 0.
#[tokio::test]
async fn the_head_is_exact_and_the_tail_goes_by_hops() {
    let history = table(&[batch(&[
        ("k", ints(&[1, 1, 1, 1, 2])),
        ("event", times(&[0, 10, 11, 35, 20])),
        ("value", maybe_ints(&[Some(1), Some(2), Some(4), Some(8), None])),
    ])])
    .await;
    let features = vec![
        over(Function::Sum, Some(20)),
        over(Function::Count, Some(20)),
        over(Function::Sum, None),
        over(Function::LastN(2), Some(30)),
    ];
    let spine = batch(&[
        ("k", maybe_ints(&[Some(1), Some(1), Some(1), Some(1), Some(2), Some(3), None])),
        ("at", times(&[35, 29, 30, 34, 20, 20, 20])),
    ]);
    let view = View {
        event_time_output: Some("newest".to_owned()),
        status_output: Some("status".to_owned()),
        ..windowed(&history, features)
    };
    let got = joined(&session(2, 3), spine, vec![view]).await;
    let got = got.project(&[2, 3, 4, 5, 6, 7]).expect("columns");
    let expected = "\
+--------+----------+---------+-----------+-----------------------------+-----------+
| sum_20 | count_20 | sum_all | last_n_30 | newest                      | status    |
+--------+----------+---------+-----------+-----------------------------+-----------+
| 12     | 2        | 15      | [8, 4]    | 1970-01-01T00:00:00.000035Z | PRESENT   |
| 6      | 2        | 7       | [4, 2]    | 1970-01-01T00:00:00.000011Z | PRESENT   |
| 4      | 1        | 7       | [4, 2]    | 1970-01-01T00:00:00.000011Z | PRESENT   |
| 4      | 1        | 7       | [4, 2]    | 1970-01-01T00:00:00.000011Z | PRESENT   |
|        | 0        |         |           | 1970-01-01T00:00:00.000020Z | PRESENT   |
|        | 0        |         |           |                             | PRESENT   |
|        |          |         |           |                             | NOT_FOUND |
+--------+----------+---------+-----------+-----------------------------+-----------+";
    assert_eq!(shown(got), expected);
}

/// An event that became known late counts from then on, and in the windows that its event time says.
#[tokio::test]
async fn knowledge_is_about_each_event() {
    let history = table(&[batch(&[
        ("k", ints(&[1, 1, 1])),
        ("event", times(&[5, 15, 25])),
        ("created", times(&[5, 40, 25])),
        ("value", ints(&[1, 2, 4])),
    ])])
    .await;
    let known = View {
        created_time: Some("created".to_owned()),
        availability: Availability::Created,
        ..windowed(&history, vec![over(Function::Sum, Some(30))])
    };
    let spine = batch(&[("k", ints(&[1; 5])), ("at", times(&[24, 25, 39, 40, 50]))]);
    let sums =
        |batch: &RecordBatch| batch.column(2).as_primitive::<arrow::datatypes::Int64Type>().iter().collect::<Vec<_>>();
    let got = joined(&session(2, 3), spine.clone(), vec![known.clone()]).await;
    assert_eq!(sums(&got), [Some(1), Some(5), Some(5), Some(6), Some(4)]);
    let cut = Spec { as_of: Some(39), ..spec(vec![known.clone()]) };
    let got = run(&session(2, 3), spine.schema(), vec![vec![spine.clone()]], cut).await.expect("join");
    assert_eq!(sums(&got), [Some(1), Some(5), Some(5), Some(4), Some(4)]);
    let naive = View { availability: Availability::Event, ..known };
    let got = joined(&session(2, 3), spine, vec![naive]).await;
    assert_eq!(sums(&got), [Some(3), Some(7), Some(7), Some(6), Some(4)], "what a join on event time alone leaks");
}

/// One table as a plain view and twice as windows, by other keys of the spine, between each other's columns.
#[tokio::test]
async fn windows_stand_beside_plain_views() {
    let history =
        table(&[batch(&[("k", ints(&[1, 2, 1])), ("event", times(&[5, 6, 7])), ("value", ints(&[10, 20, 30]))])]).await;
    let by = |column: &str| {
        let mut feature = over(Function::Sum, Some(100));
        feature.output = format!("{column}_sum");
        let keys = vec![Key { spine_column: column.to_owned(), table_column: "k".to_owned() }];
        View { alias: column.to_owned(), keys, ..windowed(&history, vec![feature]) }
    };
    let plain =
        View { keys: vec![Key { spine_column: "to".to_owned(), table_column: "k".to_owned() }], ..view(&history, &[]) };
    let spine = batch(&[("from", ints(&[1, 2])), ("to", ints(&[2, 1])), ("at", times(&[9, 6]))]);
    let got = joined(&session(2, 1), spine, vec![by("from"), plain, by("to")]).await;
    let expected = "\
+----------+-------+--------+
| from_sum | value | to_sum |
+----------+-------+--------+
| 40       | 20    | 20     |
| 20       | 10    | 10     |
+----------+-------+--------+";
    assert_eq!(shown(got.project(&[3, 4, 5]).expect("columns")), expected);
}

fn small_session(bytes: usize) -> SessionContext {
    let pool = Arc::new(GreedyMemoryPool::new(bytes));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().expect("runtime");
    let state = SessionStateBuilder::new_from_existing(session(2, 100).state()).with_runtime_env(runtime).build();
    SessionContext::new_with_state(state)
}

/// 40,000 events, about a megabyte of them, and labels at their end.
fn many(keys: i64) -> (RecordBatch, RecordBatch) {
    let numbers: Vec<i64> = (0..40_000).collect();
    let of: Vec<i64> = numbers.iter().map(|n| n % keys).collect();
    let history = batch(&[("k", ints(&of)), ("event", times(&numbers)), ("value", ints(&numbers))]);
    let labels: Vec<i64> = (0..100).collect();
    let spine = batch(&[
        ("k", ints(&labels.iter().map(|n| n % keys).collect::<Vec<_>>())),
        ("at", times(&labels.iter().map(|n| 39_000 + n).collect::<Vec<_>>())),
    ]);
    (history, spine)
}

#[tokio::test]
async fn events_beyond_the_memory_pool_are_read_in_parts() {
    let (history, spine) = many(100);
    let view = windowed(&table(&[history]).await, vec![over(Function::Sum, None), over(Function::Count, Some(1_000))]);
    let whole = joined(&session(2, 100), spine.clone(), vec![view.clone()]).await;
    let small = small_session(900_000);
    let parts = joined(&small, spine, vec![view]).await;
    assert_eq!(whole, parts);
    assert_eq!(small.runtime_env().memory_pool.reserved(), 0);
}

#[tokio::test]
async fn one_keys_events_beyond_the_memory_pool_are_refused() {
    let (history, spine) = many(1);
    let view = windowed(&table(&[history]).await, vec![over(Function::Sum, None)]);
    let refused = run(&small_session(900_000), spine.schema(), vec![vec![spine]], spec(vec![view])).await;
    let error = crate::Error::from(refused.expect_err("refused"));
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let text = crate::fixtures::chain(&error);
    assert!(text.contains("view `v`") && text.contains("`plans.memory`") && text.contains("all of history"), "{text}");
}

#[tokio::test]
async fn what_cant_be_computed_is_refused_at_planning() {
    let history = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[1]))])]).await;
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[5]))]);
    let fails = |feature: Feature| {
        let spine = session(1, 10).read_batch(spine.clone()).expect("spine").into_unoptimized_plan();
        plan(spine, spec(vec![windowed(&history, vec![feature])])).expect_err("refused")
    };
    let of = |function, data_type: DataType| {
        let mut feature = over(Function::Count, None);
        let input = Some(Column { name: "value".to_owned(), data_type });
        feature.aggregate = feature.aggregate.map(|aggregate| Aggregate { function, input, ..aggregate });
        feature
    };
    let nested = DataType::List(Box::new(DataType::Int64));
    assert!(matches!(fails(of(Function::Sum, DataType::Bool)), Error::FeatureType { .. }));
    assert!(matches!(fails(of(Function::Count, nested)), Error::FeatureType { .. }));
    let mut of_rows = over(Function::Sum, None);
    of_rows.aggregate = of_rows.aggregate.map(|aggregate| Aggregate { input: None, ..aggregate });
    let error = fails(of_rows);
    assert!(matches!(error, Error::Aggregate { .. }) && error.kind() == ErrorKind::Precondition, "{error}");
    let mut mixed = windowed(&history, vec![over(Function::Sum, None)]);
    mixed.features.push(Feature {
        column: "value".to_owned(),
        output: "plain".to_owned(),
        data_type: Arrow::Int64,
        aggregate: None,
    });
    let spine = session(1, 10).read_batch(spine).expect("spine").into_unoptimized_plan();
    let error = plan(spine, spec(vec![mixed])).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Internal, "the checker of definitions lets no such view through");
}

/// A spine without times, without rows that match, and without rows.
#[tokio::test]
async fn spines_that_ask_for_nothing() {
    let history = table(&[batch(&[("k", ints(&[1])), ("event", times(&[5])), ("value", ints(&[1]))])]).await;
    let view = windowed(&history, vec![over(Function::Count, Some(20)), over(Function::LastN(1), None)]);
    let no_times: ArrayRef = arrow::array::new_null_array(times(&[1]).data_type(), 2);
    for spine in [
        batch(&[("k", ints(&[1, 1])), ("at", no_times)]),
        batch(&[("k", maybe_ints(&[None, None])), ("at", times(&[5, 6]))]),
        batch(&[("k", ints(&[])), ("at", times(&[]))]),
    ] {
        let rows = spine.num_rows();
        let got = joined(&session(2, 10), spine, vec![view.clone()]).await;
        assert_eq!(got.num_rows(), rows);
        assert!(got.columns()[2..].iter().all(|column| column.null_count() == rows));
    }
}
