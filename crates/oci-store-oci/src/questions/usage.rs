//! How much of the disk images take, and what removing them would free.

use std::collections::HashMap;
use std::ops::AddAssign;

use oci_store_base::LeaseInfo;
use oci_store_cas::Digest;

use crate::document::Role;
use crate::{Error, RefName, Result, Store};

use super::graph::{Graph, Id, Root};

/// Some blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Their sizes, added up, in bytes.
    pub bytes: u64,
}

impl AddAssign<u64> for Amount {
    /// Adds a blob of so many bytes.
    fn add_assign(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Amount {
    /// What there is without a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self { blobs: self.blobs.saturating_sub(part.blobs), bytes: self.bytes.saturating_sub(part.bytes) }
    }

    /// Those of some blobs that are there.
    pub(super) fn of(graph: &Graph, blobs: impl Iterator<Item = Id>) -> Self {
        let mut amount = Self::default();
        blobs.filter_map(|id| graph.size(id)).for_each(|size| amount += size);
        amount
    }
}

/// What a ref holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageUsage {
    /// The ref's name.
    pub name: String,
    /// What it names.
    pub digest: Digest,
    /// All that it keeps, each blob once: the image, and what is about it.
    pub total: Amount,
    /// What of it no other ref, no pin and no live lease keeps: what its removal and a gc would free.
    pub unique: Amount,
}

/// A blob that one image has, or several share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBlob {
    /// The blob.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What it is to whatever points at it, if that is known.
    pub role: Option<Role>,
}

/// Blobs that the same images have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many images have them, those too that were not asked about.
    pub images: usize,
    /// A name of each of the first [`NAMES`](Self::NAMES) of these: of a ref, or the digest of a pin.
    pub names: Vec<String>,
    /// The blobs, the largest first.
    pub blobs: Vec<SharedBlob>,
    /// Their sizes, added up, in bytes.
    pub bytes: u64,
}

impl Share {
    /// So many names are told of each.
    pub const NAMES: usize = 20;
}

/// What refs hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the order of their names.
    pub images: Vec<ImageUsage>,
    /// All that they keep, each blob once.
    pub total: Amount,
    /// What would go if exactly these were removed and a gc were run. What nothing keeps now is not in it.
    pub freed: Amount,
    /// Who shares what of the total, the most bytes first; empty unless it was asked for.
    pub shares: Vec<Share>,
}

impl Store {
    /// What the refs `names` hold, all refs if there are none; with `shares`, which of them share what. Reads the index,
    /// and no blob.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; those of the base store.
    pub fn usage(&self, names: &[RefName], shares: bool) -> Result<Usage> {
        // Before the rows: what is published meanwhile has a ref then.
        let leases = self.base().look_at_leases()?;
        let mut graph = self.base().view(Graph::load)?;
        let is_known = |name: &&RefName| graph.roots.iter().any(|root| root.name.as_deref() == Some(name.as_str()));
        if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
            return Err(Error::RefNotFound(unknown.to_string()));
        }
        let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked.as_str() == name);
        let held = Held::new(&graph, &leases, &is_asked);
        let mut usage = Usage::default();
        let mut walker = graph.walker();
        let mut amounts = HashMap::new();
        for image in held.images.iter().filter(|image| image.asked > 0) {
            let reached = walker.reach(&[image.target]);
            let alone = reached.iter().filter(|id| held.all.get(**id) == Some(&1));
            let total = Amount::of(&graph, reached.iter().copied());
            amounts.insert(image.target, (total, Amount::of(&graph, alone.copied())));
        }
        let asked = |id: &Id| held.asked.get(*id).is_some_and(|count| *count > 0);
        usage.total = Amount::of(&graph, (0..graph.blobs.len()).filter(asked));
        let goes = |id: &Id| asked(id) && held.asked.get(*id) == held.all.get(*id);
        usage.freed = Amount::of(&graph, (0..graph.blobs.len()).filter(goes));
        if shares {
            usage.shares = held.shares(&graph);
        }
        for Root { name, target } in std::mem::take(&mut graph.roots) {
            let amounts = amounts.get(&target).copied().zip(graph.digest(target));
            if let (Some(name), Some(((total, unique), digest))) = (name.filter(|name| is_asked(name)), amounts) {
                usage.images.push(ImageUsage { name, digest, total, unique });
            }
        }
        usage.images.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(usage)
    }
}

/// An image that refs and pins name.
struct Image {
    target: Id,
    /// How many refs and pins.
    roots: u32,
    /// How many of the refs were asked about.
    asked: u32,
}

/// Which blobs are held by how many.
struct Held {
    images: Vec<Image>,
    /// For each blob, how many refs and pins hold it, and live leases as one.
    all: Vec<u32>,
    /// How many of those are asked about.
    asked: Vec<u32>,
}

impl Held {
    fn new(graph: &Graph, leases: &[LeaseInfo], is_asked: &dyn Fn(&str) -> bool) -> Self {
        let mut images: Vec<Image> = Vec::new();
        let mut by_target: HashMap<Id, usize> = HashMap::new();
        for root in &graph.roots {
            let at = *by_target.entry(root.target).or_insert_with(|| {
                images.push(Image { target: root.target, roots: 0, asked: 0 });
                images.len() - 1
            });
            if let Some(image) = images.get_mut(at) {
                image.roots += 1;
                image.asked += u32::from(root.name.as_deref().is_some_and(is_asked));
            }
        }
        let (mut all, mut asked) = (vec![0; graph.blobs.len()], vec![0; graph.blobs.len()]);
        let add = |counts: &mut Vec<u32>, id: Id, more: u32| {
            if let Some(count) = counts.get_mut(id) {
                *count += more;
            }
        };
        let mut walker = graph.walker();
        for image in &images {
            walker.each(&[image.target], &mut |id| {
                add(&mut all, id, image.roots);
                add(&mut asked, id, image.asked);
            });
        }
        walker.each(&graph.leased(leases), &mut |id| add(&mut all, id, 1));
        Self { images, all, asked }
    }

    /// Groups the blobs that were asked about by who has them.
    fn shares(&self, graph: &Graph) -> Vec<Share> {
        let mut images_of: Vec<Vec<usize>> = vec![Vec::new(); graph.blobs.len()];
        let mut walker = graph.walker();
        for (at, image) in self.images.iter().enumerate() {
            walker
                .each(&[image.target], &mut |id| images_of.get_mut(id).into_iter().for_each(|images| images.push(at)));
        }
        let mut groups: HashMap<&[usize], Vec<SharedBlob>> = HashMap::new();
        for (id, (blob, images)) in graph.blobs.iter().zip(&images_of).enumerate() {
            if let (Some(size), Some(1..)) = (graph.size(id), self.asked.get(id)) {
                let role = (0..8).filter(|code| blob.roles & (1 << code) != 0).find_map(Role::from_code);
                let role = role.or(blob.is_document.then_some(Role::Manifest));
                let blob = graph.digest(id).map(|digest| SharedBlob { digest, size, role });
                groups.entry(images.as_slice()).or_default().extend(blob);
            }
        }
        let mut names: HashMap<Id, String> = HashMap::new();
        for root in &graph.roots {
            let pin = || graph.digest(root.target).map(|digest| digest.to_string());
            names.entry(root.target).or_insert_with(|| root.name.clone().or_else(pin).unwrap_or_default());
        }
        let share = |(images, mut blobs): (&[usize], Vec<SharedBlob>)| {
            blobs.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
            let targets = images.iter().filter_map(|at| self.images.get(*at));
            let names = targets.filter_map(|image| names.get(&image.target));
            let names = names.take(Share::NAMES).cloned().collect();
            let bytes = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
            Share { images: images.len(), names, blobs, bytes }
        };
        let mut shares: Vec<Share> = groups.into_iter().map(share).collect();
        shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.names.cmp(&b.names)));
        shares
    }
}
