//! One transaction of a collection: what is decided in it, from the rows and the leases of that moment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Instant;

use oci_store_cas::Digest;
use oci_store_cas::attack::{Guard, without};

use crate::edges::scan;
use crate::keeper::search;
use crate::locks::DeadLease;
use crate::name::Kind;
use crate::schema;
use crate::{Collected, Link, RECORDS_GONE, Result, Space, Store, Txn};

/// What is to be decided about.
pub(crate) enum Todo<'d> {
    /// The dirty blobs behind this key.
    Dirty(Vec<u8>),
    These(&'d [Digest]),
}

/// Blobs that are looked at however long it takes: a transaction that does nothing would be followed by the same.
pub(crate) const FEW: usize = 64;

/// One transaction of a collection.
pub(crate) struct Gc<'s, 'x, 't> {
    store: &'s Store,
    pub(crate) txn: &'x mut Txn<'t>,
    /// The beginnings of the keys of records that are roots.
    roots: Vec<Vec<u8>>,
    leased: HashSet<Digest>,
    pub(crate) live: HashSet<String>,
    pub(crate) dead: Vec<(String, Box<dyn DeadLease>)>,
    buried: Vec<Digest>,
    verdicts: HashMap<Digest, bool>,
    /// When other writers have waited long enough.
    pub(crate) until: Option<Instant>,
}

impl<'s, 'x, 't> Gc<'s, 'x, 't> {
    pub(crate) fn new(store: &'s Store, txn: &'x mut Txn<'t>, kinds: &[&str]) -> Result<Self> {
        let prefix = |kind: &&str| Ok(schema::data_prefix(Space::Store, Kind::new(kind)?));
        let roots = kinds.iter().map(prefix).collect::<Result<_>>()?;
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
        Ok(Self { store, txn, roots, leased, live, dead, buried, verdicts: HashMap::new(), until: None })
    }

    /// Looks after what the dead named: blobs may have lost their only keeper, files may never have got a row.
    pub(crate) fn bury(&mut self, total: &mut Collected) -> Result<()> {
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

    /// Decides about the dirty blobs behind `cursor`, `limit` of them at the most, and about what they pointed at. Returns
    /// what is left to be decided, if there is more, and whether anything was removed.
    pub(crate) fn pass(
        &mut self,
        cursor: &[u8],
        limit: usize,
        total: &mut Collected,
    ) -> Result<(Option<Todo<'static>>, bool)> {
        let mut queue = Vec::new();
        let mut more = false;
        scan(self.txn.0, &[schema::DIRTY], cursor, &mut |key, _| {
            if key == cursor {
                return Ok(ControlFlow::Continue(()));
            }
            if queue.len() == limit {
                more = true;
                return Ok(ControlFlow::Break(()));
            }
            queue.push(schema::digest_of("dirty", key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let (handled, removed) = self.these(&queue, limit, total)?;
        let last = queue.get(..handled).and_then(<[_]>::last).filter(|_| more || handled < queue.len());
        Ok((last.map(|digest| Todo::Dirty(schema::of_digest(schema::DIRTY, digest))), removed))
    }

    /// Decides about all dirty blobs, `limit` at a time; says whether anything was removed.
    pub(crate) fn all(&mut self, limit: usize, total: &mut Collected) -> Result<bool> {
        let (mut cursor, mut removed) = (Vec::new(), false);
        loop {
            let (next, removed_now) = self.pass(&cursor, limit, total)?;
            removed |= removed_now;
            match next {
                Some(Todo::Dirty(behind)) => cursor = behind,
                _ => return Ok(removed),
            }
        }
    }

    /// Decides about `blobs`, dirty or not, and about what they pointed at, until about twice `limit` were looked at or the
    /// time is over. Returns how many of `blobs` were decided about, the first of them, and whether anything was removed.
    pub(crate) fn these(&mut self, blobs: &[Digest], limit: usize, total: &mut Collected) -> Result<(usize, bool)> {
        // First in, first out: what they pointed at comes after them.
        let mut queue: VecDeque<Digest> = blobs.iter().cloned().collect();
        let (mut removed, mut looked) = (false, 0);
        while looked < FEW || self.until.is_none_or(|until| Instant::now() < until) {
            let Some(digest) = queue.pop_front() else { break };
            looked += 1;
            let Some(blob) = self.txn.view().blob(&digest)? else {
                self.clean(&digest)?;
                continue;
            };
            // Kept for now: dirty, as nobody else will say when the lease ends.
            if self.leased.contains(&digest) {
                self.stain(&digest)?;
                continue;
            }
            if self.is_kept(&digest)? {
                // So has to be looked at again what a lease keeps through a parent.
                if self.leans_on_lease(&digest)? {
                    self.stain(&digest)?
                } else {
                    self.clean(&digest)?
                }
                continue;
            }
            if without(Guard::RowsFirst) {
                self.store.cas().delete(&digest)?;
            }
            let (children, records) = self.txn.remove_blob(&blob)?;
            total.add(blob.size);
            if records > 0 {
                self.txn.count(RECORDS_GONE)?;
            }
            removed = true;
            let followers = self.followers(&digest)?;
            let next = children.into_iter().filter(|edge| edge.link != Link::Follows).map(|edge| edge.child);
            for next in next.chain(followers) {
                // Those that are not looked at in this transaction are left dirty, for the next.
                self.txn.mark_dirty(&next)?;
                if looked + queue.len() < limit.saturating_mul(2) {
                    queue.push_back(next);
                }
            }
        }
        Ok((looked.min(blobs.len()), removed))
    }

    /// Makes a blob dirty that is not: a collection that finds all as it was writes nothing.
    fn stain(&mut self, digest: &Digest) -> Result<()> {
        let is_dirty = self.txn.0.get(&schema::of_digest(schema::DIRTY, digest))?.is_some();
        if is_dirty { Ok(()) } else { self.txn.mark_dirty(digest) }
    }

    fn clean(&mut self, digest: &Digest) -> Result<()> {
        self.txn.0.delete(&schema::of_digest(schema::DIRTY, digest))?;
        Ok(())
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

    /// Counts the files that are to go, those too that an earlier collection left pending, and returns them in
    /// `pending`.
    pub(crate) fn pending(&self, pending: &mut HashSet<Digest>) -> Result<Collected> {
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
