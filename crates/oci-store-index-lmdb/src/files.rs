use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use oci_store_index::{Result, folder};

use crate::environment::READERS;
use crate::error::{at, damaged};
use crate::header::{self, Header};

pub(crate) const DATA: &str = "data.mdb";
const LOCK: &str = "lock.mdb";
const WRITE: &str = "write.lock";

/// What a reader takes in the lock file.
const SLOT: usize = 64;
/// What comes before the readers, generously.
const HEADER: usize = 4096;

/// What [`prepare`] found or made.
pub(crate) struct Prepared {
    /// Whether there are no rows yet, and never were.
    pub(crate) new: bool,
    /// The file whose lock writers hold.
    pub(crate) write: File,
}

/// Checks the files of an environment before LMDB opens them, and makes those that are missing. The caller holds the folder's lock, and has no environment open in the folder.
pub(crate) fn prepare(dir: &Path) -> Result<Prepared> {
    let mode = mode(dir)?;
    let lock = dir.join(LOCK);
    // Looked at first, because opening the lock file of an environment that this process has open (under
    // another name of the folder) would drop its locks.
    match fs::metadata(&lock) {
        Ok(found) if found.len() > 0 => {}
        // What others have mapped is not to be filled again, so it has to be known that there is nothing.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&lock)(error)),
        _ => fill(&create(&lock, mode)?).map_err(at(&lock))?,
    }
    let write = create(&dir.join(WRITE), mode)?;
    let path = dir.join(DATA);
    let data = create(&path, mode)?;
    let new = match header::read(&data).map_err(at(&path))? {
        Header::Sound => false,
        Header::Blank => data.set_len(0).map(|()| true).map_err(at(&path))?,
        Header::Foreign => {
            return Err(damaged(&path, "the file is damaged, or is not an LMDB file of this kind of machine"));
        }
        Header::Truncated => return Err(damaged(&path, "the file is damaged: it is shorter than its header says")),
        Header::Damaged => return Err(damaged(&path, PAGES)),
    };
    Ok(Prepared { new, write })
}

const PAGES: &str = "the file is damaged: some of its pages are not what was written";

/// Looks at every page of an environment that is open. The caller is inside a transaction, which keeps the pages of all states
/// from then on from being used again.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let path = dir.join(DATA);
    let data = File::open(&path).map_err(at(&path))?;
    match header::read_all(&data).map_err(at(&path))? {
        Header::Sound => Ok(()),
        _ => Err(damaged(&path, PAGES)),
    }
}

/// Makes a new environment last: after this, a header of zeros is not what a power failure leaves.
pub(crate) fn sync(dir: &Path, folder: &File) -> Result<()> {
    let path = dir.join(DATA);
    File::open(&path).and_then(|data| data.sync_all()).map_err(at(&path))?;
    folder::sync(folder).map_err(at(dir))
}

/// Who may write the folder may write the files.
fn mode(dir: &Path) -> Result<u32> {
    let folder = fs::metadata(dir).map_err(at(dir))?.permissions().mode();
    Ok(if folder & 0o020 != 0 { 0o660 } else { 0o600 })
}

/// Gives LMDB's lock file its blocks, which it would make sparse and map: on a full disk that would be a SIGBUS at
/// the first touch, and not an error.
fn fill(mut lock: &File) -> io::Result<()> {
    let filled = lock.write_all(&vec![0; READERS as usize * SLOT + HEADER]);
    if filled.is_err() {
        lock.set_len(0)?;
    }
    filled
}

fn create(path: &Path, mode: u32) -> Result<File> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(damaged(path, "not a file"));
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(path);
    let file = file.map_err(at(path))?;
    if file.metadata().map_err(at(path))?.len() == 0 {
        // The umask has had its say in the mode. Of an empty file of somebody else the mode stays as it is.
        match file.set_permissions(Permissions::from_mode(mode)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(at(path)(error)),
            _ => {}
        }
    }
    Ok(file)
}
