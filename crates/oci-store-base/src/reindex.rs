//! Building the index anew from the blobs: it is disposable.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use oci_store_cas::Digest;
use oci_store_index::{Index as _, IndexExt};

use crate::replace::{Replacing, copy_rows, replace};
use crate::schema;
use crate::sealed::{self, Sealed};
use crate::{Error, OpenOptions, Rebuild, Result, Space, Store, View};

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

/// What the blobs don't tell: users' data, additional data, counters; of a damaged index, what there is of that.
pub(crate) fn carry_over(old: &Sealed, new: &Sealed, lost: &mut Option<String>) -> Result<()> {
    let damaged = Cell::new(None);
    // As they lie there, so that what follows a damaged row is found.
    for table in CARRIED {
        let copied = copy_rows(old.raw(), new, &[table], &|key, row| {
            check_carried(key, row).map_err(|error| damaged.set(Some(error.to_string()))).ok()
        });
        if let Err(error) = copied {
            note_loss(lost, error)?;
        }
    }
    if let Some(why) = damaged.take() {
        lost.get_or_insert(why);
    }
    // Additional data, and references, of blobs whose files have gone.
    let mut orphans = Vec::new();
    let mut references = Vec::new();
    new.read(|txn| {
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
    new.write(|txn| {
        for key in &orphans {
            txn.delete(key)?;
        }
        for key in &references {
            txn.put(key, &[])?;
        }
        Ok(())
    })
}

/// Notes why something of the index before can't be read. What the system refuses is no loss but a failure, as it may be
/// read another time: there is no room, no right, no descriptor left, or the disk fails. Whoever has given that index up
/// moves its folder away.
pub(crate) fn note_loss(lost: &mut Option<String>, error: Error) -> Result<()> {
    if error.as_io().is_some() {
        return Err(error);
    }
    lost.get_or_insert(error.to_string());
    Ok(())
}

/// The tables that have something to carry over.
const CARRIED: [u8; 3] = [schema::META, schema::BLOB_DATA, Space::User.code()];

/// The value of a row which is carried over as it is, unless it is damaged.
fn check_carried<'r>(key: &[u8], row: &'r [u8]) -> Result<&'r [u8]> {
    let value = sealed::open(key, row).ok_or(Error::Row { what: "checksum" })?;
    if key.first() == Some(&schema::META) {
        return if value.len() == size_of::<u64>() { Ok(value) } else { Err(Error::Row { what: "number" }) };
    }
    let (head, _): (schema::DataHead, _) = schema::decode("data", value)?;
    match head.blob.as_deref().map(Digest::split_key) {
        None | Some(Some((_, []))) => Ok(value),
        Some(_) => Err(Error::Row { what: "data" }),
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
                let old = match old {
                    // What can be read of it is carried over, even if that is not all.
                    Ok(old) => {
                        // Twice, before it is given up: a disk may fail to read for once.
                        let looked = old.check().or_else(|_| old.check());
                        looked.or_else(|error| note_loss(&mut lost, error.into()))?;
                        Some(old)
                    }
                    Err(error) => note_loss(&mut lost, error).map(|()| None)?,
                };
                let rebuild = Rebuild::new(&*parts.cas, old.as_deref(), &new, parts.config.id, &parts.own, lost);
                let built = build(&rebuild)?;
                let filled = rebuild.filled()?;
                Ok::<_, Error>((Reindexed { blobs: filled.blobs, lost: filled.lost.clone() }, built))
            },
        )?;
        let store = options.index(None).open(root)?;
        match replaced {
            Some((_, (found, built))) => Ok((store, found, built)),
            None => Err(Error::NoStore(root.to_owned())),
        }
    }
}
