//! Blobs as files, in the layout of the OCI image-layout spec: `blobs/<algorithm>/<encoded>`.
//!
//! ```text
//! blobs/sha256/2c26b46b…      whole, verified, read-only; renamed here when persisted
//! ingest/<batch>/<n>.tmp      on their way; sealed ones too, until they are persisted. Before the number stands the
//!                             digest that a blob is to have, if it is known: so another can go on with it
//! ```
//!
//! Both folders must be on one file system. Nothing half-written ever lies under `blobs/`, and a file under it is
//! never opened for writing: a name there is made by `rename`, and taken away by `unlink`.

mod access;
mod batch;
mod flush;
mod left;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, ReadDir};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
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
            sync_names(above)?;
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

    /// Takes the batch's folder with all that is in it, and follows no symlink. One that is not a folder is an error.
    fn discard(&self, name: &str) -> Result<u64> {
        check_batch_name(name)?;
        let path = self.ingest.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => remove(&path),
            Ok(_) => Err(Error::io(path)(ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    fn staged(&self, name: &str) -> Result<u64> {
        check_batch_name(name)?;
        Ok(size_of_files(&self.ingest.join(name)))
    }

    fn discard_strays(&self) -> Result<u64> {
        let mut discarded = 0;
        let Some(entries) = read_folder(&self.ingest)? else { return Ok(discarded) };
        for entry in entries {
            let entry = entry.map_err(Error::io(&self.ingest))?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_folder || entry.file_name().to_str().is_none_or(|name| check_batch_name(name).is_err()) {
                discarded += remove(&entry.path())?;
            }
        }
        Ok(discarded)
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
        let meta = file.metadata().map_err(Error::io(&path))?;
        if !meta.is_file() {
            return Err(not_regular(path));
        }
        Ok(Some(Box::new(FileBlob { file, size: meta.len() })))
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

    fn changed(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        let path = self.path_of(digest);
        match fs::symlink_metadata(&path) {
            // Not the time of its content, which may have come with it from elsewhere.
            Ok(meta) => {
                let seconds = u64::try_from(meta.ctime()).ok().map(Duration::from_secs);
                let nanos = u64::try_from(meta.ctime_nsec()).map(Duration::from_nanos).unwrap_or_default();
                Ok(seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds + nanos)))
            }
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
            sync_names(&self.blobs.join(algorithm))?;
        }
        sync_names(&self.blobs)
    }
}

/// A blob's file. Seeking and reading are its own, so nothing is buffered here.
#[derive(Debug)]
struct FileBlob {
    file: File,
    size: u64,
}

impl Blob for FileBlob {
    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
}

impl Read for FileBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for FileBlob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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

/// Removes a file, or a folder with what is in it, and returns the sizes of the files that are seen without going
/// deeper.
fn remove(path: &Path) -> Result<u64> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let (bytes, removed) = if is_folder {
        // An empty one need not be read, which its maker may have died before it let others do.
        (size_of_files(path), fs::remove_dir(path).or_else(|_| fs::remove_dir_all(path)))
    } else {
        (file_size(fs::symlink_metadata(path)), fs::remove_file(path))
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(bytes),
    }
}

/// How many bytes the files in a folder have; none if it is not there.
fn size_of_files(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| file_size(entry.metadata())).sum()
}

fn file_size(meta: io::Result<fs::Metadata>) -> u64 {
    meta.ok().filter(fs::Metadata::is_file).map_or(0, |meta| meta.len())
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(path)
}

/// Makes durable which names are in the blobs' folder. One that is missing holds none.
fn sync_names(path: &Path) -> Result<()> {
    if without(Guard::FolderSync) {
        return Ok(());
    }
    match sync_folder(path) {
        Err(error) if !is_absent(&error) => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Makes durable which names are in a folder.
#[doc(hidden)]
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match open_folder(path)?.sync_all() {
        // The answer of a file system that does not sync folders, which is all that it will ever say.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced,
    }
}
