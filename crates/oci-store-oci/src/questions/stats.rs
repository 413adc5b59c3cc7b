//! The store in numbers.

use std::collections::HashSet;
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::document::Role;
use crate::{Result, Store, refs};

use super::graph::{Graph, Id};
use super::usage::Amount;

/// A store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many refs.
    pub refs: u64,
    /// How many pins.
    pub pins: u64,
    /// What refs and pins name, each once, and its size, added up: what it would take if nothing were shared.
    pub images: Amount,
    /// All blobs.
    pub blobs: Amount,
    /// Manifests and indexes.
    pub documents: Amount,
    /// Layers.
    pub layers: Amount,
    /// What a gc would take now.
    pub garbage: Amount,
    /// How many live leases.
    pub leases: u64,
    /// The index's kind.
    pub index: String,
    /// How much of the disk it takes, in bytes.
    pub index_size: u64,
}

impl Store {
    /// The store in numbers. Reads the index, and no blob.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn stats(&self) -> Result<Stats> {
        // Before the rows: what is published meanwhile has a ref then.
        let leases = self.base().look_at_leases()?;
        let mut stats = Stats {
            leases: leases.iter().filter(|lease| lease.live).count() as u64,
            index: self.base().index_name()?,
            index_size: self.base().index_size()?,
            ..Stats::default()
        };
        let (graph, mut targets, mut pending) = self.base().view(|view| {
            let mut graph = Graph::without_roots(view)?;
            let (mut targets, mut pending) = (Vec::new(), Vec::new());
            refs::each_root(view, &mut |name, digest| {
                targets.push(graph.id(&digest));
                *if name.is_some() { &mut stats.refs } else { &mut stats.pins } += 1;
            })?;
            view.each_pending(None, &mut |digest, size| {
                pending.push((digest, size));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok::<_, crate::Error>((graph, targets, pending))
        })?;
        let size = |id: Id| graph.size(id);
        let mut walker = graph.walker();
        targets.sort_unstable();
        targets.dedup();
        for target in &targets {
            let mut whole = 0_u64;
            walker.each(&[*target], &mut |id| whole = whole.saturating_add(size(id).unwrap_or_default()));
            stats.images += whole;
        }
        targets.extend(graph.leased(&leases));
        walker.each(&targets, &mut |_| {});
        for (id, blob) in graph.blobs.iter().enumerate() {
            let Some(size) = size(id) else { continue };
            stats.blobs += size;
            if blob.is_document {
                stats.documents += size;
            }
            if blob.roles & (1 << Role::Layer.code()) != 0 {
                stats.layers += size;
            }
            if !walker.has_seen(id) {
                stats.garbage += size;
            }
        }
        // What has no row any more, or never got one.
        let named = |live: bool| leases.iter().filter(move |lease| lease.live == live).flat_map(|lease| &lease.digests);
        let leased: HashSet<&Digest> = named(true).collect();
        let known: HashSet<Digest> = pending.iter().map(|(digest, _)| digest.clone()).collect();
        for digest in named(false).collect::<HashSet<_>>() {
            let has_row = graph.find(digest).is_some_and(|id| size(id).is_some());
            if !has_row && !known.contains(digest) {
                pending.extend(self.base().cas().size(digest)?.map(|size| (digest.clone(), size)));
            }
        }
        let goes = pending.into_iter().filter(|(digest, _)| !leased.contains(digest));
        goes.for_each(|(_, size)| stats.garbage += size);
        Ok(stats)
    }
}
