use std::error::Error as StdError;

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

    /// The backend failed. Nothing was committed.
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
}
