use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_store_index::probe::probe;
use oci_store_index::{Error, Result, folder};

use crate::error::at;

const NAME: &str = "index.sqlite";

/// The database file: where, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseFile {
    pub(crate) path: PathBuf,
    device: u64,
    inode: u64,
    /// Whether the blocks of the file system are smaller than pages of memory.
    small_blocks: bool,
}

/// Two of the pieces by which SQLite lengthens the log's index, which it maps.
const SHM: u64 = 64 << 10;
/// It gives each page of a piece a block. Smaller blocks are found missing where the mapping is written to, with a
/// SIGBUS and no error.
const PAGE: u64 = 4096;

/// A folder, opened and locked. The lock goes with the file, and so with the process.
pub(crate) struct LockedFolder {
    folder: File,
    dir: PathBuf,
}

impl LockedFolder {
    /// Makes the folder if it is absent, and waits for its lock: one process after the other opens the database,
    /// so that whoever makes it is done with it before the next looks at it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let dir = dir.canonicalize().map_err(at(dir))?;
        let folder = folder::open_locked(&dir).map_err(at(&dir))?;
        Ok(Self { folder, dir })
    }

    /// The database file, and whether it has just been made. SQLite takes an empty file for an empty database,
    /// and gives the files beside it the same mode.
    pub(crate) fn database(&self) -> Result<(DatabaseFile, bool)> {
        let path = self.dir.join(NAME);
        let found = fs::metadata(&path);
        // SQLite would wait for the other end of a FIFO.
        if found.as_ref().is_ok_and(|found| !found.is_file()) {
            return Err(Error::damaged(crate::NAME, &path, "not a file"));
        }
        if found.is_ok_and(|found| found.len() > 0) {
            return DatabaseFile::find(path).map(|file| (file, false));
        }
        // Who may write the folder may write the files.
        let group = self.folder.metadata().map_err(at(&self.dir))?.permissions().mode() & 0o020 != 0;
        let mode = if group { 0o660 } else { 0o600 };
        // An empty file has no connection to it, whose locks closing it would drop.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(&path);
        // The umask has had its say in the mode. Of an empty file of somebody else the mode stays as it is.
        match made.map_err(at(&path))?.set_permissions(Permissions::from_mode(mode)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(at(&path)(error)),
            _ => {}
        }
        DatabaseFile::find(path).map(|file| (file, true))
    }

    /// Makes the names in the folder durable.
    pub(crate) fn sync(&self) -> Result<()> {
        folder::sync(&self.folder).map_err(at(&self.dir))
    }
}

impl DatabaseFile {
    fn find(path: PathBuf) -> Result<Self> {
        let found = fs::metadata(&path).map_err(at(&path))?;
        Ok(Self { path, device: found.dev(), inode: found.ino(), small_blocks: found.blksize() < PAGE })
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    /// Fails where the log's index might find no room to grow.
    pub(crate) fn check_room(&self) -> Result<()> {
        match self.path.parent().filter(|_| self.small_blocks) {
            Some(dir) => probe(dir, SHM).map_err(at(&self.path)),
            None => Ok(()),
        }
    }

    /// Whether the path still leads to the same file.
    pub(crate) fn is_there(&self) -> bool {
        Self::find(self.path.clone()).is_ok_and(|now| now == *self)
    }
}
