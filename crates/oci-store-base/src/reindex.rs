//! Building the index anew from the blobs: it is disposable.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use oci_store_cas::{Blob, Cas, Digest};
use oci_store_index::{self as index, Index as _, IndexExt, ReadTxn, Visit, WriteTxn};

use crate::replace::{Replacing, copy_rows, replace};
use crate::schema;
use crate::sealed::{self, Sealed};
use crate::sorter::Sorter;
use crate::{BlobInfo, Error, OpenOptions, Result, Space, Store, Txn, View};

/// Rows that one transaction writes.
const CHUNK: usize = 4096;

/// An index being built anew. Nobody sees it yet. Which blobs point at one is only known when it is finished.
#[derive(Debug)]
pub struct Rebuild<'r> {
    cas: &'r dyn Cas,
    old: Option<&'r Sealed>,
    new: &'r Sealed,
    /// The rows that lead from children to parents. They come in no order, and are most of the rows.
    reverse: RefCell<Sorter>,
}

/// What a reindex has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reindexed {
    /// Blobs that have a row now.
    pub blobs: u64,
    /// Why the index before could not be read, or not all of it: what can't be derived from the blobs is lost then (data, additional
    /// data of blobs, times). `None`: it could, and all that was carried over.
    pub lost: Option<String>,
}

impl Rebuild<'_> {
    /// As [`Store::view`], over the new index.
    ///
    /// # Errors
    /// What `body` returns, [`Error::Index`].
    pub fn view<T>(&self, body: impl FnOnce(View<'_>) -> Result<T>) -> Result<T> {
        self.new.read(|txn| body(View(txn)))
    }

    /// As [`Store::update`], over the new index.
    ///
    /// # Errors
    /// What `body` returns, [`Error::Index`].
    pub fn update<T>(&self, body: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        self.new.write(|txn| body(&mut Txn(&mut Deferring { txn, reverse: &self.reverse })))
    }

    /// Writes what was put off.
    fn finish(self) -> Result<()> {
        let reverse = self.reverse.into_inner();
        let folder = reverse.folder().to_owned();
        let put = |keys: &[Vec<u8>]| self.new.write(|txn| keys.iter().try_for_each(|key| txn.put(key, &[])));
        reverse.drain(CHUNK, |keys| put(keys).map_err(Failed::Index)).map_err(|failed| failed.at(&folder))
    }

    /// As [`Store::read_blob`].
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], [`Error::Cas`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Box<dyn Blob>> {
        self.cas.open(digest)?.ok_or_else(|| Error::BlobNotFound(digest.to_string()))
    }

    /// As [`Store::view`], over the index before, if it can be read.
    ///
    /// # Errors
    /// What `body` returns, [`Error::Index`].
    pub fn old_view<T>(&self, body: impl FnOnce(View<'_>) -> Result<T>) -> Option<Result<T>> {
        self.old.map(|old| old.read(|txn| body(View(txn))))
    }

    /// A row for each file. All are dirty: the next gc looks what keeps them. `lost` is set to why a row of before
    /// can't be read, if there is one.
    fn rows(&self, lost: &mut Option<String>) -> Result<u64> {
        let folder = self.reverse.borrow().folder().to_owned();
        let (mut files, mut rows) = (Sorter::new(&folder), 0);
        let mut failed = Ok(());
        self.cas.list(&mut |digest, size| {
            rows += 1;
            failed = files.push(&[digest.to_key().as_slice(), &size.to_be_bytes()].concat());
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed.map_err(Error::io(&folder))?;
        let put = |page: &[Vec<u8>]| {
            let split = |row: &Vec<u8>| {
                let (digest, size) = Digest::split_key(row)?;
                Some((digest, u64::from_be_bytes(size.try_into().ok()?)))
            };
            let page: Option<Vec<_>> = page.iter().map(split).collect();
            self.put_rows(page.ok_or(Error::Row { what: "blob" })?, lost)
        };
        let mut put = put;
        files.drain(CHUNK, |page| put(page).map_err(Failed::Store)).map_err(|failed| failed.at(&folder))?;
        Ok(rows)
    }

    fn put_rows(&self, page: Vec<(Digest, u64)>, lost: &mut Option<String>) -> Result<()> {
        let mut known = Vec::new();
        if let Some(old) = self.old {
            let read = old.read(|txn| {
                for (digest, _) in &page {
                    let row = View(txn).blob(digest);
                    known.push(row.or_else(|error| note_loss(lost, error).map(|()| None))?);
                }
                Ok::<_, Error>(())
            });
            read.or_else(|error| note_loss(lost, error))?;
        }
        known.resize(page.len(), None);
        let now = crate::time::now();
        self.update(|txn| {
            for ((digest, size), known) in page.into_iter().zip(known) {
                let new = BlobInfo {
                    digest,
                    size,
                    media_type: String::new(),
                    created: now,
                    used: now,
                    verified: None,
                    damaged: false,
                };
                let info = match known {
                    // Of another size than it had: whatever it is, it is not what was verified.
                    Some(known) if known.size == size => known,
                    Some(known) => BlobInfo { damaged: true, ..known },
                    None => new,
                };
                txn.write_blob(&info)?;
                txn.mark_dirty(&info.digest)?;
            }
            Ok(())
        })
    }

    /// What the blobs don't tell: users' data, additional data, counters; of a damaged index, what there is of that.
    fn carry_over(&self, old: &Sealed, lost: &mut Option<String>) -> Result<()> {
        let damaged = Cell::new(None);
        // As they lie there, so that what follows a damaged row is found.
        let copied = copy_rows(old.raw(), self.new.raw(), &|key, row| match carried(key, row) {
            Ok(carried) => carried,
            Err(error) => {
                damaged.set(Some(error.to_string()));
                false
            }
        });
        if let Err(error) = copied {
            note_loss(lost, error)?;
        }
        if let Some(why) = damaged.take() {
            lost.get_or_insert(why);
        }
        // Additional data, and references, of blobs whose files have gone.
        let mut orphans = Vec::new();
        let mut references = Vec::new();
        self.new.read(|txn| {
            crate::edges::scan(txn, &[schema::BLOB_DATA], &[], &mut |key, _| {
                let digest = key.get(1..).and_then(Digest::split_key).ok_or(Error::Row { what: "additional data" })?.0;
                if View(txn).blob(&digest)?.is_none() {
                    orphans.push(key.to_vec());
                }
                Ok(ControlFlow::Continue(()))
            })?;
            crate::edges::scan(txn, &[Space::User.code()], &[], &mut |key, value| {
                let (head, _): (schema::DataHead, _) = schema::decode("data", value)?;
                if let Some(blob) = head.blob {
                    let digest = Digest::split_key(&blob).ok_or(Error::Row { what: "data" })?.0;
                    match View(txn).blob(&digest)? {
                        Some(_) => references.push(schema::reference(&blob, key)),
                        None => orphans.push(key.to_vec()),
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        self.new.write(|txn| {
            for key in &orphans {
                txn.delete(key)?;
            }
            for key in &references {
                txn.put(key, &[])?;
            }
            Ok(())
        })
    }
}

/// A transaction that puts the rows off that lead from children to parents.
struct Deferring<'d> {
    txn: &'d mut dyn WriteTxn,
    reverse: &'d RefCell<Sorter>,
}

impl ReadTxn for Deferring<'_> {
    fn get(&self, key: &[u8]) -> index::Result<Option<Vec<u8>>> {
        self.txn.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> index::Result<()> {
        self.txn.scan(prefix, from, visit)
    }
}

impl WriteTxn for Deferring<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> index::Result<()> {
        if key.first() != Some(&schema::REVERSE) {
            return self.txn.put(key, value);
        }
        let mut reverse = self.reverse.borrow_mut();
        let pushed = reverse.push(key);
        pushed.map_err(|error| index::Error::io("reindex", reverse.folder(), error))
    }

    fn delete(&mut self, key: &[u8]) -> index::Result<bool> {
        self.txn.delete(key)
    }
}

/// What ends the writing of sorted rows.
enum Failed {
    /// Their file.
    File(io::Error),
    Index(index::Error),
    Store(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl Failed {
    fn at(self, folder: &Path) -> Error {
        match self {
            Self::File(error) => Error::io(folder)(error),
            Self::Index(error) => error.into(),
            Self::Store(error) => error,
        }
    }
}

/// Notes why something of the index before can't be read. What the system refuses is no loss but a failure, as it may be
/// read another time: there is no room, no right, no descriptor left, or the disk fails. Whoever has given that index up
/// moves its folder away.
fn note_loss(lost: &mut Option<String>, error: Error) -> Result<()> {
    if error.as_io().is_some() {
        return Err(error);
    }
    lost.get_or_insert(error.to_string());
    Ok(())
}

/// The tables that have something to carry over.
const CARRIED: [u8; 3] = [schema::META, schema::BLOB_DATA, Space::User.code()];

/// Whether a row is carried over as it is. An error if it would be, but is damaged.
fn carried(key: &[u8], row: &[u8]) -> Result<bool> {
    if !key.first().is_some_and(|table| CARRIED.contains(table)) {
        return Ok(false);
    }
    let value = sealed::open(key, row).ok_or(Error::Row { what: "checksum" })?;
    match key.first() {
        Some(&schema::META) if value.len() == size_of::<u64>() => Ok(true),
        Some(&schema::META) => Err(Error::Row { what: "number" }),
        Some(&first) if first == schema::BLOB_DATA || first == Space::User.code() => {
            let (head, _): (schema::DataHead, _) = schema::decode("data", value)?;
            match head.blob.as_deref().map(Digest::split_key) {
                None | Some(Some((_, []))) => Ok(true),
                Some(_) => Err(Error::Row { what: "data" }),
            }
        }
        _ => Ok(false),
    }
}

impl OpenOptions {
    /// Builds the index of the store in `root` anew, alone, and opens the store: a row for each file under
    /// `blobs/` (without reading it), then whatever `build` makes of them: edges, and the records of the store
    /// on top. What the blobs don't tell is carried over from the index before, if that can be read. That
    /// index is kept as a backup. Atomic: a crash in the middle leaves the store as it was.
    ///
    /// A folder with `blobs/` in it that has lost its config, or never was a store, becomes one: over the index
    /// that was asked for, or the first.
    ///
    /// # Errors
    /// What `build` returns, and as [`open`](Self::open).
    pub fn reindex<T>(
        self,
        root: impl AsRef<Path>,
        build: impl FnOnce(&Rebuild<'_>) -> Result<T>,
    ) -> Result<(Store, Reindexed, T)> {
        let root = root.as_ref();
        let options = self.create(false);
        let (parts, lost_config) = options.parts_or_lost(root)?;
        let to = options.index_asked();
        let replaced = replace(
            &parts.own,
            &*parts.locks,
            options.backends(),
            options.wait_policy(),
            to.as_deref(),
            lost_config,
            |_| true,
            |Replacing { old, new }| {
                let mut lost = None;
                // It may be damaged, which is why this is done.
                let old = old.and_then(|old| old.check_readable().map(|()| old).map_err(Error::from));
                let old = match old {
                    Ok(old) => Some(old),
                    Err(error) => note_loss(&mut lost, error).map(|()| None)?,
                };
                let reverse = RefCell::new(Sorter::new(&parts.own));
                let rebuild = Rebuild { cas: &*parts.cas, old: old.as_deref(), new: &new, reverse };
                let blobs = rebuild.rows(&mut lost)?;
                if let Some(old) = rebuild.old {
                    rebuild.carry_over(old, &mut lost)?;
                }
                if lost.is_some() {
                    rebuild.update(|txn| txn.renew_versions())?;
                }
                let found = Reindexed { blobs, lost };
                let built = build(&rebuild)?;
                rebuild.finish()?;
                Ok::<_, Error>((found, built))
            },
        )?;
        let store = options.index(None).open(root)?;
        match replaced {
            Some((_, (found, built))) => Ok((store, found, built)),
            None => Err(Error::NoStore(root.to_owned())),
        }
    }
}
