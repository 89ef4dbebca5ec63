//! Records are written once, read back as they were, and damage is told; the format of every release stays readable.

use tidegate_offline::training::digest::{ColumnDigest, TableDigest};
use tidegate_offline::training::{Sample, Split};
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::error::ErrorKind;

use super::*;

fn set(name: &str) -> Sealed {
    let column =
        |name: &str| ColumnDigest { name: name.to_owned(), data_type: "float64".to_owned(), digest: "0a".repeat(32) };
    Sealed {
        project: "flights".to_owned(),
        name: name.to_owned(),
        created_at: 1_784_073_600_000_000,
        principal: "ann".to_owned(),
        engine: "0.1.0".to_owned(),
        definitions_version: 3,
        definitions_digest: "0b".repeat(32),
        selection: Selection::Service("late_arrival".to_owned()),
        options: Options {
            event_time_column: "at".to_owned(),
            as_of: Some(5),
            include_statuses: true,
            split: Some(Split::new(vec![1, 2], 3).unwrap()),
            sample: Some(Sample::new("label", vec![("false".to_owned(), 0.1)], 7).unwrap()),
            ..Options::default()
        },
        spine: SealedSpine {
            origin: Origin::Sql("SELECT 1".to_owned()),
            id: "5f".to_owned(),
            rows: 9,
            digest: "0c".repeat(32),
        },
        tables: [("weather".to_owned(), 7)].into(),
        result: TableDigest { rows: 9, digest: "0d".repeat(32), columns: vec![column("temp")] },
    }
}

#[tokio::test]
async fn records_are_written_once_and_listed_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let sets = SealedSets::open(folder.path()).unwrap();
    assert!(sets.list("flights").await.unwrap().is_empty());
    let (old, new) = (Sealed { created_at: 1, ..set("b") }, Sealed { created_at: 2, ..set("a") });
    let features = Selection::Features(vec!["origin_weather:temp".to_owned()]);
    let new = Sealed { selection: features, options: Options::default(), ..new };
    sets.create(&new).await.unwrap();
    sets.create(&old).await.unwrap();
    // Another process's view of the same folder.
    let other = SealedSets::open(folder.path()).unwrap();
    assert_eq!(other.list("flights").await.unwrap(), [old.clone(), new.clone()]);
    let error = other.create(&Sealed { created_at: 3, ..new.clone() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(other.check_free("flights", "a").await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    other.check_free("flights", "c").await.unwrap();
    other.delete("flights", "a").await.unwrap();
    assert_eq!(sets.list("flights").await.unwrap(), [old]);
    let error = sets.get("flights", "bb").await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("did you mean `b`"), "{error}");
    assert_eq!(sets.delete("flights", "bb").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn names_are_those_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let sets = SealedSets::open(folder.path()).unwrap();
    let long = "x".repeat(101);
    for name in ["", "..", ".hidden", "a/b", "a b", "../x", "ä", &long] {
        assert_eq!(sets.check_free("flights", name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        assert_eq!(sets.get("flights", name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
    sets.check_free("flights", "2013-q1.v2_final").await.unwrap();
}

#[tokio::test]
async fn damage_is_told_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let sets = SealedSets::open(folder.path()).unwrap();
    sets.create(&set("late")).await.unwrap();
    let path = folder.path().join("flights/late.json");
    let sound = std::fs::read_to_string(&path).unwrap();
    let other_version = sound.replace("\"weather\": 7", "\"weather\": 8");
    assert_ne!(other_version, sound);
    for text in
        ["", "{", "null", &sound[..sound.len() / 2], &sound.replace("\"seal\": 1", "\"seal\": 9"), &other_version]
    {
        std::fs::write(&path, text).unwrap();
        let error = sets.get("flights", "late").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    sets.delete("flights", "late").await.unwrap();
    assert!(sets.list("flights").await.unwrap().is_empty());
}

/// The seal format is frozen: records of every release must stay readable. Change nothing here; a new format is a new number
/// with a sample of its own.
#[test]
fn seal_format_1_is_frozen() {
    let golden = include_str!("testdata/seal_v1.json");
    let written = String::from_utf8(set("late").encode()).unwrap();
    assert_eq!(written, golden, "the seal format changed; old seals would not be readable");
    assert_eq!(Sealed::decode("flights", "late", golden.as_bytes()).unwrap(), set("late"));
    assert!(Sealed::decode("flights", "soon", golden.as_bytes()).unwrap_err().contains("`late`"));
}
