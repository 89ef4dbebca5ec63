//! The online tier: the newest observation of every entity, looked up by key.
//!
//! Data moves through the parts in this order. A write encodes its keys ([`key`]) and rows ([`row`]) under the view's persisted
//! layout ([`layout`]), drops what the time rule rejects ([`merge`]) and lands in RocksDB ([`store`]) together with the
//! materialization's progress or cursor. Of windowed views the tiles that their events fall into are stored instead ([`tiles`]). A lookup ([`lookup`]) encodes its keys, takes whole entities from the cache ([`cache`])
//! or, for the misses, from one iterator in key order, checks their age ([`expiry`]) and answers in columns ([`reply`]).
//!
//! Everything is synchronous. Nothing here reads the clock, knows DataFusion, or knows the wire: `now` is an argument, and
//! statuses only share their numbers with the protocol.

mod cache;
mod codec;
mod default;
mod error;
mod expiry;
pub mod key;
pub mod layout;
pub mod lookup;
mod merge;
pub mod reply;
pub mod row;
pub mod store;
#[cfg(test)]
mod testing;
mod tiles;

pub use error::{Error, Result};
pub use layout::{ViewId, ViewLayout};
pub use lookup::{LookupFeature, LookupOptions, LookupSpec, LookupView, Observed, Plan};
pub use reply::{FeatureReply, Number, Packed, Reply, Status, Texts, Values, ViewTimes};
pub use row::Origin;
pub use store::{
    Checkpointed, Chunk, Claim, Commit, Corrected, Corrections, Counted, Cursor, Digest, Durability, EntityKey,
    ErasedRows, Erasing, EventIds, Extra, Fate, FeedId, FeedStatus, Freed, Grave, Left, Load, LoadPart, Mismatch,
    OUTBOX_PREFIX, OutboxRecord, Outgoing, Parity, Progress, Push, Pushed, Released, RowDigest, Rows, Scanned, Scope,
    Settings, Standing, Stats, Store, Ticket, Written, entity_hash,
};
