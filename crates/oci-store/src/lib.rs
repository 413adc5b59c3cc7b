//! The local store for OCI images that many processes share safely.
//!
//! A folder that is a plain OCI image layout, which skopeo, umoci, crane and the others read in place, with an
//! index beside it that makes it safe to share: any number of writers, garbage collection at any moment, and
//! nothing lost when a process dies anywhere.
//!
//! ```
//! use std::io::Read;
//! use oci_store::{Extent, ImportOptions, Layout, Selection};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("store");
//! # let images = "../../tests/images/hello";
//! let store = oci_store::open(&path)?;
//! let all = store.import(&Layout::open(images)?, &Selection::All, &ImportOptions::default(), &())?;
//!
//! let manifest = store.find(all[0].name.as_str())?;
//! let layers = store.base().view(|view| view.edges(&manifest.digest))?.unwrap_or_default().edges;
//! let mut first = store.base().read_blob_verified(&layers.last().ok_or("no layer")?.child)?;
//! first.read_to_end(&mut Vec::new())?;
//!
//! let removed = store.gc(Extent::Changed, false)?;
//! assert_eq!(removed.blobs, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Store`] is `Send`, `Sync` and cheap to clone; lists come in pages; imports, exports and checks tell a [`Progress`],
//! which may also cancel them; errors are values to match on; nothing is printed. A blob is read through `Read` and `Seek`
//! as it lies there (`base().read_blob`), or through `Read` and verified (`base().read_blob_verified`).
//! Async programs call it on threads that may block: `examples/in_async.rs`.
//!
//! What a program writes itself, it writes under a lease, and says what keeps it:
//!
//! ```
//! use oci_store::{Algorithm, BlobWriter, Expect};
//!
//! # let folder = tempfile::tempdir()?;
//! # let store = oci_store::open(folder.path().join("store"))?;
//! let lease = store.base().lease("example")?;
//! let blob = lease.write(Expect::any(Algorithm::Sha256), "text/plain", &mut &b"hello"[..])?;
//! store.pin(&blob.digest.to_string())?;
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

pub use oci_store_base::{Access, BlobFilter, BlobInfo, Data, LeaseGuard, NewBlob, Space, Txn, View, Wait};
pub use oci_store_cas::{Algorithm, BlobWriter, Digest, Expect};
pub use oci_store_oci::{
    Adopted, Archive, Change, Checked, Collected, Compression, Condition, Content, Descriptor, Destination, Entry,
    Error, ExportOptions, Exported, Extent, Fault, Form, ImageSource, ImportOptions, Imported, Inventory,
    InventoryBlob, InventoryRef, Layout, Limit, Limits, LinkMode, Maintained, Missing, OpenOptions, Outgoing, Packing,
    Place, PlatformSpec, Policy, Problem, Progress, Reading, Ref, RefName, Repaired, Report, Result, Role, Selection,
    Source, Store, Stream, Transport, Undone, children,
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

/// What the front page says of a store, for the compiler to check.
const _: fn() = || {
    fn is<T: Clone + Send + Sync>() {}
    is::<Store>();
};
