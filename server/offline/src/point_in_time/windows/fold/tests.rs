//! Both ways to make the values of a group's rows give the same ones, whichever is chosen.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_schemas::definition::{Column as Input, Function};

use super::*;
use crate::point_in_time::Feature;
use crate::point_in_time::tests::named::{batch, ints, table, times, view};
use crate::point_in_time::tests::random::{seed_of_case, setting};

const FRAMES: [(Option<Micros>, Micros); 4] = [(Some(7), 2), (Some(100), 3), (Some(5_000), 5), (None, 10)];

fn features() -> Vec<Feature> {
    use tidegate_schemas::types::DataType as Of;
    let inputs = [("int", Of::Int64), ("float", Of::Float64), ("text", Of::String)];
    let numeric = [Function::Sum, Function::Mean, Function::Std, Function::Percentile(9_000)];
    let any = [
        Function::Count,
        Function::Min,
        Function::Max,
        Function::First,
        Function::LastN(3),
        Function::DistinctCount,
        Function::TopK(2),
    ];
    let mut features = Vec::new();
    for (window, hop) in FRAMES {
        for (name, data_type) in &inputs {
            for function in any.iter().chain(&numeric) {
                let Some(output) = function.output(data_type) else { continue };
                let input = Some(Input { name: (*name).to_owned(), data_type: data_type.clone() });
                features.push(Feature {
                    column: (*name).to_owned(),
                    output: format!("f{}", features.len()),
                    data_type: output.to_arrow(),
                    aggregate: Some(Aggregate { function: *function, input, window, hop }),
                });
            }
        }
    }
    features
}

/// Events of one group as they became known, some of them late.
fn group(rng: &mut StdRng) -> Sorted {
    let span = [30, 400, 20_000][rng.random_range(0..3)];
    let late = [0, 0, 5, 300][rng.random_range(0..4)];
    let mut events: Vec<(Micros, Micros)> = (0..rng.random_range(0..300))
        .map(|_| {
            let event = rng.random_range(-span..span);
            (event + rng.random_range(0..=late), event)
        })
        .collect();
    events.sort_unstable();
    let count = events.len();
    let mut column = |of: &dyn Fn(&mut StdRng) -> ArrayRef| of(rng);
    let ints = column(&|rng| Arc::new((0..count).map(|_| Some(rng.random_range(-5_i64..5))).collect::<Int64Array>()));
    let floats = column(&|rng| {
        let value = |rng: &mut StdRng| rng.random_bool(0.9).then(|| f64::from(rng.random_range(-999..999)) / 7.0);
        Arc::new((0..count).map(|_| value(rng)).collect::<Float64Array>())
    });
    let texts = column(&|rng| {
        let text = |rng: &mut StdRng| ["a", "b", "c"][rng.random_range(0..3)];
        Arc::new((0..count).map(|_| Some(text(rng))).collect::<StringArray>())
    });
    let (seen, events) = events.into_iter().unzip();
    Sorted { starts: vec![0, count], events, seen, created: Vec::new(), inputs: vec![ints, floats, texts] }
}

#[tokio::test]
async fn one_by_one_and_by_tiles() {
    let snapshot = table(&[batch(&[("k", ints(&[])), ("event", times(&[])), ("value", ints(&[]))])]).await;
    let view = View { features: features(), ..view(&snapshot, &["k"]) };
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let (cases, seed) = (setting("TIDEGATE_CASES", 60), setting("TIDEGATE_SEED", 0x71de));
    for case in 0..cases {
        let seed = seed_of_case(seed, case);
        let rng = &mut StdRng::seed_from_u64(seed);
        let sorted = group(rng);
        let folder = Folder::new(&view, MemoryConsumer::new("test").register(&pool)).expect("aggregates");
        let columns: Vec<Column> = sorted
            .inputs
            .iter()
            .zip(&folder.classes)
            .map(|(array, class)| Column::read(array, *class).expect("a column"))
            .collect();
        let mut labels: Vec<Micros> = (0..rng.random_range(1..80)).map(|_| rng.random_range(-25_000..25_000)).collect();
        labels.sort_unstable();
        labels.dedup();
        let group = Group::new(&sorted, &columns, 0..sorted.events.len());
        let empty = || Output { features: folder.types.iter().map(Answers::new).collect(), newest: Vec::new() };
        let (mut one_by_one, mut by_tiles) = (empty(), empty());
        folder.one_by_one(&group, &labels, &mut one_by_one);
        folder.by_tiles(&group, &labels, &mut by_tiles).expect("memory");
        assert_eq!(one_by_one.newest, by_tiles.newest, "repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
        for ((feature, left), right) in view.features.iter().zip(one_by_one.features).zip(by_tiles.features) {
            let (left, right) = (left.finish().expect("left"), right.finish().expect("right"));
            assert_eq!(left.data_type(), &feature.data_type);
            let asked = feature.aggregate.as_ref().map(ToString::to_string);
            assert_eq!(&left, &right, "{asked:?}; repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={seed}");
        }
    }
    assert_eq!(pool.reserved(), 0, "what tiles took is given back");
}
