//! Random worlds: the operator, the reference and the oracle give one answer, before a compaction and after. `TIDEGATE_CASES` widens, `TIDEGATE_SEED`
//! repeats; a failure prints the seed of its case.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::util::display::array_value_to_string;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::oracle::{Answer, COLUMNS, answers, values};
use super::world::World;
use crate::point_in_time::{EXPIRED, NOT_FOUND, PRESENT, reference};

pub(in crate::point_in_time) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The first case is the seed itself, so that a printed seed repeats its case with TIDEGATE_CASES=1.
pub(in crate::point_in_time) fn seed_of_case(seed: u64, case: u64) -> u64 {
    if case == 0 { seed } else { StdRng::seed_from_u64(seed ^ case.rotate_left(32)).next_u64() }
}

#[tokio::test]
async fn fast_path_equals_reference_and_oracle() {
    let (cases, seed) = (setting("TIDEGATE_CASES", 1_000), setting("TIDEGATE_SEED", 0x71de));
    for case in 0..cases {
        let seed = seed_of_case(seed, case);
        let world = World::random(&mut StdRng::seed_from_u64(seed));
        check(&world, seed).await;
    }
}

async fn check(world: &World, seed: u64) {
    let spec = world.spec().await;
    let naive = reference::join(&world.spine_batch(), &spec, &world.reference_rows()).expect("reference");
    let again = || format!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
    let fast = world.run(&spec).await;
    assert!(same(&fast, &naive), "operator and reference: {}; {}", difference(world, &fast, &naive), again());
    assert_eq!(fast.schema(), naive.schema(), "{}", again());
    if let Some(spec) = world.compacted(&spec).await {
        let compacted = world.run(&spec).await;
        for (field, (left, right)) in fast.schema().fields().iter().zip(compacted.columns().iter().zip(fast.columns()))
        {
            assert_eq!(left, right, "column {} after compaction and before; {}", field.name(), again());
        }
    }
    assert_eq!(naive.num_rows(), world.spine.len(), "{}", again());
    for (at, used) in world.uses.iter().enumerate() {
        for column in COLUMNS {
            let array = naive.column_by_name(&format!("v{at}_{column}")).expect(column);
            let value = |row| array_value_to_string(array, row).expect("shown");
            let got: Vec<_> = (0..array.len()).map(|row| array.is_valid(row).then(|| value(row))).collect();
            assert_eq!(got, values(world, used, column), "view {at} column {column}; {}", again());
        }
        let Some(status) = naive.column_by_name(&format!("v{at}__status")) else { continue };
        for (row, answer) in answers(world, used).iter().enumerate() {
            let word = match answer {
                Answer::Found(_) => PRESENT,
                Answer::Expired => EXPIRED,
                Answer::Nothing => NOT_FOUND,
            };
            assert_eq!(status.as_string::<i32>().value(row), word, "view {at} row {row}; {}", again());
        }
    }
}

fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    left.columns() == right.columns()
}

/// The first value that differs, and what was asked.
fn difference(world: &World, left: &RecordBatch, right: &RecordBatch) -> String {
    let value = |array: &ArrayRef, row| array_value_to_string(array, row).expect("shown");
    for (field, (left, right)) in left.schema().fields().iter().zip(left.columns().iter().zip(right.columns())) {
        let differs = |row: &usize| left.slice(*row, 1) != right.slice(*row, 1);
        if let Some(row) = (0..left.len().min(right.len())).find(differs) {
            let (left, right) = (value(left, row), value(right, row));
            let (asked, of) = (&world.spine[row], &world.uses);
            return format!(
                "{} in row {row}: {left:?} and {right:?}, asked {asked:?} as of {:?} of {of:?}",
                field.name(),
                world.as_of
            );
        }
    }
    format!("{} rows and {}", left.num_rows(), right.num_rows())
}
