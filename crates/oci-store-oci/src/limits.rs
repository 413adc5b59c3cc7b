//! How large the documents of others may be.

use crate::Error;
use crate::document::MAX_DOCUMENT;

/// The most bytes that a source's documents may have: they are read into memory as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a manifest, and of an index that is a blob.
    pub manifest: u64,
    /// Of `index.json`, which may have a value for each 64 bytes of that.
    pub index_json: u64,
}

impl Limits {
    /// What a store reads of its own. Limits beyond these let in what a store can't work with.
    pub const OWN: Self = Self { manifest: 64 << 20, index_json: 1 << 30 };
}

/// For what comes from others: 4 MiB a manifest, as registries have it, and 32 MiB for `index.json`.
impl Default for Limits {
    fn default() -> Self {
        Self { manifest: MAX_DOCUMENT, index_json: 32 << 20 }
    }
}

/// One of the [`Limits`], by the name of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::manifest`].
    Manifest,
    /// [`Limits::index_json`].
    IndexJson,
}

/// The most bytes that a document may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) bytes: u64,
    /// What to raise for more, if that can be raised.
    limit: Option<Limit>,
}

impl Most {
    /// Whatever the limits are.
    pub(crate) const fn always(bytes: u64) -> Self {
        Self { bytes, limit: None }
    }

    pub(crate) fn manifest(bytes: u64) -> Self {
        Self { bytes, limit: (bytes < Limits::OWN.manifest).then_some(Limit::Manifest) }
    }

    pub(crate) fn index_json(bytes: u64) -> Self {
        Self { bytes, limit: (bytes < Limits::OWN.index_json).then_some(Limit::IndexJson) }
    }

    /// How many values it may have as an `index.json`: each costs memory when it is read, and much more than its text. An
    /// entry has six or more.
    pub(crate) fn values(self) -> usize {
        const BYTES: u64 = 64;
        usize::try_from(self.bytes / BYTES).unwrap_or(usize::MAX)
    }

    /// That `what` has more.
    pub(crate) fn exceeded(self, what: impl ToString) -> Error {
        self.refused(what, format!("it has more than {}", size_text(self.bytes)))
    }

    /// The same in other words.
    pub(crate) fn refused(self, what: impl ToString, why: impl ToString) -> Error {
        match (Error::document(what, why), self.limit) {
            (Error::Document { what, why }, Some(limit)) => Error::OverLimit { what, why, limit },
            (error, _) => error,
        }
    }
}

/// A size for people.
pub(crate) fn size_text(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}
