//! A store's config: what kind of store the folder is, and where its index lies.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_cas::Access;
use serde::{Deserialize, Serialize};

use crate::schema::FORMAT;
use crate::{Error, Result};

/// The folder of a store that is its own, beside `blobs/`.
pub const OWN_FOLDER: &str = ".oci-store";

/// The end of the name of a file in `.oci-store/` that is to replace another.
pub const TEMPORARY: &str = ".tmp";

/// The file `config.json`. It is replaced as a whole, and that is what makes a store exist, and what switches it
/// from one index to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// Of the rows in the index: [`FORMAT`].
    pub(crate) format: u32,
    /// Which store on top it belongs to: `oci`, `appc`.
    pub(crate) kind: String,
    /// The index's backend.
    pub(crate) index: String,
    /// Counts the indexes that the store has had; the folder `index/EPOCH` is the one in use.
    pub(crate) epoch: u64,
    /// Whether a group shares the store.
    pub(crate) shared: bool,
    /// A number that no other store has, so that another one's index is not taken for its own. 0: it has none.
    #[serde(default)]
    pub(crate) id: u64,
}

/// The most bytes that a config may have.
const MOST: u64 = 64 << 10;

/// The config file that was read, kept open: as long as it is, no other file gets its number, so the number tells
/// whether the file has been replaced.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    _file: Arc<fs::File>,
    /// Device and inode.
    number: (u64, u64),
    /// For one who edits it in place.
    changed: (i64, i64),
}

/// A number for a new store.
pub(crate) fn new_id() -> u64 {
    // Its keys are random. 48 bits, which every reader of JSON takes.
    let random = RandomState::new().hash_one((std::process::id(), std::time::Instant::now()));
    (random >> 16).max(1)
}

/// A FIFO in its place is an error, and no wait.
const NO_WAIT: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

impl Config {
    pub(crate) fn access(&self) -> Access {
        if self.shared { Access::Group } else { Access::Private }
    }

    /// The config in the store's own folder, or `None` if there is none.
    pub(crate) fn read(own: &Path) -> Result<Option<(Self, Stamp)>> {
        let path = path(own);
        let file = match fs::OpenOptions::new().read(true).custom_flags(NO_WAIT).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path)(error)),
        };
        // Before it is read: if it is changed in between, the next look finds that it was.
        let meta = file.metadata().map_err(Error::io(&path))?;
        if !meta.is_file() {
            return Err(Error::Config { path, why: "it is not a file".to_owned() });
        }
        let mut bytes = Vec::new();
        (&file).take(MOST + 1).read_to_end(&mut bytes).map_err(Error::io(&path))?;
        if bytes.len() as u64 > MOST {
            return Err(Error::Config { path, why: format!("it has more than {MOST} bytes") });
        }
        let stamp = Stamp { number: number(&meta), changed: changed(&meta), _file: Arc::new(file) };
        Ok(Some((Self::parse(&path, &bytes)?, stamp)))
    }

    /// Reads a config from its bytes; `path` is where they are.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let why = |error: serde_json::Error| Error::Config { path: path.to_owned(), why: error.to_string() };
        // The format first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(why)?;
        if format > FORMAT {
            let path = path.ancestors().nth(2).unwrap_or(path).to_owned();
            return Err(Error::NewerFormat { path, found: format, known: FORMAT });
        }
        serde_json::from_slice(bytes).map_err(why)
    }

    pub(crate) fn print(&self, path: &Path) -> Result<Vec<u8>> {
        let why = |error: serde_json::Error| Error::Config { path: path.to_owned(), why: error.to_string() };
        let mut text = serde_json::to_vec_pretty(self).map_err(why)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Replaces the config, durably and atomically.
    pub(crate) fn write(&self, own: &Path) -> Result<()> {
        let path = path(own);
        let file = tempfile::Builder::new().prefix("config.").suffix(TEMPORARY).tempfile_in(own);
        let mut file = file.map_err(Error::io(own))?;
        file.write_all(&self.print(&path)?).map_err(Error::io(&path))?;
        let mode = fs::Permissions::from_mode(self.access().file_mode());
        file.as_file().set_permissions(mode).map_err(Error::io(&path))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path).map_err(|error| Error::io(&path)(error.error))?;
        sync_folder(own)
    }
}

impl Stamp {
    /// Whether the config in the store's own folder is still the one that was read.
    pub(crate) fn is_current(&self, own: &Path) -> Result<bool> {
        let path = path(own);
        match fs::metadata(&path) {
            Ok(meta) => Ok(number(&meta) == self.number && changed(&meta) == self.changed),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NoStore(own.parent().unwrap_or(own).into()))
            }
            Err(error) => Err(Error::io(path)(error)),
        }
    }
}

fn number(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn changed(meta: &fs::Metadata) -> (i64, i64) {
    (meta.ctime(), meta.ctime_nsec())
}

fn path(own: &Path) -> PathBuf {
    own.join("config.json")
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    oci_store_cas::folder::sync_folder(folder).map_err(Error::io(folder))
}
