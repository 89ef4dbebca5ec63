//! Sealed training sets: making, listing, comparing and deleting them, and auditing what a set would leak.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegate_proto::convert;
use tidegate_proto::flight::v1::training_set::Spine as WireSpine;
use tidegate_proto::flight::{pack, v1 as flight};
use tidegate_proto::sealed::v1 as wire;
use tidegate_proto::sealed::v1::sealed_service_client::SealedServiceClient;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;
use tonic::transport::Channel;

use crate::batches::Batches;
use crate::connect::Client;
use crate::error::Result;
use crate::flight::{Spine, TrainingSetOptions};

pub use tidegate_proto::sealed::v1::{Column, Difference, SealedSet, TableVersion, Verdict};

/// What a sealed set selects.
#[must_use]
pub fn selection(set: &SealedSet) -> Option<Selection> {
    let selected = set.training_set.as_ref()?.selection.clone();
    convert::training_selection(selected).ok()
}

/// How far the making of a seal is.
#[derive(Debug, Clone, PartialEq)]
pub enum SealProgress {
    /// Rows made so far.
    Rows(u64),
    /// The seal; the last report.
    Done(Box<SealedSet>),
}

/// How far a verification is.
#[derive(Debug, Clone, PartialEq)]
pub enum VerifyProgress {
    /// Rows made so far, of all rows.
    Rows(u64, u64),
    /// What came out; the last report.
    Done(Verdict),
}

impl Client {
    fn sealer(&self) -> SealedServiceClient<Channel> {
        SealedServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Makes a training set on the server and seals it under a name. Rows of the caller's are uploaded first. Dropping the stream
    /// before its last report leaves no seal.
    ///
    /// # Errors
    /// A taken name, a name that can't be one; as [`Client::training_set`].
    pub async fn seal(
        &self,
        name: &str,
        selection: &Selection,
        spine: Spine,
        options: &TrainingSetOptions,
    ) -> Result<BoxStream<'static, Result<SealProgress>>> {
        let mut training_set = self.training_set_message(selection, options)?;
        training_set.spine = Some(self.named_spine(spine).await?);
        let request = wire::SealRequest { name: name.to_owned(), training_set: Some(training_set) };
        let reply = self.sealer().seal(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        let steps = reply.into_inner().map_ok(|step| match step.sealed {
            Some(set) => SealProgress::Done(Box::new(set)),
            None => SealProgress::Rows(step.rows),
        });
        Ok(steps.map_err(move |status| client.failed(&status)).boxed())
    }

    /// The project's sealed sets, oldest first.
    ///
    /// # Errors
    /// A damaged record.
    pub async fn sealed(&self) -> Result<Vec<SealedSet>> {
        let request = wire::ListRequest { project: self.project()?.to_owned() };
        let reply = self.sealer().list(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().sets)
    }

    /// One sealed set.
    ///
    /// # Errors
    /// No such set.
    pub async fn sealed_set(&self, name: &str) -> Result<SealedSet> {
        let request = wire::GetRequest { project: self.project()?.to_owned(), name: name.to_owned() };
        let reply = self.sealer().get(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner())
    }

    /// The rows of a sealed set, made again at the versions it pinned.
    ///
    /// # Errors
    /// No such set; a table version that is gone.
    pub async fn sealed_rows(&self, name: &str) -> Result<Batches> {
        let command = flight::SealedSet { project: self.project()?.to_owned(), name: name.to_owned() };
        let info = self.flight_info(pack(&command)).await?;
        self.fetch(info).await
    }

    /// Makes a sealed set again and compares it with what it was.
    ///
    /// # Errors
    /// No such set; a table version that is gone. A set that differs is no error: the verdict says so.
    pub async fn verify(&self, name: &str) -> Result<BoxStream<'static, Result<VerifyProgress>>> {
        let request = wire::VerifyRequest { project: self.project()?.to_owned(), name: name.to_owned() };
        let reply = self.sealer().verify(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        let steps = reply.into_inner().map_ok(|step| match step.verdict {
            Some(verdict) => VerifyProgress::Done(verdict),
            None => VerifyProgress::Rows(step.rows, step.rows_total),
        });
        Ok(steps.map_err(move |status| client.failed(&status)).boxed())
    }

    /// The values of a sealed set that are others now, or in another set of the same spine; one row for each, as they are found.
    ///
    /// # Errors
    /// No such set; sets that are not of one spine.
    pub async fn sealed_diff(&self, name: &str, against: Option<&str>) -> Result<Batches> {
        let command = flight::SealedDiff {
            project: self.project()?.to_owned(),
            name: name.to_owned(),
            against: against.unwrap_or_default().to_owned(),
        };
        let info = self.flight_info(pack(&command)).await?;
        self.fetch(info).await
    }

    /// Forgets a sealed set and frees the table versions it pinned.
    ///
    /// # Errors
    /// No such set.
    pub async fn unseal(&self, name: &str) -> Result<()> {
        let request = wire::DeleteRequest { project: self.project()?.to_owned(), name: name.to_owned() };
        self.sealer().delete(request).await.map_err(|status| self.failed(&status))?;
        Ok(())
    }

    /// What a training set would leak without knowledge times: one row for each feature. `margin` is how near before a row's time
    /// an observation is suspicious, in microseconds.
    ///
    /// # Errors
    /// As [`Client::training_set`].
    pub async fn audit(
        &self,
        selection: &Selection,
        spine: Spine,
        options: &TrainingSetOptions,
        margin: Micros,
    ) -> Result<Batches> {
        let mut training_set = self.training_set_message(selection, options)?;
        let spine = match spine {
            Spine::Batches(schema, batches) => {
                let command = flight::Audit { training_set: Some(training_set), margin };
                return self.exchange(pack(&command), schema, batches).await;
            }
            named => self.named_spine(named).await?,
        };
        training_set.spine = Some(spine);
        let info = self.flight_info(pack(&flight::Audit { training_set: Some(training_set), margin })).await?;
        self.fetch(info).await
    }

    /// A spine as a message names it; rows are uploaded.
    async fn named_spine(&self, spine: Spine) -> Result<WireSpine> {
        Ok(match spine {
            Spine::Batches(schema, batches) => WireSpine::SpineId(self.upload_spine(schema, batches).await?.spine_id),
            Spine::Uploaded(id) => WireSpine::SpineId(id),
            Spine::Sql(query) => WireSpine::Sql(query),
            Spine::Table(name) => WireSpine::Table(name),
        })
    }
}
