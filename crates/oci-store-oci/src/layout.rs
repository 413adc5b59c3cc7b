//! Image layouts in a folder, as a source: version 1 (image-spec, *Image Layout*), and the form of 2016, with
//! `refs/NAME` and `blobs/ALGORITHM-HEX`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_store_cas::{Access, Cas, Digest, folder::FolderCas};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::index_json::{IndexJson, check_version};
use crate::limits::{Limits, Most};
use crate::referrers::Referrers;
use crate::source::{Content, Entry, ImageSource};
use crate::{Descriptor, Error, Result};

/// The most bytes that `oci-layout` may have.
pub(crate) const MAX_OCI_LAYOUT: Most = Most::always(1 << 16);

/// An image layout in a folder.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    form: Form,
    limits: Limits,
    referrers: Referrers,
}

#[derive(Debug)]
enum Form {
    V1(FolderCas),
    Of2016,
}

impl Layout {
    /// Opens the layout in `folder`.
    ///
    /// # Errors
    /// [`Error::NotALayout`], [`Error::Document`] if its version is not 1; [`Error::Io`] if it may not be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let index = folder.join("index.json");
        let form = if exists(&index).map_err(Error::io(index))? {
            check_folder(&folder)?;
            return Ok(Self::of_store(&folder).with_limits(Limits::default()));
        } else if folder.join("refs").is_dir() && folder.join("blobs").is_dir() {
            Form::Of2016
        } else if folder.is_dir() {
            return Err(Error::NotALayout { path: folder, why: "it has no index.json" });
        } else if folder.exists() {
            return Err(Error::NotALayout { path: folder, why: "it is not a folder" });
        } else {
            return Err(Error::io(folder)(rustix::io::Errno::NOENT.into()));
        };
        Ok(Self { folder, form, limits: Limits::default(), referrers: Referrers::default() })
    }

    /// The folder of a store, whatever stands in it now.
    pub(crate) fn of_store(folder: &Path) -> Self {
        let cas = FolderCas::new(folder.join("blobs"), folder.join("blobs"), Access::Private);
        // What another tool has written there may be of any size.
        let limits = Limits { descriptors: Limits::default().descriptors, ..Limits::OWN };
        Self { folder: folder.to_owned(), form: Form::V1(cas), limits, referrers: Referrers::default() }
    }

    /// With other limits than [those by default](Limits::default).
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether it has the form that stores have.
    pub(crate) fn is_v1(&self) -> bool {
        self.blobs().is_some()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The limits on its documents.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Its blobs, if it has the form that stores have.
    pub(crate) fn blobs(&self) -> Option<&FolderCas> {
        match &self.form {
            Form::V1(cas) => Some(cas),
            Form::Of2016 => None,
        }
    }

    fn refs_of_2016(&self) -> Result<Vec<Entry>> {
        let folder = self.folder.join("refs");
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let bytes = read_small(&path, Most::index_json(self.limits.index_json))?;
            let descriptor = crate::json::read(&bytes)
                .map_err(|error| Error::document(path.display(), format!("not a descriptor: {error}")))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            entries.push(Entry { name, descriptor });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

impl ImageSource for Layout {
    fn origin(&self) -> String {
        self.folder.display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        if matches!(self.form, Form::Of2016) {
            return self.refs_of_2016();
        }
        let path = self.folder.join("index.json");
        let mut bytes = read_small(&path, Most::index_json(self.limits.index_json))?;
        // Some tools write it in place: what is read in that moment may be half old and half new.
        for _ in 0..10 {
            if is_still(&path, &bytes).map_err(Error::io(&path))? {
                break;
            }
            bytes = read_small(&path, Most::index_json(self.limits.index_json))?;
        }
        Ok(IndexJson::parse(&path, &bytes, self.limits)?.into_entries())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        match &self.form {
            Form::V1(cas) => Ok(cas.open(&descriptor.digest)?.map(|blob| Box::new(blob) as Box<dyn Content>)),
            Form::Of2016 => {
                let name = format!("{}-{}", descriptor.digest.algorithm(), descriptor.digest.encoded());
                let path = self.folder.join("blobs").join(name);
                match open_regular(&path) {
                    Ok(file) => Ok(Some(Box::new(PlainFile(file)))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io(path)(error)),
                }
            }
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers.of(self, subject)
    }

    fn max_manifest(&self) -> u64 {
        self.limits.manifest
    }

    fn max_descriptors(&self) -> u64 {
        self.limits.descriptors
    }

    fn as_layout(&self) -> Option<&Layout> {
        Some(self)
    }
}

struct PlainFile(File);

impl Read for PlainFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for PlainFile {
    fn as_file(&self) -> Option<&File> {
        Some(&self.0)
    }

    fn skip_to(&mut self, position: u64) -> io::Result<bool> {
        self.0.seek(SeekFrom::Start(position)).map(|_| true)
    }
}

/// Whether there is something. Where that may not be seen, nobody can say.
fn exists(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        found => Ok(found.is_ok()),
    }
}

fn check_folder(folder: &Path) -> Result<()> {
    let path = folder.join("oci-layout");
    match read_small(&path, MAX_OCI_LAYOUT) {
        Ok(bytes) => check_version(&path, &bytes),
        // Required by the spec, but some tools leave it away, and index.json says enough.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file that is really one: no link, FIFO, device or folder in its place, and without waiting for one.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_at(CWD, path)
}

/// The same in an open folder.
pub(crate) fn open_regular_at(folder: impl AsFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let not_regular = || io::Error::new(ErrorKind::InvalidData, "is not a regular file");
    match openat(folder, path, flags, Mode::empty()).map(File::from) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        // What opening a symlink or a socket says.
        Ok(_) | Err(Errno::LOOP | Errno::NXIO) => Err(not_regular()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_small(path: &Path, most: Most) -> Result<Vec<u8>> {
    let file = open_regular(path).map_err(Error::io(path))?;
    read_all(path, file, most)
}

pub(crate) fn read_all(path: &Path, file: File, most: Most) -> Result<Vec<u8>> {
    let limit = most.bytes;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let is_long = length > limit;
    // One more, to see the end: it may be large, and growing by doubling takes three times as much.
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(limit) + 1).unwrap_or_default());
    if !is_long {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    }
    if is_long || bytes.len() as u64 > limit {
        return Err(most.exceeded(path.display()));
    }
    Ok(bytes)
}

/// Whether a file has these bytes, without a second copy of them in memory.
fn is_still(path: &Path, mut bytes: &[u8]) -> io::Result<bool> {
    let mut file = open_regular(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        let read = buffer.get(..read).unwrap_or_default();
        match bytes.strip_prefix(read) {
            Some(rest) if !read.is_empty() => bytes = rest,
            rest => return Ok(rest.is_some_and(<[u8]>::is_empty)),
        }
    }
}
