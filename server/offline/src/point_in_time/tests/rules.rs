//! Validity and skipped nulls in small tables that can be read: the reference and, where it takes them, the operator.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use tidegate_schemas::time::UpperBound;

use super::named::{batch, ints, maybe_ints, spec, table, times, view};
use super::world::{run, session};
use crate::point_in_time::reference::{Rows, join};
use crate::point_in_time::{Feature, Nulls, View};

/// Joins by both; of the result a line for each row, as `time: value …`, with times in microseconds.
async fn check(history: &[RecordBatch], spine: RecordBatch, view: View, expected: &[&str]) {
    let spec = spec(vec![view]);
    let rows = |(version, batch): (i64, &RecordBatch)| Rows {
        added_version: version,
        order: 0,
        committed: None,
        batch: batch.clone(),
    };
    let naive = join(&spine, &spec, &[(0..).zip(history).map(rows).collect()]).expect("reference");
    let context = session(2, 3);
    let fast = run(&context, spine.schema(), vec![vec![spine]], spec.clone()).await.expect("join");
    assert_eq!(fast, naive);
    let shown: Vec<String> = (0..naive.num_rows()).map(|row| line(&naive, row)).collect();
    assert_eq!(shown, expected);
}

fn line(joined: &RecordBatch, row: usize) -> String {
    let cell = |column: &ArrayRef| match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) if times.is_valid(row) => times.value(row).to_string(),
        _ if column.is_null(row) => "-".to_owned(),
        _ => array_value_to_string(column, row).expect("shown"),
    };
    let cells: Vec<String> = joined.columns()[1..].iter().map(cell).collect();
    format!("{}: {}", cells[0], cells[1..].join(" "))
}

fn ends(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

/// A tier that ended is not the tier: without an end to rows the last one would hold for ever.
#[tokio::test]
async fn a_row_that_ended_is_not_seen_and_nothing_stands_in_for_it() {
    let history = [batch(&[
        ("k", ints(&[1, 1, 1, 1])),
        ("event", times(&[10, 20, 40, 50])),
        ("until", ends(&[Some(20), Some(30), None, Some(50)])),
        ("value", ints(&[1, 2, 3, 4])),
    ])];
    let view = View {
        valid_to: Some("until".to_owned()),
        status_output: Some("status".to_owned()),
        ..view(&table(&history).await, &["k"])
    };
    let at = [9, 10, 19, 20, 30, 39, 40, 50, 99];
    let spine = batch(&[("k", ints(&[1; 9])), ("at", times(&at))]);
    let expected = [
        "9: - NOT_FOUND",
        "10: 1 PRESENT",
        "19: 1 PRESENT",
        "20: 2 PRESENT",
        "30: - NOT_FOUND",
        "39: - NOT_FOUND",
        "40: 3 PRESENT",
        "50: 3 PRESENT",
        "99: 3 PRESENT",
    ];
    check(&history, spine, view, &expected).await;
}

/// Where intervals overlap, one that began later and ended gives way to one that began earlier and still holds.
#[tokio::test]
async fn of_rows_that_overlap_the_latest_that_holds_wins() {
    let history = [batch(&[
        ("k", ints(&[1, 1])),
        ("event", times(&[10, 20])),
        ("until", ends(&[None, Some(30)])),
        ("value", ints(&[1, 2])),
    ])];
    let exclusive = View {
        valid_to: Some("until".to_owned()),
        upper: UpperBound::Exclusive,
        ..view(&table(&history).await, &["k"])
    };
    let spine = batch(&[("k", ints(&[1; 5])), ("at", times(&[10, 20, 21, 29, 30]))]);
    let expected = ["10: -", "20: 1", "21: 2", "29: 2", "30: 1"];
    check(&history, spine, exclusive, &expected).await;
}

/// Each feature has a latest value of its own, and the ttl is about that value's own time.
#[tokio::test]
async fn skipped_nulls_go_back_feature_by_feature() {
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, None, Some("d")]));
    let history = [batch(&[
        ("k", ints(&[1, 1, 1, 1])),
        ("event", times(&[10, 20, 30, 60])),
        ("value", maybe_ints(&[Some(1), Some(2), None, None])),
        ("text", text),
    ])];
    let mut skipping = View {
        nulls: Nulls::Skip,
        ttl: Some(30),
        status_output: Some("status".to_owned()),
        event_time_output: Some("seen".to_owned()),
        ..view(&table(&history).await, &["k"])
    };
    skipping.features.push(Feature {
        column: "text".to_owned(),
        output: "text".to_owned(),
        data_type: DataType::Utf8,
        aggregate: None,
    });
    let spine = batch(&[("k", ints(&[1; 6])), ("at", times(&[10, 20, 40, 41, 60, 91]))]);
    let expected = [
        "10: 1 a 10 PRESENT",
        "20: 2 a 20 PRESENT",
        "40: 2 a 30 PRESENT",
        "41: 2 - 30 PRESENT",
        "60: - d 60 PRESENT",
        "91: - - 60 EXPIRED",
    ];
    check(&history, spine, skipping, &expected).await;
}
