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
    /// Its place among the graph's media types.
    media_type: usize,
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
    /// Those that are there, in the order of their heads, then those that are only named.
    pub(super) blobs: Vec<Blob>,
    /// The [heads](head) of those that are there: to look through numbers is faster than to hash digests.
    heads: Vec<u64>,
    /// The places of those that are only named.
    absent: HashMap<Digest, Id>,
    media_types: Vec<String>,
    /// What each blob keeps by pointing at it.
    parts: Vec<Vec<Id>>,
    /// What is about each blob, and stays as long as it does.
    about: Vec<Vec<Id>>,
    /// Refs by name, then pins.
    pub(super) roots: Vec<Root>,
}

impl Graph {
    /// Reads all rows of blobs and edges, one after the other, and what the refs and pins name.
    pub(super) fn load(view: View<'_>) -> Result<Self> {
        let mut graph = Self { media_types: vec![String::new()], ..Self::default() };
        let mut types = HashMap::from([(String::new(), 0)]);
        view.each_blob(None, &mut |blob| {
            let next = types.len();
            let media_type = *types.entry(blob.media_type).or_insert_with_key(|new| {
                graph.media_types.push(new.clone());
                next
            });
            let (digest, size) = (blob.digest, Some(blob.size));
            graph.blobs.push(Blob { digest, size, is_document: false, media_type, roles: 0 });
            Ok(ControlFlow::Continue(()))
        })?;
        // Nearly their order already: that of algorithm and hash.
        graph.blobs.sort_by_key(|blob| head(&blob.digest));
        graph.heads = graph.blobs.iter().map(|blob| head(&blob.digest)).collect();
        graph.parts.resize(graph.blobs.len(), Vec::new());
        graph.about.resize(graph.blobs.len(), Vec::new());
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
                let (kept, keeper, kept_by) = match edge.link {
                    // Nothing is kept by what it follows if that is not there.
                    Link::Follows if !is_there => continue,
                    Link::Follows => (parent, child, &mut graph.about),
                    _ => (child, parent, &mut graph.parts),
                };
                kept_by.get_mut(keeper).into_iter().for_each(|all| all.push(kept));
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
        if let Some(id) = self.find(&digest) {
            return id;
        }
        let id = self.blobs.len();
        self.blobs.push(Blob { digest: digest.clone(), size: None, is_document: false, media_type: 0, roles: 0 });
        self.parts.push(Vec::new());
        self.about.push(Vec::new());
        self.absent.insert(digest, id);
        id
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Id> {
        let head = head(digest);
        let first = self.heads.partition_point(|known| *known < head);
        let same = self.heads.iter().skip(first).take_while(|known| **known == head).count();
        let is_it = |id: &Id| self.blobs.get(*id).is_some_and(|blob| blob.digest == *digest);
        (first..first + same).find(is_it).or_else(|| self.absent.get(digest).copied())
    }

    /// What live leases name.
    pub(super) fn leased(&self, leases: &[LeaseInfo]) -> Vec<Id> {
        let digests = leases.iter().filter(|lease| lease.live).flat_map(|lease| &lease.digests);
        digests.filter_map(|digest| self.find(digest)).collect()
    }

    /// A blob's media type; empty if nobody has said it.
    pub(super) fn media_type(&self, blob: &Blob) -> &str {
        self.media_types.get(blob.media_type).map_or("", String::as_str)
    }

    /// How many images that refs and pins name, but for `except`, keep each blob.
    pub(super) fn held_by_others(&self, except: Id) -> Vec<u32> {
        let mut targets: Vec<Id> = self.roots.iter().map(|root| root.target).filter(|id| *id != except).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut held = vec![0; self.blobs.len()];
        let mut walker = self.walker();
        for target in targets {
            for id in walker.reach(&[target]) {
                held.get_mut(id).into_iter().for_each(|count| *count += 1);
            }
        }
        held
    }

    pub(super) fn walker(&self) -> Walker<'_> {
        Walker { graph: self, seen: vec![0; self.blobs.len()], walk: 0 }
    }
}

/// The beginning of a hash, as a number.
fn head(digest: &Digest) -> u64 {
    digest.raw().iter().take(size_of::<u64>()).fold(0, |head, byte| head << 8 | u64::from(*byte))
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
        self.walk(from, true)
    }

    /// All that an image consists of, without what is about it.
    pub(super) fn parts(&mut self, image: Id) -> Vec<Id> {
        self.walk(&[image], false)
    }

    fn walk(&mut self, from: &[Id], with_about: bool) -> Vec<Id> {
        self.walk += 1;
        let mut reached = Vec::new();
        let mut stack = from.to_vec();
        while let Some(id) = stack.pop() {
            let Some(seen) = self.seen.get_mut(id).filter(|seen| **seen != self.walk) else { continue };
            *seen = self.walk;
            reached.push(id);
            stack.extend(self.graph.parts.get(id).into_iter().flatten());
            stack.extend(self.graph.about.get(id).into_iter().filter(|_| with_about).flatten());
        }
        reached
    }
}
