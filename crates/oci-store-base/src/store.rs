use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use oci_store_cas::attack::{Point, reached};
use oci_store_cas::{Access, Blob, Cas, Digest, VerifyReader};
use oci_store_index::{Backend, IndexExt};

use crate::config::{Config, Stamp};
use crate::current::{Current, index_folder, open_current};
use crate::lease::LeaseGuard;
use crate::locks::{Guard, Lease, LeaseInfo, Lock, Locks, Mode, Wait};
use crate::reserve::Reserve;
use crate::{Error, Result, Txn, View};

/// What a store consists of, but for its index.
pub(crate) struct Parts {
    pub(crate) own: PathBuf,
    pub(crate) config: Config,
    pub(crate) cas: Arc<dyn Cas>,
    pub(crate) locks: Arc<dyn Locks>,
}

/// A store, open. Clones are cheap and share everything; threads and processes may use one folder as they like.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    own: PathBuf,
    access: Access,
    cas: Arc<dyn Cas>,
    locks: Arc<dyn Locks>,
    backends: Vec<Arc<dyn Backend>>,
    wait: Wait,
    current: RwLock<Arc<Current>>,
    reserve: Reserve,
}

impl Store {
    pub(crate) fn assemble(
        root: &Path,
        parts: Parts,
        stamp: Stamp,
        backends: Vec<Arc<dyn Backend>>,
        wait: Wait,
    ) -> Result<Self> {
        let Parts { own, config, cas, locks } = parts;
        let access = config.access();
        let reserve = Reserve::new(&own, access);
        let current = open_current(root, &own, &backends, &reserve, config, stamp)?;
        reserve.fill();
        let current = RwLock::new(Arc::new(current));
        let inner = Inner { root: root.to_owned(), own, access, cas, locks, backends, wait, current, reserve };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The folder in it that is the store's own: `.oci-store`.
    #[must_use]
    pub fn own_folder(&self) -> &Path {
        &self.inner.own
    }

    /// Whom the store is for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.inner.access
    }

    /// Where the blobs are. Whoever writes into it directly has to publish what is written.
    #[must_use]
    pub fn cas(&self) -> &dyn Cas {
        &*self.inner.cas
    }

    /// The name of the index's backend.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn index_name(&self) -> Result<String> {
        Ok(self.current()?.config.index.clone())
    }

    pub(crate) fn locks(&self) -> &dyn Locks {
        &*self.inner.locks
    }

    pub(crate) fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.inner.backends
    }

    pub(crate) fn wait(&self) -> Wait {
        self.inner.wait
    }

    /// Takes one of the store's locks. [`Lock::Projection`] is for the store on top; the others are taken by
    /// the methods here.
    ///
    /// # Errors
    /// [`Error::LockTimeout`], [`Error::Io`].
    pub fn lock(&self, lock: Lock, mode: Mode) -> Result<Box<dyn Guard>> {
        self.inner.locks.lock(lock, mode, self.inner.wait)
    }

    /// Runs `body` over a consistent view of the index. Takes no lock.
    ///
    /// # Errors
    /// What `body` returns; [`Error::Index`], [`Error::Io`].
    pub fn view<T, E: From<Error>>(&self, body: impl FnOnce(View<'_>) -> Result<T, E>) -> Result<T, E> {
        self.current()?.index.read(|txn| body(View(txn)).map_err(Carried::Own)).map_err(Carried::into_own)
    }

    /// Runs `body` in an exclusive transaction: atomic, durable when this returns, serialised with every other
    /// one of any process. `body` must not call `update` of the same store.
    ///
    /// # Errors
    /// What `body` returns, and then nothing was changed; [`Error::Index`], [`Error::Io`],
    /// [`Error::LockTimeout`].
    pub fn update<T, E: From<Error>>(&self, body: impl FnOnce(&mut Txn<'_>) -> Result<T, E>) -> Result<T, E> {
        reached(Point::BeforeUpdate);
        let _store = self.share()?;
        let _writer = self.lock(Lock::Writer, Mode::Alone)?;
        // Under the lock: nobody replaces the index until this is over.
        self.current()?.index.write(|txn| body(&mut Txn(txn)).map_err(Carried::Own)).map_err(Carried::into_own)
    }

    /// Runs `op`, which frees room, or is needed for that, or takes none to speak of. Where it fails for want of room, as `is_full` tells, a part
    /// of the store's reserve is given up and it is run again. So `op` is atomic or idempotent.
    ///
    /// # Errors
    /// What `op` returns.
    pub fn with_reserve<T, E>(&self, is_full: impl Fn(&E) -> bool, op: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        self.inner.reserve.with(is_full, op)
    }

    /// [`update`](Self::update) with the reserve to draw on.
    pub(crate) fn update_to_free<T>(&self, mut body: impl FnMut(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        self.with_reserve(Error::is_no_space, || self.update(&mut body))
    }

    pub(crate) fn fill_reserve(&self) {
        self.inner.reserve.fill();
    }

    pub(crate) fn share(&self) -> Result<Box<dyn Guard>> {
        let _turn = self.lock(Lock::Turnstile, Mode::Shared)?;
        self.lock(Lock::Store, Mode::Shared)
    }

    /// The index in use now, opened again if another process has put another one in its place.
    pub(crate) fn current(&self) -> Result<Arc<Current>> {
        let current = self.inner.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.stamp.is_current(&self.inner.own)? {
            return Ok(current);
        }
        let Inner { root, own, backends, reserve, .. } = &*self.inner;
        let (config, stamp) = Config::read(own)?.ok_or_else(|| Error::NoStore(root.clone()))?;
        Ok(self.set_current(open_current(root, own, backends, reserve, config, stamp)?))
    }

    pub(crate) fn set_current(&self, current: Current) -> Arc<Current> {
        let current = Arc::new(current);
        self.inner.current.write().unwrap_or_else(PoisonError::into_inner).clone_from(&current);
        current
    }

    /// Makes a lease: what is written and named under it is kept until it is published, released, or dropped.
    /// `purpose` is a word for people.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lease(&self, purpose: &str) -> Result<LeaseGuard> {
        let lease = LeaseGuard::new(self.clone(), self.inner.locks.lease(purpose)?);
        reached(Point::LeaseMade);
        Ok(lease)
    }

    /// All leases, live and dead.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn leases(&self) -> Result<Vec<Lease>> {
        self.inner.locks.leases()
    }

    /// All leases, for who only looks: it takes none over, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn look_at_leases(&self) -> Result<Vec<LeaseInfo>> {
        self.inner.locks.look_at_leases()
    }

    /// How much of the disk the index in use takes, in bytes; files may have holes.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn index_size(&self) -> Result<u64> {
        let folder = index_folder(self.own_folder(), self.current()?.config.epoch);
        let mut size = 0;
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let entry = entry.map_err(Error::io(&folder))?;
            size += match entry.metadata() {
                Ok(meta) => meta.blocks() * 512,
                // A log that somebody has ended meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => 0,
                Err(error) => return Err(Error::io(entry.path())(error)),
            };
        }
        Ok(size)
    }

    /// Looks for damage in the index: reads every row, and what else the backend can tell. Changes nothing.
    ///
    /// # Errors
    /// [`Error::IndexLost`] if there is some, and as [`view`](Self::view).
    pub fn check_index(&self) -> Result<()> {
        Ok(self.current()?.index.check()?)
    }

    /// Whether the store has a blob, whole as far as can be told without reading it: it has a row, which does
    /// not say damaged, and a file of the row's size.
    ///
    /// # Errors
    /// As [`view`](Self::view); [`Error::Cas`].
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        let Some(info) = self.view(|view| view.blob(digest))? else { return Ok(false) };
        Ok(!info.damaged && self.cas().size(digest)? == Some(info.size))
    }

    /// Opens a blob for reading. The reader stays whole even if a gc takes the blob meanwhile.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], [`Error::Cas`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Box<dyn Blob>> {
        self.cas().open(digest)?.ok_or_else(|| Error::BlobNotFound(digest.to_string()))
    }

    /// Opens a blob for reading with its bytes verified: a read at the end fails if they were not the right
    /// ones.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], [`Error::Cas`].
    pub fn read_blob_verified(&self, digest: &Digest) -> Result<VerifyReader<Box<dyn Blob>>> {
        Ok(VerifyReader::new(self.read_blob(digest)?, digest, None)?)
    }

    /// Reads all of a blob, verifies it, and notes the outcome in its row. `passed` is called with the number
    /// of bytes after each piece; an error of it ends the check. Returns whether the blob is whole.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] if the file is gone; [`Error::Cas`] if it can't be read, and as
    /// [`update`](Self::update).
    pub fn check_blob(
        &self,
        digest: &Digest,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<bool> {
        let good = self.verify_blob(digest, passed)?;
        self.update_to_free(|txn| txn.note_check(digest, good)).map(|()| good)
    }

    /// The same without a note of the outcome: whoever reads many notes several in [one transaction](Txn::note_check).
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] if the file is gone; [`Error::Cas`] if it can't be read.
    pub fn verify_blob(
        &self,
        digest: &Digest,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<bool> {
        let size = self.view(|view| view.blob(digest))?.map(|info| info.size);
        match VerifyReader::new(self.read_blob(digest)?, digest, size)?.check(passed) {
            Ok(_) => Ok(true),
            Err(oci_store_cas::Error::DigestMismatch { .. } | oci_store_cas::Error::SizeMismatch { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// An error on its way through an index's transaction.
enum Carried<E> {
    Own(E),
    Index(oci_store_index::Error),
}

impl<E> From<oci_store_index::Error> for Carried<E> {
    fn from(error: oci_store_index::Error) -> Self {
        Self::Index(error)
    }
}

impl<E: From<Error>> Carried<E> {
    fn into_own(self) -> E {
        match self {
            Self::Own(error) => error,
            Self::Index(error) => Error::from(error).into(),
        }
    }
}
