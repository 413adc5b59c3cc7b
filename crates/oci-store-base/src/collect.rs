//! The first half of a garbage collection: rows. What nothing keeps loses its row; its file is pending, for
//! [`unlink`](crate::unlink) to take.
//!
//! A blob is kept by a record of a root type, by a live lease, by a kept parent that needs or uses it, and if it
//! follows a kept blob. Each decision is made inside an update, from the rows and the leases of that moment, so it
//! may run at any time beside anybody.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use oci_store_cas::attack::{Point, reached};

use crate::decide::{Gc, Todo};
use crate::mark::unreached;
use crate::unlink::Before;
use crate::{Error, Result, Store};

/// How much a garbage collection looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What has changed since the last: blobs that something stopped keeping, or that nothing came to keep, and
    /// all that dead processes left. Costs what there is of that.
    Changed,
    /// Everything: a walk over all rows finds what nothing reaches, which is then looked at as what has changed is;
    /// and files without rows are looked for.
    Full,
}

/// What a garbage collection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many blobs.
    pub blobs: u64,
    /// Their sizes, added up, in bytes.
    pub bytes: u64,
    /// Bytes of blobs on their way in that dead processes had left unfinished.
    pub unfinished: u64,
}

impl Collected {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// Blobs that a transaction looks at, at the most, and how long it may decide: other writers wait for it, and for its commit.
/// Attacks are made on transactions that do the least.
const CHUNK: usize = 4096;
pub(crate) const LONG: Duration = Duration::from_millis(if cfg!(oci_store_attack) { 0 } else { 10 });

/// Between two transactions: a lock goes to who asks for it first once it is free, and who waits is woken only then.
pub(crate) const GAP: Duration = Duration::from_micros(500);

/// Unreached blobs that are remembered at a time: what is beyond that is found by another walk. Attacks are made with few.
const UNREACHED: usize = if cfg!(oci_store_attack) { 3 } else { 100_000 };

/// The number that counts when records of the store on top have gone with the blobs that they referenced: who shows
/// such records elsewhere sees by it that there is something to be shown.
pub const RECORDS_GONE: &str = "records-gone";

/// The number under which the boot of the last full collection is kept.
const BOOT: &str = "full-gc-boot";

impl Store {
    /// Removes the rows of all blobs that nothing keeps, taking as roots the records of the types `roots` that
    /// reference a blob. Files stay until [`unlink_pending`](Self::unlink_pending). What dead processes left in
    /// `ingest/` is removed at once. The first collection after a boot is always full, but that it leaves files
    /// without rows that have come since the boot: another tool may have written them, and not listed them yet. One
    /// that is asked to be full takes those too. On a full disk it draws on the store's reserve.
    ///
    /// A `dry_run` changes nothing, and returns what would be taken.
    ///
    /// Idempotent. Atomic in pieces: stopped anywhere, the next one goes on from there.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`], [`Error::Cas`], [`Error::Io`], [`Error::LockTimeout`].
    pub fn collect(&self, roots: &[&str], extent: Extent, dry_run: bool) -> Result<Collected> {
        let boot = self.locks().boot();
        let full = extent == Extent::Full || self.view(|view| view.number(BOOT))? != boot;
        if full {
            // What has no row is taken for garbage: not because a damaged index doesn't show the row.
            self.check_index()?;
        }
        if dry_run {
            return self.rehearse(roots, full, self.orphans_before(extent));
        }
        let mut total = Collected::default();
        self.decide(roots, Todo::Dirty(Vec::new()), &mut total)?;
        if full {
            self.collect_unreached(roots, &mut total)?;
        }
        total.unfinished += self.sweep(extent)?;
        if full {
            self.find_orphans(self.orphans_before(extent), &mut total)?;
            // Last of all: a full collection that does not get here is done again.
            self.update_to_free(|txn| txn.set_number(BOOT, boot))?;
        }
        Ok(total)
    }

    /// Finds what nothing reaches by a walk over one state, which keeps no writer waiting. By the time it is decided about,
    /// something may reach it: the walk says only where to look.
    fn collect_unreached(&self, roots: &[&str], total: &mut Collected) -> Result<()> {
        let mut after = None;
        loop {
            let found = self.view(|view| unreached(view, roots, after.as_ref(), UNREACHED))?;
            if !found.is_empty() {
                self.decide(roots, Todo::These(&found), total)?;
                self.decide(roots, Todo::Dirty(Vec::new()), total)?;
            }
            if found.len() < UNREACHED {
                return Ok(());
            }
            after = found.into_iter().next_back();
        }
    }

    /// Decides about blobs, in short transactions.
    fn decide(&self, roots: &[&str], mut todo: Todo<'_>, total: &mut Collected) -> Result<()> {
        // Batches before leases: one without a lease by now has lost its owner.
        let batches = self.cas().batches()?;
        let mut removed_in_pass = false;
        let mut limit = CHUNK;
        loop {
            let tried = self.with_reserve(Error::is_no_space, || {
                self.update(|txn| {
                    let mut counted = Collected::default();
                    let mut gc = Gc::new(self, txn, roots)?;
                    reached(Point::BeforeRows);
                    gc.bury(&mut counted)?;
                    gc.until = Some(Instant::now() + LONG);
                    let (next, removed) = match &todo {
                        Todo::Dirty(cursor) => gc.pass(cursor, limit, &mut counted)?,
                        Todo::These(list) => {
                            let (handled, removed) =
                                gc.these(list.get(..limit).unwrap_or(list), limit, &mut counted)?;
                            (list.get(handled..).filter(|rest| !rest.is_empty()).map(Todo::These), removed)
                        }
                    };
                    Ok::<_, Error>((next, removed, counted, gc.live, gc.dead))
                })
            });
            let (next, removed, counted, live, dead) = match tried {
                // What is left of the disk is not enough for that much at once.
                Err(error) if error.is_no_space() && limit > 1 => {
                    limit = (limit / 8).max(1);
                    continue;
                }
                tried => tried?,
            };
            total.blobs += counted.blobs;
            total.bytes += counted.bytes;
            for (id, lease) in dead {
                total.unfinished += self.cas().discard(&id)?;
                lease.remove()?;
            }
            for id in batches.iter().filter(|id| !live.contains(*id)) {
                total.unfinished += self.cas().discard(id)?;
            }
            removed_in_pass |= removed;
            todo = match (next, todo) {
                (Some(next), _) => next,
                // What was removed has made its children dirty, before the cursor too.
                (None, Todo::Dirty(_)) if std::mem::take(&mut removed_in_pass) => Todo::Dirty(Vec::new()),
                (None, _) => return Ok(()),
            };
            thread::sleep(GAP);
        }
    }

    /// Which files without a row are taken for left over: if it was asked for everything, all. If it is only the
    /// first collection after a boot, those that were there before: whose they were is not alive any more. A younger
    /// one may be another tool's, which has not listed it yet.
    fn orphans_before(&self, extent: Extent) -> Before {
        match (extent, self.locks().booted()) {
            (Extent::Full, _) => Before::Ever,
            (Extent::Changed, Some(boot)) => Before::Time(boot),
            (Extent::Changed, None) => Before::Never,
        }
    }

    /// Makes files without a row pending: leases and unlinks are not synced, so a power loss leaves some that
    /// nobody names any more.
    fn find_orphans(&self, before: Before, total: &mut Collected) -> Result<()> {
        self.each_orphans(before, &mut |orphans| {
            let counted = self.update_to_free(|txn| {
                let mut counted = Collected::default();
                for (digest, size) in orphans {
                    if txn.view().blob(digest)?.is_none() && !txn.view().is_pending(digest)? {
                        txn.mark_pending(digest, *size)?;
                        counted.add(*size);
                    }
                }
                Ok(counted)
            })?;
            total.blobs += counted.blobs;
            total.bytes += counted.bytes;
            Ok(())
        })
    }

    /// The same in a transaction that is rolled back.
    fn rehearse(&self, roots: &[&str], full: bool, before: Before) -> Result<Collected> {
        enum Outcome {
            Would(Collected),
            Failed(Error),
        }
        impl From<Error> for Outcome {
            fn from(error: Error) -> Self {
                Self::Failed(error)
            }
        }
        let mut pending = HashSet::new();
        let outcome = self.update(|txn| {
            let mut total = Collected::default();
            let mut gc = Gc::new(self, txn, roots)?;
            gc.bury(&mut total)?;
            if full {
                let found = unreached(gc.txn.view(), roots, None, usize::MAX)?;
                gc.these(&found, usize::MAX, &mut total)?;
            }
            while gc.all(CHUNK, &mut total)? {}
            total = gc.pending(&mut pending)?;
            Err::<(), _>(Outcome::Would(total))
        });
        match outcome {
            Err(Outcome::Would(mut total)) => {
                if full {
                    self.each_orphans(before, &mut |orphans| {
                        let new = orphans.iter().filter(|(digest, _)| !pending.contains(digest));
                        new.for_each(|(_, size)| total.add(*size));
                        Ok(())
                    })?;
                }
                Ok(total)
            }
            Err(Outcome::Failed(error)) => Err(error),
            Ok(()) => Ok(Collected::default()),
        }
    }
}
