//! A log cut at any byte, as after power loss in the middle of a write: a prefix of the writes is there, never a cursor ahead of its
//! rows, and never a part of a write.

use std::path::Path;

use rand::RngExt;

use super::*;
use crate::testing::{cases, for_each_seed};

const WRITES: i64 = 12;

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

/// The newest file of RocksDB's log.
fn newest_log(folder: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(folder.join("rocks")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max().expect("a log")
}

#[test]
fn a_cut_log_leaves_a_consistent_prefix() {
    let store = TempStore::new(Settings { durability: Durability::Fast, ..Settings::default() });
    let view = store.register(&simple()).expect("a view");
    for version in 1..=WRITES {
        let rows = [("all", version, version), (&*format!("only {version}"), version, version)];
        write(&store, view, &rows, table(version), Commit::Cursor { version, now: version }).expect("rows");
    }
    let whole = fs::metadata(newest_log(store.path())).expect("a log").len();
    for_each_seed(cases(50).min(2_000), |rng, _| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(store.path(), folder.path());
        let cut = rng.random_range(0..=whole);
        let log = fs::OpenOptions::new().write(true).open(newest_log(folder.path())).expect("the log");
        log.set_len(cut).expect("cut");
        drop(log);
        let torn = match Store::open(folder.path(), &Settings::default()) {
            Ok(torn) => torn,
            // A loud refusal is allowed; a wrong value is not.
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error:?}"),
        };
        // Registered in the log, too: where that is cut off, this is a new store.
        let view = torn.register(&simple()).expect("a view");
        let reached = torn.cursor(view).expect("known").map_or(0, |cursor| cursor.version);
        let newest = (reached > 0).then_some((reached, reached));
        assert_eq!(look(&torn, view, &["all"]), [newest], "cut at {cut}");
        for version in 1..=WRITES {
            let expect = (version <= reached).then_some((version, version));
            assert_eq!(look(&torn, view, &[&format!("only {version}")]), [expect], "cut at {cut}");
        }
        assert!(cut < whole || reached == WRITES, "nothing was cut and something is missing");
    });
}
