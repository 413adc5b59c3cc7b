//! The one place where indexes are named.

use std::sync::Arc;

use oci_store_index::Backend;

/// The indexes of this build, the one for new stores first.
#[must_use]
pub fn backends() -> Vec<Arc<dyn Backend>> {
    vec![
        #[cfg(feature = "lmdb")]
        Arc::new(oci_store_index_lmdb::LmdbBackend),
        #[cfg(feature = "sqlite")]
        Arc::new(oci_store_index_sqlite::SqliteBackend),
    ]
}
