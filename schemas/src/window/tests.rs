//! Windows taken apart into tiles and put together again give what their events give.
//!
//! A model keeps every event and computes each function from those in the window; the pyramid takes them in any order. Merging is
//! checked for order, bytes for staying what they are, and for every damage being an error.

mod model;

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::model::{Event, Expected, Number};
use super::*;

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;
const MINUTE: Micros = 60_000_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `test` for random cases; the name of a failing one repeats it alone with `TIDEGATE_CASES=1`.
fn for_each_case(count: u64, mut test: impl FnMut(&mut StdRng, &str)) {
    let seed = setting("TIDEGATE_SEED", 0x71de);
    for case in seed..seed + setting("TIDEGATE_CASES", count) {
        test(&mut StdRng::seed_from_u64(case), &format!("repeat with TIDEGATE_CASES=1 TIDEGATE_SEED={case}"));
    }
}

fn column(name: &str, data_type: &str) -> Column {
    Column { name: name.to_owned(), data_type: data_type.parse().expect("a type") }
}

/// One input of each class, and functions of all of them.
const INPUTS: [(&str, &str); 4] = [("i", "int64"), ("f", "float64"), ("d", "decimal(12,2)"), ("s", "string")];

fn every_function(window: Option<Micros>, hop: Micros) -> Vec<Aggregate> {
    let mut all = vec![Aggregate { function: Function::Count, input: None, window, hop }];
    let functions = [
        Function::Count,
        Function::Sum,
        Function::Mean,
        Function::Min,
        Function::Max,
        Function::Var,
        Function::Std,
        Function::First,
        Function::Last,
        Function::LastN(3),
        Function::DistinctCount,
        Function::Percentile(5_000),
        Function::Percentile(9_900),
        Function::TopK(2),
    ];
    for (name, data_type) in INPUTS {
        let input = column(name, data_type);
        let fits = functions.into_iter().filter(|function| function.output(&input.data_type).is_some());
        all.extend(fits.map(|function| Aggregate { function, input: Some(input.clone()), window, hop }));
    }
    all
}

/// The tiles of one entity.
#[derive(Default)]
struct Pyramid(HashMap<(usize, TileId), Tile>);

impl Pyramid {
    fn add(&mut self, windows: &Windows, event: &Event) {
        let values = event.values();
        for (nth, group) in windows.groups().iter().enumerate() {
            for id in group.tiles_of(event.event) {
                let tile = self.0.entry((nth, id)).or_insert_with(|| group.tile());
                tile.add(group, event.event, event.created, &values);
            }
        }
    }

    fn read(&self, windows: &Windows, feature: usize, at: Micros) -> Partial {
        let Feature { group, partial, .. } = windows.features()[feature];
        let spec = windows.spec(feature);
        let mut merged = spec.empty();
        for id in windows.cover(feature, at) {
            if let Some(tile) = self.0.get(&(group, id)) {
                merged.merge(spec, &tile.partials[partial]);
            }
        }
        merged
    }
}

#[test]
fn a_window_is_covered_exactly_and_by_few_tiles() {
    for_each_case(20_000, |rng, repeat| {
        let hop = [1, 7, 1_000, 300_000_000, HOUR, DAY][rng.random_range(0..6)];
        let window = hop.saturating_add(rng.random_range(0..90 * DAY)).min(hop.saturating_mul(100_000));
        let at = rng.random_range(-400 * DAY..40_000 * DAY);
        let group = Group { hop: Some(hop), top: cover::top_level(window / hop), specs: Vec::new() };
        let cover: Vec<TileId> = group.cover(Some(window), at).collect();
        let mut next = (at - window).div_euclid(hop);
        for tile in &cover {
            let width = 8_i64.pow(tile.level.into());
            assert_eq!(tile.index * width, next, "a gap or an overlap; {repeat}");
            next += width;
        }
        assert_eq!(next, base_tile(at, hop) + 1, "{repeat}");
        assert!(cover.len() <= 14 * usize::from(group.top) + 17, "{} tiles; {repeat}", cover.len());
        let tail = (at - window).div_euclid(hop) * hop;
        for event in [tail, tail + 1, at, at + hop, rng.random_range(tail - hop..=at + hop)] {
            let holds = group.tiles_of(event).filter(|tile| cover.contains(tile)).count();
            let inside = tail < event && base_tile(event, hop) <= base_tile(at, hop);
            assert_eq!(holds, usize::from(inside), "event {event} at {at}; {repeat}");
        }
    });
}

#[test]
fn ninety_days_by_five_minutes_are_at_most_a_hundred_tiles() {
    let (window, hop) = (90 * DAY, 5 * MINUTE);
    let windows = Windows::new(&every_function(Some(window), hop)).expect("functions");
    assert_eq!(windows.groups().len(), 1);
    let most = (0..40_000).map(|nth| windows.cover(0, nth * hop + nth).count()).max();
    assert!(most.is_some_and(|most| most <= 100), "{most:?}");
}

#[test]
fn tiles_give_what_the_events_give() {
    for_each_case(400, |rng, repeat| {
        let spread = [20, 300, 5_000][rng.random_range(0..3)];
        let windows_of_case = [Some(1), Some(13), Some(100), Some(4_000), None];
        let hop = [1, 5, 10][rng.random_range(0..3)];
        let aggregates: Vec<Aggregate> = windows_of_case
            .into_iter()
            .flat_map(|window| every_function(window.map(|window: i64| window.max(hop)), hop))
            .collect();
        let windows = Windows::new(&aggregates).expect("functions");
        let mut events: Vec<Event> = (0..rng.random_range(0..120)).map(|_| Event::random(rng, spread)).collect();
        let mut pyramid = Pyramid::default();
        let mut probes: Vec<Micros> = (0..6).map(|_| rng.random_range(-spread..=spread + 10)).collect();
        probes.sort_unstable();
        // Any order among the events of one moment, and late ones before.
        events.sort_by_key(|event| event.event);
        let mut taken = 0;
        for at in probes {
            let known = events.partition_point(|event| event.event <= at);
            let mut fresh: Vec<&Event> = events[taken..known].iter().collect();
            while !fresh.is_empty() {
                pyramid.add(&windows, fresh.swap_remove(rng.random_range(0..fresh.len())));
            }
            taken = known;
            for (nth, aggregate) in aggregates.iter().enumerate() {
                let merged = pyramid.read(&windows, nth, at);
                let expected = Expected::of(&events[..known], aggregate, at);
                let found = windows.finish(nth, &merged);
                assert!(
                    expected.is_met_by(&found),
                    "{aggregate:?} at {at}: {found:?} instead of {expected:?}; {repeat}"
                );
            }
        }
    });
}

fn bytes_of(tile: &Tile) -> Vec<u8> {
    let mut bytes = Vec::new();
    tile.encode(&mut bytes);
    bytes
}

/// The tiles of three lots of random events.
fn three_tiles(rng: &mut StdRng, group: &Group) -> [Tile; 3] {
    std::array::from_fn(|_| {
        let mut tile = group.tile();
        for _ in 0..rng.random_range(0..20) {
            let event = Event::random(rng, 50);
            tile.add(group, event.event, event.created, &event.values());
        }
        tile
    })
}

#[test]
fn merging_is_associative_and_commutative() {
    let windows = Windows::new(&every_function(None, HOUR)).expect("functions");
    let group = &windows.groups()[0];
    let exact: Vec<usize> = (0..group.specs.len())
        .filter(|at| !matches!(group.specs[*at], Spec { kind: Kind::Sum | Kind::Moments, class: Class::Float, .. }))
        .collect();
    for_each_case(1_000, |rng, repeat| {
        let [a, b, c] = three_tiles(rng, group);
        let sum = |tiles: &[&Tile]| {
            let mut sum = group.tile();
            tiles.iter().for_each(|tile| sum.merge(group, tile));
            sum
        };
        let left = sum(&[&sum(&[&a, &b]), &c]);
        for other in [sum(&[&a, &sum(&[&b, &c])]), sum(&[&c, &b, &a]), sum(&[&b, &sum(&[&c, &a])])] {
            for at in &exact {
                let only = |tile: &Tile| bytes_of(&Tile { partials: vec![tile.partials[*at].clone()] });
                assert_eq!(only(&left), only(&other), "{:?}; {repeat}", group.specs[*at]);
            }
            for (nth, feature) in windows.features().iter().enumerate() {
                let numbers =
                    [&left, &other].map(|tile| Number::of(&windows.finish(nth, &tile.partials[feature.partial])));
                assert!(numbers[0].is_near(numbers[1]), "{feature:?}: {numbers:?}; {repeat}");
            }
        }
    });
}

#[test]
fn bytes_come_back_and_damage_is_an_error() {
    let windows = Windows::new(&every_function(None, HOUR)).expect("functions");
    let group = &windows.groups()[0];
    for_each_case(300, |rng, repeat| {
        let [tile, other, _] = three_tiles(rng, group);
        let bytes = bytes_of(&tile);
        let mut back = group.decode(&bytes).expect("its own bytes");
        assert_eq!(bytes_of(&back), bytes, "{repeat}");
        back.merge(group, &other);
        let mut merged = tile.clone();
        merged.merge(group, &other);
        assert_eq!(bytes_of(&back), bytes_of(&merged), "{repeat}");
        let cut = rng.random_range(0..bytes.len());
        assert!(group.decode(&bytes[..cut]).is_err(), "cut at {cut}; {repeat}");
        assert_eq!(group.decode(&[&bytes[..], &[0]].concat()).expect_err("too long"), BadTile::Long(1));
        let mut damaged = bytes.clone();
        let at = rng.random_range(0..damaged.len());
        damaged[at] ^= 1 << rng.random_range(0..8);
        // It may be another tile; what it may not do is to stop the process.
        if let Ok(mut damaged) = group.decode(&damaged) {
            damaged.merge(group, &other);
            for (nth, feature) in windows.features().iter().enumerate() {
                let _ = windows.finish(nth, &damaged.partials[feature.partial]);
            }
        }
    });
    assert_eq!(group.decode(&[9]).expect_err("a later format"), BadTile::Format(9));
}

/// The bytes of a tile with one of everything. They are in stores: where this fails, the format needs a new number.
#[test]
fn golden_bytes() {
    let windows = Windows::new(&every_function(None, HOUR)).expect("functions");
    let group = &windows.groups()[0];
    let mut tile = group.tile();
    for (event, created, i, f, d, s) in
        [(1_000, Some(5), Some(-7), Some(0.5), Some(1_234), Some("tide")), (2_000, None, Some(3), None, Some(-1), None)]
    {
        let values = [
            i.map(Value::Int),
            f.map(Value::Float),
            d.map(Value::Decimal),
            s.map(|text: &str| Value::Bytes(text.as_bytes())),
        ];
        tile.add(group, event, created, &values);
    }
    let shown: Vec<String> = group
        .specs
        .iter()
        .zip(&tile.partials)
        .map(|(spec, partial)| {
            let input = spec.input.map_or("-", |input| INPUTS[input].0);
            let bytes = bytes_of(&Tile { partials: vec![partial.clone()] });
            format!("{:?} {input} {}", spec.kind, crate::digest::hex(&bytes))
        })
        .collect();
    let expect = include_str!("tests/golden.txt");
    assert_eq!(shown.join("\n"), expect.trim_end(), "tiles lie in stores: give a new layout a new format number");
}

#[test]
fn partials_are_shared() {
    let of = |function, input: Option<&str>, window| Aggregate {
        function,
        input: input.map(|name| column(name, "int64")),
        window,
        hop: HOUR,
    };
    let aggregates = [
        of(Function::Sum, Some("a"), Some(DAY)),
        of(Function::Mean, Some("a"), Some(7 * DAY)),
        of(Function::Sum, Some("b"), Some(DAY)),
        of(Function::Percentile(5_000), Some("a"), Some(DAY)),
        of(Function::Percentile(9_900), Some("a"), Some(DAY)),
        of(Function::Sum, Some("a"), None),
        of(Function::Count, None, Some(DAY)),
    ];
    let windows = Windows::new(&aggregates).expect("functions");
    assert_eq!(windows.inputs().iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let places: Vec<(usize, usize)> =
        windows.features().iter().map(|feature| (feature.group, feature.partial)).collect();
    assert_eq!(places, [(0, 0), (0, 0), (0, 1), (0, 2), (0, 2), (1, 0), (0, 3)]);
    assert_eq!(
        windows.groups().iter().map(|group| (group.hop, group.top)).collect::<Vec<_>>(),
        [(Some(HOUR), 2), (None, 0)]
    );
    let error = Windows::new(&[of(Function::Sum, None, None)]).expect_err("no input");
    assert_eq!(error.to_string(), "sum can't be computed of events");
}

#[test]
fn sums_out_of_range_are_told() {
    for (data_type, value) in [("int64", Value::Int(i64::MAX)), ("decimal(38,0)", Value::Decimal(10_i128.pow(38) - 1))]
    {
        let input = Some(column("x", data_type));
        let aggregates = [Aggregate { function: Function::Sum, input, window: None, hop: HOUR }];
        let windows = Windows::new(&aggregates).expect("a sum");
        let group = &windows.groups()[0];
        let mut tile = group.tile();
        let mut found = Vec::new();
        for _ in 0..4 {
            tile.add(group, 1, None, &[Some(value)]);
            found.push(matches!(windows.finish(0, &tile.partials[0]), Answer::OutOfRange));
        }
        assert_eq!(found, [false, true, true, true], "{data_type}");
    }
}

#[test]
fn many_values_are_estimated_in_any_order() {
    let input = Some(column("x", "int64"));
    let of = |function| Aggregate { function, input: input.clone(), window: None, hop: HOUR };
    let windows = Windows::new(&[of(Function::DistinctCount), of(Function::TopK(2))]).expect("functions");
    let group = &windows.groups()[0];
    let mut rng = StdRng::seed_from_u64(7);
    for count in [DISTINCT_EXACT as i64, DISTINCT_EXACT as i64 + 1, 30_000] {
        let mut values: Vec<i64> = (0..count).chain(0..count).chain([5; 50]).chain([6; 40]).collect();
        let mut of_order: Vec<Vec<u8>> = Vec::new();
        for parts in [1, 3, 40] {
            let mut tiles: Vec<Tile> = (0..parts).map(|_| group.tile()).collect();
            for _ in 0..values.len() {
                let (a, b) = (rng.random_range(0..values.len()), rng.random_range(0..values.len()));
                values.swap(a, b);
            }
            for value in &values {
                tiles[rng.random_range(0..parts)].add(group, *value, None, &[Some(Value::Int(*value))]);
            }
            let mut all = group.tile();
            // Some of them as they come back from a store.
            for (nth, tile) in tiles.iter().enumerate() {
                let stored = group.decode(&bytes_of(tile)).expect("its own bytes");
                all.merge(group, if nth % 2 == 0 { tile } else { &stored });
            }
            let Answer::Value(Value::Int(distinct)) = windows.finish(0, &all.partials[0]) else { panic!("a count") };
            let error = (distinct - count).abs() as f64 / count as f64;
            assert!(if count <= DISTINCT_EXACT as i64 { error == 0.0 } else { error < 0.08 }, "{distinct} of {count}");
            let Answer::List(top) = windows.finish(1, &all.partials[1]) else { panic!("a list") };
            assert!(matches!(top[..], [Value::Int(5), Value::Int(6)]), "{top:?}");
            of_order.push(bytes_of(&Tile { partials: vec![all.partials[0].clone()] }));
        }
        assert!(of_order.windows(2).all(|pair| pair[0] == pair[1]), "{count} values in three orders");
    }
}
