//! What plans run on: a memory pool with a limit, spill space with a cap, threads of their own.
//!
//! A [`Runtime`] is made once and lives as long as the server. [`Runtime::session`] gives a fresh DataFusion session that
//! reaches nothing by itself: no file, no URL, no table, no configuration file. [`Runtime::detach`] polls a stream on the
//! plan threads, so that a caller's threads (lookups, connections) never compute a join.

pub(crate) mod stores;

use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt, StreamExt};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::error::{Error, Result};
use stores::TableStores;

/// Stack of a plan thread. Planners recurse over expressions; what a query may hold is capped so that this is plenty.
const STACK_BYTES: usize = 16 << 20;

/// Batches in flight between the plan threads and the reader of a detached stream.
const DETACHED_BATCHES: usize = 4;

/// Priority of plan threads among 0 to 99, where 50 is ordinary: on Linux a nice value of 10.
const PRIORITY: u8 = 25;

/// Consumers named in an out-of-memory error.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(5).unwrap();

/// How much plans may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Memory of all plans together, in bytes.
    pub memory_bytes: usize,
    /// Folder for spill files and for checked but unwritten batches; made if missing.
    pub spill_dir: PathBuf,
    /// Most bytes in that folder.
    pub spill_bytes: u64,
    /// Threads that poll plans.
    pub threads: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

/// Memory, spill space and threads for plans.
pub struct Runtime {
    settings: Settings,
    environment: Arc<RuntimeEnv>,
    /// `None` only while dropping.
    threads: Option<tokio::runtime::Runtime>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes the pool, the spill folder and the threads.
    ///
    /// # Errors
    /// The spill folder or the threads can't be made.
    pub fn new(settings: &Settings) -> Result<Arc<Self>> {
        std::fs::create_dir_all(&settings.spill_dir)
            .map_err(|source| Error::Io { doing: "making the spill folder", source })?;
        let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory_bytes), CONSUMERS_NAMED);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![settings.spill_dir.clone()]))
            .with_max_temp_directory_size(settings.spill_bytes);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .with_object_store_registry(Arc::new(TableStores::default()))
            .build_arc()?;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .thread_name("tidegate-plan")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(step_back)
            .enable_all()
            .build()
            .map_err(|source| Error::Io { doing: "starting the plan threads", source })?;
        Ok(Arc::new(Self { settings: settings.clone(), environment, threads: Some(threads) }))
    }

    /// A fresh session without any table.
    #[must_use]
    pub fn session(&self) -> SessionContext {
        SessionContext::new_with_state(self.state(self.config()).build())
    }

    /// The configuration sessions start from.
    pub(crate) fn config(&self) -> SessionConfig {
        let mut config = SessionConfig::new()
            .with_batch_size(self.settings.batch_rows.max(1))
            .with_target_partitions(self.settings.threads.max(1))
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        let options = config.options_mut();
        options.execution.enable_recursive_ctes = false;
        options.execution.time_zone = Some("+00:00".to_owned());
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        // A training set keeps the order of its spine, which is a subquery where a table function or a view holds it.
        options.sql_parser.enable_subquery_sort_elimination = false;
        // Text stays Utf8 from table to reader: the schema told at planning is the schema of the stream.
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        config
    }

    /// A session state with our memory, our planner, DataFusion's built-in functions and ours.
    pub(crate) fn state(&self, config: SessionConfig) -> SessionStateBuilder {
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.environment.clone())
            .with_default_features()
            .with_table_functions(std::collections::HashMap::new())
            .with_query_planner(crate::point_in_time::query_planner());
        state.scalar_functions().get_or_insert_default().extend(crate::expressions::functions());
        state
    }

    /// What plans started.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The pool that every plan's large structures are reserved in.
    #[must_use]
    pub fn memory_pool(&self) -> &Arc<dyn MemoryPool> {
        &self.environment.memory_pool
    }

    /// The shared environment: pool, spill files, stores of tables in use.
    #[must_use]
    pub fn environment(&self) -> &Arc<RuntimeEnv> {
        &self.environment
    }

    /// The handle of the plan threads.
    ///
    /// # Panics
    /// Never: the threads end only when the runtime is dropped.
    #[must_use]
    pub fn handle(&self) -> tokio::runtime::Handle {
        match &self.threads {
            Some(threads) => threads.handle().clone(),
            None => unreachable!("the plan threads live as long as the runtime"),
        }
    }

    /// Polls a stream on the plan threads and hands its batches over through a short queue. Dropping the result stops it.
    #[must_use]
    pub fn detach(self: &Arc<Self>, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(stream.schema(), DETACHED_BATCHES);
        let batches = builder.tx();
        let forward = async move {
            let mut stream = stream;
            while let Some(batch) = stream.next().await {
                let failed = batch.is_err();
                if batches.send(batch).await.is_err() || failed {
                    break;
                }
            }
        };
        // A panic in a plan (an offset overflow in a string kernel, say) is that query's error and nobody else's.
        let contained = AssertUnwindSafe(forward).catch_unwind();
        let panicked = || DataFusionError::from(Error::Internal("a plan panicked".to_owned()));
        builder.spawn_on(async move { contained.await.map_err(|_| panicked()) }, &self.handle());
        builder.build()
    }

    /// Runs a future to its end on the plan threads. Dropping the returned future stops it.
    ///
    /// # Errors
    /// What the future returns; a panic in it comes out as an internal error.
    pub async fn run<T, F>(&self, future: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn_on(future, &self.handle());
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(failure)) if failure.is_panic() => Err(Error::Internal("a plan panicked".to_owned())),
            Some(Err(_)) | None => {
                Err(Error::Plan(Box::new(DataFusionError::Execution("the plan was stopped".into()))))
            }
        }
    }
}

/// Lets every thread of ordinary priority run first: a plan takes what lookups leave.
fn step_back() {
    let lowered =
        ThreadPriorityValue::try_from(PRIORITY).map(|value| ThreadPriority::Crossplatform(value).set_for_current());
    if !matches!(lowered, Ok(Ok(()))) {
        tracing::debug!("plan threads run at the priority of all others");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block: the last owner may be an async task.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// The state's type, for callers that plan by themselves.
pub type State = SessionState;

/// The bytes a batch's rows take. Arrow's own figure counts a buffer whole for every array that has a part of it, which makes
/// a batch read from one IPC message, or cut from a larger one, many times its size.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    let of_column =
        |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
    batch.columns().iter().map(of_column).sum()
}

#[cfg(test)]
mod tests;
