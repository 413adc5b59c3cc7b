//! Why a blob is in the store.

use oci_store_base::{self as base, Keeper, LeaseInfo, Step};
use oci_store_cas::Digest;

use crate::{Result, Store, refs};

/// What keeps blobs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The ref of this name.
    Ref(String),
    /// A pin.
    Pin,
    /// A live lease: an operation that is going on.
    Lease(LeaseInfo),
}

/// What holds a blob, and the way down to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// What holds the first of the blobs.
    pub holder: Holder,
    /// From what is held by itself down to the blob that was asked about.
    pub steps: Vec<Step>,
}

/// Why a blob is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// The blob.
    pub digest: Digest,
    /// Some of the paths to it, the shortest first. Empty: nothing keeps it, and the next gc takes it.
    pub paths: Vec<Path>,
    /// How many more there are.
    pub more: u64,
    /// There may be more than that: they were not all counted.
    pub uncounted: bool,
}

impl Store {
    /// Why the blob that `text` names is kept (a digest, or the beginning of one, or a ref): at most `limit` of the paths to
    /// it. It has one if and only if a [gc](Self::gc) in this moment would leave it.
    ///
    /// # Errors
    /// [`Error::RefNotFound`](crate::Error::RefNotFound), [`base::Error::BlobNotFound`], [`base::Error::Ambiguous`].
    pub fn why(&self, text: &str, limit: usize) -> Result<Kept> {
        let digest = match (self.find(text), text.parse::<Digest>()) {
            (Ok(found), _) => found.digest,
            // It may be on its way in, or out.
            (Err(_), Ok(digest)) => digest,
            (Err(error), Err(_)) => return Err(error),
        };
        let base::Kept { paths, more, uncounted } = self.base().why(&refs::ROOTS, &digest, limit)?;
        let paths = paths.into_iter().map(|base::Path { keeper, steps }| {
            let holder = match keeper {
                Keeper::Record { kind, key } if kind == refs::REF => Holder::Ref(key),
                Keeper::Record { .. } => Holder::Pin,
                Keeper::Lease(lease) => Holder::Lease(lease),
            };
            Path { holder, steps }
        });
        Ok(Kept { digest, paths: paths.collect(), more, uncounted })
    }
}
