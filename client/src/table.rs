//! How tables lie on disk: looking at it, and putting it in order.

use tidegate_proto::table::v1;
use tidegate_proto::table::v1::table_service_client::TableServiceClient;
pub use tidegate_proto::table::v1::{
    ColumnOverlap, CompactResponse as Compacted, StatsResponse as TableStats, VacuumResponse as Vacuumed,
};
use tonic::transport::Channel;

use crate::connect::Client;
use crate::error::Result;

impl Client {
    fn tables(&self) -> TableServiceClient<Channel> {
        TableServiceClient::new(self.channel.clone())
    }

    /// Merges the small files of a managed table into few that are sorted by keys and event time; no answer changes. `name`
    /// is a view, or a source. Dropping the future stops the work and leaves the table as it was.
    ///
    /// # Errors
    /// An unknown name, or a table that is not managed.
    pub async fn compact_table(&self, name: &str) -> Result<Compacted> {
        let request = v1::CompactRequest { project: self.project()?.to_owned(), name: name.to_owned() };
        Ok(self.tables().compact(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Deletes files of a managed table that no version to be kept needs: the newest, those that were live `older_than`
    /// microseconds ago or later (seven days where it is unset), and those of sealed training sets. With `dry_run` it only
    /// tells what it would delete.
    ///
    /// # Errors
    /// An unknown name, a table that is not managed, or a sealed set whose record is damaged.
    pub async fn vacuum_table(&self, name: &str, older_than: Option<i64>, dry_run: bool) -> Result<Vacuumed> {
        let (project, name) = (self.project()?.to_owned(), name.to_owned());
        let request = v1::VacuumRequest { project, name, older_than, dry_run };
        Ok(self.tables().vacuum(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// How the table of a view or source lies, from its log alone.
    ///
    /// # Errors
    /// An unknown name, or a table that is gone.
    pub async fn table_stats(&self, name: &str) -> Result<TableStats> {
        let request = v1::StatsRequest { project: self.project()?.to_owned(), name: name.to_owned() };
        Ok(self.tables().stats(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }
}
