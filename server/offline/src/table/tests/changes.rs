//! What became of rows: files that delta-rs rewrote, files that came and went in between, change data, and another table in the place
//! of the first.

use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;

use super::*;

async fn write(table: DeltaTable, rows: &[(&str, i64, f64)]) -> DeltaTable {
    table.write([weather(rows)]).with_save_mode(SaveMode::Append).await.unwrap()
}

async fn new_table(path: &std::path::Path) -> DeltaTable {
    std::fs::create_dir_all(path).unwrap();
    DeltaTable::try_from_url(Url::from_directory_path(path).unwrap()).await.unwrap()
}

/// The origins of removed rows, as they would be looked at again.
async fn origins(table: &Table, changes: &Changes) -> BTreeSet<String> {
    let snapshot = table.snapshot(None).await.unwrap();
    let mut origins = BTreeSet::new();
    for removed in &changes.removed {
        let options = read::ReadOptions {
            columns: Some(vec!["origin".to_owned()]),
            rows: removed.rows.clone(),
            ..read::ReadOptions::default()
        };
        let mut batches = read::read_file(&snapshot, &removed.file, &options).unwrap();
        while let Some(batch) = batches.next().await {
            let batch = batch.unwrap().batch;
            let column = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
            origins.extend(column.as_string::<i32>().iter().map(|origin| origin.unwrap().to_owned()));
        }
    }
    origins
}

fn named(origins: &[&str]) -> BTreeSet<String> {
    origins.iter().map(|origin| (*origin).to_owned()).collect()
}

#[tokio::test]
async fn rewritten_files_bring_their_rows_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let delta = write(new_table(&path).await, &[("A", 1, 1.0), ("B", 2, 2.0)]).await;
    let delta = write(delta, &[("C", 3, 3.0)]).await;
    let (_, _) = delta.delete().with_predicate("origin = 'A'").await.unwrap();
    let table = Table::open("t", &Location::Delta(path)).await.unwrap();
    let found = changes(&table, 1, 2).await;
    assert_eq!(origins(&table, &found).await, named(&["A", "B"]));
    // The file that holds B still.
    assert_eq!(found.added.iter().map(|file| file.rows).collect::<Vec<_>>(), [Some(1)]);
    let found = changes(&table, 0, 2).await;
    assert_eq!(found.added.len(), 2, "C and what is left of the rewritten file");
    let newest = table.snapshot(None).await.unwrap();
    assert_eq!(table.waiting_since(1, &newest).await.unwrap().versions, 1);
}

#[tokio::test]
async fn a_file_that_came_and_went_is_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let delta = write(new_table(&path).await, &[("A", 1, 1.0)]).await;
    let delta = write(delta, &[("B", 2, 2.0)]).await;
    let delta = write(delta, &[("C", 3, 3.0)]).await;
    let (delta, _) = delta.optimize().await.unwrap();
    let (_, _) = delta.delete().with_predicate("origin = 'C'").await.unwrap();
    let table = Table::open("t", &Location::Delta(path.clone())).await.unwrap();
    let found = changes(&table, 1, 4).await;
    assert!(origins(&table, &found).await.is_superset(&named(&["A", "B", "C"])), "what was merged was rewritten");
    let compacted = changes(&table, 1, 3).await;
    assert_eq!(origins(&table, &compacted).await, named(&["C"]), "its row lies in a file with older ones");
    assert!(compacted.added.is_empty());
    // Its commit is gone: nobody can tell.
    std::fs::remove_file(path.join("_delta_log").join(format!("{:020}.json", 2))).unwrap();
    let again = Table::open("t", &Location::Delta(path)).await;
    if let Ok(again) = again {
        assert!(matches!(again.changes(1, 4).await.unwrap(), Since::Lost(Lost::Commit(2))));
    }
}

#[tokio::test]
async fn change_data_says_which_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let delta = write(new_table(&path).await, &[("A", 1, 1.0), ("B", 2, 2.0), ("C", 3, 3.0)]).await;
    let properties = std::collections::HashMap::from([("delta.enableChangeDataFeed".to_owned(), "true".to_owned())]);
    let delta = delta.set_tbl_properties().with_properties(properties).await.unwrap();
    let updated = delta.update().with_predicate("origin = 'B'").with_update("temp", "9.0").await.unwrap();
    let (_, _) = updated.0.delete().with_predicate("origin = 'C'").await.unwrap();
    let table = Table::open("t", &Location::Delta(path.clone())).await.unwrap();
    let found = changes(&table, 1, 2).await;
    assert_eq!(origins(&table, &found).await, named(&["B"]));
    assert!(found.added.is_empty(), "the rewritten file brings nothing that is not told: {found:?}");
    assert_eq!(origins(&table, &changes(&table, 0, 3).await).await, named(&["B", "C"]));
}

#[tokio::test]
async fn another_table_in_its_place_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let delta = write(new_table(&path).await, &[("A", 1, 1.0)]).await;
    write(delta, &[("B", 2, 2.0)]).await;
    let table = Table::open("t", &Location::Delta(path.clone())).await.unwrap();
    let first = table.snapshot(None).await.unwrap();
    assert_eq!(first.rows(), Some(2));
    for versions in [1, 2, 4] {
        std::fs::remove_dir_all(&path).unwrap();
        let mut delta = new_table(&path).await;
        for version in 0..versions {
            delta = write(delta, &[("C", version, 3.0)]).await;
        }
        let now = table.snapshot(None).await.unwrap();
        assert_eq!((now.version, now.rows()), (versions - 1, Some(versions as u64)));
        assert!(now.id.is_some() && now.id != first.id);
    }
}
