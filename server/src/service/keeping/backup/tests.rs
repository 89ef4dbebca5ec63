//! A backup beside a running server becomes a server that answers the same; what came later is materialized; the online tier can be
//! rebuilt from the tables alone.

use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use futures::TryStreamExt;
use tidegate_schemas::catalog::Selection;

use super::*;
use crate::backup::{Restored, check, restore};
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, number, weather};
use crate::service::{LookupRequest, RebuildProgress, Values};

mod rounds;

impl Bench {
    async fn back_up(&self, name: &str, online_only: bool) -> Result<(PathBuf, Manifest)> {
        let request = BackupRequest { name: name.to_owned(), online_only };
        let steps: Vec<_> = self.service.backup(&self.me, request).await?.try_collect().await?;
        match steps.into_iter().last() {
            Some(BackupProgress::Done { path, manifest }) => Ok((path, *manifest)),
            other => panic!("the last report says where it is: {other:?}"),
        }
    }

    /// A server on what was restored of a backup.
    async fn of(backup: &Path) -> (Self, Restored) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let name = uuid::Uuid::new_v4().simple().to_string();
        let restored = restore(backup, &data, &name, &|_| {}).unwrap();
        for entry in std::fs::read_dir(&data).unwrap() {
            let entry = entry.unwrap();
            std::fs::rename(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        (Self::open(folder, 1024).await, restored)
    }

    fn temperatures(&self, origins: &[&str]) -> Vec<Option<f64>> {
        let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(origins.to_vec())))];
        let request = LookupRequest {
            return_expired: true,
            ..LookupRequest::new("flights", Selection::Service("late_arrival".to_owned()), keys)
        };
        let reply = self.service.lookup(&self.me, &request).unwrap();
        let feature = reply.answer.feature(0);
        let Values::Doubles(values) = feature.values else { panic!("doubles") };
        values.iter().enumerate().map(|(row, value)| feature.present(row).then_some(value)).collect()
    }
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.apply(FLIGHTS).await.unwrap();
    bench.ingest("b1", weather(&[("JFK", 1, 10.0), ("EWR", 2, 20.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    bench.clock.set(3 * HOUR);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_answers_the_same_and_goes_on() {
    let bench = bench().await;
    // Not materialized yet: the backup has it in the table, and its cursor before it.
    bench.ingest("b2", weather(&[("JFK", 3, 30.0)])).await.unwrap();
    let (path, manifest) = bench.back_up("monday", false).await.unwrap();
    assert_eq!(path, bench.folder.path().join("backups/monday"));
    assert_eq!(check(&path, &|_| {}).unwrap().files, manifest.files);
    assert_eq!((manifest.views.len(), manifest.views[0].version), (1, 1));
    assert_eq!((manifest.tables.len(), manifest.tables[0].version), (1, 2));
    // What the first server does afterwards is not in it.
    bench.ingest("b3", weather(&[("LGA", 3, 40.0)])).await.unwrap();
    bench.materialize(false).await.unwrap();
    let token = bench.service.online.token();

    let (restored, told) = Bench::of(&path).await;
    assert_eq!(told.manifest.tables, manifest.tables);
    restored.clock.set(3 * HOUR);
    assert_eq!(restored.temperatures(&["JFK", "EWR", "LGA"]), [Some(10.0), Some(20.0), None]);
    let refused = restored.service.online.has_written(&token).unwrap_err();
    assert!(refused.to_string().contains("another server"), "{refused}");
    let done = restored.materialize(false).await.unwrap();
    assert!(!done.full, "the cursor came along: {done:?}");
    assert_eq!(restored.temperatures(&["JFK", "EWR", "LGA"]), [Some(30.0), Some(20.0), None]);
    let again = restored.ingest("b2", weather(&[("JFK", 9, 90.0)])).await.unwrap();
    assert!(again.already_ingested, "batch ids came along");
    assert_eq!(restored.sql("SELECT count(*) FROM origin_weather").await.unwrap(), [["3"]]);
    assert_eq!(bench.temperatures(&["LGA"]), [Some(40.0)], "the first server goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked_and_nothing_half_stays() {
    let bench = bench().await;
    for name in ["../elsewhere", "/tmp/x", ".hidden", "a/b"] {
        let refused = bench.back_up(name, false).await.unwrap_err();
        assert!(refused.message.contains("`backup.folder`"), "{refused}");
    }
    // What a killed server left.
    let half = bench.folder.path().join(format!("backups/.{}.half", bench.service.online.identity()));
    std::fs::create_dir_all(half.join("online")).unwrap();
    bench.back_up("one", false).await.unwrap();
    let taken = bench.back_up("one", false).await.unwrap_err();
    assert_eq!(taken.kind, ErrorKind::AlreadyExists);
    let _other = bench.service.lifecycle.clone().try_lock_owned().unwrap();
    let busy = bench.back_up("two", false).await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Precondition);
    let names: Vec<_> = std::fs::read_dir(bench.folder.path().join("backups")).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_the_online_tier_alone_comes_back() {
    let bench = bench().await;
    let (path, manifest) = bench.back_up("small", true).await.unwrap();
    assert!(manifest.tables.is_empty() && !path.join("tables").exists());
    let (restored, _) = Bench::of(&path).await;
    restored.clock.set(3 * HOUR);
    assert_eq!(restored.temperatures(&["JFK", "EWR"]), [Some(10.0), Some(20.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_beside_writes_are_whole() {
    let bench = bench().await;
    bench.clock.set(100 * HOUR);
    let writing = {
        let (service, me) = (bench.service.clone(), bench.me.clone());
        tokio::spawn(async move {
            for nth in 0..30 {
                let request = crate::service::IngestRequest {
                    project: "flights".to_owned(),
                    target: "weather".to_owned(),
                    batch_id: format!("more{nth}"),
                    ignore_extra_columns: false,
                };
                service.ingest(&me, request, weather(&[("JFK", 4 + nth, nth as f64)])).await.unwrap();
                let request = crate::service::MaterializeRequest {
                    project: "flights".to_owned(),
                    views: Vec::new(),
                    full: nth % 7 == 0,
                    detach: false,
                };
                let reports = service.materialize(&me, request).await.unwrap();
                reports.try_collect::<Vec<_>>().await.unwrap();
            }
        })
    };
    let cases = number("TIDEGATE_RESTORES", 3);
    let mut made = Vec::new();
    for nth in 0..cases {
        made.push(bench.back_up(&format!("b{nth}"), false).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writing.await.unwrap();
    for (path, manifest) in made {
        let (restored, _) = Bench::of(&path).await;
        let cursor = manifest.views.first().map_or(0, |view| view.version);
        assert!(manifest.tables[0].version >= cursor, "no cursor is ahead of its table: {manifest:?}");
        restored.clock.set(100 * HOUR);
        restored.materialize(false).await.unwrap();
        let parity: Vec<_> =
            restored.service.parity(&restored.me, "flights", &[]).await.unwrap().try_collect().await.unwrap();
        assert!(parity.iter().all(|view| view.parity.holds() && view.parity.equal == 2), "{parity:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_tier_is_rebuilt_from_the_tables_alone() {
    let bench = bench().await;
    let before = bench.temperatures(&["JFK", "EWR", "LGA"]);
    let Bench { service, shutdown, folder, .. } = bench;
    shutdown.finish(Duration::from_secs(10)).await;
    while Arc::strong_count(&service) > 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(service);
    std::fs::remove_dir_all(folder.path().join("online")).unwrap();
    let bench = Bench::open(folder, 1024).await;
    bench.clock.set(3 * HOUR);
    assert_eq!(bench.temperatures(&["JFK", "EWR", "LGA"]), [None, None, None]);
    let steps: Vec<RebuildProgress> =
        bench.service.rebuild(&bench.me, Vec::new()).await.unwrap().try_collect().await.unwrap();
    let last = steps.last().unwrap();
    assert_eq!((last.project.as_str(), last.view.as_str(), last.nth, last.views), ("flights", "origin_weather", 1, 1));
    assert!(last.progress.as_ref().is_some_and(|progress| progress.is_done() && progress.full));
    assert_eq!(bench.temperatures(&["JFK", "EWR", "LGA"]), before);
    // A view that can't be rebuilt is told, and stays as it was.
    std::fs::remove_dir_all(bench.folder.path().join("tables/flights/weather")).unwrap();
    let steps = bench.service.rebuild(&bench.me, vec!["flights".to_owned()]).await.unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let failed = steps.try_for_each(|step| {
        told.lock().unwrap().push(step);
        async { Ok(()) }
    });
    let failed = failed.await.unwrap_err();
    assert!(failed.message.contains("flights/origin_weather could not be rebuilt"), "{failed}");
    assert!(told.lock().unwrap().last().unwrap().failed.is_some());
    assert_eq!(bench.temperatures(&["JFK", "EWR", "LGA"]), before);
    let unknown = bench.service.rebuild(&bench.me, vec!["fligths".to_owned()]).await.err().unwrap();
    assert_eq!(unknown.kind, ErrorKind::NotFound);
}
