//! The index of a store: one ordered key–value space with transactions, behind an object-safe trait.
//!
//! A backend is one to two hundred lines: [`Index`] runs closures in transactions, [`ReadTxn`] and
//! [`WriteTxn`] are what a closure sees, [`Backend`] opens an index in a folder. The crate brings a
//! [`memory`] backend and, behind the feature `conformance`, the suite that every backend must pass.
//!
//! Every backend has the same [limits](MAX_KEY) and the same [errors](Error), so that a program that
//! works over one works over all.
//!
//! ```
//! use oci_store_index::{Backend, IndexExt, memory::MemoryBackend};
//!
//! let index = MemoryBackend::default().open("anywhere".as_ref())?;
//! index.write(|txn| txn.put(b"key", b"value"))?;
//! let value = index.read(|txn| txn.get(b"key"))?;
//! assert_eq!(value.as_deref(), Some(&b"value"[..]));
//! # Ok::<(), oci_store_index::Error>(())
//! ```

mod error;
mod ext;
pub mod folder;
pub mod limits;
pub mod memory;
pub mod probe;
mod range;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub use error::{Error, Result};
pub use ext::IndexExt;
pub use limits::{MAX_KEY, MAX_VALUE};
pub use range::Range;

/// What a scan calls for each row; [`ControlFlow::Break`] ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A consistent view of the whole index, as it was when the transaction began (in a [`WriteTxn`], with that
/// transaction's own changes).
pub trait ReadTxn {
    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`Error::Key`] if the key is empty or longer than [`MAX_KEY`]; [`Error::Io`],
    /// [`Error::Damaged`], [`Error::Backend`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the rows whose key starts with `prefix`, in ascending byte order, beginning with the first key
    /// that is `>= from`. An empty prefix means every row, an empty `from` the first row of the prefix.
    /// `prefix` and `from` may have any length. A `from` that sorts after the whole prefix visits nothing.
    ///
    /// Costs O(log n) plus the rows visited.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], [`Error::Backend`].
    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()>;
}

/// An exclusive transaction: what it reads is the newest state, and nobody else writes until it ends.
pub trait WriteTxn: ReadTxn {
    /// Sets `key` to `value`, replacing what was there; says whether the key is new.
    ///
    /// # Errors
    /// [`Error::Key`] if the key is empty or longer than [`MAX_KEY`], [`Error::Value`] if the value is longer
    /// than [`MAX_VALUE`]; [`Error::Io`], [`Error::Damaged`], [`Error::Backend`].
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool>;

    /// Removes `key`; says whether it was there. Idempotent.
    ///
    /// # Errors
    /// As [`ReadTxn::get`].
    fn delete(&mut self, key: &[u8]) -> Result<bool>;
}

/// An ordered key–value space that any number of threads and processes share.
///
/// The methods take closures, so that a transaction can neither be leaked nor be kept open by accident. Call
/// [`IndexExt::read`] and [`IndexExt::write`] rather than these: they return what the closure returns.
///
/// A closure must not start another transaction on the same index: a backend may deadlock or fail.
pub trait Index: Debug + Send + Sync {
    /// The backend's name, as a store's config records it: `memory`, `lmdb`, `sqlite`.
    fn name(&self) -> &'static str;

    /// Runs `body` over a consistent view. Never waits for a writer, and never makes one wait.
    ///
    /// # Errors
    /// What `body` returns; [`Error::Io`], [`Error::Damaged`], [`Error::Backend`].
    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()>;

    /// Runs `body` in an exclusive transaction, serialised across all threads and processes, waiting for its
    /// turn as long as it takes. If `body` returns `Ok`, all its changes are committed atomically and are
    /// durable when this returns (backends without a disk aside); if it returns an error or panics, or if
    /// the process dies, none is.
    ///
    /// # Errors
    /// What `body` returns; [`Error::Io`], [`Error::Damaged`], [`Error::Backend`], in which case nothing was
    /// committed.
    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()>;

    /// Looks whether the files can be read at all, at the cost of reading all of them: for a backend that trusts them, so that damage
    /// would end the process. By itself, a backend reports damage where it meets it. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Damaged`]; as [`view`](Self::view).
    fn check_readable(&self) -> Result<()> {
        Ok(())
    }

    /// Looks for damage: whatever the backend can tell of its files, at the cost of reading all of them. By itself,
    /// it sees whether every row can be read. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Damaged`]; as [`view`](Self::view).
    fn check(&self) -> Result<()> {
        self.view(&mut |txn| txn.scan(&[], &[], &mut |_, _| ControlFlow::Continue(())))
    }
}

/// Opens indexes of one kind: what a store needs to know of a backend.
pub trait Backend: Debug + Send + Sync {
    /// The same as [`Index::name`] of the indexes it opens.
    fn name(&self) -> &'static str;

    /// Opens the index in the folder `dir`, creating folder and index where they are absent. Idempotent: the
    /// same folder may be opened any number of times, in one process and in many; all see one index.
    /// Where a file is created, its mode follows the folder's: group bits of the folder's mode are kept, so
    /// that a store can be shared by a group.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what is in the folder is damaged, or something else; [`Error::Io`] if it cannot be read
    /// or written; [`Error::Backend`].
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>>;
}

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
