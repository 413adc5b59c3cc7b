//! All blobs and what keeps what, in memory: for questions about the whole store. A blob costs about 45 bytes, and an edge 4.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use oci_store_base::{BlobInfo, LeaseInfo, Link, View};
use oci_store_cas::Digest;

use crate::ids::Ids;
use crate::{Result, refs};

/// A blob, by its number in the graph.
pub(super) type Id = usize;

/// In 8 bytes, as there may be millions: what does not fit is among the graph's [`large`](Graph::large).
#[derive(Debug)]
pub(super) struct Blob {
    /// In bytes; of what is not there, [`NOT_THERE`]; [`LARGE`].
    size: u32,
    /// Its place among the graph's media types.
    media_type: u16,
    /// A bit for the code of each role that it has to a parent.
    pub(super) roles: u8,
    pub(super) is_document: bool,
}

const NOT_THERE: u32 = u32::MAX;
const LARGE: u32 = u32::MAX - 1;

/// A ref, or a pin.
#[derive(Debug)]
pub(super) struct Root {
    /// The ref's name; `None`: a pin.
    pub(super) name: Option<String>,
    pub(super) target: Id,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: Ids,
    /// By number; those too that are only named.
    pub(super) blobs: Vec<Blob>,
    /// Size and media type of those of which a [`Blob`] can't hold one of the two.
    large: HashMap<Id, (u64, u32)>,
    media_types: Vec<String>,
    /// What each blob keeps by pointing at it.
    parts: Links,
    /// What is about each blob, and stays as long as it does.
    about: Links,
    /// Refs by name, then pins.
    pub(super) roots: Vec<Root>,
}

impl Graph {
    /// Reads all rows of blobs and edges, one after the other, and what the refs and pins name.
    pub(super) fn load(view: View<'_>) -> Result<Self> {
        let mut graph = Self::without_roots(view)?;
        refs::each_root(view, &mut |name, digest| {
            let target = graph.id(&digest);
            graph.roots.push(Root { name, target });
        })?;
        Ok(graph)
    }

    /// The same, but for what refs and pins name.
    pub(super) fn without_roots(view: View<'_>) -> Result<Self> {
        let mut graph = Self { media_types: vec![String::new()], ..Self::default() };
        let mut types = HashMap::from([(String::new(), 0)]);
        let mut add = |graph: &mut Self, blob: BlobInfo| {
            let next = graph.media_types.len();
            let media_type = *types.entry(blob.media_type).or_insert_with_key(|new| {
                graph.media_types.push(new.clone());
                u32::try_from(next).unwrap_or_default()
            });
            graph.push(blob.size, media_type);
        };
        let mut rare = Vec::new();
        view.each_blob(None, &mut |blob| {
            match graph.ids.push(&blob.digest) {
                Some(_) => add(&mut graph, blob),
                None => rare.push(blob),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for blob in rare {
            graph.ids.id(&blob.digest);
            add(&mut graph, blob);
        }
        let mut about = Vec::new();
        view.each_edges(&mut |parent, found| {
            let parent = graph.id(&parent);
            if let Some(known) = graph.blobs.get_mut(parent) {
                known.is_document = true;
            }
            let mut parts = Vec::new();
            for edge in found.edges {
                let child = graph.id(&edge.child);
                let Some(known) = graph.blobs.get_mut(child) else { continue };
                known.roles |= 1_u8.checked_shl(edge.role.into()).unwrap_or_default();
                match edge.link {
                    // Nothing is kept by what it follows if that is not there.
                    Link::Follows if known.size == NOT_THERE => {}
                    Link::Follows => about.push((child, parent)),
                    _ => parts.push(child),
                }
            }
            graph.parts.add(parent, parts);
            Ok(ControlFlow::Continue(()))
        })?;
        graph.parts.sort();
        about.sort_unstable();
        for same in about.chunk_by(|(a, _), (b, _)| a == b) {
            let from = same.first().map_or(0, |(subject, _)| *subject);
            graph.about.add(from, same.iter().map(|(_, referrer)| *referrer));
        }
        Ok(graph)
    }

    /// The number of a blob, which is added if it is not there.
    pub(super) fn id(&mut self, digest: &Digest) -> Id {
        let id = self.ids.id(digest);
        if self.blobs.len() <= id {
            self.blobs.push(Blob { size: NOT_THERE, media_type: 0, roles: 0, is_document: false });
        }
        id
    }

    /// Adds a blob that is there, under the next number.
    fn push(&mut self, size: u64, media_type: u32) {
        let fitting = u32::try_from(size).ok().filter(|size| *size < LARGE).zip(u16::try_from(media_type).ok());
        if fitting.is_none() {
            self.large.insert(self.blobs.len(), (size, media_type));
        }
        let (size, media_type) = fitting.unwrap_or((LARGE, 0));
        self.blobs.push(Blob { size, media_type, roles: 0, is_document: false });
    }

    /// How many bytes a blob has; `None`: it is not there.
    pub(super) fn size(&self, id: Id) -> Option<u64> {
        match self.blobs.get(id)?.size {
            NOT_THERE => None,
            LARGE => self.large.get(&id).map(|(size, _)| *size),
            size => Some(size.into()),
        }
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Id> {
        self.ids.find(digest)
    }

    pub(super) fn digest(&self, id: Id) -> Option<Digest> {
        self.ids.digest(id)
    }

    /// What live leases name.
    pub(super) fn leased(&self, leases: &[LeaseInfo]) -> Vec<Id> {
        let digests = leases.iter().filter(|lease| lease.live).flat_map(|lease| &lease.digests);
        digests.filter_map(|digest| self.find(digest)).collect()
    }

    /// A blob's media type; empty if nobody has said it.
    pub(super) fn media_type(&self, id: Id) -> &str {
        let place = match self.blobs.get(id) {
            Some(Blob { size: LARGE, .. }) => self.large.get(&id).map(|(_, media_type)| *media_type),
            blob => blob.map(|blob| blob.media_type.into()),
        };
        place.and_then(|place| self.media_types.get(place as usize)).map_or("", String::as_str)
    }

    /// How many images that refs and pins name, but for `except`, keep each blob.
    pub(super) fn held_by_others(&self, except: Id) -> Vec<u32> {
        let mut targets: Vec<Id> = self.roots.iter().map(|root| root.target).filter(|id| *id != except).collect();
        targets.sort_unstable();
        targets.dedup();
        let mut held = vec![0; self.blobs.len()];
        let mut walker = self.walker();
        for target in targets {
            walker.each(&[target], &mut |id| held.get_mut(id).into_iter().for_each(|count| *count += 1));
        }
        held
    }

    pub(super) fn walker(&self) -> Walker<'_> {
        Walker { graph: self, seen: vec![0; self.blobs.len()], walk: 0 }
    }
}

/// Lists of numbers, for some numbers one, all in one piece of memory.
#[derive(Debug, Default)]
struct Links {
    /// Whose each list is, and where it lies; by number, once they are [sorted](Self::sort).
    lists: Vec<(u32, Range<u32>)>,
    all: Vec<u32>,
}

impl Links {
    /// Adds the list of a number that has none yet.
    fn add(&mut self, from: Id, to: impl IntoIterator<Item = Id>) {
        let place = |all: &[u32]| u32::try_from(all.len()).unwrap_or(u32::MAX);
        let begin = place(&self.all);
        self.all.extend(to.into_iter().filter_map(|to| u32::try_from(to).ok()));
        self.lists.extend(u32::try_from(from).ok().map(|from| (from, begin..place(&self.all))));
    }

    fn sort(&mut self) {
        self.lists.sort_unstable_by_key(|(from, _)| *from);
    }

    fn of(&self, from: Id) -> impl Iterator<Item = Id> {
        let at = u32::try_from(from).ok().and_then(|from| self.lists.binary_search_by_key(&from, |list| list.0).ok());
        let list = at.and_then(|at| self.lists.get(at)).map(|(_, list)| list.start as usize..list.end as usize);
        let list = list.and_then(|list| self.all.get(list)).unwrap_or_default();
        list.iter().map(|to| *to as usize)
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
        let mut reached = Vec::new();
        self.each(from, &mut |id| reached.push(id));
        reached
    }

    /// The same, one after the other.
    pub(super) fn each(&mut self, from: &[Id], visit: &mut dyn FnMut(Id)) {
        self.walk(from, true, visit);
    }

    /// Whether the last walk came by.
    pub(super) fn has_seen(&self, id: Id) -> bool {
        self.seen.get(id) == Some(&self.walk)
    }

    /// All that an image consists of, without what is about it.
    pub(super) fn parts(&mut self, image: Id) -> Vec<Id> {
        let mut parts = Vec::new();
        self.walk(&[image], false, &mut |id| parts.push(id));
        parts
    }

    fn walk(&mut self, from: &[Id], with_about: bool, visit: &mut dyn FnMut(Id)) {
        self.walk += 1;
        let mut stack = from.to_vec();
        while let Some(id) = stack.pop() {
            let Some(seen) = self.seen.get_mut(id).filter(|seen| **seen != self.walk) else { continue };
            *seen = self.walk;
            visit(id);
            if self.graph.blobs.get(id).is_some_and(|blob| blob.is_document) {
                stack.extend(self.graph.parts.of(id));
            }
            if with_about {
                stack.extend(self.graph.about.of(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_its_size_and_type_whatever_they_are() {
        let mut graph = Graph { media_types: (0..70_000).map(|n| n.to_string()).collect(), ..Graph::default() };
        let told = [(0, 0), (7, 65_535), (5, 65_536), (u64::from(LARGE) - 1, 1), (LARGE.into(), 2), (1 << 40, 69_999)];
        for (size, media_type) in told {
            graph.push(size, media_type);
        }
        graph.blobs.push(Blob { size: NOT_THERE, media_type: 0, roles: 0, is_document: false });
        for (id, (size, media_type)) in told.into_iter().enumerate() {
            assert_eq!((graph.size(id), graph.media_type(id)), (Some(size), media_type.to_string().as_str()));
        }
        assert_eq!((graph.size(told.len()), graph.size(told.len() + 1)), (None, None));
        assert_eq!(size_of::<Blob>(), 8);
    }
}
