//! Random worlds: the operator, the reference and the oracle give one answer. `TIDEGATE_CASES` widens, `TIDEGATE_SEED`
//! repeats; a failure prints the seed of its case.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::oracle::{Answer, answers};
use super::world::{World, seed_of};
use crate::point_in_time::{EXPIRED, NOT_FOUND, PRESENT, reference};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test]
async fn fast_path_equals_reference_and_oracle() {
    let (cases, seed) = (setting("TIDEGATE_CASES", 1_000), setting("TIDEGATE_SEED", 0x71de));
    let mut seeds = StdRng::seed_from_u64(seed);
    for case in 0..cases {
        // The first case is the seed itself, so that a printed seed repeats its case with TIDEGATE_CASES=1.
        let seed = if case == 0 { seed } else { seed_of(&mut seeds) };
        let world = World::random(&mut StdRng::seed_from_u64(seed));
        check(&world, seed).await;
    }
}

async fn check(world: &World, seed: u64) {
    let spec = world.spec().await;
    let fast = world.run(&spec).await;
    let naive = reference::join(&world.spine_batch(), &spec, &world.reference_rows()).expect("reference");
    let again = || format!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
    assert_eq!(fast.num_rows(), world.spine.len(), "{}", again());
    for (field, (left, right)) in fast.schema().fields().iter().zip(fast.columns().iter().zip(naive.columns())) {
        assert_eq!(left, right, "column {} of operator and reference; {}", field.name(), again());
    }
    assert_eq!(fast.schema(), naive.schema(), "{}", again());
    for (at, used) in world.uses.iter().enumerate() {
        let expected = answers(world, used);
        let ids = fast.column_by_name(&format!("v{at}_id")).expect("ids").as_primitive::<Int64Type>();
        let status = fast.column_by_name(&format!("v{at}__status"));
        for (row, answer) in expected.iter().enumerate() {
            let (id, word) = match answer {
                Answer::Found(id) => (Some(*id), PRESENT),
                Answer::Expired => (None, EXPIRED),
                Answer::Nothing => (None, NOT_FOUND),
            };
            let got = ids.is_valid(row).then(|| ids.value(row));
            assert_eq!(got, id, "view {at} row {row}; {}", again());
            if let Some(status) = status {
                assert_eq!(status.as_string::<i32>().value(row), word, "view {at} row {row}; {}", again());
            }
        }
    }
}
