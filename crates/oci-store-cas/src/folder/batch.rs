use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::flush::{Flush, Sent, sync_others};
use super::{FileBlob, FolderCas};
use crate::{Access, Batch, Blob, Digest, Error, Result, Stage};

/// Numbers the files that this process stages, over all its batches.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How often to begin again when batches of the same name keep removing their folder; each time one of
/// them came to its end.
const ATTEMPTS: u32 = 1000;

/// Files in `ingest/<name>/`. Of those that are sealed only the paths are held: there may be many.
#[derive(Debug)]
pub(super) struct FolderBatch {
    pub(super) cas: FolderCas,
    folder: PathBuf,
    sealed: Mutex<BTreeMap<Digest, Staged>>,
    /// What was taken over of dead batches, with its size.
    left: Mutex<BTreeMap<Digest, (Staged, u64)>>,
    flush: Flush,
}

impl FolderBatch {
    pub(super) fn new(cas: FolderCas, name: &str) -> Self {
        Self {
            folder: cas.ingest.join(name),
            cas,
            sealed: Mutex::default(),
            left: Mutex::default(),
            flush: Flush::default(),
        }
    }

    fn sealed(&self) -> MutexGuard<'_, BTreeMap<Digest, Staged>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn left(&self) -> MutexGuard<'_, BTreeMap<Digest, (Staged, u64)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new path in the batch, whose name begins with the digest if one is to be found there.
    pub(super) fn new_path(&self, digest: Option<&Digest>) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}.tmp", process::id());
        self.folder.join(match digest {
            Some(digest) => format!("{}-{}-{name}", digest.algorithm(), digest.encoded()),
            None => name,
        })
    }

    pub(super) fn make_folder(&self) -> Result<()> {
        self.cas.access.make_folder(&self.cas.ingest)?;
        self.cas.access.make_folder(&self.folder)?;
        Ok(())
    }

    fn stage_in(&self, (file, staged): (File, Staged)) -> Box<dyn Stage + '_> {
        Box::new(FolderStage { batch: self, file, staged, sent: Sent::default() })
    }

    /// Another name for an open file, in the batch.
    fn link(&self, source: &File) -> io::Result<Staged> {
        // By the descriptor: under the name by which it was opened another file may lie now.
        let opened = format!("/proc/self/fd/{}", source.as_raw_fd());
        loop {
            let path = self.new_path(None);
            match rustix::fs::linkat(CWD, &opened, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => return Ok(Staged { path, is_link: true }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether all whom the store is for may read a file with the mode and the owner that it has. This process can: it
    /// has it open.
    fn is_readable(&self, file: &fs::Metadata) -> io::Result<bool> {
        Ok(match self.cas.access {
            Access::Private => true,
            Access::Group => {
                let same_group = fs::metadata(&self.folder)?.gid() == file.gid();
                file.mode() & 0o004 != 0 || (same_group && file.mode() & 0o040 != 0)
            }
        })
    }

    fn create(&self, digest: Option<&Digest>) -> Result<(File, Staged)> {
        let mut attempts = 0;
        loop {
            let path = self.new_path(digest);
            let mut options = OpenOptions::new();
            // O_EXCL: processes in different PID namespaces may share a number, and a dead one left its files.
            let created = options.read(true).write(true).create_new(true).mode(self.cas.access.file_mode()).open(&path);
            match created {
                Ok(file) => {
                    let staged = Staged { path, is_link: false };
                    self.flush.begin(&self.folder)?;
                    return Ok((file, staged));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < ATTEMPTS => {
                    attempts += 1;
                    self.make_folder()?;
                }
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
    }
}

impl Batch for FolderBatch {
    fn stage(&self) -> Result<Box<dyn Stage + '_>> {
        Ok(self.stage_in(self.create(None)?))
    }

    fn stage_as(&self, digest: &Digest) -> Result<Box<dyn Stage + '_>> {
        Ok(self.stage_in(self.create(Some(digest).filter(|digest| digest.known_algorithm().is_some()))?))
    }

    fn take_over(&self, dead: &str, most: &dyn Fn(&Digest) -> Option<u64>) -> Result<()> {
        self.take_files(dead, most)
    }

    fn resume(&self, digest: &Digest) -> Result<Option<Box<dyn Stage + '_>>> {
        let Some((staged, _)) = self.left().remove(digest) else { return Ok(None) };
        self.flush.begin(&self.folder)?;
        let mut file = OpenOptions::new().read(true).write(true).open(&staged.path).map_err(Error::io(&staged.path))?;
        sync_others(&file).map_err(Error::io(&staged.path))?;
        let end = file.seek(SeekFrom::End(0)).map_err(Error::io(&staged.path))?;
        Ok(Some(Box::new(FolderStage { batch: self, file, staged, sent: Sent::until(end) })))
    }

    fn persist(&self) -> Result<()> {
        // Locked to the end: whoever calls this at the same time must not return before our blobs, which may be
        // theirs, are visible.
        let mut sealed = self.sealed();
        let mut made: Option<(String, PathBuf)> = None;
        // On an error the rest is dropped, and with it the files.
        let ready = mem::take(&mut *sealed);
        self.flush.settle()?;
        for (digest, staged) in ready {
            let folder = match &made {
                Some((algorithm, folder)) if algorithm == digest.algorithm() => folder,
                _ => {
                    let folder = self.cas.algorithm_folder(digest.algorithm())?;
                    &made.insert((digest.algorithm().to_owned(), folder)).1
                }
            };
            staged.rename(&folder.join(digest.encoded()))?;
        }
        Ok(())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        let sealed = self.sealed();
        let Some(Staged { path, .. }) = sealed.get(digest) else { return Ok(None) };
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        Ok(Some(Box::new(FileBlob { file, size })))
    }

    fn forget(&self, digest: &Digest) -> Result<bool> {
        self.sealed().remove(digest).map_or(Ok(false), Staged::remove)
    }
}

impl Drop for FolderBatch {
    fn drop(&mut self) {
        self.sealed().clear();
        self.left().clear();
        // Not empty while another batch of this name has something in it. A failure leaves an empty folder.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A file in `ingest`, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    /// Empty once it is not ours any more.
    pub(super) path: PathBuf,
    /// It is another name of somebody's file.
    pub(super) is_link: bool,
}

impl Staged {
    fn rename(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|error| {
            // The folder it goes to was just made sure of.
            let missing = error.kind() == ErrorKind::NotFound;
            Error::io(if missing { &self.path } else { to })(error)
        })?;
        if self.is_link {
            // Of two names of one file, `rename` leaves both.
            return self.remove().map(drop);
        }
        // From here on, the old name may be anybody's.
        self.path = PathBuf::new();
        Ok(())
    }

    fn remove(mut self) -> Result<bool> {
        let path = mem::take(&mut self.path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => Ok(true),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // What can't be removed now is found by its batch's name, and discarded, later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[derive(Debug)]
struct FolderStage<'b> {
    batch: &'b FolderBatch,
    file: File,
    staged: Staged,
    sent: Sent,
}

impl Write for FolderStage<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // With its path: whoever copies into it has to tell a full disk here from a bad one at the source.
        if self.staged.is_link {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "a hard link is not written into"));
        }
        let n = self.file.write(bytes).map_err(|error| io::Error::from(Error::io(&self.staged.path)(error)))?;
        self.sent.wrote(&self.file, n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for FolderStage<'_> {
    fn seal(self: Box<Self>, digest: &Digest) -> Result<()> {
        let Self { batch, file, staged, .. } = *self;
        // The mode of a link would be that of its source, too.
        if !staged.is_link {
            let mode = Permissions::from_mode(batch.cas.access.blob_mode());
            file.set_permissions(mode).map_err(Error::io(&staged.path))?;
        }
        let size = file.metadata().map_err(Error::io(&staged.path))?.len();
        // Before it is sealed: what `persist` finds sealed, it finds here.
        batch.flush.ended(&staged.path, file, size)?;
        batch.sealed().insert(digest.clone(), staged);
        Ok(())
    }

    fn reflink(&mut self, source: &File) -> io::Result<bool> {
        // A clone replaces what is there, so it is for an empty stage only.
        if !source.metadata()?.is_file() || self.file.metadata()?.len() > 0 {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(&self.file, source) {
            Ok(()) => {}
            // Not this file system, not between these two, or not this file: copying is what is left.
            Err(
                Errno::OPNOTSUPP
                | Errno::NOTTY
                | Errno::NOSYS
                | Errno::XDEV
                | Errno::INVAL
                | Errno::PERM
                | Errno::ACCESS
                | Errno::TXTBSY
                | Errno::BADF
                | Errno::ISDIR,
            ) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.file.seek(SeekFrom::End(0))?;
        Ok(true)
    }

    fn hardlink(&mut self, source: &File) -> io::Result<()> {
        let meta = source.metadata()?;
        if !meta.is_file() || self.file.metadata()?.len() > 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        if !self.batch.is_readable(&meta)? {
            return Err(io::Error::other("its mode or group keeps others of a shared store from reading it"));
        }
        sync_others(source)?;
        let file = source.try_clone()?;
        self.staged = self.batch.link(source)?;
        self.file = file;
        Ok(())
    }

    fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(FromStart { file: &self.file, position: 0 }))
    }
}

/// Reads a file by a position of its own, so that writing goes on where it was.
struct FromStart<'f> {
    file: &'f File,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}
