use oci_store_base::{Data, cas::Digest};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What an answer to a fetch said about caching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caching {
    /// The entity tag, for `If-None-Match`.
    pub etag: Option<String>,
    /// `max-age`, in seconds.
    pub max_age: u64,
    /// When it was fetched, or last found not to be modified: in seconds since 1970.
    pub fetched: u64,
}

/// The record of a URL: which image came from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where the image was fetched from.
    pub url: String,
    /// The image.
    pub image: Digest,
    /// Whether it has to be fetched again.
    pub caching: Caching,
    /// Changes with every change of the record.
    pub version: u64,
}

impl Remote {
    /// Whether the image may be used at the time `now`, in seconds since 1970, without asking its server.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        now < self.caching.fetched.saturating_add(self.caching.max_age)
    }

    pub(crate) fn read(data: Data) -> Result<Self> {
        let Data { key: url, value, version, blob, .. } = data;
        let damaged = |url: &str| {
            let url = url.to_owned();
            move |source| Error::Record { url, source }
        };
        let caching = serde_json::from_slice(&value).map_err(damaged(&url))?;
        let image = blob.ok_or_else(|| damaged(&url)(serde::de::Error::custom("it names no image")))?;
        Ok(Self { url, image, caching, version })
    }
}

impl Caching {
    pub(crate) fn write(&self, url: &str) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|source| Error::Record { url: url.to_owned(), source })
    }
}
