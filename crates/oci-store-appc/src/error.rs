use oci_store_base as base;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a store of ACIs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store under this one.
    #[error(transparent)]
    Base(#[from] base::Error),

    /// Another process or thread has fetched, refreshed or removed it meanwhile: look again.
    #[error("{url}: its record has changed meanwhile")]
    Changed {
        /// The record's URL.
        url: String,
    },

    /// A record is not what this version writes.
    #[error("{url}: its record can't be read: {source}")]
    Record {
        /// The record's URL.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    /// Of a conditional change of the record of `url`.
    pub(crate) fn of_change(url: &str) -> impl FnOnce(base::Error) -> Self {
        let url = url.to_owned();
        move |error| match error {
            base::Error::Conflict { .. } => Self::Changed { url },
            error => Self::Base(error),
        }
    }
}
