//! How large the documents of others may be.

use crate::Error;
use crate::document::MAX_DOCUMENT;

/// How much a source's documents may have: they are read into memory as a whole, and so is what an image consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a manifest, and of an index that is a blob.
    pub manifest: u64,
    /// Of `index.json`, which may have a value for each 64 bytes of that.
    pub index_json: u64,
    /// How many descriptors an image may have in all, in its manifests and indexes and in those that are about it. One of a
    /// blob and size that was met before, in this image or one that is imported with it, counts for an eighth; a new one with
    /// more than 256 bytes of text for several. Of all images of a [`Stream`](crate::Stream) together it is as many.
    pub descriptors: u64,
}

impl Limits {
    /// What a store reads of its own. Limits beyond these let in what a store can't work with.
    pub const OWN: Self = Self { manifest: 64 << 20, index_json: 1 << 30, descriptors: u64::MAX };
}

/// An import of so many takes some 60 MiB of memory in all.
const DESCRIPTORS: u64 = 1 << 16;

/// For what comes from others: 4 MiB a manifest, as registries have it, 32 MiB for `index.json`, and 65,536 descriptors.
impl Default for Limits {
    fn default() -> Self {
        Self { manifest: MAX_DOCUMENT, index_json: 32 << 20, descriptors: DESCRIPTORS }
    }
}

/// One of the [`Limits`], by the name of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::manifest`].
    Manifest,
    /// [`Limits::index_json`].
    IndexJson,
    /// [`Limits::descriptors`].
    Descriptors,
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

/// That an image, or all images of a stream `together`, have more than so many descriptors.
pub(crate) fn too_many_descriptors(root: impl ToString, most: u64, together: bool) -> Error {
    let whose = if together { "with the images before it, it has" } else { "its manifests and indexes have" };
    Error::OverLimit {
        what: root.to_string(),
        why: format!("{whose} more than {most} descriptors"),
        limit: Limit::Descriptors,
    }
}

/// A size for people.
pub(crate) fn size_text(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}
