//! The first half of a garbage collection: rows. What nothing keeps loses its row; its file is pending, for
//! [`unlink`](crate::unlink) to take.
//!
//! A blob is kept by a record of a root type, by a live lease, by a kept parent that needs or uses it, and if it
//! follows a kept blob. Each decision is made inside an update, from the rows and the leases of that moment, so it
//! may run at any time beside anybody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use oci_store_cas::Digest;
use oci_store_cas::attack::{Guard, Point, reached, without};

use crate::edges::scan;
use crate::keeper::search;
use crate::locks::DeadLease;
use crate::mark::mark;
use crate::name::Kind;
use crate::schema;
use crate::unlink::Before;
use crate::{Error, Link, Result, Space, Store, Txn};

/// How much a garbage collection looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What has changed since the last: blobs that something stopped keeping, or that nothing came to keep, and
    /// all that dead processes left. Costs what there is of that.
    Changed,
    /// Everything, in one walk over the rows; and files without rows are looked for.
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

/// Blobs that one transaction removes at the most, so that other writers don't wait long.
const CHUNK: usize = 512;

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
        if dry_run {
            return self.rehearse(roots, full, self.orphans_before(extent));
        }
        // Batches before leases: one without a lease by now has lost its owner.
        let batches = self.cas().batches()?;
        let mut total = Collected::default();
        let mut cursor = Vec::new();
        let mut removed_in_pass = false;
        let mut limit = if full { usize::MAX } else { CHUNK };
        loop {
            let tried = self.with_reserve(Error::is_no_space, || {
                self.update(|txn| {
                    let mut counted = Collected::default();
                    let mut gc = Gc::new(self, txn, roots)?;
                    reached(Point::BeforeRows);
                    gc.bury(&mut counted)?;
                    let step =
                        if full { gc.full(limit, &mut counted)? } else { gc.changed(&cursor, limit, &mut counted)? };
                    Ok::<_, Error>((step, counted, gc.live, gc.dead))
                })
            });
            let (step, counted, live, dead) = match tried {
                // What is left of the disk is not enough for that much at once.
                Err(error) if error.is_no_space() && limit > 1 => {
                    limit = if limit > CHUNK { CHUNK } else { limit / 8 };
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
            match step {
                Step::More { next, removed } => {
                    cursor = next;
                    removed_in_pass |= removed;
                }
                Step::Last { removed } if removed || removed_in_pass => {
                    // What was removed has made its children dirty, before the cursor too.
                    cursor = Vec::new();
                    removed_in_pass = false;
                }
                Step::Last { .. } => break,
            }
        }
        total.unfinished += self.sweep(extent)?;
        if full {
            self.find_orphans(self.orphans_before(extent), &mut total)?;
            // Last of all: a full collection that does not get here is done again.
            self.update_to_free(|txn| txn.set_number(BOOT, boot))?;
        }
        Ok(total)
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
        let mut orphans = Vec::new();
        self.each_orphan(before, &mut |digest, size| orphans.push((digest, size)))?;
        for page in orphans.chunks(CHUNK) {
            let counted = self.update_to_free(|txn| {
                let mut counted = Collected::default();
                for (digest, size) in page {
                    if txn.view().blob(digest)?.is_none() && !txn.view().is_pending(digest)? {
                        txn.mark_pending(digest, *size)?;
                        counted.add(*size);
                    }
                }
                Ok(counted)
            })?;
            total.blobs += counted.blobs;
            total.bytes += counted.bytes;
        }
        Ok(())
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
                gc.full(usize::MAX, &mut total)?;
            } else {
                while let (_, true) = gc.pass(&[], usize::MAX, &mut total)? {}
            }
            total = gc.pending(&mut pending)?;
            Err::<(), _>(Outcome::Would(total))
        });
        match outcome {
            Err(Outcome::Would(mut total)) => {
                if full {
                    self.each_orphan(before, &mut |digest, size| {
                        if !pending.contains(&digest) {
                            total.add(size);
                        }
                    })?;
                }
                Ok(total)
            }
            Err(Outcome::Failed(error)) => Err(error),
            Ok(()) => Ok(Collected::default()),
        }
    }
}

enum Step {
    More { next: Vec<u8>, removed: bool },
    Last { removed: bool },
}

/// One transaction of a collection.
struct Gc<'s, 'x, 't> {
    store: &'s Store,
    txn: &'x mut Txn<'t>,
    /// The beginnings of the keys of records that are roots.
    roots: Vec<Vec<u8>>,
    kinds: Vec<String>,
    leased: HashSet<Digest>,
    live: HashSet<String>,
    dead: Vec<(String, Box<dyn DeadLease>)>,
    buried: Vec<Digest>,
    verdicts: HashMap<Digest, bool>,
}

impl<'s, 'x, 't> Gc<'s, 'x, 't> {
    fn new(store: &'s Store, txn: &'x mut Txn<'t>, kinds: &[&str]) -> Result<Self> {
        let prefix = |kind: &&str| Ok(schema::data_prefix(Space::Store, Kind::new(kind)?));
        let roots = kinds.iter().map(prefix).collect::<Result<_>>()?;
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let (mut leased, mut live, mut dead, mut buried) = (HashSet::new(), HashSet::new(), Vec::new(), Vec::new());
        for lease in store.leases()? {
            match lease.dead {
                None => {
                    live.insert(lease.id);
                    leased.extend(lease.digests);
                }
                Some(taken) => {
                    dead.push((lease.id, taken));
                    buried.extend(lease.digests);
                }
            }
        }
        Ok(Self { store, txn, roots, kinds, leased, live, dead, buried, verdicts: HashMap::new() })
    }

    /// Looks after what the dead named: blobs may have lost their only keeper, files may never have got a row.
    fn bury(&mut self, total: &mut Collected) -> Result<()> {
        for digest in std::mem::take(&mut self.buried) {
            if self.txn.view().blob(&digest)?.is_some() {
                self.txn.mark_dirty(&digest)?;
            } else if let Some(size) = self.store.cas().size(&digest)?
                && !self.txn.view().is_pending(&digest)?
            {
                self.txn.mark_pending(&digest, size)?;
                if !self.leased.contains(&digest) {
                    total.add(size);
                }
            }
        }
        Ok(())
    }

    fn changed(&mut self, cursor: &[u8], limit: usize, total: &mut Collected) -> Result<Step> {
        let (last, removed) = self.pass(cursor, limit, total)?;
        Ok(match last {
            Some(next) => Step::More { next, removed },
            None => Step::Last { removed },
        })
    }

    /// Decides about the dirty blobs behind `cursor`, and about what they pointed at, until `limit` of them were
    /// looked at. Returns where to go on, if there is more, and whether anything was removed.
    fn pass(&mut self, cursor: &[u8], limit: usize, total: &mut Collected) -> Result<(Option<Vec<u8>>, bool)> {
        let mut queue = VecDeque::new();
        let mut last = None;
        scan(self.txn.0, &[schema::DIRTY], cursor, &mut |key, _| {
            if key == cursor {
                return Ok(ControlFlow::Continue(()));
            }
            if queue.len() == limit {
                last = queue.back().map(|digest| schema::of_digest(schema::DIRTY, digest));
                return Ok(ControlFlow::Break(()));
            }
            queue.push_back(schema::digest_of("dirty", key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let (mut removed, mut looked) = (false, 0);
        while let Some(digest) = queue.pop_front() {
            looked += 1;
            let Some(blob) = self.txn.view().blob(&digest)? else {
                self.txn.0.delete(&schema::of_digest(schema::DIRTY, &digest))?;
                continue;
            };
            if self.leased.contains(&digest) {
                // Kept for now: it stays dirty, as nobody else will say when the lease ends.
                continue;
            }
            if self.is_kept(&digest)? {
                // Only what a lease keeps, through a parent, has to be looked at again.
                if !self.leans_on_lease(&digest)? {
                    self.txn.0.delete(&schema::of_digest(schema::DIRTY, &digest))?;
                }
                continue;
            }
            if without(Guard::RowsFirst) {
                self.store.cas().delete(&digest)?;
            }
            let children = self.txn.remove_blob(&blob)?;
            total.add(blob.size);
            removed = true;
            let followers = self.followers(&digest)?;
            let next = children.into_iter().filter(|edge| edge.link != Link::Follows).map(|edge| edge.child);
            for next in next.chain(followers) {
                // Beyond the limit they are left dirty, for the next transaction.
                self.txn.mark_dirty(&next)?;
                if looked + queue.len() < limit.saturating_mul(2) {
                    queue.push_back(next);
                }
            }
        }
        Ok((last, removed))
    }

    fn followers(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let mut followers = Vec::new();
        self.txn.view().parents(digest, Some(Link::Follows), &mut |parent, _| {
            followers.push(parent);
            ControlFlow::Continue(())
        })?;
        Ok(followers)
    }

    fn is_kept(&mut self, digest: &Digest) -> Result<bool> {
        let leased = &self.leased;
        search(self.txn.view(), &self.roots, &|digest| leased.contains(digest), &mut self.verdicts, digest)
    }

    /// Whether a kept blob would not be, if there were no leases.
    fn leans_on_lease(&self, digest: &Digest) -> Result<bool> {
        if self.leased.is_empty() {
            return Ok(false);
        }
        Ok(!search(self.txn.view(), &self.roots, &|_| false, &mut HashMap::new(), digest)?)
    }

    /// Removes what is not marked, at most `limit` of it; then it is to be called again.
    fn full(&mut self, limit: usize, total: &mut Collected) -> Result<Step> {
        let mut left = limit;
        let marked = mark(self.txn.view(), &self.kinds, &self.leased)?;
        let mut after = None;
        loop {
            let mut page = Vec::new();
            self.txn.view().each_blob(after.as_ref(), &mut |blob| {
                page.push(blob);
                Ok(if page.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            let Some(last) = page.last() else { break };
            after = Some(last.digest.clone());
            for blob in page.iter().filter(|blob| !marked.kept.contains(&blob.digest)) {
                if left == 0 {
                    return Ok(Step::More { next: Vec::new(), removed: false });
                }
                left -= 1;
                if without(Guard::RowsFirst) {
                    self.store.cas().delete(&blob.digest)?;
                }
                self.txn.remove_blob(blob)?;
                total.add(blob.size);
            }
        }
        let mut dirty = Vec::new();
        scan(self.txn.0, &[schema::DIRTY], &[], &mut |key, _| {
            dirty.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        for key in dirty {
            self.txn.0.delete(&key)?;
        }
        for digest in &marked.by_lease_only {
            self.txn.mark_dirty(digest)?;
        }
        // One walk has seen everything.
        Ok(Step::Last { removed: false })
    }

    /// Counts the files that are to go, those too that an earlier collection left pending, and returns them in
    /// `pending`.
    fn pending(&self, pending: &mut HashSet<Digest>) -> Result<Collected> {
        let mut total = Collected::default();
        self.txn.view().each_pending(None, &mut |digest, size| {
            if !self.leased.contains(&digest) {
                total.add(size);
            }
            pending.insert(digest);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(total)
    }
}
