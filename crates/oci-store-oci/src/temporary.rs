//! A folder in a layout for what is not whole yet: of an export into it, or of a move out of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::retry_on_intr;

use crate::{Error, Result};

/// The beginning of the names of such folders.
pub(crate) const TEMPORARY: &str = ".oci-store-export-";

/// Such a folder. It is locked as long as its export lives, so that the next one knows which are left by the dead.
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
    lock: File,
}

impl AsFd for Temporary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Temporary {
    pub(crate) fn make(to: &Path) -> Result<Self> {
        Self::remove_dead(to);
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(to).map_err(Error::io(to))?;
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let lock = OpenOptions::new().read(true).custom_flags(flags).open(folder.path());
        let lock = lock.map_err(Error::io(folder.path()))?;
        // Waits: another export may be looking at this very moment whether it is one of the dead.
        let locked = retry_on_intr(|| flock(&lock, FlockOperation::LockShared));
        locked.map_err(io::Error::from).map_err(Error::io(to))?;
        Ok(Self { path: folder.keep(), lock })
    }

    /// Writes a file of the layout `to` anew, atomically; with `sync`, its content is durable before it is seen.
    pub(crate) fn replace(&self, to: &Path, name: &str, bytes: &[u8], sync: bool) -> Result<()> {
        let temporary = self.path.join(name);
        let mut file = File::create(&temporary).map_err(Error::io(&temporary))?;
        file.write_all(bytes).map_err(Error::io(&temporary))?;
        if sync {
            file.sync_all().map_err(Error::io(&temporary))?;
        }
        fs::rename(&temporary, to.join(name)).map_err(Error::io(to.join(name)))
    }

    /// Removes what dead exports left. A folder made in this very moment is empty, and not locked yet: it is only
    /// removed if it has been there for a while.
    fn remove_dead(to: &Path) {
        let Ok(entries) = fs::read_dir(to) else { return };
        for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            let is_old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age.as_secs() > 60);
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(lock) = File::open(entry.path()) else { continue };
            let is_dead = retry_on_intr(|| flock(&lock, FlockOperation::NonBlockingLockExclusive)).is_ok();
            if is_dead && is_old() == Some(true) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
