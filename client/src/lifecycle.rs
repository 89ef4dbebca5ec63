//! The life of what a server keeps: backups, erasures, the end of views, and rebuilding the online tier.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegate_proto::lifecycle::v1 as wire;
use tidegate_proto::lifecycle::v1::lifecycle_service_client::LifecycleServiceClient;
use tonic::transport::Channel;

use crate::connect::Client;
use crate::error::Result;

pub use tidegate_proto::lifecycle::v1::key::Value as KeyValue;
pub use tidegate_proto::lifecycle::v1::{
    BackupProgress, DropViewResponse as Dropped, ErasedTable, ErasedView, RebuildProgress, Receipt, RetainedView,
    SealedLoss, TableVersion, Versions, ViewVersion,
};

/// How far an erasure is.
#[derive(Debug, Clone, PartialEq)]
pub enum EraseProgress {
    /// What is being done, for people.
    Step(String),
    /// The receipt; the last report.
    Done(Box<Receipt>),
}

impl Client {
    fn lifecycle(&self) -> LifecycleServiceClient<Channel> {
        LifecycleServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Erases an entity everywhere: from views, managed tables with all their versions, spines and logs. Rows of it that come
    /// later with event times before the erasure are refused. The stream ends with a receipt; dropping it earlier does not stop
    /// the erasure. Asking again finishes one that was cut short.
    ///
    /// # Errors
    /// An unknown entity, missing keys or wrong types; a view of the project that is being materialized.
    pub async fn erase(
        &self,
        entity: &str,
        keys: Vec<(String, KeyValue)>,
    ) -> Result<BoxStream<'static, Result<EraseProgress>>> {
        let key = |(name, value): (String, KeyValue)| wire::Key { name, value: Some(value) };
        let keys = keys.into_iter().map(key).collect();
        let request = wire::EraseRequest { project: self.project()?.to_owned(), entity: entity.to_owned(), keys };
        let reply = self.lifecycle().erase(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        let steps = reply.into_inner().map_ok(|step| match step.report {
            Some(wire::erase_progress::Report::Receipt(receipt)) => EraseProgress::Done(Box::new(receipt)),
            Some(wire::erase_progress::Report::Step(what)) => EraseProgress::Step(what),
            None => EraseProgress::Step(String::new()),
        });
        Ok(steps.map_err(move |status| client.failed(&status)).boxed())
    }

    /// The receipts of the project's erasures, oldest first.
    ///
    /// # Errors
    /// A damaged receipt.
    pub async fn erasures(&self) -> Result<Vec<Receipt>> {
        let request = wire::ListErasuresRequest { project: self.project()?.to_owned() };
        let reply = self.lifecycle().list_erasures(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().receipts)
    }

    /// Makes a backup of everything the server keeps, below the folder that its settings name; with `online_only` without managed
    /// tables. An empty name makes one of the time. The last report says where it is.
    ///
    /// # Errors
    /// A name that is taken or can't be a folder's; other such work under way; a full disk.
    pub async fn backup(&self, name: &str, online_only: bool) -> Result<BoxStream<'static, Result<BackupProgress>>> {
        let request = wire::BackupRequest { name: name.to_owned(), online_only };
        let reply = self.lifecycle().backup(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        Ok(reply.into_inner().map_err(move |status| client.failed(&status)).boxed())
    }

    /// Rebuilds every online view of these projects, none named for all, from their tables. Dropping the stream stops the work.
    ///
    /// # Errors
    /// An unknown project; at the end, that some views could not be rebuilt.
    pub async fn rebuild(&self, projects: &[String]) -> Result<BoxStream<'static, Result<RebuildProgress>>> {
        let request = wire::RebuildRequest { projects: projects.to_vec() };
        let reply = self.lifecycle().rebuild(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        Ok(reply.into_inner().map_err(move |status| client.failed(&status)).boxed())
    }

    /// Removes a view: its definition, where there is one, and its online rows. The source's table stays.
    ///
    /// # Errors
    /// No such view; services that use it; a job that has it.
    pub async fn drop_view(&self, view: &str) -> Result<Dropped> {
        let request = wire::DropViewRequest { project: self.project()?.to_owned(), view: view.to_owned() };
        Ok(self.lifecycle().drop_view(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Deletes the online rows that views (none named: all that have a `retention`) no longer retain, now.
    ///
    /// # Errors
    /// An unknown view, one that keeps its rows for ever, one that is being materialized.
    pub async fn retain(&self, views: &[String]) -> Result<Vec<RetainedView>> {
        let request = wire::RetainRequest { project: self.project()?.to_owned(), views: views.to_vec() };
        let reply = self.lifecycle().retain(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().views)
    }
}
