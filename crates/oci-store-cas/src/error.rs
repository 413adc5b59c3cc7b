use std::io;
use std::path::PathBuf;

use crate::Digest;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with blobs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not those that the digest names.
    #[error("{expected}: the bytes are those of {actual}")]
    DigestMismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },

    /// There are more or fewer bytes than the descriptor says.
    #[error("{digest}: {actual}{} bytes where its descriptor says {expected}", or_more(.truncated))]
    SizeMismatch {
        /// The blob's digest, or what it was to be.
        digest: Digest,
        /// Bytes expected.
        expected: u64,
        /// Bytes that were there. Of too many, only the first is counted: reading stops there.
        actual: u64,
        /// Too few (`true`) or too many.
        truncated: bool,
    },

    /// Bytes were to be checked against a digest of an algorithm that this build cannot compute.
    #[error("{0}: can't compute {algorithm} (known: {known})", algorithm = .0.algorithm(), known = crate::Algorithm::KNOWN_TEXT)]
    UnknownAlgorithm(Digest),

    /// A batch's name is not 1 to 64 bytes of `a-z`, `0-9`, `-`.
    #[error("{0:?} is no name for a batch: it takes 1 to 64 of a-z, 0-9 and -")]
    BatchName(String),

    /// The operating system said no.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },

    /// The caller asked for it to end.
    #[error("cancelled")]
    Cancelled,

    /// Reading or writing a stream that has no path failed.
    #[error(transparent)]
    Stream(io::Error),
}

fn or_more(truncated: &bool) -> &'static str {
    if *truncated { "" } else { " or more" }
}

/// Takes an [`Error`] that came through a [`Read`](io::Read) or a [`Write`](io::Write) out again; all others
/// are an [`Error::Stream`].
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Stream)
    }
}

/// For a [`Read`](io::Read) or a [`Write`](io::Write). What an operating system said keeps its kind; bytes that are
/// not the expected ones are [`InvalidData`](io::ErrorKind::InvalidData).
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Stream(error) => return error,
            Error::Io { ref source, .. } => source.kind(),
            Error::BatchName(_) => io::ErrorKind::InvalidInput,
            Error::UnknownAlgorithm(_) => io::ErrorKind::Unsupported,
            Error::Cancelled => io::ErrorKind::Other,
            Error::DigestMismatch { .. } | Error::SizeMismatch { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// Names the path that an operating system's error is about; made for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
