//! Files of a store damaged as power loss and bad disks damage them: afterwards a prefix of the writes is there, never a cursor ahead
//! of its rows, never a part of a write, never a wrong value; or the store says loudly that it is damaged.
//!
//! ```text
//! a log       cut at any byte · its end never written · a page of it never written · bits flipped
//! newest SST  cut · bits flipped · gone
//! MANIFEST    cut · bits flipped
//! ```
//! `TIDEGATE_TORN` damages are tried, of stores whose column families went to files at different times.

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::*;
use crate::testing::{for_each_seed, number};

const WRITES: i64 = 12;

/// What the file system writes at once.
const PAGE: u64 = 4 << 10;

/// After which versions the metadata and the rows of each store went to files.
const FLUSHES: [(&[i64], &[i64]); 4] = [(&[], &[]), (&[], &[5]), (&[8], &[4, 8]), (&[9, 12], &[3, 12])];

/// A key so long that a log of all writes has several blocks.
fn only(version: i64) -> String {
    format!("only {version:0>6000}")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// A store in which each version wrote a row of its own, a row that all write, and the cursor.
fn written(flushes: (&[i64], &[i64])) -> TempStore {
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    for version in 1..=WRITES {
        let rows = [("all", version, version), (&*only(version), version, version)];
        write(&store, view, &rows, table(version), Commit::Cursor { version, now: version }).expect("rows");
        let inner = store.inner();
        if flushes.0.contains(&version) {
            inner.db.flush().expect("a flush");
        }
        if flushes.1.contains(&version) {
            inner.db.flush_cf(inner.rows().expect("rows")).expect("a flush");
        }
    }
    store
}

/// The newest of RocksDB's files of a kind, if there is one.
fn newest(folder: &Path, kind: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let files = fs::read_dir(folder.join("rocks")).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.filter(|path| kind(&path.file_name().unwrap_or_default().to_string_lossy())).max()
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    /// The file ends here.
    Cut(u64),
    /// From here on it was never written: the file has its length and no content.
    Unwritten(u64),
    /// A page was never written, those behind it were.
    Hole(u64),
    /// Bits, by their numbers.
    Flips([u64; 3]),
    Gone,
}

impl Damage {
    fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).expect("a file");
        let length = bytes.len() as u64;
        match self {
            Self::Cut(at) => bytes.truncate(at as usize),
            Self::Unwritten(from) => bytes[from as usize..].fill(0),
            Self::Hole(page) => bytes[(page * PAGE) as usize..length.min((page + 1) * PAGE) as usize].fill(0),
            Self::Flips(bits) => {
                for bit in bits {
                    // A log that nothing was written to has none.
                    if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Self::Gone => return fs::remove_file(path).expect("removed"),
        }
        fs::write(path, bytes).expect("written");
    }
}

/// A file and what happens to it.
fn damage(rng: &mut StdRng, folder: &Path) -> (PathBuf, Damage) {
    let log = newest(folder, |name| name.ends_with(".log")).expect("a log");
    let manifest = newest(folder, |name| name.starts_with("MANIFEST")).expect("a manifest");
    let table = newest(folder, |name| name.ends_with(".sst"));
    let kind = rng.random_range(0..9);
    let path = match (kind, table) {
        (0..=3, _) => log,
        (4..=6, Some(table)) => table,
        _ => manifest,
    };
    // A log's file is longer than what is in it.
    let length = fs::metadata(&path).expect("a file").len().max(1);
    let bit = |rng: &mut StdRng| rng.random_range(0..length * 8);
    let damage = match kind {
        0 | 4 | 7 => Damage::Cut(rng.random_range(0..=length)),
        1 => Damage::Unwritten(rng.random_range(0..length)),
        2 => Damage::Hole(rng.random_range(0..length.div_ceil(PAGE))),
        6 => Damage::Gone,
        _ => Damage::Flips([bit(rng), bit(rng), bit(rng)]),
    };
    (path, damage)
}

/// What a damaged store answers. `Err` is a loud refusal.
fn check(folder: &Path, what: &str) -> Result<i64> {
    let torn = Store::open(folder, &Settings::default())?;
    // Registered in the log, too: where that is cut off, this is a new store.
    let view = torn.register(&simple())?;
    let reached = torn.cursor(view)?.map_or(0, |cursor| cursor.version);
    let seen = |key: &str| -> Result<Option<(i64, i64)>> {
        let options = LookupOptions { include_times: true, ..LookupOptions::default() };
        let reply = torn.lookup(&plan(&torn, view), &[strings([key])], 0, &options)?;
        let feature = reply.feature(0);
        let crate::reply::Values::Int64s(values) = feature.values else { panic!("int64") };
        let value = values.iter().next();
        Ok(value.filter(|_| feature.present(0)).map(|value| (reply.views[0].event_times[0], value)))
    };
    let newest = (reached > 0).then_some((reached, reached));
    assert_eq!(seen("all")?, newest, "{what}");
    for version in 1..=WRITES {
        let expect = (version <= reached).then_some((version, version));
        assert_eq!(seen(&only(version))?, expect, "version {version} of {reached}: {what}");
    }
    let rows = if reached > 0 { reached as u64 + 1 } else { 0 };
    assert_eq!(torn.digest(view)?.rows, rows, "{what}");
    Ok(reached)
}

#[test]
fn damaged_files_leave_a_consistent_prefix_or_are_refused() {
    let stores = FLUSHES.map(written);
    for store in &stores {
        let folder = tempfile::tempdir().expect("a folder");
        copy(store.path(), folder.path());
        assert_eq!(check(folder.path(), "nothing was damaged").expect("it opens"), WRITES);
    }
    let (whole, prefix, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    for_each_seed(number("TIDEGATE_TORN", 50), |rng, _| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(stores[rng.random_range(0..stores.len())].path(), folder.path());
        let (path, damage) = damage(rng, folder.path());
        let what = format!("{damage:?} of {}", path.display());
        damage.apply(&path);
        let count = match check(folder.path(), &what) {
            Ok(WRITES) => &whole,
            Ok(_) => &prefix,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{what}");
                &refused
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    });
    eprintln!("whole {whole:?}, a prefix {prefix:?}, refused {refused:?}");
}
