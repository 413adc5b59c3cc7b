//! What images consist of, in an order that is the same in every store.

use std::collections::{HashMap, HashSet, VecDeque};

use oci_store_base::Link;
use oci_store_cas::Digest;

use crate::Result;
use crate::destination::Plan;
use crate::document::{Role, children};
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};

/// The blobs of a plan, with their sizes, as a reader of a stream wants them: what says what is to come, comes first.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Manifests and indexes, parents before children.
    pub(crate) documents: Vec<(Digest, u64)>,
    /// What manifests name as their config, by digest.
    pub(crate) configs: Vec<(Digest, u64)>,
    /// All else, by digest.
    pub(crate) others: Vec<(Digest, u64)>,
}

impl Members {
    /// Finds them by the documents themselves, and not by the index: that also knows what other images have made of the same
    /// blobs.
    pub(crate) fn of(plan: &Plan, source: &dyn ImageSource) -> Result<Self> {
        let roots = plan.images.iter().map(|image| &image.target).chain(&plan.referrers);
        let mut queue: VecDeque<_> = roots.map(|root| (root.clone(), Role::Manifest)).collect();
        let (mut read, mut there) = (HashSet::new(), HashSet::new());
        let mut leaves: HashMap<Digest, (u64, bool)> = HashMap::new();
        let mut members = Self::default();
        while let Some((descriptor, role)) = queue.pop_front() {
            let digest = &descriptor.digest;
            // What is to be had elsewhere, or was let in without.
            let Some(size) = plan.blobs.get(digest).copied() else { continue };
            if !is_document(&descriptor.media_type) {
                leaves.entry(digest.clone()).or_insert((size, false)).1 |= role == Role::Config;
                continue;
            }
            if !read.insert((digest.clone(), descriptor.media_type.clone())) {
                continue;
            }
            let bytes = read_document(source, &descriptor)?;
            let bytes = bytes.ok_or_else(|| oci_store_base::Error::BlobNotFound(digest.to_string()))?;
            if there.insert(digest.clone()) {
                members.documents.push((digest.clone(), size));
            }
            let below = children(&descriptor, &bytes)?.into_iter().filter(|child| child.link != Link::Follows);
            queue.extend(below.map(|child| (child.descriptor, child.role)));
        }
        for (digest, (size, is_config)) in leaves {
            let list = if is_config { &mut members.configs } else { &mut members.others };
            if !there.contains(&digest) {
                list.push((digest, size));
            }
        }
        members.configs.sort();
        members.others.sort();
        Ok(members)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &(Digest, u64)> {
        self.documents.iter().chain(&self.configs).chain(&self.others)
    }
}
