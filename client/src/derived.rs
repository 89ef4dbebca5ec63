//! Rows that are computed from others: the tables of queries, and where features come from.

use tidegate_proto::derived::v1;
use tidegate_proto::derived::v1::derived_service_client::DerivedServiceClient;
pub use tidegate_proto::derived::v1::{InputVersion, Place, Refreshed, Step};

use crate::connect::{Client, MESSAGE_BYTES_MAX};
use crate::error::Result;

impl Client {
    /// Brings the table of a query up to the newest versions of what it reads, after those of the queries that it reads. `name` is a
    /// source, or a view; of one that is no query nothing comes back. With `full` it is computed from everything. Dropping the
    /// future stops the work.
    ///
    /// # Errors
    /// An unknown name, or what a query fails with.
    pub async fn refresh(&self, name: &str, full: bool) -> Result<Vec<Refreshed>> {
        let request = v1::RefreshRequest { project: self.project()?.to_owned(), name: name.to_owned(), full };
        let mut service = DerivedServiceClient::new(self.channel.clone());
        let reply = service.refresh(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().sources)
    }

    /// Where a view's features come from: first the features in order, then all between them and the columns of tables, each place
    /// once.
    ///
    /// # Errors
    /// An unknown view.
    pub async fn lineage(&self, view: &str) -> Result<Vec<Step>> {
        let request = v1::LineageRequest { project: self.project()?.to_owned(), view: view.to_owned() };
        let mut service = DerivedServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let reply = service.lineage(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().steps)
    }
}
