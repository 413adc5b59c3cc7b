//! The index in use: which one it is, and where it lies.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_index::{Backend, Index, IndexExt};

use crate::config::{Config, Stamp};
use crate::reserve::Reserve;
use crate::sealed::Sealed;
use crate::{Error, Result, Txn, View};

/// The number in an index that says which one it is. One without it was never filled.
const EPOCH: &str = "epoch";

/// The number in an index that says whose it is.
const STORE: &str = "store";

/// The index in use. Another process may put another one in its place: each transaction looks.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) config: Config,
    pub(crate) stamp: Stamp,
    pub(crate) index: Arc<dyn Index>,
}

/// The backend of that name.
pub(crate) fn find_backend(backends: &[Arc<dyn Backend>], name: &str) -> Result<Arc<dyn Backend>> {
    backends.iter().find(|backend| backend.name() == name).cloned().ok_or_else(|| {
        let known: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
        Error::NoBackend { name: name.to_owned(), known: known.join(", ") }
    })
}

/// Where the index of an epoch lies.
pub(crate) fn index_folder(own: &Path, epoch: u64) -> PathBuf {
    own.join("index").join(epoch.to_string())
}

/// Writes into an index which one it is. Done last, when it is filled.
pub(crate) fn sign(txn: &mut Txn<'_>, config: &Config) -> Result<()> {
    txn.set_number(STORE, config.id)?;
    txn.set_number(EPOCH, config.epoch)
}

impl View<'_> {
    /// The number that no other store has, and that stays the same for all of a store's life; 0 if it has none.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn store_id(&self) -> Result<u64> {
        self.number(STORE)
    }
}

/// Opens the index that a config names; never one that is not it. Whoever is to read all of it anyway has it `looked_at` before
/// the first row is read.
pub(crate) fn open_existing(
    backend: &dyn Backend,
    folder: &Path,
    config: &Config,
    looked_at: bool,
) -> Result<Arc<Sealed>> {
    let lost = |why: String| Error::IndexLost { path: folder.to_owned(), why };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        // Nobody knows what is there.
        Err(error) if error.kind() != ErrorKind::NotFound && error.kind() != ErrorKind::NotADirectory => {
            return Err(Error::io(folder)(error));
        }
        _ => return Err(lost("its folder is gone".to_owned())),
    }
    let index = Sealed::over(backend.open(folder)?, folder, config.format);
    if looked_at {
        index.check_readable()?;
    }
    match index.read(|txn| Ok::<_, Error>((View(txn).number(EPOCH)?, View(txn).number(STORE)?))) {
        Ok((0, _)) => Err(lost("it is empty".to_owned())),
        Ok((epoch, _)) if epoch != config.epoch => Err(lost(format!("it is that of epoch {epoch}"))),
        Ok((_, store)) if store != config.id => Err(lost("it is that of another store".to_owned())),
        Ok(_) => Ok(index),
        Err(Error::Row { what }) => Err(lost(format!("its {what} is damaged"))),
        Err(error) => Err(error),
    }
}

/// Opens the index that the config names, or, if that is gone by the time it is opened, as others have put so many in its
/// place meanwhile, the one that the config names then.
pub(crate) fn open_current(
    root: &Path,
    own: &Path,
    backends: &[Arc<dyn Backend>],
    reserve: &Reserve,
    mut config: Config,
    mut stamp: Stamp,
) -> Result<Current> {
    let mut tries = 0;
    loop {
        let folder = index_folder(own, config.epoch);
        let backend = find_backend(backends, &config.index)?;
        match reserve.with(Error::is_no_space, || open_existing(&*backend, &folder, &config, false)) {
            Ok(index) => return Ok(Current { config, stamp, index }),
            Err(error) => {
                tries += 1;
                if tries == 10 || stamp.is_current(own)? {
                    return Err(error);
                }
            }
        }
        (config, stamp) = Config::read(own)?.ok_or_else(|| Error::NoStore(root.to_owned()))?;
    }
}

/// The epochs whose folders are there.
pub(crate) fn epochs(own: &Path) -> Result<Vec<u64>> {
    let folder = own.join("index");
    let mut epochs = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let name = entry.map_err(Error::io(&folder))?.file_name();
        epochs.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(epochs)
}
