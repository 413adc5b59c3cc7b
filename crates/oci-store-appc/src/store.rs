use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use oci_store_base::cas::{Algorithm, Blob, Digest, Expect, VerifyReader};
use oci_store_base::index::Backend;
use oci_store_base::{self as base, BlobFilter, BlobInfo, Collected, Condition, Extent, LeaseGuard, NewBlob, Space};

use crate::{Caching, Error, Remote, Result};

/// The kind of a folder that is such a store: another kind of store is not opened as one, nor the other way round.
pub const KIND: &str = "appc";

/// The type of the records: their keys are URLs, of up to 4096 bytes.
const REMOTE: &str = "remote";

/// Hex digits of a hash that are in a key: the first 256 bits.
const KEY_DIGITS: usize = 64;

/// An image's key: `sha512-` and the first 64 hex digits of its hash.
#[must_use]
pub fn key(image: &Digest) -> String {
    let hex = image.encoded();
    format!("{}-{}", image.algorithm(), hex.get(..KEY_DIGITS).unwrap_or(&hex))
}

/// A store of ACIs. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Store {
    base: base::Store,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its SHA-512.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When it came, in seconds since 1970.
    pub created: u64,
}

/// An image that was just written. It stays in the store as long as this lives, and longer if a record names it by
/// then.
#[derive(Debug)]
#[must_use = "an image without a record goes with the next gc once this is dropped"]
pub struct NewImage {
    blob: NewBlob,
    lease: LeaseGuard,
}

impl NewImage {
    /// Its SHA-512.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.blob.digest
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blob.size
    }
}

impl Store {
    /// Opens the store in the folder `root` over one of `backends`; a new one is made over the first.
    ///
    /// # Errors
    /// Those of [`base::OpenOptions::open`].
    pub fn open(root: impl AsRef<Path>, backends: Vec<Arc<dyn Backend>>) -> Result<Self> {
        Self::open_with(root, backends, |options| options)
    }

    /// As [`open`](Self::open), with other options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        root: impl AsRef<Path>,
        backends: Vec<Arc<dyn Backend>>,
        options: impl FnOnce(base::OpenOptions) -> base::OpenOptions,
    ) -> Result<Self> {
        let base = options(base::OpenOptions::new(KIND, backends)).open(root)?;
        Ok(Self { base })
    }

    /// The store under this one.
    #[must_use]
    pub fn base(&self) -> &base::Store {
        &self.base
    }

    /// Writes an image, hashing it as it streams. [`record`](Self::record) it before the result is dropped.
    ///
    /// # Errors
    /// Those of reading `source`; [`Error::Base`].
    pub fn put(&self, source: &mut dyn Read) -> Result<NewImage> {
        let lease = self.base.lease("put")?;
        let blob = lease.write(Expect::any(Algorithm::Sha512), "", source)?;
        Ok(NewImage { blob, lease })
    }

    /// Writes an image and records that it came from `url`, in place of what that had before.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`record`](Self::record).
    pub fn fetch(&self, url: &str, caching: &Caching, source: &mut dyn Read) -> Result<Remote> {
        self.record(url, caching, &self.put(source)?)
    }

    /// Records that an image came from `url`, in place of what that had before. Atomic and durable.
    ///
    /// # Errors
    /// [`base::Error::InvalidName`] if the URL is empty or longer than 4096 bytes; [`Error::Base`].
    pub fn record(&self, url: &str, caching: &Caching, image: &NewImage) -> Result<Remote> {
        let value = caching.write(url)?;
        let NewImage { blob, lease } = image;
        let version = lease.publish(std::slice::from_ref(blob), |txn| {
            txn.set_data(Space::Store, REMOTE, url, &value, Some(&blob.digest), Condition::Any)
        })?;
        Ok(Remote { url: url.to_owned(), image: blob.digest.clone(), caching: caching.clone(), version })
    }

    /// Renews what is known about caching, after the server has said that the image was not modified (304).
    ///
    /// # Errors
    /// [`Error::Changed`] if the record is not the one that `remote` was read from any more; [`Error::Base`].
    pub fn refresh(&self, remote: &Remote, caching: &Caching) -> Result<Remote> {
        let Remote { url, image, version, .. } = remote;
        let value = caching.write(url)?;
        let condition = Condition::Version(*version);
        let version = self
            .base
            .update(|txn| txn.set_data(Space::Store, REMOTE, url, &value, Some(image), condition))
            .map_err(Error::of_change(url))?;
        Ok(Remote { caching: caching.clone(), version, ..remote.clone() })
    }

    /// The record of `url`, or `None`.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::Base`].
    pub fn remote(&self, url: &str) -> Result<Option<Remote>> {
        self.base.view(|view| view.data(Space::Store, REMOTE, url))?.map(Remote::read).transpose()
    }

    /// A page of at most `limit` records, in the order of their URLs: those that begin with `prefix`, behind the URL
    /// `after`. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::Base`].
    pub fn remotes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Remote>> {
        let page = self.base.view(|view| view.data_page(Space::Store, REMOTE, prefix, after, limit))?;
        page.into_iter().map(Remote::read).collect()
    }

    /// Removes the record of `url`; says whether there was one. Its image goes with the next gc, unless another
    /// record names it too. Idempotent.
    ///
    /// # Errors
    /// [`Error::Base`].
    pub fn remove(&self, url: &str) -> Result<bool> {
        Ok(self.base.update(|txn| txn.delete_data(Space::Store, REMOTE, url, Condition::Any))?.is_some())
    }

    /// The one image whose [`key`] or digest is `text` or begins so: `sha512-0c45`, or `0c45`.
    ///
    /// # Errors
    /// [`base::Error::InvalidPrefix`], [`base::Error::BlobNotFound`], [`base::Error::Ambiguous`]; [`Error::Base`].
    pub fn resolve(&self, text: &str) -> Result<Digest> {
        Ok(self.base.view(|view| view.resolve(text))?)
    }

    /// A page of at most `limit` images, in the order of their digests, behind the digest `after`. A page shorter
    /// than `limit` is the last.
    ///
    /// # Errors
    /// [`Error::Base`].
    pub fn images(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Image>> {
        let filter = BlobFilter { algorithm: Some(Algorithm::Sha512.name().to_owned()), ..BlobFilter::default() };
        let page = self.base.view(|view| view.blobs(&filter, after, limit))?;
        let image = |BlobInfo { digest, size, created, .. }| Image { digest, size, created };
        Ok(page.into_iter().map(image).collect())
    }

    /// Opens an image for reading, verified: a read at the end fails if the bytes were not the right ones.
    ///
    /// # Errors
    /// [`base::Error::BlobNotFound`]; [`Error::Base`].
    pub fn read(&self, image: &Digest) -> Result<VerifyReader<Box<dyn Blob>>> {
        Ok(self.base.read_blob_verified(image)?)
    }

    /// Removes the images that no record names and nobody is about to record, at any time beside anybody. Returns
    /// the files that went.
    ///
    /// # Errors
    /// [`Error::Base`].
    pub fn gc(&self) -> Result<Collected> {
        let rows = self.base.collect(&[REMOTE], Extent::Changed, false)?;
        Ok(Collected { unfinished: rows.unfinished, ..self.base.unlink_pending()? })
    }
}
