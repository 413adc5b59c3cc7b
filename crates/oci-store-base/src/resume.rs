//! Going on with what an import that died has staged of large blobs.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use oci_store_cas::{BlobWriter, Digest, Error as CasError};

use crate::{LeaseGuard, Result};

/// A blob of which the beginning is staged already, and hashed.
#[derive(Debug)]
#[must_use = "a blob that is not finished is dropped"]
pub struct Resumed<'l> {
    lease: &'l LeaseGuard,
    writer: BlobWriter<'l>,
    digest: Digest,
    size: u64,
}

impl LeaseGuard {
    /// Takes over what dead owners of leases have left staged of these blobs, of no more bytes than these have; a gc that is
    /// at work has it first, and then there is nothing. For [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`Error::Cas`](crate::Error::Cas), [`Error::Io`](crate::Error::Io).
    pub fn take_over(&self, blobs: impl IntoIterator<Item = (Digest, u64)>) -> Result<()> {
        let wanted: HashMap<Digest, u64> = blobs.into_iter().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // Batches before leases, as a gc has it: one without a lease by now has lost its owner.
        let batches = self.store.cas().batches()?;
        // The dead ones are held until the end: no gc takes their files for nobody's meanwhile.
        let leases = self.store.leases()?;
        let live: HashSet<&str> =
            leases.iter().filter(|lease| lease.dead.is_none()).map(|lease| lease.id.as_str()).collect();
        for dead in batches.iter().filter(|id| !live.contains(id.as_str())) {
            self.batch()?.take_over(dead, &|digest| wanted.get(digest).copied())?;
        }
        Ok(())
    }

    /// Begins a blob of which something was [taken over](Self::take_over), and hashes what is there; names it first. `None`
    /// if there is nothing. `passed` as in [`stage`](Self::stage).
    ///
    /// # Errors
    /// As [`stage`](Self::stage).
    pub fn resume(
        &self,
        digest: &Digest,
        size: u64,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<Option<Resumed<'_>>> {
        self.name(std::slice::from_ref(digest))?;
        let writer = BlobWriter::resume(self.batch()?, digest, size, passed)?;
        Ok(writer.map(|writer| Resumed { lease: self, writer, digest: digest.clone(), size }))
    }
}

impl Resumed<'_> {
    /// How many bytes are there.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.writer.written()
    }

    /// Copies what comes behind. Says whether all of it is the blob; if not, what was there is gone, and it is to be staged
    /// from its beginning.
    ///
    /// # Errors
    /// As [`LeaseGuard::stage`].
    pub fn finish(
        mut self,
        rest: &mut dyn Read,
        passed: &mut dyn FnMut(u64) -> oci_store_cas::Result<()>,
    ) -> Result<bool> {
        let copied = self.writer.copy(rest, passed);
        match copied.and_then(|()| self.writer.finish()) {
            Ok(_) => {
                self.lease.note_staged(self.digest, self.size);
                Ok(true)
            }
            Err(CasError::DigestMismatch { .. } | CasError::SizeMismatch { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
