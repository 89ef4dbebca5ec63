//! Windows: the operator, the reference and a brute-force oracle give one answer on random histories, for every function and
//! window, late knowledge, ties at the borders of hops, and any size of batches and of the memory pool. `TIDEGATE_CASES` widens,
//! `TIDEGATE_SEED` repeats; a failure prints the seed of its case.

mod named;
mod oracle;
mod world;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::random::{seed_of_case, setting};
use crate::point_in_time::{NOT_FOUND, PRESENT, reference};
use oracle::{Expected, expected, newest};
use world::World;

/// One case in so many asks for every function of every input in every window.
const EVERYTHING: u64 = 40;

#[tokio::test]
async fn operator_reference_and_oracle_agree() {
    let (cases, seed) = (setting("TIDEGATE_CASES", 400), setting("TIDEGATE_SEED", 0x71de));
    for case in 0..cases {
        let seed = seed_of_case(seed, case);
        let world = World::random(&mut StdRng::seed_from_u64(seed), seed.is_multiple_of(EVERYTHING));
        check(&world, seed).await;
    }
}

async fn check(world: &World, seed: u64) {
    let again = || format!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
    let spec = world.spec().await;
    let spine = world.spine_batch();
    let naive = reference::join(&spine, &spec, &[world.reference_rows()]).expect("reference");
    let fast = world.run(&spec).await;
    assert_eq!(fast.schema(), naive.schema(), "{}", again());
    for (number, (left, right)) in fast.columns().iter().zip(naive.columns()).enumerate() {
        for row in 0..left.len() {
            let (left, right) = (left.slice(row, 1), right.slice(row, 1));
            assert_eq!(&left, &right, "row {row} of {}; {}", fast.schema().field(number).name(), again());
        }
    }
    for (number, asked) in world.asked.iter().enumerate() {
        let column = fast.column_by_name(&format!("f{number}")).expect("a feature");
        for row in 0..world.spine.len() {
            let expected = expected(world, asked, row);
            let got = column.slice(row, 1);
            assert!(expected.is(&got), "{asked:?} in row {row}: {got:?}, expected {expected:?}; {}", again());
        }
    }
    check_statuses(world, &fast, &again());
}

/// A row that matches nothing has null counts too; any other one has windows, empty or not.
fn check_statuses(world: &World, fast: &RecordBatch, again: &str) {
    let shown = |name: &str, row| {
        let column = fast.column_by_name(name).expect("asked for");
        column.is_valid(row).then(|| array_value_to_string(&column.slice(row, 1), 0).expect("shown"))
    };
    for (row, asked) in world.spine.iter().enumerate() {
        let matches = asked.time.is_some() && asked.keys.iter().all(Option::is_some);
        let status = if matches { PRESENT } else { NOT_FOUND };
        assert_eq!(shown("status", row).as_deref(), Some(status), "row {row}; {again}");
        let times = fast.column_by_name("newest").expect("asked for");
        let times =
            arrow::array::cast::as_primitive_array::<arrow::datatypes::TimestampMicrosecondType>(times.as_ref());
        let got = times.is_valid(row).then(|| times.value(row));
        assert_eq!(got, newest(world, row), "row {row}; {again}");
    }
}

/// So that [`Expected`] is seen to tell values apart.
#[test]
fn the_oracle_notices() {
    use arrow::array::{ArrayRef, Float64Array};
    use std::sync::Arc;
    let array = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    assert!(Expected::Near(1.0).is(&array(1.0 + 1e-10)) && !Expected::Near(1.0).is(&array(1.0 + 1e-8)));
    assert!(Expected::Near(f64::NAN).is(&array(f64::NAN)) && !Expected::Null.is(&array(0.0)));
    assert!(Expected::Percentile(100.0).is(&array(100.9)) && !Expected::Percentile(100.0).is(&array(101.1)));
}
