//! Putting another index in place of a store's: what migration, convert and reindex have in common.
//!
//! The new index is filled in the folder of the next epoch, where nobody looks; replacing the config switches to
//! it, atomically. Handles that are open, here and in other processes, notice it at their next transaction.
//! The index before is left as it was: it is the backup.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use oci_store_cas::attack::{Point, reached};
use oci_store_index::{Backend, Index, IndexExt};

use crate::config::{Config, sync_folder};
use crate::counts;
use crate::current::{Current, epochs, find_backend, index_folder, open_existing, sign};
use crate::locks::{Lock, Locks, Mode, Wait};
use crate::schema::FORMAT;
use crate::sealed::Sealed;
use crate::{Error, Result, Txn};

/// Former indexes that are kept as backups.
const BACKUPS: usize = 5;

/// Rows that one transaction copies.
const CHUNK: usize = 4096;

/// The old index, if it can be read, and the one to be filled.
pub(crate) struct Replacing {
    pub(crate) old: Result<Arc<Sealed>>,
    pub(crate) new: Arc<Sealed>,
}

/// Replaces the index of the store whose own folder is `own`, alone, by one over the backend `to` (or the same
/// as now) that `fill` fills. `needed` says whether it is still to be done, now that nobody else can do it. A
/// crash in the middle leaves the store as it was. A store that has lost its config gets `lost_config`, if there
/// is one.
#[allow(clippy::too_many_arguments, reason = "what a store consists of, and what is to become of it")]
pub(crate) fn replace<T, E: From<Error>>(
    own: &Path,
    locks: &dyn Locks,
    backends: &[Arc<dyn Backend>],
    wait: Wait,
    to: Option<&str>,
    lost_config: Option<Config>,
    needed: impl FnOnce(&Config) -> bool,
    fill: impl FnOnce(Replacing) -> Result<T, E>,
) -> Result<Option<(Current, T)>, E> {
    let _turn = locks.lock(Lock::Turnstile, Mode::Alone, wait)?;
    let _store = locks.lock(Lock::Store, Mode::Alone, wait)?;
    let absent = || Error::NoStore(own.parent().unwrap_or(own).to_owned());
    let read = Config::read(own)?.map(|(config, _)| config);
    let known = read.is_some();
    let config = read.or(lost_config).ok_or_else(absent)?;
    if !needed(&config) {
        return Ok(None);
    }
    let backend = find_backend(backends, to.unwrap_or(&config.index))?;
    let old_folder = index_folder(own, config.epoch);
    let open = || open_existing(&*find_backend(backends, &config.index)?, &old_folder, &config, true);
    let old = if known {
        // A disk that fails to read for once looks like damage through some backends: SQLite says so of EIO.
        open().or_else(|error| if matches!(error, Error::IndexLost { .. }) { open() } else { Err(error) })
    } else {
        // It may be of any kind: a backend that opens another's folder would put its own files there.
        Err(Error::IndexLost { path: old_folder, why: "the store's config was gone".to_owned() })
    };
    let epoch = config.epoch.checked_add(1).ok_or_else(|| {
        let why = format!("there is no epoch after {}", config.epoch);
        Error::Config { path: own.join("config.json"), why }
    })?;
    let next = Config { format: FORMAT, index: backend.name().to_owned(), epoch, ..config.clone() };
    let folder = index_folder(own, next.epoch);
    // What an attempt left that did not get to its end.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    let build = || {
        config.access().make_folder(&own.join("index")).map_err(Error::from)?;
        config.access().make_folder(&folder).map_err(Error::from)?;
        let new = Sealed::over(backend.open(&folder).map_err(Error::from)?, &folder, next.format);
        new.write(|txn| counts::begin(txn).map_err(Error::from))?;
        let filled = fill(Replacing { old, new: Arc::clone(&new) })?;
        new.write(|txn| sign(&mut Txn(txn), &next))?;
        sync_folder(&folder)?;
        sync_folder(&own.join("index"))?;
        Ok((new, filled))
    };
    // An attempt that fails may be what fills the disk. If it can't be removed, a gc does it.
    let (new, filled) = build().inspect_err(|_: &E| drop(fs::remove_dir_all(&folder)))?;
    reached(Point::BeforeSwitch);
    next.write(own)?;
    // It is done: a backup too many is no failure.
    if let Err(error) = prune(own, next.epoch) {
        tracing::warn!("can't remove an old backup of the index: {error}");
    }
    let (config, stamp) = Config::read(own)?.ok_or_else(absent)?;
    Ok(Some((Current { config, stamp, index: new }, filled)))
}

/// Removes the oldest backups.
fn prune(own: &Path, epoch: u64) -> Result<()> {
    let mut former = epochs(own)?;
    former.retain(|number| *number < epoch);
    former.sort_unstable_by(|a, b| b.cmp(a));
    for number in former.into_iter().skip(BACKUPS) {
        let folder = index_folder(own, number);
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    Ok(())
}

/// What of a row's value is put into the other index, if it is.
pub(crate) type Take<'t> = dyn for<'r> Fn(&[u8], &'r [u8]) -> Option<&'r [u8]> + 't;

/// Copies the rows whose keys begin with `prefix` and that `take` wants from one index into another.
pub(crate) fn copy_rows(from: &dyn Index, to: &dyn Index, prefix: &[u8], take: &Take<'_>) -> Result<u64> {
    let mut after: Vec<u8> = Vec::new();
    let mut copied = 0;
    loop {
        let mut page: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        from.read(|txn| {
            txn.scan(prefix, &after, &mut |key, value| {
                if key != after.as_slice() {
                    page.push((key.to_vec(), value.to_vec()));
                }
                if page.len() == CHUNK { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
            })
        })?;
        let Some((last, _)) = page.last() else { return Ok(copied) };
        // The rows of a damaged index may be in any order: it would be read round and round.
        if *last <= after {
            return Err(Error::Row { what: "order" });
        }
        after.clone_from(last);
        to.write(|txn| {
            for (key, value) in page.iter().filter_map(|(key, row)| Some((key, take(key, row)?))) {
                txn.put(key, value)?;
                copied += 1;
            }
            Ok::<_, Error>(())
        })?;
    }
}
