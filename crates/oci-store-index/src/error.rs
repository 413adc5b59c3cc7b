use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in an index, alike over every backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is empty or longer than [`MAX_KEY`](crate::MAX_KEY) bytes; holds its length.
    #[error("a key of {0} bytes: an index takes 1 to {max}", max = crate::MAX_KEY)]
    Key(usize),

    /// A value is longer than [`MAX_VALUE`](crate::MAX_VALUE) bytes; holds its length.
    #[error("a value of {0} bytes: an index takes at most {max}", max = crate::MAX_VALUE)]
    Value(usize),

    /// The body of a transaction asked for it to be rolled back; [`IndexExt`](crate::IndexExt) uses it to carry
    /// errors of other types.
    #[error("the transaction was rolled back by its body")]
    Aborted,

    /// The index's files are damaged, or are not those of an index: what they held can't be read, and waiting or
    /// more room won't help.
    #[error("{backend} index: {}: {why}", .path.display())]
    Damaged {
        /// The backend's name.
        backend: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// The operating system said no: a full disk, no right, too many open files. Nothing was committed, and the
    /// index is as it was.
    #[error("{backend} index: {}: {source}", .path.display())]
    Io {
        /// The backend's name.
        backend: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },

    /// The backend failed otherwise. Nothing was committed.
    #[error("{backend} index: {source}")]
    Backend {
        /// The backend's name.
        backend: &'static str,
        /// Its own error.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// Wraps a backend's own error.
    pub fn backend(backend: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Backend { backend, source: source.into() }
    }

    /// [`Error::Damaged`].
    pub fn damaged(backend: &'static str, path: &Path, why: impl ToString) -> Self {
        Self::Damaged { backend, path: path.to_owned(), why: why.to_string() }
    }

    /// [`Error::Io`].
    pub fn io(backend: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { backend, path: path.to_owned(), source }
    }

    /// What the operating system said, if it was that.
    #[must_use]
    pub fn as_io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
