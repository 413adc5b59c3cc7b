//! Blobs as files, in the layout of the OCI image-layout spec: `blobs/<algorithm>/<encoded>`.
//!
//! ```text
//! blobs/sha256/2c26b46b…      whole, verified, read-only; renamed here when persisted
//! ingest/<batch>/<n>.tmp      on their way; sealed ones too, until they are persisted
//! ```
//!
//! Both folders must be on one file system. Nothing half-written ever lies under `blobs/`, and a file under it is
//! never opened for writing: a name there is made by `rename`, and taken away by `unlink`.

mod access;
mod batch;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, ReadDir};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

pub use access::Access;

use crate::attack::{Guard, without};
use crate::cas::check_batch_name;
use crate::{Batch, Blob, Cas, Digest, Error, Result};

/// Blobs in a folder. See the [module](self).
///
/// Cheap to make and to clone: it holds two paths and no state, so that any number of them, in any number of
/// processes, can serve the same folders.
#[derive(Clone, Debug)]
pub struct FolderCas {
    blobs: PathBuf,
    ingest: PathBuf,
    access: Access,
}

impl FolderCas {
    /// Blobs in `blobs`, written by way of `ingest`. Does no I/O: the two folders, but not those above them, are
    /// made when something is written, and one that is missing is empty to readers.
    pub fn new(blobs: impl Into<PathBuf>, ingest: impl Into<PathBuf>, access: Access) -> Self {
        Self { blobs: blobs.into(), ingest: ingest.into(), access }
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        let mut path = self.blobs.join(digest.algorithm());
        path.push(digest.encoded());
        path
    }

    /// The folder of the blobs of one algorithm, made if it is missing.
    fn algorithm_folder(&self, algorithm: &str) -> Result<PathBuf> {
        let folder = self.blobs.join(algorithm);
        if folder.is_dir() {
            return Ok(folder);
        }
        if self.access.make_folder(&self.blobs)? {
            // `sync` makes durable what is in `blobs`; that it is there at all is up to the folder above.
            let above = self.blobs.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_folder(above)?;
        }
        self.access.make_folder(&folder)?;
        Ok(folder)
    }

    /// The names in `blobs` that may be algorithms.
    fn algorithms(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let Some(entries) = read_folder(&self.blobs)? else { return Ok(names) };
        for entry in entries {
            let entry = entry.map_err(Error::io(&self.blobs))?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}

impl Cas for FolderCas {
    fn batch(&self, name: &str) -> Result<Box<dyn Batch>> {
        check_batch_name(name)?;
        Ok(Box::new(batch::FolderBatch::new(self.clone(), name)))
    }

    /// Here these are the folders in `ingest`, among them empty ones that a process left when it died.
    fn batches(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let Some(entries) = read_folder(&self.ingest)? else { return Ok(names) };
        for entry in entries {
            let entry = entry.map_err(Error::io(&self.ingest))?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) = entry.file_name().to_str().filter(|name| is_folder && check_batch_name(name).is_ok()) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Takes regular files only, and only those directly in the batch's folder: anything else is not ours, and
    /// is an error.
    fn discard(&self, name: &str) -> Result<u64> {
        check_batch_name(name)?;
        let path = self.ingest.join(name);
        // By descriptor from here on: nothing that is put in the folder's place can lead us elsewhere.
        let folder = match open_folder(&path, OFlags::NOFOLLOW) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            opened => opened.map_err(Error::io(&path))?,
        };
        // All names first: what a folder lists while it is being emptied is up to the file system.
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(|error| Error::io(&path)(error.into()))? {
            let entry = entry.map_err(|error| Error::io(&path)(error.into()))?;
            let regular = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file()),
                kind => kind.is_file(),
            };
            if regular {
                names.push(entry.file_name().to_owned());
            }
        }
        let mut discarded = 0;
        for name in names {
            let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            discarded += stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or_default());
            match rustix::fs::unlinkat(&folder, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io(path.join(name.to_string_lossy().as_ref()))(error.into())),
            }
        }
        match fs::remove_dir(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => Ok(discarded),
        }
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        let path = self.path_of(digest);
        // Without O_NONBLOCK, a FIFO in a blob's place would make us wait for somebody to write into it.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            // What opening a symlink or a socket says.
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::LOOP | Errno::NXIO) => return Err(not_regular(path)),
                _ => return Err(Error::io(path)(error)),
            },
        };
        if !file.metadata().map_err(Error::io(&path))?.is_file() {
            return Err(not_regular(path));
        }
        Ok(Some(Box::new(FileBlob(file))))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path_of(digest);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Err(not_regular(path)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    fn delete(&self, digest: &Digest) -> Result<bool> {
        let path = self.path_of(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// Skips what is no blob: names that are no digest, and whatever is not a regular file.
    fn list(&self, visit: &mut dyn FnMut(Digest, u64) -> ControlFlow<()>) -> Result<()> {
        for algorithm in self.algorithms()? {
            let folder = self.blobs.join(&algorithm);
            let Some(entries) = read_folder(&folder)? else { continue };
            for entry in entries {
                let entry = entry.map_err(Error::io(&folder))?;
                let Some(digest) = digest_of(&algorithm, &entry.file_name()) else { continue };
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    Err(error) if is_absent(&error) => continue,
                    Err(error) => return Err(Error::io(entry.path())(error)),
                };
                if meta.is_file() && visit(digest, meta.len()).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        for algorithm in self.algorithms()? {
            sync_folder(&self.blobs.join(algorithm))?;
        }
        sync_folder(&self.blobs)
    }
}

/// A blob's file. Seeking and reading are its own, so nothing is buffered here.
#[derive(Debug)]
struct FileBlob(File);

impl Blob for FileBlob {
    fn as_file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

impl Read for FileBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for FileBlob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn digest_of(algorithm: &str, name: &OsStr) -> Option<Digest> {
    format!("{algorithm}:{}", name.to_str()?).parse().ok()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn not_regular(path: PathBuf) -> Error {
    Error::io(path)(io::Error::new(ErrorKind::InvalidData, "is not a regular file"))
}

/// The entries of a folder; `None` if there is none.
fn read_folder(path: &Path) -> Result<Option<ReadDir>> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn open_folder(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlags::DIRECTORY | flags).bits().cast_signed()).open(path)
}

/// Makes durable which names are in a folder. One that is missing holds none.
fn sync_folder(path: &Path) -> Result<()> {
    if without(Guard::FolderSync) {
        return Ok(());
    }
    match open_folder(path, OFlags::empty()).and_then(|folder| folder.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        // The answer of a file system that does not sync folders, which is all that it will ever say.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}
