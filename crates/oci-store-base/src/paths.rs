//! Why a blob is kept: the paths to it from what keeps it. They are there if and only if a collection would leave it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::edges::scan;
use crate::name::Kind;
use crate::schema::{self, DataHead};
use crate::{Error, LeaseInfo, Link, Result, Space, Store, View};

/// What keeps blobs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A record of a root type.
    Record {
        /// Its type.
        kind: String,
        /// Its key.
        key: String,
    },
    /// A live lease.
    Lease(LeaseInfo),
}

/// A blob on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The blob.
    pub digest: Digest,
    /// The role of the edge between it and the blob before, if there is one.
    pub role: Option<u8>,
    /// What that edge means. With [`Link::Follows`] it is this blob that points at the one before.
    pub link: Option<Link>,
}

/// A keeper, and the blobs from the one that it keeps by itself down to the one that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// What keeps them.
    pub keeper: Keeper,
    /// At least one.
    pub steps: Vec<Step>,
}

/// Why a blob is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Some of the paths to it, the shortest first. Empty: nothing keeps it.
    pub paths: Vec<Path>,
    /// How many more there are.
    pub more: u64,
    /// There may be more than that: they were not all counted.
    pub uncounted: bool,
}

/// So many beginnings of paths are followed at the most: of documents that list each other, a few make very many.
const MOST: usize = 200_000;

impl Store {
    /// Why a blob is kept: at most `limit` of the paths to it, from records of the types `roots` and from live leases. It
    /// has one if and only if a [collection](Self::collect) in this moment would leave it. Costs what is above the
    /// blob; takes no lock that others wait for.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`] for a blob that has no row, that no live lease names, and whose file is not one that is to go;
    /// [`Error::Row`], [`Error::Index`], [`Error::Io`].
    pub fn why(&self, roots: &[&str], digest: &Digest, limit: usize) -> Result<Kept> {
        // Before the rows: what is published meanwhile has a record when the lease is gone.
        let mut leases = self.look_at_leases()?;
        leases.retain(|lease| lease.live);
        self.view(|view| {
            let is_leased = leases.iter().any(|lease| lease.digests.contains(digest));
            if !is_leased && view.blob(digest)?.is_none() && !view.is_pending(digest)? {
                return Err(Error::BlobNotFound(digest.to_string()));
            }
            let mut above = Above::new(roots, &leases)?;
            above.climb(view, digest)?;
            Ok(above.paths(limit))
        })
    }
}

/// A blob that is, or is above, the one that was asked about.
struct Node {
    digest: Digest,
    keepers: Vec<Keeper>,
    /// What keeps it if it is kept, by which edge.
    above: Vec<(usize, u8, Link)>,
}

struct Above {
    roots: Vec<(String, Vec<u8>)>,
    leased: HashMap<Digest, Vec<LeaseInfo>>,
    nodes: Vec<Node>,
    known: HashMap<Digest, usize>,
}

impl Above {
    fn new(roots: &[&str], leases: &[LeaseInfo]) -> Result<Self> {
        let prefix = |kind: &&str| Ok(((*kind).to_owned(), schema::data_prefix(Space::Store, Kind::new(kind)?)));
        let roots = roots.iter().map(prefix).collect::<Result<_>>()?;
        let mut leased: HashMap<Digest, Vec<LeaseInfo>> = HashMap::new();
        for lease in leases {
            let digests: HashSet<&Digest> = lease.digests.iter().collect();
            for digest in digests {
                leased.entry(digest.clone()).or_default().push(LeaseInfo { digests: Vec::new(), ..lease.clone() });
            }
        }
        Ok(Self { roots, leased, nodes: Vec::new(), known: HashMap::new() })
    }

    fn node(&mut self, digest: Digest) -> usize {
        *self.known.entry(digest.clone()).or_insert_with(|| {
            self.nodes.push(Node { digest, keepers: Vec::new(), above: Vec::new() });
            self.nodes.len() - 1
        })
    }

    /// Finds all that is above a blob, each once.
    fn climb(&mut self, view: View<'_>, digest: &Digest) -> Result<()> {
        self.node(digest.clone());
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let digest = node.digest.clone();
            let keepers = self.keepers(view, &digest)?;
            let mut found = Vec::new();
            scan(view.0, &schema::reverse_prefix(&digest, None), &[], &mut |key, _| {
                let (parent, edge) = schema::split_reverse(key)?;
                if edge.link != Link::Follows {
                    found.push((parent, edge.role, edge.link));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            for edge in view.edges(&digest)?.unwrap_or_default().edges {
                // A follower is kept by the blob that it follows, if that is there.
                if edge.link == Link::Follows && view.blob(&edge.child)?.is_some() {
                    found.push((edge.child, edge.role, edge.link));
                }
            }
            let above = found.into_iter().map(|(blob, role, link)| (self.node(blob), role, link)).collect();
            if let Some(node) = self.nodes.get_mut(at) {
                (node.keepers, node.above) = (keepers, above);
            }
            at += 1;
        }
        Ok(())
    }

    /// What keeps a blob by itself.
    fn keepers(&self, view: View<'_>, digest: &Digest) -> Result<Vec<Keeper>> {
        let mut keepers = Vec::new();
        let mut rows = Vec::new();
        view.each_reference(digest, Some(Space::Store), &mut |row| {
            rows.push(row.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        for row in rows {
            let Some((kind, prefix)) = self.roots.iter().find(|(_, prefix)| row.starts_with(prefix)) else { continue };
            let value = view.0.get(&row)?.ok_or(Error::Row { what: "data" })?;
            let (head, _): (DataHead, _) = schema::decode("data", &value)?;
            let short = || String::from_utf8(row.get(prefix.len()..)?.to_vec()).ok();
            let key = head.key.or_else(short).ok_or(Error::Row { what: "data" })?;
            keepers.push(Keeper::Record { kind: kind.clone(), key });
        }
        let leases = self.leased.get(digest).into_iter().flatten();
        keepers.extend(leases.cloned().map(Keeper::Lease));
        Ok(keepers)
    }

    /// How many steps each blob is from the nearest that something keeps by itself; `None`: nothing keeps it.
    fn distances(&self) -> Vec<Option<usize>> {
        let mut below = vec![Vec::new(); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for (above, ..) in &node.above {
                below.get_mut(*above).into_iter().for_each(|below: &mut Vec<usize>| below.push(at));
            }
        }
        let mut distances = vec![None; self.nodes.len()];
        let kept = self.nodes.iter().enumerate().filter(|(_, node)| !node.keepers.is_empty());
        let mut walk: VecDeque<(usize, usize)> = kept.map(|(at, _)| (at, 0)).collect();
        while let Some((at, steps)) = walk.pop_front() {
            if let Some(distance) = distances.get_mut(at).filter(|distance| distance.is_none()) {
                *distance = Some(steps);
                walk.extend(below.get(at).into_iter().flatten().map(|below| (*below, steps + 1)));
            }
        }
        distances
    }

    /// The paths from the first blob up: those that reach a keeper, and come by no blob twice.
    fn paths(&self, limit: usize) -> Kept {
        let distances = self.distances();
        let distance = |node: usize| distances.get(node).copied().flatten();
        let mut answer = Kept::default();
        let Some(least) = distance(0) else { return answer };
        let mut begun = vec![Begun { node: 0, below: None, role: 0, link: Link::Needs }];
        // Those first that will be the shortest; of these the longest, so that one of them ends before many are begun.
        let mut next = BinaryHeap::from([(Reverse(least), 0, Reverse(0))]);
        while let Some((_, steps, Reverse(at))) = next.pop() {
            let Some(node) = begun.get(at).and_then(|begun| self.nodes.get(begun.node)) else { break };
            for keeper in &node.keepers {
                if answer.paths.len() < limit {
                    answer.paths.push(Path { keeper: keeper.clone(), steps: self.steps(&begun, at) });
                } else {
                    answer.more += 1;
                }
            }
            for &(above, role, link) in &node.above {
                let Some(left) = distance(above) else { continue };
                if down(&begun, at).any(|begun| begun.node == above) {
                    continue;
                }
                if begun.len() == MOST {
                    answer.uncounted = true;
                    break;
                }
                next.push((Reverse(steps + 1 + left), steps + 1, Reverse(begun.len())));
                begun.push(Begun { node: above, below: Some(at), role, link });
            }
        }
        answer
    }

    /// The blobs from one down to the first.
    fn steps(&self, begun: &[Begun], at: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        // How a blob was reached from below is what the step below it says.
        let mut edge = None;
        for begun in down(begun, at) {
            let digest = self.nodes.get(begun.node).map(|node| node.digest.clone());
            let (role, link) = edge.unzip();
            steps.extend(digest.map(|digest| Step { digest, role, link }));
            edge = Some((begun.role, begun.link));
        }
        steps
    }
}

/// The beginning of a path, from below: a blob, and the rest of the path down.
struct Begun {
    node: usize,
    below: Option<usize>,
    /// Of the edge between the two.
    role: u8,
    link: Link,
}

fn down(begun: &[Begun], at: usize) -> impl Iterator<Item = &Begun> {
    std::iter::successors(begun.get(at), |here| begun.get(here.below?))
}
