//! The stores that plans reach: those of tables they already hold, and no other.
//!
//! DataFusion resolves files through a registry of URLs. Ours starts empty (the default one serves `file://`), answers only
//! to its own scheme, and learns a store when a table's own scan puts it there; no statement can.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{Result, plan_err};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use parking_lot::RwLock;
use url::Url;

/// The scheme of stores that scans register.
pub(crate) const SCHEME: &str = "tidegate-table";

/// Stores of tables in use, by URL.
#[derive(Debug, Default)]
pub(super) struct TableStores {
    stores: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl ObjectStoreRegistry for TableStores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        if url.scheme() != SCHEME {
            return None;
        }
        self.stores.write().insert(url.as_str().to_owned(), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match self.stores.read().get(url.as_str()) {
            Some(store) => Ok(store.clone()),
            None => plan_err!("no file or URL can be read from a query"),
        }
    }
}
