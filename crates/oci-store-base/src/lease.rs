//! Writing: under a lease, so that nothing written is collected before its owner has tied it to something.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Mutex, OnceLock, PoisonError};

use oci_store_cas::attack::{Guard, Point, reached, without};
use oci_store_cas::{Algorithm, Batch, Blob, BlobWriter, Digest, Expect, VerifyReader};

use crate::locks::{Guard as Held, LeaseHold};
use crate::{Error, Result, Store, Txn};

/// A blob that is to have a row: what [`LeaseGuard::publish`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// May be empty, if nobody knows.
    pub media_type: String,
}

/// A live lease. The blobs that it [names](LeaseGuard::name), and those written through it, survive every gc as
/// long as it lives. Dropping it lets go of them: what has not been published by then is discarded, what has
/// and is kept by nothing is the next gc's.
#[derive(Debug)]
#[must_use = "what a lease keeps is let go when it is dropped"]
pub struct LeaseGuard {
    pub(crate) store: Store,
    hold: Option<Box<dyn LeaseHold>>,
    batch: OnceLock<Box<dyn Batch>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    named: HashSet<Digest>,
    /// Sealed in the batch, with the size verified.
    staged: HashMap<Digest, u64>,
    /// Found in the CAS, verified, content durable.
    adopted: HashSet<Digest>,
    /// May be visible in the CAS through this lease.
    exposed: HashSet<Digest>,
    /// Visible in the CAS through this lease, with a durable name. Only of these does publish believe a file
    /// without a row.
    persisted: HashSet<Digest>,
}

impl LeaseGuard {
    pub(crate) fn new(store: Store, hold: Box<dyn LeaseHold>) -> Self {
        Self { store, hold: Some(hold), batch: OnceLock::new(), state: Mutex::default() }
    }

    /// Names blobs that the lease is to keep. A blob that is there when this returns, and is seen to be there
    /// afterwards, stays. Idempotent.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn name(&self, digests: &[Digest]) -> Result<()> {
        let mut state = self.state();
        let new: Vec<Digest> = digests.iter().filter(|digest| !state.named.contains(digest)).cloned().collect();
        if let (Some(hold), false) = (&self.hold, new.is_empty() || without(Guard::Leases)) {
            hold.name(&new)?;
            state.named.extend(new);
        }
        Ok(())
    }

    /// Claims the work on a blob among all who use the store, or returns `None` if somebody else is at it. Never waits. A
    /// courtesy, on which nothing rests; it ends when what is returned is dropped, or with the process.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn claim(&self, digest: &Digest) -> Result<Option<Box<dyn Held>>> {
        self.store.locks().claim(digest)
    }

    /// Copies a blob of known digest and size into the lease's batch, verified as it streams; names it first.
    /// It becomes visible with [`publish`](Self::publish). `passed` is called with the number of bytes after
    /// each piece; an error of it ends the copy.
    ///
    /// # Errors
    /// [`Error::Cas`] if the bytes are not those named, or can't be read or written.
    pub fn stage(
        &self,
        digest: &Digest,
        size: u64,
        source: &mut dyn Read,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<()> {
        self.stage_by(digest, size, &mut |writer| Ok(writer.copy(source, passed)?))
    }

    pub(crate) fn stage_by(
        &self,
        digest: &Digest,
        size: u64,
        write: &mut dyn FnMut(&mut BlobWriter<'_>) -> Result<()>,
    ) -> Result<()> {
        self.name(std::slice::from_ref(digest))?;
        let mut writer = BlobWriter::new(self.batch()?, Expect::digest(digest.clone()).size(size))?;
        write(&mut writer)?;
        writer.finish()?;
        self.note_staged(digest.clone(), size);
        Ok(())
    }

    /// Notes a blob that is sealed in the batch.
    pub(crate) fn note_staged(&self, digest: Digest, size: u64) {
        self.state().staged.insert(digest, size);
    }

    /// Copies a blob whose digest nobody has said into the lease's batch, and names it; returns its SHA-256 and size.
    /// All else is as for [`stage`](Self::stage).
    ///
    /// # Errors
    /// [`Error::Cas`] if the bytes can't be read or written.
    pub fn stage_unknown(
        &self,
        source: &mut dyn Read,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<(Digest, u64)> {
        let mut writer = BlobWriter::new(self.batch()?, Expect::any(Algorithm::Sha256))?;
        writer.copy(source, passed)?;
        let (digest, size) = writer.finish()?;
        self.name(std::slice::from_ref(&digest))?;
        self.state().staged.insert(digest.clone(), size);
        Ok((digest, size))
    }

    /// The size of a blob that is staged, and not published yet.
    #[must_use]
    pub fn staged(&self, digest: &Digest) -> Option<u64> {
        self.state().staged.get(digest).copied()
    }

    /// Opens a blob that is staged, and not published yet; `None` if there is none. Its bytes were verified when they
    /// were staged.
    ///
    /// # Errors
    /// [`Error::Cas`].
    pub fn read_staged(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        Ok(self.batch()?.open(digest)?)
    }

    /// Verifies a blob that is in the CAS already and that this store has not written: somebody else put it
    /// there. With [`publish`](Self::publish) it becomes the store's own. `passed` as in [`stage`](Self::stage).
    ///
    /// # Errors
    /// [`Error::BlobNotFound`]; [`Error::Cas`] if the bytes are not those named.
    pub fn adopt(
        &self,
        digest: &Digest,
        size: u64,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<()> {
        self.name(std::slice::from_ref(digest))?;
        let blob = self.store.read_blob(digest)?;
        // Its writer had no reason to make it durable.
        if let (Some(file), false) = (blob.as_file(), without(Guard::FileSync)) {
            file.sync_all().map_err(oci_store_cas::Error::from)?;
        }
        VerifyReader::new(blob, digest, Some(size))?.check(passed)?;
        self.state().adopted.insert(digest.clone());
        Ok(())
    }

    /// Gives up what was staged and not published, as far as `unwanted` says so.
    ///
    /// # Errors
    /// [`Error::Cas`].
    pub fn discard_staged(&self, unwanted: &dyn Fn(&Digest) -> bool) -> Result<()> {
        let staged: Vec<Digest> = self.state().staged.keys().filter(|digest| unwanted(digest)).cloned().collect();
        staged.iter().try_for_each(|digest| self.discard(digest))
    }

    /// Gives up one blob that was staged and not published. Idempotent.
    ///
    /// # Errors
    /// [`Error::Cas`].
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        self.batch()?.forget(digest)?;
        self.state().staged.remove(digest);
        Ok(())
    }

    /// Writes a blob whose digest may not be known yet, and gives it a row: it is in the store when this
    /// returns, for as long as the lease lives, and longer if something has come to keep it by then.
    ///
    /// # Errors
    /// As [`stage`](Self::stage) and [`publish`](Self::publish).
    pub fn write(&self, expect: Expect, media_type: &str, source: &mut dyn Read) -> Result<NewBlob> {
        // A batch of its own, for another thread's publish would make the blob visible before it is named.
        let batch = self.new_batch()?;
        let mut writer = BlobWriter::new(&*batch, expect)?;
        writer.copy(source, &mut |_| Ok(()))?;
        let (digest, size) = writer.finish()?;
        // Named before it is visible: from then on a gc may meet it.
        self.name(std::slice::from_ref(&digest))?;
        self.state().exposed.insert(digest.clone());
        let blob = NewBlob { digest, size, media_type: media_type.to_owned() };
        self.store.update(|txn| {
            // In here, as a gc that has read the leases before can't unlink it then: nobody can stage it again.
            batch.persist()?;
            self.store.cas().sync()?;
            self.state().persisted.insert(blob.digest.clone());
            if self.admit(txn, &blob)? { Ok(()) } else { Err(Error::Gone(vec![blob.digest.clone()])) }
        })?;
        Ok(blob)
    }

    /// Makes what was staged visible, then, in one transaction, gives a row to each of `blobs` that has none
    /// and runs `body`, which ties them to something. Atomic and durable.
    ///
    /// Every one of `blobs` must then be in the store: those that are not, because a gc has taken them between
    /// a look at the index and the naming, are returned as [`Error::Gone`] and nothing is changed; stage them
    /// and publish again.
    ///
    /// # Errors
    /// [`Error::Gone`]; what `body` returns; as [`Store::update`]; [`Error::Cas`], also if a blob that is there
    /// has another size.
    pub fn publish<T, E: From<Error>>(
        &self,
        blobs: &[NewBlob],
        body: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.persist()?;
        reached(Point::BeforePublish);
        self.store.update(|txn| {
            let mut gone = Vec::new();
            for blob in blobs {
                if !self.admit(txn, blob)? {
                    gone.push(blob.digest.clone());
                }
            }
            if gone.is_empty() { body(txn) } else { Err(Error::Gone(gone).into()) }
        })
    }

    /// Files first, durable under their names; rows after.
    fn persist(&self) -> Result<()> {
        // What another thread stages from here on is for its own call.
        let (staged, adopted) = {
            let mut state = self.state();
            let State { staged, adopted, exposed, .. } = &mut *state;
            exposed.extend(staged.keys().chain(&*adopted).cloned());
            (staged.clone(), adopted.clone())
        };
        if !staged.is_empty() {
            self.batch()?.persist()?;
            reached(Point::BlobPersisted);
        }
        if !staged.is_empty() || !adopted.is_empty() {
            self.store.cas().sync()?;
        }
        let mut state = self.state();
        state.staged.retain(|digest, _| !staged.contains_key(digest));
        state.adopted.retain(|digest| !adopted.contains(digest));
        state.persisted.extend(staged.into_keys().chain(adopted));
        Ok(())
    }

    /// Sees to it that a blob has a row that implies its file, or says that it can't be.
    fn admit(&self, txn: &mut Txn<'_>, blob: &NewBlob) -> Result<bool> {
        let persisted = self.state().persisted.contains(&blob.digest);
        let row = txn.view().blob(&blob.digest)?;
        match row {
            Some(row) if !row.damaged && row.size != blob.size => {
                return Err(Error::Cas(oci_store_cas::Error::SizeMismatch {
                    digest: blob.digest.clone(),
                    expected: blob.size,
                    actual: row.size,
                    truncated: row.size < blob.size,
                }));
            }
            Some(row) if !row.damaged && !row.media_type.is_empty() => txn.touch_blob(&blob.digest)?,
            Some(row) if !row.damaged => {
                txn.write_blob(&crate::BlobInfo { media_type: blob.media_type.clone(), ..row })?;
            }
            // Nobody unlinks while this transaction runs, so the answer holds until the row is committed.
            _ if persisted && self.store.cas().size(&blob.digest)? == Some(blob.size) => {
                txn.put_blob(&blob.digest, blob.size, &blob.media_type)?;
            }
            _ if without(Guard::PublishCheck) => txn.put_blob(&blob.digest, blob.size, &blob.media_type)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn batch(&self) -> Result<&dyn Batch> {
        if let Some(batch) = self.batch.get() {
            return Ok(&**batch);
        }
        let batch = self.new_batch()?;
        Ok(&**self.batch.get_or_init(|| batch))
    }

    fn new_batch(&self) -> Result<Box<dyn Batch>> {
        let id = self.hold.as_ref().map_or("", |hold| hold.id());
        Ok(self.store.cas().batch(id)?)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        // The batch goes first: no ingest folder without its lease.
        drop(self.batch.take());
        let unpublished = {
            let state = self.state();
            let has_row = |digest: &&Digest| self.store.view(|view| view.blob(digest)).is_ok_and(|row| row.is_some());
            state.exposed.iter().any(|digest| !has_row(&digest))
        };
        if let Some(hold) = self.hold.take().filter(|_| !unpublished) {
            hold.release();
        }
        // Otherwise the lease is left as one of the dead, so that the next gc finds the files that it names.
    }
}
