//! The store runs into a full disk: what is there is answered, writes are refused, and soon after there is room again they work,
//! without anybody opening the store again. On a file system of its own in memory, which only root can make.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const DISK: &str = "size=24m";

/// How often, and how far apart, a write is tried once there is room.
const ATTEMPTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// Small, so that logs and files are written often.
fn settings() -> Settings {
    Settings { write_buffer_bytes: 64 << 10, block_cache_bytes: 1 << 20, ..Settings::default() }
}

struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None`, said loudly, where that is not allowed.
    fn mount(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder: folder.to_owned() });
        }
        eprintln!("warning: a test of a full disk is SKIPPED: it mounts a tmpfs, which needs root");
        None
    }

    /// Leaves so many bytes.
    fn fill(&self, left: usize) {
        let mut file = fs::File::create(self.folder.join("ballast")).expect("a file");
        let zeros = vec![0; 4 << 10];
        while file.write_all(&zeros).is_ok() {}
        let length = file.metadata().expect("a length").len();
        file.set_len(length.saturating_sub(left as u64)).expect("shorter");
    }

    fn free(&self) {
        fs::remove_file(self.folder.join("ballast")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// One row of about 200 bytes.
fn push(store: &Store, view: ViewId, nth: i64) -> Result<Written> {
    let key = format!("{nth:0>200}");
    write(store, view, &[(key.as_str(), nth, nth)], Origin::Push, Commit::None)
}

fn check(store: &Store, view: ViewId, acknowledged: i64) {
    let keys: Vec<String> = (0..acknowledged).map(|nth| format!("{nth:0>200}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = look(store, view, &keys);
    for (nth, found) in (0..).zip(found) {
        assert_eq!(found, Some((nth, nth)), "an acknowledged write");
    }
}

/// Fills the disk, lets `work` run into it, and waits until writes work again.
fn run(left: usize, mut work: impl FnMut(&Store, ViewId, &mut i64) -> Error) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let path = folder.path().join("store");
    let store = Store::open(&path, &settings()).expect("a store");
    let view = store.register(&simple()).expect("a view");
    let mut next = 0;
    while next < 1_000 {
        push(&store, view, next).expect("room");
        next += 1;
    }
    disk.fill(left);
    let error = work(&store, view, &mut next);
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    check(&store, view, next);
    // A write may still fit; one that is refused says why.
    for _ in 0..20 {
        match push(&store, view, next) {
            Ok(_) => next += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}"),
        }
        std::thread::sleep(PAUSE);
    }
    check(&store, view, next);
    disk.free();
    let again = (0..ATTEMPTS).find(|_| {
        std::thread::sleep(PAUSE);
        match push(&store, view, next) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
                false
            }
        }
    });
    eprintln!("writable again after {:?}", again.map(|attempt| PAUSE * attempt as u32));
    assert!(again.is_some(), "not writable within {:?} of there being room", PAUSE * ATTEMPTS as u32);
    next += 1;
    for _ in 0..2_000 {
        push(&store, view, next).expect("room");
        next += 1;
    }
    check(&store, view, next);
    let mut load = store.begin_full(view, 1, 1).expect("begun");
    add(&mut load, &[("loaded", 1, 1)], 1);
    store.finish_full(load, 1, 1).expect("a full refresh");
    check(&store, view, next);
    drop(store);
    let store = Store::open(&path, &settings()).expect("it opens");
    check(&store, view, next);
    drop(store);
    drop(disk);
}

#[test]

fn a_full_disk_under_writes_is_recovered_from() {
    for left in [0, 100 << 10, 1 << 20] {
        run(left, |store, view, next| {
            loop {
                match push(store, view, *next) {
                    Ok(_) => *next += 1,
                    Err(error) => break error,
                }
            }
        });
    }
}

#[test]
fn a_full_disk_under_a_full_refresh_is_recovered_from() {
    for left in [0, 100 << 10, 2 << 20] {
        // Text that can't be made shorter.
        let mut rng = StdRng::seed_from_u64(left as u64);
        run(left, |store, view, _| {
            let mut load = || -> Result<()> {
                let mut load = store.begin_full(view, 1, 1)?;
                for _ in 0..200 {
                    let key = |rng: &mut StdRng| (0..200).map(|_| rng.random_range(' '..='~')).collect();
                    let keys: Vec<String> = (0..100).map(|_| key(&mut rng)).collect();
                    let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), 0, 0)).collect();
                    add(&mut load, &rows, 1);
                }
                store.finish_full(load, 1, 1).map(drop)
            };
            let error = load().expect_err("there is no room");
            store.cancel_full(view).map_or_else(|error| error, |_| error)
        });
    }
}
