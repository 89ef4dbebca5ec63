//! The explanation against the reference on random worlds, and each reason by name.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::{Availability, Nulls};

use super::{Explanation, Outcome, explain};
use crate::point_in_time::tests::named::{batch, ints, maybe_ints, spec, table, texts, times, view};
use crate::point_in_time::tests::oracle::{Answer, answers};
use crate::point_in_time::tests::random::{seed_of_case, setting};
use crate::point_in_time::tests::world::World;
use crate::point_in_time::{EXPIRED, NOT_FOUND, PRESENT, Spec, View, reference};

/// Spine rows asked about in each world.
const ROWS: usize = 4;

#[tokio::test]
async fn what_is_told_to_have_won_is_what_the_reference_joins() {
    let (cases, seed) = (setting("TIDEGATE_CASES", 200), setting("TIDEGATE_SEED", 0x71de));
    for case in 0..cases {
        let seed = seed_of_case(seed, case);
        let rng = &mut StdRng::seed_from_u64(seed);
        let world = World::random(rng);
        check(&world, rng, seed).await;
    }
}

async fn check(world: &World, rng: &mut StdRng, seed: u64) {
    let spec = world.spec().await;
    let spine = world.spine_batch();
    let joined = reference::join(&spine, &spec, &world.reference_rows()).expect("reference");
    let rows: Vec<usize> = (0..spine.num_rows()).collect();
    for row in rows.sample(rng, ROWS) {
        let keep = [0, 1, 3, 20][rng.random_range(0..4)];
        let told = explain(&spine.slice(*row, 1), &spec, keep).await.expect("explained");
        for (at, (used, told)) in world.uses.iter().zip(&told).enumerate() {
            let again = format!("view {at} row {row}; repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
            let answer = answers(world, used)[*row];
            check_winner(told, answer, &again);
            check_values(told, &joined.slice(*row, 1), &again);
            let spread = if used.nulls == Nulls::Skip { told.features.len() } else { 0 };
            assert!(told.candidates.len() <= 1 + keep + spread, "{again}");
            assert_eq!(told.outcomes.values().sum::<u64>(), told.observations, "{again}");
            let all = usize::try_from(told.observations).expect("few");
            assert!(told.candidates.len() >= all.min(keep), "{again}");
        }
    }
}

fn check_winner(told: &Explanation, answer: Answer, again: &str) {
    let ids = told.values.column_by_name(&format!("{}_id", told.view)).expect("ids");
    let ids = ids.as_any().downcast_ref::<Int64Array>().expect("ids");
    let won: Vec<usize> = (0..told.candidates.len())
        .filter(|at| matches!(told.candidates[*at].outcome, Outcome::Won | Outcome::Expired))
        .collect();
    match answer {
        Answer::Found(id) => {
            assert_eq!((told.status, won.as_slice(), ids.value(0)), (PRESENT, [0].as_slice(), id), "{again}");
            assert_eq!(told.candidates[0].outcome, Outcome::Won, "{again}");
        }
        Answer::Expired => {
            assert_eq!((told.status, won.as_slice()), (EXPIRED, [0].as_slice()), "{again}");
            assert_eq!(told.candidates[0].outcome, Outcome::Expired, "{again}");
        }
        Answer::Nothing => assert_eq!((told.status, won.as_slice()), (NOT_FOUND, [].as_slice()), "{again}"),
    }
}

/// Each feature's value is that of the candidate it is told to come from.
fn check_values(told: &Explanation, joined: &RecordBatch, again: &str) {
    let shown = |array: &dyn Array, row| array_value_to_string(array, row).expect("shown");
    for feature in &told.features {
        let expect = joined.column_by_name(&feature.output).expect("joined");
        let told_of = told.values.column_by_name(&feature.output).expect("told");
        let got = feature.candidate.filter(|at| told_of.is_valid(*at)).map(|at| shown(told_of, at));
        let expect = expect.is_valid(0).then(|| shown(expect, 0));
        assert_eq!(got, expect, "{}; {again}", feature.output);
    }
}

fn maybe_times(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

/// One observation for each reason there is to lose, in two files, and one of another key.
async fn history() -> View {
    let until = |n: usize, end: Option<i64>| maybe_times(&vec![end; n]);
    let first = batch(&[
        ("k", ints(&[1, 1, 1, 1, 1, 1])),
        ("event", times(&[90, 101, 60, 60, 50, 40])),
        ("created", maybe_times(&[Some(90), Some(50), None, Some(150), Some(52), Some(40)])),
        ("until", until(6, Some(200))),
        ("value", ints(&[0, 1, 2, 3, 4, 5])),
    ]);
    let second = batch(&[
        ("k", maybe_ints(&[Some(1), Some(1), Some(1), Some(2), Some(1), None])),
        ("event", maybe_times(&[Some(50), Some(50), Some(70), Some(99), None, Some(99)])),
        ("created", maybe_times(&[Some(51), Some(52), Some(71), Some(99), Some(9), Some(9)])),
        ("until", maybe_times(&[None, None, Some(100), None, None, None])),
        ("value", ints(&[10, 11, 12, 13, 14, 15])),
    ]);
    View {
        created_time: Some("created".to_owned()),
        valid_to: Some("until".to_owned()),
        availability: Availability::Created,
        ttl: Some(50),
        ..view(&table(&[first, second]).await, &["k"])
    }
}

async fn ask(view: View, keep: usize) -> Explanation {
    let spine = batch(&[("k", ints(&[1])), ("at", times(&[100]))]);
    let spec = Spec { as_of: Some(80), ..spec(vec![view]) };
    explain(&spine, &spec, keep).await.expect("explained").remove(0)
}

#[tokio::test]
async fn every_reason_to_lose_is_told() {
    let told = ask(history().await, 20).await;
    let lines: Vec<(i64, &str, i64, u64)> = told
        .candidates
        .iter()
        .zip(told.values.column(0).as_primitive::<Int64Type>().values())
        .map(|(found, value)| (*value, found.outcome.as_str(), found.address.version, found.address.row))
        .collect();
    let expected = [
        (11, "WON", 1, 1),
        (1, "AFTER_ROW_TIME", 0, 1),
        (0, "CUT_BY_AS_OF", 0, 0),
        (12, "NO_LONGER_VALID", 1, 2),
        (2, "NEVER_KNOWN", 0, 2),
        (3, "NOT_YET_KNOWN", 0, 3),
        (4, "LATER_ADDRESS_WON", 0, 4),
        (10, "LATER_CREATED_TIME_WON", 1, 0),
        (5, "LATER_EVENT_TIME_WON", 0, 5),
    ];
    assert_eq!(lines, expected);
    assert_eq!((told.status, told.observations, told.without_event_time), (PRESENT, 9, 1));
    assert!(told.outcomes.values().all(|count| *count == 1) && told.outcomes.len() == 9, "{:?}", told.outcomes);
    let winner = &told.candidates[0];
    assert_eq!(
        (winner.file.as_str(), winner.event, winner.created, winner.known),
        ("1.parquet", 50, Some(52), Some(52))
    );
    assert_eq!(told.candidates[3].valid_to, Some(100));
    assert_eq!(told.features[0].candidate, Some(0));
}

#[tokio::test]
async fn an_expired_winner_gives_no_value() {
    let told = ask(View { ttl: Some(49), ..history().await }, 1).await;
    assert_eq!((told.status, told.candidates[0].outcome), (EXPIRED, Outcome::Expired));
    assert_eq!((told.features[0].candidate, told.candidates.len(), told.observations), (None, 2, 9));
}

/// The value of a feature that is null in the winner is told to come from where it comes from, however far away that is.
#[tokio::test]
async fn skipped_nulls_name_their_source() {
    let rows = batch(&[
        ("k", ints(&[1, 1, 1])),
        ("event", times(&[10, 20, 30])),
        ("value", maybe_ints(&[Some(7), None, None])),
    ]);
    let view = View { nulls: Nulls::Skip, ..view(&table(&[rows]).await, &["k"]) };
    let told = ask(view.clone(), 0).await;
    assert_eq!(told.candidates.iter().map(|found| found.event).collect::<Vec<_>>(), [30, 10]);
    assert_eq!((told.status, told.features[0].candidate), (PRESENT, Some(1)));
    let expired = ask(View { ttl: Some(80), ..view }, 0).await;
    assert_eq!((expired.status, expired.features[0].candidate), (PRESENT, None), "its own time counts for the ttl");
}

#[tokio::test]
async fn questions_without_an_answer() {
    let view = View { ttl: None, ..history().await };
    let of = |spine: RecordBatch| {
        let spec = spec(vec![view.clone()]);
        async move { explain(&spine, &spec, 20).await }
    };
    let null_key = of(batch(&[("k", maybe_ints(&[None])), ("at", times(&[100]))])).await.expect("told").remove(0);
    assert_eq!((null_key.null_column.as_deref(), null_key.status), (Some("k"), NOT_FOUND));
    let null_time = of(batch(&[("k", ints(&[1])), ("at", maybe_times(&[None]))])).await.expect("told").remove(0);
    assert_eq!((null_time.null_column.as_deref(), null_time.at, null_time.observations), (Some("at"), None, 0));
    let unknown = of(batch(&[("k", ints(&[77])), ("at", times(&[100]))])).await.expect("told").remove(0);
    assert_eq!((unknown.status, unknown.candidates.len(), unknown.values.num_rows()), (NOT_FOUND, 0, 0));
    // A column of the row may be called as a feature: nothing is added to the row.
    of(batch(&[("k", ints(&[1])), ("at", times(&[100])), ("value", ints(&[1]))])).await.expect("told");
    for wrong in [
        batch(&[("k", ints(&[1, 1])), ("at", times(&[1, 1]))]),
        batch(&[("k", ints(&[])), ("at", times(&[]))]),
        batch(&[("k", texts(&["1"])), ("at", times(&[1]))]),
        batch(&[("at", times(&[1]))]),
    ] {
        assert_eq!(of(wrong).await.expect_err("refused").kind(), ErrorKind::Invalid);
    }
}
