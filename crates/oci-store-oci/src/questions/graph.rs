//! All blobs and what keeps what, in memory: for questions about the whole store. A blob costs about a hundred bytes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use oci_store_base::{LeaseInfo, Link, View};
use oci_store_cas::Digest;

use crate::{Result, refs};

/// A blob, by its place in the graph.
pub(super) type Id = usize;

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    /// In bytes; `None`: it is not there.
    pub(super) size: Option<u64>,
    pub(super) is_document: bool,
    /// A bit for the code of each role that it has to a parent.
    pub(super) roles: u8,
}

/// A ref, or a pin.
#[derive(Debug)]
pub(super) struct Root {
    /// The ref's name; `None`: a pin.
    pub(super) name: Option<String>,
    pub(super) target: Id,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: HashMap<Digest, Id>,
    pub(super) blobs: Vec<Blob>,
    /// What stays as long as the blob does: what it points at, and what is about it.
    keeps: Vec<Vec<Id>>,
    /// Refs by name, then pins.
    pub(super) roots: Vec<Root>,
}

impl Graph {
    /// Reads all rows of blobs and edges, one after the other, and what the refs and pins name.
    pub(super) fn load(view: View<'_>) -> Result<Self> {
        let mut graph = Self::default();
        view.each_blob(None, &mut |blob| {
            let id = graph.id(blob.digest);
            if let Some(known) = graph.blobs.get_mut(id) {
                known.size = Some(blob.size);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        view.each_edges(&mut |parent, found| {
            let parent = graph.id(parent);
            if let Some(known) = graph.blobs.get_mut(parent) {
                known.is_document = true;
            }
            for edge in found.edges {
                let child = graph.id(edge.child);
                let Some(known) = graph.blobs.get_mut(child) else { continue };
                known.roles |= 1_u8.checked_shl(edge.role.into()).unwrap_or_default();
                let is_there = known.size.is_some();
                match edge.link {
                    // Nothing is kept by what it follows if that is not there.
                    Link::Follows if is_there => graph.keep(child, parent),
                    Link::Follows => {}
                    _ => graph.keep(parent, child),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        refs::each_root(view, &mut |name, digest| {
            let target = graph.id(digest);
            graph.roots.push(Root { name, target });
        })?;
        Ok(graph)
    }

    fn id(&mut self, digest: Digest) -> Id {
        *self.ids.entry(digest).or_insert_with_key(|digest| {
            self.blobs.push(Blob { digest: digest.clone(), size: None, is_document: false, roles: 0 });
            self.keeps.push(Vec::new());
            self.blobs.len() - 1
        })
    }

    fn keep(&mut self, keeper: Id, kept: Id) {
        if let Some(keeps) = self.keeps.get_mut(keeper) {
            keeps.push(kept);
        }
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Id> {
        self.ids.get(digest).copied()
    }

    /// What live leases name.
    pub(super) fn leased(&self, leases: &[LeaseInfo]) -> Vec<Id> {
        let digests = leases.iter().filter(|lease| lease.live).flat_map(|lease| &lease.digests);
        digests.filter_map(|digest| self.find(digest)).collect()
    }

    pub(super) fn walker(&self) -> Walker<'_> {
        Walker { graph: self, seen: vec![0; self.blobs.len()], walk: 0 }
    }
}

/// Walks over a graph, again and again.
#[derive(Debug)]
pub(super) struct Walker<'g> {
    graph: &'g Graph,
    /// The last walk that has seen the blob.
    seen: Vec<u32>,
    walk: u32,
}

impl Walker<'_> {
    /// All that is kept by `from`, each blob once, those too that are not there.
    pub(super) fn reach(&mut self, from: &[Id]) -> Vec<Id> {
        self.walk += 1;
        let mut reached = Vec::new();
        let mut stack = from.to_vec();
        while let Some(id) = stack.pop() {
            let Some(seen) = self.seen.get_mut(id).filter(|seen| **seen != self.walk) else { continue };
            *seen = self.walk;
            reached.push(id);
            stack.extend(self.graph.keeps.get(id).into_iter().flatten());
        }
        reached
    }
}
