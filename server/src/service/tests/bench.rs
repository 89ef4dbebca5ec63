//! A server's use cases in a temporary folder, without doors, on a clock that is set by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use tidegate_schemas::file::SourceFile;
use tidegate_schemas::time::Micros;

use crate::app::tests::settings;
use crate::clock::Clock;
use crate::jobs::Jobs;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::sealed::SealedSets;
use crate::service::{
    Applied, ApplyRequest, Batches, IngestRequest, Ingested, MaterializeProgress, MaterializeRequest, Parts, Principal,
    Result, Tidegate,
};
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// Microseconds.
pub(crate) const HOUR: Micros = 3_600_000_000;

/// When all rows of these tests have happened.
pub(crate) const LATE: Micros = 10_000 * HOUR;

/// One entity, source, view and service.
pub(crate) const FLIGHTS: &str = "\
version: 1
project: flights
entities:
  - name: airport
    keys: [{name: origin, type: string}]
sources:
  - name: weather
    table: managed
    event_time: time_hour
    columns: [{name: wind, type: float64}]
feature_views:
  - name: origin_weather
    description: hourly weather
    entities: [airport]
    source: weather
    ttl: 24h
    serve_ttl: 2h
    features:
      - {name: temp, type: float64}
feature_services:
  - name: late_arrival
    views:
      - view: origin_weather
";

pub(crate) struct Bench {
    pub(crate) service: Arc<Tidegate>,
    pub(crate) clock: Clock,
    pub(crate) me: Principal,
    pub(crate) shutdown: Shutdown,
    pub(crate) folder: tempfile::TempDir,
    batch_rows: usize,
    more: Vec<(String, String)>,
}

/// One definition file.
pub(crate) fn files(text: &str) -> Vec<SourceFile> {
    vec![SourceFile { path: "features.yaml".to_owned(), content: text.as_bytes().to_vec() }]
}

/// Rows of the source: origin, hour, temperature.
pub(crate) fn weather(rows: &[(&str, i64, f64)]) -> Batches {
    let origins: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let hours = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1 * HOUR));
    let temps: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("origin", DataType::Utf8, false),
        Field::new("time_hour", utc, false),
        Field::new("temp", DataType::Float64, true),
    ]));
    let hours: ArrayRef = Arc::new(hours.with_timezone("UTC"));
    let batch = RecordBatch::try_new(schema.clone(), vec![origins, hours, temps]).unwrap();
    Batches::from_vec(schema, vec![batch])
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_batch_rows(1024).await
    }

    /// Materializes so many rows at a time.
    pub(crate) async fn with_batch_rows(batch_rows: usize) -> Self {
        Self::open(tempfile::tempdir().unwrap(), batch_rows).await
    }

    /// With more settings.
    pub(crate) async fn with_settings(more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::open_with(tempfile::tempdir().unwrap(), 1024, more).await
    }

    pub(crate) async fn open(folder: tempfile::TempDir, batch_rows: usize) -> Self {
        Self::open_with(folder, batch_rows, Vec::new()).await
    }

    async fn open_with(folder: tempfile::TempDir, batch_rows: usize, more: Vec<(String, String)>) -> Self {
        let (clock, shutdown) = (Clock::manual(0), Shutdown::new());
        // Tables under `lake` may be named by sources.
        let lake = folder.path().join("lake");
        std::fs::create_dir_all(&lake).unwrap();
        let service = Tidegate::new(parts(folder.path(), batch_rows, &more, &clock, &shutdown)).share();
        service.prepare().await.unwrap();
        service.load_definitions().await.unwrap();
        Self { service, clock, me: Principal::local_owner(), shutdown, folder, batch_rows, more }
    }

    /// Stops and opens the same folder again.
    pub(crate) async fn restart(self) -> Self {
        let Self { service, folder, batch_rows, more, shutdown, .. } = self;
        shutdown.finish(std::time::Duration::from_secs(10)).await;
        while Arc::strong_count(&service) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        drop(service);
        Self::open_with(folder, batch_rows, more).await
    }

    pub(crate) async fn apply(&self, text: &str) -> Result<Applied> {
        self.service.apply(&self.me, ApplyRequest { files: files(text), ..ApplyRequest::default() }).await
    }

    /// Applies although readers break.
    pub(crate) async fn apply_breaking(&self, text: &str) -> Result<Applied> {
        let request = ApplyRequest { files: files(text), allow_breaking: true, ..ApplyRequest::default() };
        self.service.apply(&self.me, request).await
    }

    pub(crate) async fn ingest(&self, batch_id: &str, rows: Batches) -> Result<Ingested> {
        let request = IngestRequest {
            project: "flights".to_owned(),
            target: "weather".to_owned(),
            batch_id: batch_id.to_owned(),
            ignore_extra_columns: false,
        };
        self.service.ingest(&self.me, request, rows).await
    }

    /// Materializes all views, at a time when all rows are due; gives the last report.
    pub(crate) async fn materialize(&self, full: bool) -> Result<MaterializeProgress> {
        let now = self.service.clock().now();
        self.clock.set(LATE);
        let report = self.materialize_now(full).await;
        self.clock.set(now);
        report
    }

    /// Materializes all views; gives the last report.
    pub(crate) async fn materialize_now(&self, full: bool) -> Result<MaterializeProgress> {
        let mut last = None;
        let request = MaterializeRequest { project: "flights".to_owned(), full, ..MaterializeRequest::default() };
        let mut reports = self.service.materialize(&self.me, request).await?;
        while let Some(report) = reports.next().await {
            last = Some(report?);
        }
        Ok(last.expect("a report for the view"))
    }

    /// A job of the view, as one would begin now.
    pub(crate) async fn job(&self) -> crate::materialize::Job {
        let project = self.service.project("flights").await.unwrap();
        let claim = self.service.claims.claim("flights", "origin_weather").unwrap();
        self.service.work(&project, &project.catalog.views["origin_weather"], claim).await.unwrap()
    }

    /// The folder of the source's table.
    pub(crate) fn table(&self) -> PathBuf {
        self.folder.path().join("tables/flights/weather")
    }

    /// Puts another table in the place of the source's, with so many commits of one row each.
    pub(crate) async fn replace_table(&self, commits: i64) {
        let other = Self::new().await;
        other.apply(FLIGHTS).await.unwrap();
        for hour in 0..commits {
            other.ingest(&format!("o{hour}"), weather(&[("LGA", hour, 7.0)])).await.unwrap();
        }
        std::fs::remove_dir_all(self.table()).unwrap();
        std::fs::rename(other.table(), self.table()).unwrap();
    }

    /// A query's rows as text.
    pub(crate) async fn sql(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let batches = self.service.sql(&self.me, "flights", query, None).await?.collect().await?;
        Ok(batches.iter().flat_map(text_rows).collect())
    }

    /// Files of uploaded spines on disk.
    pub(crate) fn spill_files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("spill/spines")).map_or(0, Iterator::count)
    }
}

/// Choices by chance: the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number of a range.
    pub(crate) fn roll(&mut self, range: std::ops::Range<i64>) -> i64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        range.start + (mixed % range.start.abs_diff(range.end)) as i64
    }
}

/// A count from the environment, or what the test says.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

fn text_rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

fn parts(folder: &Path, batch_rows: usize, more: &[(String, String)], clock: &Clock, shutdown: &Shutdown) -> Parts {
    let (lake, batch_rows) = (folder.join("lake").display().to_string(), batch_rows.to_string());
    let mut all = vec![("materialize.batch_rows", batch_rows.as_str()), ("tables.roots", lake.as_str())];
    all.extend(more.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut settings = settings(folder, &all);
    settings.server.data_dir = folder.to_owned();
    let plans = tidegate_offline::runtime::Settings {
        memory_bytes: settings.plans.memory,
        spill_dir: folder.join("spill/plans"),
        spill_bytes: 1 << 30,
        threads: 2,
        batch_rows: 1024,
    };
    let online = tidegate_online::Settings {
        block_cache_bytes: 8 << 20,
        entity_cache_bytes: 8 << 20,
        durability: tidegate_online::Durability::Fast,
        outbox_bytes: 1 << 20,
        ..tidegate_online::Settings::default()
    };
    Parts {
        clock: clock.clone(),
        telemetry: Arc::new(Telemetry::new()),
        registry: Registry::open(&folder.join("registry")).unwrap(),
        sealed: SealedSets::open(&folder.join("sealed")).unwrap(),
        receipts: Receipts::open(&folder.join("erased")).unwrap(),
        plans: tidegate_offline::runtime::Runtime::new(&plans).unwrap(),
        online: tidegate_online::Store::open(folder.join("online"), &online).unwrap(),
        jobs: Jobs::open(&folder.join("jobs"), settings.jobs.clone(), clock.clone()).unwrap(),
        shutdown: shutdown.clone(),
        tables_dir: folder.join("tables"),
        spill_dir: folder.join("spill"),
        settings,
    }
}
