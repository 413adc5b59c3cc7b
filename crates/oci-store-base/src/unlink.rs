//! The second half of a garbage collection: files. Only those go that have no row and no live lease, in the
//! moment in which nobody can give them one.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use oci_store_cas::Digest;
use oci_store_cas::attack::{Point, reached};
use oci_store_cas::threads::{available, side_by_side};

use crate::collect::{GAP, LONG};
use crate::decide::FEW;
use crate::edges::scan;
use crate::schema;
use crate::{Collected, Error, Result, Store, View};

/// Files that one transaction unlinks at the most.
const CHUNK: usize = 256;

/// Threads that unlink, at the most.
const THREADS: usize = 4;

/// Is shown some files, with their sizes.
type Files<'f> = dyn FnMut(&[(Digest, u64)]) -> Result<()> + 'f;

/// Since when a file without a row must not have changed, to be taken for left over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before {
    /// It may have changed at any time.
    Ever,
    /// Before this time.
    Time(SystemTime),
    /// None is taken.
    Never,
}

impl View<'_> {
    /// Whether a blob's row is gone and its file is to follow.
    pub(crate) fn is_pending(&self, digest: &Digest) -> Result<bool> {
        Ok(self.0.get(&schema::of_digest(schema::PENDING, digest))?.is_some())
    }

    /// Visits the blobs behind `after` that have lost their rows and whose files are to go, with their sizes in bytes.
    ///
    /// # Errors
    /// Those of `visit`; [`Error::Row`], [`Error::Index`].
    pub fn each_pending(
        &self,
        after: Option<&Digest>,
        visit: &mut dyn FnMut(Digest, u64) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let from = after.map(|digest| schema::of_digest(schema::PENDING, digest)).unwrap_or_default();
        scan(self.0, &[schema::PENDING], &from, &mut |key, value| {
            if key == from.as_slice() {
                return Ok(ControlFlow::Continue(()));
            }
            let size = value.try_into().map(u64::from_be_bytes).map_err(|_| Error::Row { what: "pending" })?;
            visit(schema::digest_of("pending", key)?, size)
        })
    }
}

impl Store {
    /// Unlinks the files of blobs that lost their rows to [`collect`](Self::collect), this time or an earlier one,
    /// unless they have one again or a live lease names them. Returns what went. Idempotent; in short
    /// transactions.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn unlink_pending(&self) -> Result<Collected> {
        let mut total = Collected::default();
        let mut after = None;
        loop {
            let mut page = Vec::new();
            self.view(|view| {
                view.each_pending(after.as_ref(), &mut |digest, size| {
                    page.push((digest, size));
                    Ok(if page.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })
            })?;
            if page.is_empty() {
                self.fill_reserve();
                return Ok(total);
            }
            let done = self.unlink(&page, &mut total)?;
            after = page.into_iter().take(done).next_back().map(|(digest, _)| digest);
            thread::sleep(GAP);
        }
    }

    /// Looks through all files of the CAS for those without a row, and unlinks them unless a live lease names
    /// them. Returns what went. Costs a walk over the folder.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn unlink_orphans(&self) -> Result<Collected> {
        let mut total = Collected::default();
        self.each_orphans(Before::Ever, &mut |orphans| {
            let mut left = orphans;
            while !left.is_empty() {
                left = left.get(self.unlink(left, &mut total)?..).unwrap_or_default();
                thread::sleep(GAP);
            }
            Ok(())
        })?;
        Ok(total)
    }

    /// Visits the files without a row, and without a live lease, that have changed last before a time: some at a
    /// time, with their sizes.
    pub(crate) fn each_orphans(&self, before: Before, visit: &mut Files<'_>) -> Result<()> {
        let leased = self.leased()?;
        let mut some = |files: &mut Vec<(Digest, u64)>| {
            let mut orphans = Vec::new();
            self.view(|view| {
                for (digest, size) in files.drain(..) {
                    let is_known = view.blob(&digest)?.is_some() || view.is_pending(&digest)?;
                    if !is_known && !leased.contains(&digest) && self.is_before(before, &digest)? {
                        orphans.push((digest, size));
                    }
                }
                Ok::<_, Error>(())
            })?;
            if orphans.is_empty() { Ok(()) } else { visit(&orphans) }
        };
        let (mut files, mut done) = (Vec::new(), Ok(()));
        self.cas().list(&mut |digest, size| {
            files.push((digest, size));
            if files.len() == CHUNK {
                done = some(&mut files);
            }
            if done.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        done?;
        some(&mut files)
    }

    /// Where the time is not known, it is not.
    fn is_before(&self, before: Before, digest: &Digest) -> Result<bool> {
        Ok(match before {
            Before::Ever => true,
            Before::Time(time) => self.cas().changed(digest)?.is_some_and(|changed| changed < time),
            Before::Never => false,
        })
    }

    fn leased(&self) -> Result<HashSet<Digest>> {
        let live = self.leases()?.into_iter().filter(|lease| lease.dead.is_none());
        Ok(live.flat_map(|lease| lease.digests).collect())
    }

    /// Unlinks files, a few at least, until others have waited long enough; returns how many of them it has looked at.
    fn unlink(&self, files: &[(Digest, u64)], total: &mut Collected) -> Result<usize> {
        reached(Point::BeforeUnlink);
        // A second try counts what it finds: what the first has unlinked is gone.
        self.update_to_free(|txn| {
            // Read again, in this transaction: whoever names a blob later sees, in its own, that the file is gone.
            let leased = self.leased()?;
            reached(Point::InUnlink);
            let fates = files.iter().map(|(digest, _)| Fate::of(digest, txn.view(), &leased));
            let fates = fates.collect::<Result<Vec<_>>>()?;
            let goes = |at: &usize| fates.get(*at) == Some(&Fate::Goes);
            let doomed: Vec<usize> = (0..files.len()).filter(goes).collect();
            let unlinked = self.unlink_these(doomed.iter().filter_map(|at| files.get(*at)).collect(), total)?;
            let looked = doomed.get(unlinked).copied().unwrap_or(files.len());
            for ((digest, _), fate) in files.iter().zip(&fates).take(looked) {
                if *fate != Fate::Waits {
                    txn.0.delete(&schema::of_digest(schema::PENDING, digest))?;
                }
            }
            Ok(looked)
        })
    }

    /// Unlinks files, a few at least, until it has taken long enough; returns how many of them, the first. Removing a name
    /// is done by one at a time in a folder, but what comes after it, the freeing of its blocks, takes as long.
    fn unlink_these(&self, files: Vec<&(Digest, u64)>, total: &mut Collected) -> Result<usize> {
        let until = Instant::now() + LONG;
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new(Ok(total));
        let threads = if files.len() < FEW { 1 } else { available() };
        side_by_side(threads.min(THREADS), || {
            // Whoever has got a number sees to its file, so that those that are done are the first.
            while next.load(Ordering::Relaxed) < FEW || Instant::now() < until {
                let Some((digest, size)) = files.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                let deleted = self.cas().delete(digest);
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *outcome, deleted) {
                    (Ok(total), Ok(true)) => total.add(*size),
                    (_, Ok(_)) => {}
                    (_, Err(error)) => {
                        *outcome = Err(error);
                        next.store(files.len().max(FEW), Ordering::Relaxed);
                        return;
                    }
                }
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(next.into_inner().min(files.len()))
    }
}

/// What becomes of a file that is to go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has a row again.
    Stays,
    /// A live lease names it.
    Waits,
    Goes,
}

impl Fate {
    fn of(digest: &Digest, view: View<'_>, leased: &HashSet<Digest>) -> Result<Self> {
        Ok(match view.blob(digest)? {
            Some(_) => Self::Stays,
            None if leased.contains(digest) => Self::Waits,
            None => Self::Goes,
        })
    }
}
