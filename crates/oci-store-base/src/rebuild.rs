//! An index being built anew. What is read of the blobs comes in the order of the images, from several threads; the rows that
//! follow from it are sorted first, so that the index is written once, in the order of its keys, and its pages are full. The
//! same folder gives the same index, whoever was first.
//!
//! ```text
//! noted, of one blob each                              row that follows
//! files     dk size                                    b, g
//! names     dk media-type 0 size needed                b, with the first media type
//! edges     dk edges-row                               e, of all types it was read as
//! reverse   r…                                         r
//! ```

mod fill;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use oci_store_cas::{Blob, Cas, Digest, VerifyReader};
use oci_store_index::IndexExt as _;
use rustix::io::Errno;

use crate::schema;
use crate::sealed::Sealed;
use crate::sorter::Sorter;
use crate::{BlobInfo, Edge, Edges, Error, Link, Result, Txn, View};

/// An index being built anew. Nobody sees it yet.
///
/// What [`describe`](Self::describe) and [`add_edges`](Self::add_edges) are told before the first [`view`](Self::view) or
/// [`update`](Self::update) is written at once when that comes, which is what makes a large index in little time. They may be
/// called from several threads.
#[derive(Debug)]
pub struct Rebuild<'r> {
    cas: &'r dyn Cas,
    old: Option<&'r Sealed>,
    is_old_whole: bool,
    new: &'r Sealed,
    store_id: u64,
    folder: PathBuf,
    /// What was noted and is not written yet; `None` from when that begins.
    notes: RwLock<Option<Notes>>,
    filled: OnceLock<Filled>,
}

/// What comes before the rows. Each sorter has a lock of its own: one may sort what it has while others take more.
#[derive(Debug)]
struct Notes {
    names: Mutex<Sorter>,
    edges: Mutex<Sorter>,
    reverse: Mutex<Sorter>,
    lost: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) blobs: u64,
    /// Why something of the index before is lost.
    pub(crate) lost: Option<String>,
    lacks: bool,
}

/// What a descriptor says of a blob.
#[derive(Clone, Copy, Debug)]
pub struct Described<'n> {
    /// Its name.
    pub digest: &'n Digest,
    /// In bytes.
    pub size: u64,
    /// May be empty.
    pub media_type: &'n str,
    /// What it is to whoever names it.
    pub link: Link,
}

impl<'r> Rebuild<'r> {
    /// `lost`: why there is no index before, or not all of it.
    pub(crate) fn new(
        cas: &'r dyn Cas,
        old: Option<&'r Sealed>,
        new: &'r Sealed,
        store_id: u64,
        folder: &Path,
        lost: Option<String>,
    ) -> Self {
        let sorter = || Mutex::new(Sorter::new(folder));
        let is_old_whole = old.is_some() && lost.is_none();
        let notes = Notes { names: sorter(), edges: sorter(), reverse: sorter(), lost };
        Self {
            cas,
            old,
            is_old_whole,
            new,
            store_id,
            folder: folder.to_owned(),
            notes: RwLock::new(Some(notes)),
            filled: OnceLock::new(),
        }
    }

    /// Notes what is said of blobs. It gives a blob its media type, if the index before knew none: where several are said, the
    /// first in the order of their bytes. A file of another size than is said of it, which the index before does not know as
    /// verified, is read: it is damaged, or what is said is wrong.
    /// Idempotent; there may be no such blob.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Row`], [`Error::Index`], [`Error::Cas`].
    pub fn describe(&self, blobs: &[Described<'_>]) -> Result<()> {
        if let Some(notes) = &*self.notes() {
            let mut names = lock(&notes.names);
            return blobs.iter().try_for_each(|blob| describe(&mut names, blob)).map_err(Error::io(&self.folder));
        }
        self.update(|txn| {
            for Described { digest, size, media_type, .. } in blobs {
                txn.set_media_type(digest, media_type)?;
                let wrong = txn.view().blob(digest)?.filter(|blob| blob.size != *size && blob.verified.is_none());
                if wrong.is_some() && !self.is_good(digest)? {
                    txn.note_check(digest, false)?;
                }
            }
            Ok(())
        })
    }

    /// As [`Txn::add_edges`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Row`], [`Error::Index`].
    pub fn add_edges(&self, parent: &Digest, media_type: &str, found: &[Edge]) -> Result<()> {
        if let Some(notes) = &*self.notes() {
            let mut row = Edges::default();
            row.add(Edges { read_as: vec![media_type.to_owned()], edges: found.to_vec() });
            let encoded = row.encode()?;
            let noted = lock(&notes.edges).push(&[&parent.to_key(), &encoded]);
            noted.map_err(Error::io(&self.folder))?;
            let mut keys = row.edges.iter().map(|edge| schema::reverse(&edge.child, edge.link, edge.role, parent));
            let mut reverse = lock(&notes.reverse);
            return keys.try_for_each(|key| reverse.push(&[&key])).map_err(Error::io(&self.folder));
        }
        self.update(|txn| txn.add_edges(parent, media_type, found))
    }

    /// Whether something that was [described](Self::describe) as [needed](Link::Needs) before the first view or update is not there.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn lacks(&self) -> Result<bool> {
        Ok(self.filled()?.lacks)
    }

    /// As [`Store::view`](crate::Store::view), over the new index.
    ///
    /// # Errors
    /// What `body` returns, [`Error::Index`]; the first time, [`Error::Io`] and [`Error::Cas`].
    pub fn view<T>(&self, body: impl FnOnce(View<'_>) -> Result<T>) -> Result<T> {
        self.filled()?;
        self.new.read(|txn| body(View(txn)))
    }

    /// As [`Store::update`](crate::Store::update), over the new index.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn update<T>(&self, body: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        self.filled()?;
        self.new.write(|txn| body(&mut Txn(txn)))
    }

    /// As [`Store::read_blob`](crate::Store::read_blob).
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], [`Error::Cas`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Box<dyn Blob>> {
        self.cas.open(digest)?.ok_or_else(|| Error::BlobNotFound(digest.to_string()))
    }

    /// Notes that blobs' bytes are gone, or are others than their digests name. Each has a row then that says so, also where
    /// there is no file, as if it had gone a moment later: what it keeps is kept, and an import brings it back. Idempotent.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn note_lost(&self, blobs: &[Described<'_>]) -> Result<()> {
        self.update(|txn| {
            for Described { digest, size, media_type, .. } in blobs {
                if txn.view().blob(digest)?.is_some() {
                    txn.note_check(digest, false)?;
                    continue;
                }
                let (digest, media_type, now) = ((*digest).clone(), (*media_type).to_owned(), crate::time::now());
                txn.mark_dirty(&digest)?;
                let (created, used, verified, damaged) = (now, now, None, true);
                txn.write_blob(&BlobInfo { digest, size: *size, media_type, created, used, verified, damaged })?;
            }
            Ok(())
        })
    }

    /// Reads a blob: whether its bytes are those that its digest names, as far as anybody can say. One that can't be read is
    /// not good. Nothing is noted.
    ///
    /// # Errors
    /// Those that would [hinder all](Error::hinders_all) others, but for what the disk says of this blob.
    pub fn is_good(&self, digest: &Digest) -> Result<bool> {
        let read = || {
            let reader = VerifyReader::new(self.read_blob(digest)?, digest, None)?;
            Ok::<_, Error>(reader.check(&mut |_| Ok(())).map(|_| true)?)
        };
        match read() {
            Err(Error::Cas(oci_store_cas::Error::UnknownAlgorithm(_))) => Ok(true),
            Err(error) if error.hinders_all() && !error.is_denied() && !is_rotten(&error) => Err(error),
            read => Ok(read.unwrap_or(false)),
        }
    }

    /// As [`Store::view`](crate::Store::view), over the index before, if it can be read.
    ///
    /// # Errors
    /// What `body` returns, [`Error::Index`].
    pub fn old_view<T>(&self, body: impl FnOnce(View<'_>) -> Result<T>) -> Option<Result<T>> {
        self.old.map(|old| old.read(|txn| body(View(txn))))
    }

    /// Whether the index before is there, and shows all that was ever put in it: of a damaged one, rows may be hidden.
    #[must_use]
    pub fn is_old_whole(&self) -> bool {
        self.is_old_whole
    }

    /// As [`View::store_id`]: that of the config. A folder that had none gets a new one.
    #[must_use]
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    fn notes(&self) -> RwLockReadGuard<'_, Option<Notes>> {
        self.notes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was noted, once.
    pub(crate) fn filled(&self) -> Result<&Filled> {
        if self.filled.get().is_none() {
            let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(notes) = notes.take() {
                let filled = self.fill(notes)?;
                return Ok(self.filled.get_or_init(|| filled));
            }
        }
        // Whoever began it was told why it failed, and this is who goes on nevertheless.
        self.filled.get().ok_or(Error::Row { what: "index that is being built" })
    }
}

fn describe(names: &mut Sorter, blob: &Described<'_>) -> io::Result<()> {
    let Described { digest, size, media_type, link } = blob;
    let is_needed = u8::from(*link == Link::Needs);
    names.push(&[&digest.to_key(), media_type.as_bytes(), &[0], &size.to_be_bytes(), &[is_needed]])
}

fn lock(sorter: &Mutex<Sorter>) -> MutexGuard<'_, Sorter> {
    sorter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the disk can't read it: that is said of a file, mostly.
fn is_rotten(error: &Error) -> bool {
    error.as_io().and_then(Errno::from_io_error) == Some(Errno::IO)
}
