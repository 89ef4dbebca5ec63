//! Writers, readers and full refreshes on the same few entities: what was acknowledged before a lookup began is what it sees, or
//! something newer.

use std::sync::atomic::{AtomicBool, AtomicI64};

use super::*;
use crate::testing::cases;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn hammer(entity_cache_bytes: u64, rounds: i64) {
    let store = TempStore::new(Settings { entity_cache_bytes, durability: Durability::Fast, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    let acknowledged: [AtomicI64; 4] = Default::default();
    let clock = AtomicI64::new(1);
    let done = AtomicBool::new(false);
    let (store, acknowledged, clock, done) = (&*store, &acknowledged, &clock, &done);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..rounds {
                        let key = (writer + round as usize) % KEYS.len();
                        let time = clock.fetch_add(1, Ordering::SeqCst);
                        write(store, view, &[(KEYS[key], time, time)], Origin::Push, Commit::None).expect("a push");
                        acknowledged[key].fetch_max(time, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            let mut version = 0;
            while !done.load(Ordering::SeqCst) {
                version += 1;
                let mut load = store.begin_full(view, version, 0).expect("begun");
                let rows: Vec<_> = KEYS.iter().map(|key| (*key, 0, 0)).collect();
                add(&mut load, &rows, version);
                store.finish_full(load, version, 0).expect("finished");
            }
        });
        for _ in 0..7 {
            scope.spawn(move || {
                let mut last = [0; 4];
                while !done.load(Ordering::SeqCst) {
                    let floor: Vec<i64> = acknowledged.iter().map(|time| time.load(Ordering::SeqCst)).collect();
                    for (key, seen) in look(store, view, &KEYS).into_iter().enumerate() {
                        let seen = seen.map_or(0, |(event, value)| {
                            assert_eq!(event, value, "a value of another observation");
                            event
                        });
                        assert!(seen >= floor[key], "{}: {seen} after {} was acknowledged", KEYS[key], floor[key]);
                        assert!(seen >= last[key], "{}: went back from {} to {seen}", KEYS[key], last[key]);
                        last[key] = seen;
                    }
                }
            });
        }
        let finished: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        assert!(finished.iter().all(std::result::Result::is_ok), "a writer failed");
    });
    let newest: Vec<i64> = acknowledged.iter().map(|time| time.load(Ordering::SeqCst)).collect();
    let seen: Vec<i64> = look(store, view, &KEYS).into_iter().map(|seen| seen.map_or(0, |seen| seen.0)).collect();
    assert_eq!(seen, newest);
}

#[test]
fn acknowledged_writes_are_seen() {
    let rounds = i64::try_from(cases(2_000)).unwrap_or(i64::MAX);
    hammer(1 << 20, rounds);
    hammer(0, rounds / 4);
}

/// Of two rows in one write a lookup sees both or neither; of two writes one after the other, not the second alone. Readers of single
/// entities see to it that some are in the cache and some are not.
#[test]
fn a_lookup_sees_one_state() {
    let rounds = i64::try_from(cases(3_000)).unwrap_or(i64::MAX);
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    let done = AtomicBool::new(false);
    let (store, done) = (&*store, &done);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for n in 1..=rounds {
                let push = |rows: &[(&str, i64, i64)]| {
                    write(store, view, rows, Origin::Push, Commit::None).expect("a push");
                };
                push(&[("a", n, n), ("b", n, n)]);
                push(&[("c", n, n)]);
                push(&[("d", n, n)]);
            }
        });
        for key in ["a", "b", "c", "d"] {
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    look(store, view, &[key]);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let seen: Vec<i64> =
                        look(store, view, &["a", "b", "c", "d"]).iter().map(|seen| seen.map_or(0, |it| it.0)).collect();
                    assert_eq!(seen[0], seen[1], "half of a write: {seen:?}");
                    assert!(seen[0] >= seen[2] && seen[2] >= seen[3], "a write without the one before it: {seen:?}");
                }
            });
        }
        let finished = writer.join();
        done.store(true, Ordering::SeqCst);
        assert!(finished.is_ok(), "the writer failed");
    });
}
