//! The explanation against the reference on random worlds, and each reason by name.

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tidegate_schemas::time::Nulls;

use super::{Explanation, Outcome, explain};
use crate::point_in_time::tests::oracle::{Answer, answers};
use crate::point_in_time::tests::random::{seed_of_case, setting};
use crate::point_in_time::tests::world::World;
use crate::point_in_time::{EXPIRED, NOT_FOUND, PRESENT, reference};

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
