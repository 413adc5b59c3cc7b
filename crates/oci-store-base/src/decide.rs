//! One transaction of a collection: what is decided in it, from the rows and the leases of that moment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use oci_store_cas::Digest;
use oci_store_cas::attack::{Guard, without};

use crate::edges::scan;
use crate::keeper::search;
use crate::locks::DeadLease;
use crate::name::Kind;
use crate::schema;
use crate::{Collected, Link, RECORDS_GONE, Result, Space, Store, Txn};

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
        Ok(Self { store, txn, roots, leased, live, dead, buried, verdicts: HashMap::new() })
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

    /// Decides about the dirty blobs behind `cursor`, and about what they pointed at, until `limit` of them were
    /// looked at. Returns where to go on, if there is more, and whether anything was removed.
    pub(crate) fn pass(
        &mut self,
        cursor: &[u8],
        limit: usize,
        total: &mut Collected,
    ) -> Result<(Option<Vec<u8>>, bool)> {
        let mut queue = Vec::new();
        let mut last = None;
        scan(self.txn.0, &[schema::DIRTY], cursor, &mut |key, _| {
            if key == cursor {
                return Ok(ControlFlow::Continue(()));
            }
            if queue.len() == limit {
                last = queue.last().map(|digest| schema::of_digest(schema::DIRTY, digest));
                return Ok(ControlFlow::Break(()));
            }
            queue.push(schema::digest_of("dirty", key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let removed = self.these(queue.iter(), limit, total)?;
        Ok((last, removed))
    }

    /// Decides about `blobs`, dirty or not, and about what they pointed at, until about `limit` were looked at. Says whether
    /// anything was removed.
    pub(crate) fn these<'d>(
        &mut self,
        blobs: impl Iterator<Item = &'d Digest>,
        limit: usize,
        total: &mut Collected,
    ) -> Result<bool> {
        let mut queue: VecDeque<Digest> = blobs.cloned().collect();
        let (mut removed, mut looked) = (false, 0);
        while let Some(digest) = queue.pop_front() {
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
                // Beyond the limit they are left dirty, for the next transaction.
                self.txn.mark_dirty(&next)?;
                if looked + queue.len() < limit.saturating_mul(2) {
                    queue.push_back(next);
                }
            }
        }
        Ok(removed)
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
