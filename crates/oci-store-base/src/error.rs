use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use oci_store_cas::{self as cas, Digest};
use oci_store_index as index;
use rustix::io::Errno;

use crate::Space;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no store in the folder, and none was to be created.
    #[error("{}: there is no store here", .0.display())]
    NoStore(PathBuf),

    /// The folder has something else in it: no store is made there.
    #[error("{}: the folder is not empty and is no store (of an image layout, `adopt` makes one)", .0.display())]
    NotAStore(PathBuf),

    /// The store may be read but not written, so its index can't be opened.
    #[error("{}: no right to write the store, and without it none to use its index", .0.display())]
    ReadOnly(PathBuf),

    /// The store belongs to another kind of program: an appc store was opened as an OCI one, say.
    #[error("{}: by its config.json this is a store of kind {found}, not {expected}", .path.display())]
    Kind {
        /// The store's folder.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What it is.
        found: String,
    },

    /// A newer version of this program wrote the store. It was left untouched.
    #[error("{}: the store has format {found}, this program knows up to {known}: use a newer oci-store", .path.display())]
    NewerFormat {
        /// The store's folder.
        path: PathBuf,
        /// The store's format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },

    /// The store's config can't be read.
    #[error("{}: not a store's config: {why}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// The store has another index than the one asked for.
    #[error("{}: the store's index is {found}, not {asked}; `index convert --to {asked}` changes it", .path.display())]
    IndexMismatch {
        /// The store's folder.
        path: PathBuf,
        /// What was asked for.
        asked: String,
        /// What the folder says.
        found: String,
    },

    /// The index's backend is not in this build.
    #[error("this build has no index called {name}, which was asked for, or is named in config.json (it has: {known})")]
    NoBackend {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },

    /// The store is on a filesystem that several machines may mount, where locks and shared memory are not to be relied
    /// upon.
    #[error("{}: on a network filesystem ({name}): locks and shared memory are not reliable there, and images could be lost; where this machine alone uses it, --allow-network-filesystem", .path.display())]
    NetworkFilesystem {
        /// The store's folder.
        path: PathBuf,
        /// The filesystem.
        name: &'static str,
    },

    /// The index of a store is not there, or can't be opened. The store is otherwise as it was.
    #[error("{}: the index can't be used: {why}; run `reindex` to build it anew", .path.display())]
    IndexLost {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// A lock was not to be had in the time allowed.
    #[error("{lock}: still locked after {waited:.1?}{}", .holder.as_deref().map(|h| format!(", held by {h}")).unwrap_or_default(), waited = .waited)]
    LockTimeout {
        /// Which lock.
        lock: String,
        /// How long it was waited for.
        waited: std::time::Duration,
        /// Who holds it, where that can be told.
        holder: Option<String>,
    },

    /// No blob has that digest, or a digest that begins so.
    #[error("{0}: no such blob in the store")]
    BlobNotFound(String),

    /// Several blobs have a digest that begins so.
    #[error("{prefix}: ambiguous: {}{}", .candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), if *.more { ", …" } else { "" })]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The first of them, in order.
        candidates: Vec<Digest>,
        /// Whether there are more than these.
        more: bool,
    },

    /// A text is neither a digest nor the beginning of one.
    #[error("{text:?}: {why}")]
    InvalidPrefix {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A name of data is empty, too long, or has a NUL in its type.
    #[error("{name:?} is no {what}: {why}")]
    InvalidName {
        /// The beginning of the name.
        name: String,
        /// What it was to be.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A conditional set found another version than the expected one.
    #[error("{space} {kind} {key:?}: expected {}, found {}", version(.expected), version(.found))]
    Conflict {
        /// Whose data.
        space: Space,
        /// The data's type.
        kind: String,
        /// The data's key.
        key: String,
        /// The version that was to be there (`None`: nothing).
        expected: Option<u64>,
        /// The version that is there.
        found: Option<u64>,
    },

    /// Blobs that were to be published have gone meanwhile, or were never there: fetch them again.
    #[error("{}{}: not in the store", .0.first().map(ToString::to_string).unwrap_or_default(), if .0.len() > 1 { format!(" and {} more", .0.len() - 1) } else { String::new() })]
    Gone(Vec<Digest>),

    /// A row of the index is not what this format says. `reindex` builds the index anew.
    #[error("the index has a damaged row ({what}): run `reindex`")]
    Row {
        /// Which table.
        what: &'static str,
    },

    /// A blob was to share a file, or its blocks, and can't.
    #[error("{digest}: {why}; --link copy copies it")]
    NotShared {
        /// The blob.
        digest: Digest,
        /// Why not.
        why: String,
    },

    /// The caller asked for it to end.
    #[error("cancelled")]
    Cancelled,

    /// Blobs: [`cas::Error`], but for [`Error::Cancelled`].
    #[error(transparent)]
    Cas(cas::Error),

    /// The index: [`index::Error`], but for damage, which is [`Error::IndexLost`].
    #[error(transparent)]
    Index(index::Error),

    /// The operating system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// Full, read-only or failing disks, rights, memory, descriptors; not what is wrong with one file.
fn is_of_the_machine(error: &io::Error) -> bool {
    use ErrorKind::{OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(error.kind(), StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem | OutOfMemory)
        || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::IO))
}

/// Something else is in its place, or nothing.
fn is_of_the_file(error: &io::Error) -> bool {
    use ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

fn version(version: &Option<u64>) -> String {
    version.map_or_else(|| "nothing".to_owned(), |v| format!("version {v}"))
}

impl From<cas::Error> for Error {
    fn from(error: cas::Error) -> Self {
        match error {
            cas::Error::Cancelled => Self::Cancelled,
            error => Self::Cas(error),
        }
    }
}

impl From<index::Error> for Error {
    /// Building it anew helps where it is damaged, and not where there is no room, no right or no descriptor.
    fn from(error: index::Error) -> Self {
        match error {
            index::Error::Damaged { path, why, .. } => Self::IndexLost { path, why },
            index::Error::Io { path, source, .. } if is_of_the_file(&source) => {
                Self::IndexLost { path, why: source.to_string() }
            }
            error => Self::Index(error),
        }
    }
}

impl Error {
    /// Whether the disk is full: no bytes, no inodes, or no quota are left. What failed by it has changed nothing, and
    /// may work when there is room again.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        self.as_io().is_some_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }

    /// Whether this user has no right to do it; another may have.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.as_io().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    /// The same, where it was about something in `folder`, or where it is not known about what: then it was the index.
    #[must_use]
    pub fn is_no_space_in(&self, folder: &Path) -> bool {
        let path = match self {
            Self::Io { path, .. }
            | Self::Cas(cas::Error::Io { path, .. })
            | Self::Index(index::Error::Io { path, .. }) => Some(path),
            _ => None,
        };
        self.is_no_space() && path.is_none_or(|path| path.starts_with(folder))
    }

    /// Whether it is about the store or the machine rather than about one blob: what comes next would fail by it, too.
    #[must_use]
    pub fn hinders_all(&self) -> bool {
        match self {
            Self::Index(index::Error::Key(_) | index::Error::Value(_)) => false,
            Self::Index(_)
            | Self::IndexLost { .. }
            | Self::LockTimeout { .. }
            | Self::NoStore(_)
            | Self::NotShared { .. }
            | Self::ReadOnly(_)
            | Self::Row { .. } => true,
            error => error.as_io().is_some_and(is_of_the_machine),
        }
    }

    /// What the operating system said, if it was that.
    #[must_use]
    pub fn as_io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Index(error) => error.as_io(),
            Self::Cas(cas::Error::Io { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// Names the path that an operating system's error is about; made for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
