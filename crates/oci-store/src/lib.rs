//! The local store for OCI images that many processes share safely.
//!
//! A folder that is a plain OCI image layout, which skopeo, umoci, crane and the others read in place, with an
//! index beside it that makes it safe to share: any number of writers, garbage collection at any moment, and
//! nothing lost when a process dies anywhere.
//!
//! ```
//! use std::io::Read;
//! use oci_store::{Algorithm, BlobWriter, Extent, Expect};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("store");
//! let store = oci_store::open(&path)?;
//! let lease = store.base().lease("example")?;
//! let blob = lease.write(Expect::any(Algorithm::Sha256), "text/plain", &mut &b"hello"[..])?;
//! store.pin(&blob.digest.to_string())?;
//! drop(lease);
//!
//! store.gc(Extent::Changed, false)?;
//! let mut text = String::new();
//! store.base().read_blob(&blob.digest)?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Choosing an index
//!
//! The features `lmdb` (default) and `sqlite` bring in an index each; they are additive. A new store is made over
//! the first of [`backends`], an existing one says which it has. A program brings its own by passing it to
//! [`OpenOptions::new`].

mod backends;

pub use backends::backends;
pub use oci_store_appc as appc;
pub use oci_store_base as base;
pub use oci_store_cas as cas;
pub use oci_store_index as index;
pub use oci_store_oci as oci;

pub use oci_store_base::{Access, BlobFilter, BlobInfo, LeaseGuard, NewBlob, Space, Wait};
pub use oci_store_cas::{Algorithm, BlobWriter, Digest, Expect};
pub use oci_store_oci::{
    Archive, Checked, Collected, Compression, Condition, Descriptor, Destination, Error, ExportOptions, Exported,
    Extent, Fault, Form, ImageSource, ImportOptions, Imported, Inventory, InventoryBlob, InventoryRef, Layout, Limits,
    Maintained, OpenOptions, Outgoing, Packing, Place, PlatformSpec, Policy, Progress, Reading, Ref, RefName, Result,
    Selection, Source, Store, Stream, Transport,
};

use std::path::Path;

/// How to open a store over the indexes of this build.
#[must_use]
pub fn options() -> OpenOptions {
    OpenOptions::new(backends())
}

/// Opens the store in the folder `root`, making it if it is absent.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn open(root: impl AsRef<Path>) -> Result<Store> {
    options().open(root)
}
