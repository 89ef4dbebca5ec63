//! Versions are numbered, never changed, and written by one winner; damage stays in its own project.

use std::collections::BTreeMap;

use tidegate_schemas::definition::{About as Described, Column, Entity};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::types::DataType;

use super::*;

/// A catalog with one entity for each name.
fn catalog(project: &str, entities: &[&str]) -> Catalog {
    let entity = |name: &&str| {
        let keys = vec![Column { name: format!("{name}_id"), data_type: DataType::Int64 }];
        let about = Described { description: Some(format!("one {name}")), ..Described::default() };
        ((*name).to_owned(), Arc::new(Entity { name: (*name).to_owned(), keys, about }))
    };
    Catalog { entities: entities.iter().map(entity).collect::<BTreeMap<_, _>>(), ..Catalog::new(project) }
}

fn new(base: u64, catalog: Catalog) -> NewVersion {
    let changes = vec![format!("create entity/{base}")];
    NewVersion {
        base,
        catalog,
        principal: "ann".to_owned(),
        cause: "apply".to_owned(),
        changes,
        now: 1_000 + base as i64,
    }
}

#[tokio::test]
async fn versions_are_numbered_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    assert!(registry.current("flights").await.unwrap().is_none());
    registry.commit(new(0, catalog("flights", &["plane"]))).await.unwrap();
    registry.commit(new(1, catalog("flights", &["plane", "airport"]))).await.unwrap();
    // Another process's view of the same folder.
    let other = Registry::open(folder.path()).unwrap();
    let current = other.current("flights").await.unwrap().unwrap();
    assert_eq!((current.version, current.catalog.entities.len()), (2, 2));
    let history = other.history("flights").await.unwrap();
    let told: Vec<_> = history.iter().map(|about| (about.version, about.created_at, about.cause.as_str())).collect();
    assert_eq!(told, [(2, 1_001, "apply"), (1, 1_000, "apply")]);
    assert_eq!(other.record("flights", 1).await.unwrap().catalog, catalog("flights", &["plane"]));
    let missing = other.record("flights", 7).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn of_two_writers_one_wins_and_the_other_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Registry::open(folder.path()).unwrap(), Registry::open(folder.path()).unwrap());
    one.commit(new(0, catalog("flights", &["plane"]))).await.unwrap();
    two.current("flights").await.unwrap();
    let (a, b) = tokio::join!(
        one.commit(new(1, catalog("flights", &["plane", "a"]))),
        two.commit(new(1, catalog("flights", &["plane", "b"])))
    );
    let lost = match (a, b) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        other => panic!("one of two should win: {other:?}"),
    };
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    assert!(lost.to_string().contains("plan again"), "{lost}");
    for registry in [&one, &two] {
        assert_eq!(registry.current("flights").await.unwrap().unwrap().version, 2);
    }
}

#[tokio::test]
async fn a_version_of_another_process_is_picked_up() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Registry::open(folder.path()).unwrap(), Registry::open(folder.path()).unwrap());
    theirs.commit(new(0, catalog("flights", &["plane"]))).await.unwrap();
    let (changed, failed) = ours.refresh().await.unwrap();
    assert_eq!((changed.len(), failed.len()), (1, 0));
    theirs.commit(new(1, catalog("flights", &["plane", "b"]))).await.unwrap();
    assert_eq!(ours.cached("flights").unwrap().version, 1);
    ours.refresh().await.unwrap();
    assert_eq!(ours.cached("flights").unwrap().version, 2);
    assert!(ours.refresh().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn damage_is_named_and_stays_in_its_project() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    registry.commit(new(0, catalog("flights", &["plane"]))).await.unwrap();
    registry.commit(new(0, catalog("trips", &["rider"]))).await.unwrap();
    let path = folder.path().join("flights").join(format!("{:020}.json", 1));
    let sound = std::fs::read_to_string(&path).unwrap();
    let other_words = sound.replacen("one plane", "two plane", 1);
    assert_ne!(other_words, sound);
    let damaged =
        ["", "{", "null", &sound[..sound.len() / 2], &sound.replace("\"record\": 1", "\"record\": 9"), &other_words];
    for text in damaged {
        std::fs::write(&path, text).unwrap();
        let fresh = Registry::open(folder.path()).unwrap();
        let (changed, failed) = fresh.refresh().await.unwrap();
        assert_eq!(changed.len(), 1, "{text}");
        let [error] = failed.as_slice() else { panic!("one project is damaged: {failed:?}") };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains("backup"), "{message}");
        assert!(fresh.current("trips").await.unwrap().is_some());
        assert!(fresh.current("flights").await.is_err());
    }
}

/// The record format is frozen: files of every release must stay readable. Change nothing here; a new format is a new number with
/// a sample of its own.
#[test]
fn record_format_1_is_frozen() {
    let record = Record {
        about: About {
            version: 3,
            created_at: 1_784_073_600_000_000,
            principal: "ann".to_owned(),
            cause: "apply".to_owned(),
            changes: vec!["create entity/plane".to_owned()],
        },
        catalog: catalog("flights", &["plane"]),
    };
    let golden = include_str!("testdata/record_v1.json");
    let written = String::from_utf8(record.encode()).unwrap();
    assert_eq!(written, golden, "the record format changed; old registries would not be readable");
    assert_eq!(Record::decode("flights", 3, golden.as_bytes()).unwrap(), record);
    assert!(Record::decode("flights", 4, golden.as_bytes()).unwrap_err().contains("version 3"));
}
