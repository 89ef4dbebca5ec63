//! Times the point-in-time join on the three-table workload: `pit DIR [--views customer,merchant,pair] [--threads N]
//! [--spine-rows N] [--rows-per-batch N] [--explain] [--runs N]`.
//!
//! DIR holds `customer_stats`, `merchant_stats`, `pair_stats` (Delta) and `spine.parquet`. The result stays in memory as
//! Arrow, as the peers' does. Prints seconds, rows, nulls (to compare with a peer's) and peak memory.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints figures and reads the clock")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use datafusion::datasource::MemTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidegate_offline::point_in_time::{Feature, Key, Nulls, Spec, View, plan};
use tidegate_offline::runtime::{Runtime, Settings};
use tidegate_offline::table::{Location, Table};
use tidegate_schemas::time::{Availability, UpperBound};

struct Arguments {
    folder: PathBuf,
    views: Vec<String>,
    threads: usize,
    spine_rows: usize,
    batch_rows: usize,
    explain: bool,
    runs: usize,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let folder = PathBuf::from(given.next().ok_or("usage: pit DIR [options]")?);
    let views = ["customer", "merchant", "pair"].map(str::to_owned).to_vec();
    let threads = std::thread::available_parallelism()?.get();
    let mut it =
        Arguments { folder, views, threads, spine_rows: usize::MAX, batch_rows: 8_192, explain: false, runs: 1 };
    while let Some(option) = given.next() {
        if option == "--explain" {
            it.explain = true;
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--views" => it.views = value.split(',').map(str::to_owned).collect(),
            "--threads" => it.threads = value.parse()?,
            "--spine-rows" => it.spine_rows = value.parse()?,
            "--rows-per-batch" => it.batch_rows = value.parse()?,
            "--runs" => it.runs = value.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(it)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let settings = Settings {
        memory_bytes: 2 << 30,
        spill_dir: std::env::temp_dir().join("tidegate-pit"),
        spill_bytes: 1 << 30,
        threads: arguments.threads,
        batch_rows: arguments.batch_rows,
    };
    let runtime = Runtime::new(&settings)?;
    for _ in 0..arguments.runs {
        let start = Instant::now();
        let batches = runtime.handle().block_on(training_set(&runtime, &arguments))?;
        let seconds = start.elapsed().as_secs_f64();
        report(&batches, seconds, arguments.explain);
    }
    Ok(())
}

async fn training_set(runtime: &Arc<Runtime>, arguments: &Arguments) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut views = Vec::new();
    for name in &arguments.views {
        views.push(view(&arguments.folder, name).await?);
    }
    let spine = spine(&arguments.folder.join("spine.parquet"), arguments.spine_rows)?;
    let session = runtime.session();
    let table = MemTable::try_new(spine[0].schema(), vec![spine])?;
    let spine = session.read_table(Arc::new(table))?.into_unoptimized_plan();
    let spec = Spec { spine_time: "event_timestamp".to_owned(), views, as_of: None };
    let frame = session.execute_logical_plan(plan(spine, spec)?).await?;
    let frame = if arguments.explain { frame.explain(false, true)? } else { frame };
    // On the plan threads, as the server runs it.
    Ok(runtime.run(async move { Ok(frame.collect().await?) }).await?)
}

async fn view(folder: &Path, name: &str) -> Result<View, Box<dyn Error>> {
    let table = Table::open(name, &Location::Delta(folder.join(format!("{name}_stats")))).await?;
    let snapshot = table.snapshot(None).await?;
    let keys: &[&str] = match name {
        "customer" => &["customer_id"],
        "merchant" => &["merchant_id"],
        _ => &["customer_id", "merchant_id"],
    };
    let feature = |field: &arrow::datatypes::FieldRef| Feature {
        column: field.name().clone(),
        output: field.name().clone(),
        data_type: field.data_type().clone(),
    };
    let times = ["event_timestamp", "created_timestamp"];
    let payload = snapshot.schema.fields().iter();
    let payload =
        payload.filter(|field| !keys.contains(&field.name().as_str()) && !times.contains(&field.name().as_str()));
    Ok(View {
        alias: name.to_owned(),
        features: payload.map(feature).collect(),
        keys: keys.iter().map(|key| Key { spine_column: (*key).to_owned(), table_column: (*key).to_owned() }).collect(),
        event_time: times[0].to_owned(),
        valid_to: None,
        created_time: Some(times[1].to_owned()),
        availability: Availability::Event,
        upper: UpperBound::Inclusive,
        ttl: None,
        nulls: Nulls::Keep,
        event_time_output: None,
        status_output: None,
        snapshot,
    })
}

fn spine(path: &Path, rows: usize) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path)?)?.with_limit(rows).build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn report(batches: &[RecordBatch], seconds: f64, explain: bool) {
    if explain && let Ok(text) = arrow::util::pretty::pretty_format_batches(batches) {
        println!("{text}");
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let nulls: usize = batches.iter().flat_map(|batch| batch.columns()).map(|column| column.null_count()).sum();
    println!("tidegate {seconds:.2} s, {rows} rows, {nulls} nulls, peak {} MB", peak_megabytes());
}

/// The process's largest resident size, from Linux's accounting; 0 elsewhere.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
