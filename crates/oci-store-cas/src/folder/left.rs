//! What a batch whose process is dead has left, taken over by another: files are found by the digest in their names, and a
//! file is one batch's at any moment.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::batch::{FolderBatch, Staged};
use super::{digest_of, read_folder};
use crate::cas::check_batch_name;
use crate::{Access, Digest, Error, Result};

impl FolderBatch {
    /// Takes over files of the batch `dead`, of each digest the longest.
    pub(super) fn take_files(&self, dead: &str, most: &dyn Fn(&Digest) -> Option<u64>) -> Result<()> {
        check_batch_name(dead)?;
        let folder = self.cas.ingest.join(dead);
        let Some(entries) = read_folder(&folder)? else { return Ok(()) };
        for entry in entries {
            let entry = entry.map_err(Error::io(&folder))?;
            let Some(digest) = digest_in(&entry.file_name()) else { continue };
            let Some(most) = most(&digest) else { continue };
            let has = self.left().get(&digest).map_or(0, |(_, size)| *size);
            let size = match prepare(&entry.path(), self.cas.access) {
                Ok(Some(size)) if (has + 1..=most).contains(&size) => size,
                // Nor if it can't be looked at: it is a leftover, and can be fetched again.
                _ => continue,
            };
            self.make_folder()?;
            let path = self.new_path(Some(&digest));
            match fs::rename(entry.path(), &path) {
                Ok(()) => drop(self.left().insert(digest, (Staged { path, is_link: false }, size))),
                // Somebody else was faster, or a gc.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(entry.path())(error)),
            }
        }
        Ok(())
    }
}

/// Makes a file one that can be written on, and returns its size; `None` if it is not to be used: it is no file, it has
/// another name as well, or it is somebody else's, who alone may set its mode.
fn prepare(path: &Path, access: Access) -> io::Result<Option<u64>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Ok(None);
    }
    match file.set_permissions(Permissions::from_mode(access.file_mode())) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        changed => changed.map(|()| Some(meta.len())),
    }
}

/// The digest in the name of a staged file: `sha256-HEX-PID-N.tmp`.
fn digest_in(name: &OsStr) -> Option<Digest> {
    let mut parts = name.to_str()?.strip_suffix(".tmp")?.rsplitn(3, '-');
    let (_number, _pid, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let (algorithm, encoded) = digest.split_once('-')?;
    digest_of(algorithm, OsStr::new(encoded)).filter(|digest| digest.known_algorithm().is_some())
}
