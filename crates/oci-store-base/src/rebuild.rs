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

use std::io;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use oci_store_cas::{Blob, Cas, Digest};
use oci_store_index::{IndexExt as _, WriteTxn};

use crate::reindex::{carry_over, note_loss};
use crate::schema;
use crate::sealed::Sealed;
use crate::sorter::{Sorted, Sorter};
use crate::{BlobInfo, Edge, Edges, Error, Link, Result, Txn, View};

/// Rows that one transaction writes.
const CHUNK: usize = 8192;

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
    folder: PathBuf,
    /// What was noted and is not written yet; `None` from when that begins.
    notes: Mutex<Option<Notes>>,
    filled: OnceLock<Filled>,
}

/// What comes before the rows.
#[derive(Debug)]
struct Notes {
    names: Sorter,
    edges: Sorter,
    reverse: Sorter,
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

/// What those who name a blob say of it.
#[derive(Debug, Default)]
struct Named {
    media_type: String,
    /// Another size than the file has.
    is_wrong: bool,
}

impl<'r> Rebuild<'r> {
    /// `lost`: why there is no index before, or not all of it.
    pub(crate) fn new(
        cas: &'r dyn Cas,
        old: Option<&'r Sealed>,
        new: &'r Sealed,
        folder: &Path,
        lost: Option<String>,
    ) -> Self {
        let sorter = || Sorter::new(folder);
        let is_old_whole = old.is_some() && lost.is_none();
        let notes = Notes { names: sorter(), edges: sorter(), reverse: sorter(), lost };
        Self {
            cas,
            old,
            is_old_whole,
            new,
            folder: folder.to_owned(),
            notes: Mutex::new(Some(notes)),
            filled: OnceLock::new(),
        }
    }

    /// Notes what is said of blobs. It gives a blob its media type, if the index before knew none: where several are said, the
    /// first in the order of their bytes. A file of another size than is said of it is damaged.
    /// Idempotent; there may be no such blob.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Row`], [`Error::Index`].
    pub fn describe(&self, blobs: &[Described<'_>]) -> Result<()> {
        if let Some(notes) = &mut *self.notes() {
            return blobs.iter().try_for_each(|blob| notes.describe(blob)).map_err(Error::io(&self.folder));
        }
        self.update(|txn| {
            for Described { digest, size, media_type, .. } in blobs {
                txn.set_media_type(digest, media_type)?;
                if txn.view().blob(digest)?.is_some_and(|blob| blob.size != *size) {
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
        if let Some(notes) = &mut *self.notes() {
            let mut row = Edges::default();
            row.add(Edges { read_as: vec![media_type.to_owned()], edges: found.to_vec() });
            let noted = notes.edges.push(&[&parent.to_key(), &row.encode()?]);
            noted.map_err(Error::io(&self.folder))?;
            let mut reverse = row.edges.iter().map(|edge| schema::reverse(&edge.child, edge.link, edge.role, parent));
            return reverse.try_for_each(|key| notes.reverse.push(&[&key])).map_err(Error::io(&self.folder));
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

    fn notes(&self) -> MutexGuard<'_, Option<Notes>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was noted, once.
    pub(crate) fn filled(&self) -> Result<&Filled> {
        if self.filled.get().is_none() {
            let mut notes = self.notes();
            if let Some(notes) = notes.take() {
                let filled = self.fill(notes)?;
                return Ok(self.filled.get_or_init(|| filled));
            }
        }
        // Whoever began it was told why it failed, and this is who goes on nevertheless.
        self.filled.get().ok_or(Error::Row { what: "index that is being built" })
    }

    /// Tables in the order of their codes, so that each begins behind the last.
    fn fill(&self, notes: Notes) -> Result<Filled> {
        let mut filled = Filled { blobs: 0, lost: notes.lost, lacks: false };
        self.fill_blobs(notes.names, &mut filled)?;
        self.fill_edges(notes.edges)?;
        self.fill_dirty()?;
        let mut reverse = self.sorted(notes.reverse)?;
        while let Some(page) = next_page(&mut reverse, CHUNK, &self.folder)? {
            self.new.write(|txn| page.iter().try_for_each(|key| txn.put(key, &[]).map(drop)))?;
        }
        if let Some(old) = self.old {
            carry_over(old, self.new, &mut filled.lost)?;
        }
        if filled.lost.is_some() {
            self.new.write(|txn| Txn(txn).renew_versions())?;
        }
        Ok(filled)
    }

    fn sorted(&self, sorter: Sorter) -> Result<Sorted> {
        sorter.sorted().map_err(Error::io(&self.folder))
    }

    /// A row for each file.
    fn fill_blobs(&self, names: Sorter, filled: &mut Filled) -> Result<()> {
        let mut files = Sorter::new(&self.folder);
        let mut failed = Ok(());
        self.cas.list(&mut |digest, size| {
            filled.blobs += 1;
            failed = files.push(&[&digest.to_key(), &size.to_be_bytes()]);
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed.map_err(Error::io(&self.folder))?;
        let (mut files, mut names) = (self.sorted(files)?, self.sorted(names)?.peekable());
        while let Some(page) = next_page(&mut files, CHUNK, &self.folder)? {
            let mut rows = Vec::with_capacity(page.len());
            for file in page {
                let (digest, size) = split_file(&file).ok_or(Error::Row { what: "blob" })?;
                let named = self.named(&mut names, &file, size, &mut filled.lacks)?;
                rows.push((digest, size, named));
            }
            self.put_blobs(rows, &mut filled.lost)?;
        }
        // What is behind the last file is not there.
        while let Some(name) = names.next().transpose().map_err(Error::io(&self.folder))? {
            filled.lacks |= split_name(&name).is_some_and(|(.., is_needed)| is_needed);
        }
        Ok(())
    }

    /// What the names say of a file; those before it are of no file.
    fn named(&self, names: &mut Peekable<Sorted>, file: &[u8], size: u64, lacks: &mut bool) -> Result<Named> {
        let key = file.get(..file.len().saturating_sub(size_of::<u64>())).unwrap_or_default();
        let mut named = Named::default();
        while let Some(row) =
            names.next_if(|row| row.as_ref().map_or(true, |row| row.as_slice() < key || row.starts_with(key)))
        {
            let row = row.map_err(Error::io(&self.folder))?;
            let (media_type, named_size, is_needed) = split_name(&row).ok_or(Error::Row { what: "name of a blob" })?;
            if !row.starts_with(key) {
                *lacks |= is_needed;
                continue;
            }
            named.is_wrong |= named_size != size;
            if named.media_type.is_empty() {
                named.media_type = String::from_utf8_lossy(media_type).into_owned();
            }
        }
        Ok(named)
    }

    fn put_blobs(&self, rows: Vec<(Digest, u64, Named)>, lost: &mut Option<String>) -> Result<()> {
        let mut known = Vec::new();
        if let Some(old) = self.old {
            let read = old.read(|txn| {
                for (digest, ..) in &rows {
                    let row = View(txn).blob(digest);
                    known.push(row.or_else(|error| note_loss(lost, error).map(|()| None))?);
                }
                Ok::<_, Error>(())
            });
            read.or_else(|error| note_loss(lost, error))?;
        }
        known.resize(rows.len(), None);
        let now = crate::time::now();
        self.new.write(|txn| {
            for ((digest, size, Named { media_type, is_wrong }), known) in rows.into_iter().zip(known) {
                let info = match known {
                    // Of another size than it had: whatever it is, it is not what was verified.
                    Some(known) => BlobInfo {
                        damaged: known.damaged || is_wrong || known.size != size,
                        media_type: if known.media_type.is_empty() { media_type } else { known.media_type.clone() },
                        ..known
                    },
                    None => BlobInfo {
                        digest,
                        size,
                        media_type,
                        created: now,
                        used: now,
                        verified: None,
                        damaged: is_wrong,
                    },
                };
                Txn(txn).write_blob(&info)?;
            }
            Ok(())
        })
    }

    fn fill_edges(&self, edges: Sorter) -> Result<()> {
        let mut rows = self.sorted(edges)?;
        let mut last: Option<(Vec<u8>, Edges)> = None;
        loop {
            let page = next_page(&mut rows, CHUNK / 16, &self.folder)?;
            let is_end = page.is_none();
            self.new.write(|txn| {
                for row in page.into_iter().flatten() {
                    let (key, edges) = split_edges(&row).ok_or(Error::Row { what: "edges" })?;
                    let edges = Edges::decode(edges)?;
                    match &mut last {
                        Some((known, all)) if known == key => all.add(edges),
                        _ => {
                            let before = last.replace((key.to_vec(), edges));
                            before.map_or(Ok(()), |(key, edges)| put_edges(txn, &key, &edges))?;
                        }
                    }
                }
                let rest = last.take_if(|_| is_end);
                rest.map_or(Ok(()), |(key, edges)| put_edges(txn, &key, &edges))
            })?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// All are dirty: the next gc looks what keeps them.
    fn fill_dirty(&self) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.new.read(|txn| {
                let mut page = Vec::new();
                View(txn).each_blob(after.as_ref(), &mut |blob| {
                    page.push(blob.digest);
                    Ok(if page.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
                Ok::<_, Error>(page)
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            self.new.write(|txn| page.iter().try_for_each(|digest| Txn(txn).mark_dirty(digest)))?;
        }
    }
}

fn put_edges(txn: &mut dyn WriteTxn, parent: &[u8], edges: &Edges) -> Result<()> {
    txn.put(&[&[schema::EDGES], parent].concat(), &edges.encode()?)?;
    Ok(())
}

/// At most `most` rows; `None` if there are no more.
fn next_page(rows: &mut Sorted, most: usize, folder: &Path) -> Result<Option<Vec<Vec<u8>>>> {
    let page = rows.take(most).collect::<io::Result<Vec<_>>>().map_err(Error::io(folder))?;
    Ok((!page.is_empty()).then_some(page))
}

fn split_file(row: &[u8]) -> Option<(Digest, u64)> {
    let (digest, size) = Digest::split_key(row)?;
    Some((digest, u64::from_be_bytes(size.try_into().ok()?)))
}

impl Notes {
    fn describe(&mut self, blob: &Described<'_>) -> io::Result<()> {
        let Described { digest, size, media_type, link } = blob;
        let is_needed = u8::from(*link == Link::Needs);
        self.names.push(&[&digest.to_key(), media_type.as_bytes(), &[0], &size.to_be_bytes(), &[is_needed]])
    }
}

/// The media type, the size, and whether it is needed.
fn split_name(row: &[u8]) -> Option<(&[u8], u64, bool)> {
    let (_, rest) = Digest::split_key(row)?;
    let (rest, needed) = rest.split_last_chunk::<1>()?;
    let (rest, size) = rest.split_last_chunk()?;
    let (media_type, _) = rest.split_last_chunk::<1>()?;
    Some((media_type, u64::from_be_bytes(*size), *needed == [1]))
}

/// The key form of the parent, and its edges.
fn split_edges(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, edges) = Digest::split_key(row)?;
    Some((row.get(..row.len() - edges.len())?, edges))
}
