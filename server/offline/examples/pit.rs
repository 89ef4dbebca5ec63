//! Times the point-in-time join in process: `pit SPEC.json [--runs N] [--threads N] [--out FILE.parquet] [--floor] [--explain]`.
//!
//! The spec is the question that integration-tests/bench/contenders.py asks of everyone: `spine` (a Parquet file), `spine_time`,
//! `views` of `{name, table, keys: {spine column: table column}, event_time, created_time?, ttl_us?, features?}` over Delta
//! tables, `full_names?` and `memory_bytes?`. A view of windows has `aggregates` of `{output, fn, column, window_us?, hop_us}`
//! instead of features. The tables are open before the clock starts; it stops with the whole result
//! in memory as Arrow. Each run prints a line of JSON. `--floor` prints one more: how long the same threads take to decode
//! the keys and times of all files with parquet's own reader and do nothing else, beside the join's own first phase.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints figures and reads the clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::FieldRef;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::{Map, Value, json};
use tidegate_offline::point_in_time::{Feature, Key, Nulls, Spec, View, plan};
use tidegate_offline::runtime::{Runtime, Settings};
use tidegate_offline::table::snapshot::Snapshot;
use tidegate_offline::table::{Location, Table};
use tidegate_schemas::definition::{Aggregate, Column, Function};
use tidegate_schemas::time::{Availability, UpperBound};
use tidegate_schemas::types::DataType;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Memory of the join where the spec does not say, in bytes: the server's default.
const MEMORY_BYTES: u64 = 2 << 30;
/// Spill space in bytes.
const SPILL_BYTES: u64 = 32 << 30;
const BATCH_ROWS: usize = 8_192;
/// What the join's metrics call its parts: reading the spine, phase 1, phase 2.
const PARTS: [&str; 3] = ["index_time", "scan_time", "gather_time"];

struct Arguments {
    spec: PathBuf,
    runs: usize,
    threads: usize,
    out: Option<PathBuf>,
    floor: bool,
    explain: bool,
}

fn arguments() -> Outcome<Arguments> {
    let mut given = std::env::args().skip(1);
    let spec = PathBuf::from(given.next().ok_or("usage: pit SPEC.json [options]")?);
    let threads = std::thread::available_parallelism()?.get();
    let mut it = Arguments { spec, runs: 1, threads, out: None, floor: false, explain: false };
    while let Some(option) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--runs" => it.runs = value()?.parse()?,
            "--threads" => it.threads = value()?.parse()?,
            "--out" => it.out = Some(value()?.into()),
            "--floor" => it.floor = true,
            "--explain" => it.explain = true,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(it)
}

fn main() -> Outcome<()> {
    let arguments = arguments()?;
    let asked = Asked(serde_json::from_slice(&std::fs::read(&arguments.spec)?)?);
    let runtime = Runtime::new(&Settings {
        memory_bytes: usize::try_from(asked.0["memory_bytes"].as_u64().unwrap_or(MEMORY_BYTES))?,
        spill_dir: std::env::temp_dir().join(format!("tidegate-pit-{}", std::process::id())),
        spill_bytes: SPILL_BYTES,
        threads: arguments.threads,
        batch_rows: BATCH_ROWS,
    })?;
    let done = measure(&arguments, &asked, &runtime);
    std::fs::remove_dir_all(&runtime.settings().spill_dir)?;
    done
}

fn measure(arguments: &Arguments, asked: &Asked, runtime: &Arc<Runtime>) -> Outcome<()> {
    let opening = Instant::now();
    let spec = runtime.handle().block_on(asked.spec())?;
    let open_seconds = opening.elapsed().as_secs_f64();
    for _ in 0..arguments.runs {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let (batches, executed) = runtime.handle().block_on(training_set(runtime, &asked.text("spine")?, &spec))?;
        let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let mut figures = json!({
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "open_seconds": open_seconds,
            "rows": batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            "nulls": batches.iter().flat_map(RecordBatch::columns).map(|column| column.null_count()).sum::<usize>(),
            "peak_mb": peak_megabytes(),
        });
        add_parts(&mut figures, executed.as_ref(), &spec);
        println!("{figures}");
        if arguments.explain {
            println!("{}", DisplayableExecutionPlan::with_metrics(executed.as_ref()).indent(true));
        }
        if let Some(out) = &arguments.out {
            write(out, &batches)?;
        }
        drop((batches, executed));
        if arguments.floor {
            let mut line = floor(&spec, asked, arguments.threads)?;
            for part in PARTS {
                line[part] = figures[part].clone();
            }
            println!("{line}");
        }
    }
    Ok(())
}

/// The spec file.
struct Asked(Value);

impl Asked {
    fn text(&self, field: &str) -> Outcome<String> {
        text(&self.0, field)
    }

    fn views(&self) -> Outcome<&Vec<Value>> {
        Ok(self.0["views"].as_array().ok_or("the spec has no list `views`")?)
    }

    /// Opens the tables.
    async fn spec(&self) -> Outcome<Spec> {
        let (mut views, mut snapshots) = (Vec::new(), BTreeMap::<String, Arc<Snapshot>>::new());
        for asked in self.views()? {
            // Views of one table share what is read of it.
            let table = text(asked, "table")?;
            let snapshot = match snapshots.get(&table) {
                Some(open) => open.clone(),
                None => Table::open(&table, &Location::delta(&table)?).await?.snapshot(None).await?,
            };
            snapshots.insert(table, snapshot.clone());
            views.push(view(asked, self.0["full_names"].as_bool().unwrap_or(false), snapshot)?);
        }
        Ok(Spec { spine_time: self.text("spine_time")?, views, as_of: None })
    }
}

fn text(value: &Value, field: &str) -> Outcome<String> {
    Ok(value[field].as_str().ok_or_else(|| format!("the spec has no text `{field}`: {value}"))?.to_owned())
}

fn view(view: &Value, full_names: bool, snapshot: Arc<Snapshot>) -> Outcome<View> {
    let (alias, event_time) = (text(view, "name")?, text(view, "event_time")?);
    let created_time = view["created_time"].as_str().map(str::to_owned);
    let keys: Map<String, Value> = view["keys"].as_object().cloned().unwrap_or_default();
    let key = |(ours, theirs): (&String, &Value)| {
        let table_column = theirs.as_str().unwrap_or(ours).to_owned();
        Key { spine_column: ours.clone(), table_column }
    };
    let keys: Vec<Key> = keys.iter().map(key).collect();
    let named: Option<BTreeSet<&str>> =
        view["features"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect());
    let chosen = |field: &&FieldRef| match &named {
        Some(named) => named.contains(field.name().as_str()),
        None => {
            let special = [Some(&event_time), created_time.as_ref()].into_iter().flatten();
            !special.chain(keys.iter().map(|key| &key.table_column)).any(|column| column == field.name())
        }
    };
    let plain = |field: &FieldRef| Feature {
        column: field.name().clone(),
        output: if full_names { format!("{alias}__{}", field.name()) } else { field.name().clone() },
        data_type: field.data_type().clone(),
        aggregate: None,
    };
    let features = match view["aggregates"].as_array() {
        Some(asked) => asked.iter().map(|asked| aggregate(asked, &snapshot)).collect::<Outcome<_>>()?,
        None => snapshot.schema.fields().iter().filter(chosen).map(plain).collect(),
    };
    Ok(View {
        features,
        alias,
        keys,
        event_time,
        created_time,
        availability: Availability::Event,
        upper: UpperBound::Inclusive,
        ttl: view["ttl_us"].as_i64(),
        valid_to: None,
        nulls: Nulls::Keep,
        event_time_output: None,
        status_output: None,
        snapshot,
    })
}

/// A feature over a window of events.
fn aggregate(asked: &Value, snapshot: &Snapshot) -> Outcome<Feature> {
    let column = text(asked, "column")?;
    let stored = snapshot.schema.field_with_name(&column)?.data_type();
    let data_type = DataType::from_arrow(stored).ok_or_else(|| format!("{stored} can't be aggregated"))?;
    let function = match text(asked, "fn")?.as_str() {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "min" => Function::Min,
        "max" => Function::Max,
        "std" => Function::Std,
        "last" => Function::Last,
        "distinct_count" => Function::DistinctCount,
        other => return Err(format!("no function `{other}` here").into()),
    };
    let output = function.output(&data_type).ok_or_else(|| format!("no {function} of {data_type}"))?;
    let window = asked["window_us"].as_i64();
    let hop = asked["hop_us"].as_i64().ok_or("a window has no `hop_us`")?;
    let input = Some(Column { name: column.clone(), data_type });
    Ok(Feature {
        column,
        output: text(asked, "output")?,
        data_type: output.to_arrow(),
        aggregate: Some(Aggregate { function, input, window, hop }),
    })
}

async fn training_set(
    runtime: &Arc<Runtime>,
    spine: &str,
    spec: &Spec,
) -> Outcome<(Vec<RecordBatch>, Arc<dyn ExecutionPlan>)> {
    let spine = read_spine(spine, runtime.settings().threads)?;
    let schema = spine.first().ok_or("the spine is empty")?.schema();
    let session = runtime.session();
    let table = MemTable::try_new(schema, vec![spine])?;
    let spine = session.read_table(Arc::new(table))?.into_unoptimized_plan();
    let frame = session.execute_logical_plan(plan(spine, spec.clone())?).await?;
    let context = frame.task_ctx();
    let executed = frame.create_physical_plan().await?;
    let running = executed.clone();
    // On the plan threads, as the server runs it.
    let batches = runtime.run(async move { Ok(collect(running, context.into()).await?) }).await?;
    Ok((batches, executed))
}

/// The rows of a Parquet file, its columns decoded side by side.
fn read_spine(path: &str, threads: usize) -> Outcome<Vec<RecordBatch>> {
    let metadata = ArrowReaderMetadata::load(&File::open(path)?, Default::default())?;
    let (groups, columns) = (metadata.metadata().num_row_groups(), metadata.schema().fields().len());
    let read = |unit: usize| -> Outcome<Vec<RecordBatch>> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(path)?, metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), [unit % columns]);
        let reader = builder.with_projection(mask).with_row_groups(vec![unit / columns]).with_batch_size(BATCH_ROWS);
        Ok(reader.build()?.collect::<Result<_, _>>()?)
    };
    let units = on_threads(threads, groups * columns, read)?;
    let mut batches = Vec::new();
    for group in units.chunks(columns) {
        for at in 0..group.first().map_or(0, Vec::len) {
            let arrays = group.iter().map(|column| column[at].column(0).clone()).collect();
            batches.push(RecordBatch::try_new(metadata.schema().clone(), arrays)?);
        }
    }
    Ok(batches)
}

/// What `work` makes of the numbers below `count`, in their order, each done by whichever thread is free.
fn on_threads<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let next = AtomicUsize::new(0);
    let share = || -> Outcome<Vec<(usize, T)>> {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|at| *at < count);
        numbers.map(|at| Ok((at, work(at)?))).collect()
    };
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(share)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().map_err(|_| "a thread panicked")?;
        workers.into_iter().map(join).collect::<Outcome<Vec<_>>>()
    })?;
    let mut done: Vec<(usize, T)> = done.into_iter().flatten().collect();
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, made)| made).collect())
}

/// Adds the join's own times in seconds, of all views and of each; null where it does not tell them.
fn add_parts(figures: &mut Value, executed: &dyn ExecutionPlan, spec: &Spec) {
    let times = metrics(executed);
    let seconds = |name: &str| times.get(name).map(|nanoseconds| *nanoseconds as f64 / 1e9);
    for part in PARTS {
        let told: Vec<f64> = spec.views.iter().filter_map(|view| seconds(&format!("{}.{part}", view.alias))).collect();
        figures[part] = if told.is_empty() { seconds(part).into() } else { told.iter().sum::<f64>().into() };
        for view in &spec.views {
            figures["views"][&view.alias][part] = seconds(&format!("{}.{part}", view.alias)).into();
        }
    }
}

/// Every metric of the plan by its name, added up over partitions; of a plan within a plan too.
fn metrics(executed: &dyn ExecutionPlan) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for metric in executed.metrics().iter().flat_map(|set| set.iter()) {
        *found.entry(metric.value().name().to_owned()).or_default() += metric.value().as_usize();
    }
    for child in executed.children() {
        for (name, value) in metrics(child.as_ref()) {
            *found.entry(name).or_default() += value;
        }
    }
    found
}

fn write(out: &Path, batches: &[RecordBatch]) -> Outcome<()> {
    let schema = batches.first().ok_or("the result is empty")?.schema();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(out)?, schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

/// The columns that phase 1 needs of each table, of all the views over it together.
fn wanted(asked: &Asked, spec: &Spec) -> Outcome<Vec<(PathBuf, BTreeSet<String>)>> {
    let mut tables: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
    for (at, (given, view)) in asked.views()?.iter().zip(&spec.views).enumerate() {
        let (_, columns) = tables.entry(text(given, "table")?).or_insert_with(|| (at, BTreeSet::new()));
        columns.extend(view.keys.iter().map(|key| key.table_column.clone()));
        columns.extend([view.event_time.clone()].into_iter().chain(view.created_time.clone()));
    }
    let mut files = Vec::new();
    for (folder, (at, columns)) in tables {
        let paths = spec.views[at].snapshot.files.iter().map(|file| Path::new(&folder).join(file.path.as_ref()));
        files.extend(paths.map(|path| (path, columns.clone())));
    }
    Ok(files)
}

/// Decodes the keys and times of all files, row group by row group, on as many threads.
fn floor(spec: &Spec, asked: &Asked, threads: usize) -> Outcome<Value> {
    let files = wanted(asked, spec)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut groups = Vec::new();
    for (path, columns) in &files {
        let metadata = ArrowReaderMetadata::load(&File::open(path)?, Default::default())?;
        groups.extend((0..metadata.metadata().num_row_groups()).map(|group| (path, columns, metadata.clone(), group)));
    }
    let read = |at: usize| -> Outcome<usize> {
        let (path, columns, metadata, group) = &groups[at];
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(path)?, metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().map(String::as_str));
        let reader = builder.with_projection(mask).with_row_groups(vec![*group]).with_batch_size(BATCH_ROWS);
        reader.build()?.map(|batch| Ok(batch?.num_rows())).sum()
    };
    let rows: usize = on_threads(threads, groups.len(), read)?.into_iter().sum();
    Ok(json!({
        "floor_seconds": start.elapsed().as_secs_f64(),
        "floor_cpu_seconds": cpu_seconds() - cpu,
        "floor_rows": rows,
        "floor_files": files.len(),
    }))
}

/// The process's CPU time so far, in seconds; Linux tells it in hundredths. 0 elsewhere.
fn cpu_seconds() -> f64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = line.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The process's largest resident size so far, from Linux's accounting; 0 elsewhere.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
