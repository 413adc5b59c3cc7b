//! Folders that processes open one after the other, by a lock (flock) on each folder itself, for backends that need that.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// Makes the folder `dir` if it is absent, opens it, and waits for its lock, which goes with the file, and so with the
/// process.
///
/// # Errors
/// That it can't be made, opened or locked.
pub fn open_locked(dir: &Path) -> io::Result<File> {
    loop {
        fs::create_dir_all(dir)?;
        let folder = File::open(dir)?;
        lock(&folder)?;
        let held = folder.metadata()?;
        match fs::metadata(dir) {
            Ok(now) if (now.dev(), now.ino()) == (held.dev(), held.ino()) => return Ok(folder),
            // Another process has put a new folder in its place meanwhile, or is about to.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the lock of an open file, through signals.
///
/// # Errors
/// That it can't be locked at all.
pub fn lock(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, FlockOperation::LockExclusive))?)
}

/// Gives the lock of an open file back.
///
/// # Errors
/// None on an open file.
pub fn unlock(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, FlockOperation::Unlock))?)
}

/// Makes durable which names are in an open folder.
///
/// # Errors
/// That it went wrong. That the file system does not sync folders is none.
pub fn sync(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced,
    }
}
