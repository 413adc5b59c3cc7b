//! The walk of a full collection: from the roots to everything that they keep.

use std::collections::HashSet;
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::{Link, Result, Space, View, counts};

/// So many blobs get their room at once.
const MOST: usize = 1 << 24;

/// The blobs behind `after` that nothing reaches from the records of the types `roots`, in order, the first `most` of
/// them. Leases are not looked at. Visits each blob once, however many paths lead to it, and doesn't recurse.
pub(crate) fn unreached(view: View<'_>, roots: &[&str], after: Option<&Digest>, most: usize) -> Result<Vec<Digest>> {
    let kept = reached(view, roots)?;
    let mut unreached = Vec::new();
    view.each_blob(after, &mut |blob| {
        if !kept.contains(&short(&blob.digest)) {
            unreached.push(blob.digest);
        }
        Ok(if unreached.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(unreached)
}

fn reached(view: View<'_>, roots: &[&str]) -> Result<HashSet<u128>> {
    let mut walk = Vec::new();
    for kind in roots {
        view.each_data(Space::Store, kind, "", None, &mut |record| {
            walk.extend(record.blob);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    // At once: a table that grows takes half as much again meanwhile.
    let mut kept = HashSet::with_capacity(counts::blobs(view)?.min(MOST));
    while let Some(digest) = walk.pop() {
        if !kept.insert(short(&digest)) {
            continue;
        }
        let edges = view.edges(&digest)?.unwrap_or_default().edges.into_iter();
        let children = edges.filter(|edge| edge.link != Link::Follows).map(|edge| edge.child);
        walk.extend(children.filter(|child| !kept.contains(&short(child))));
        // What follows an absent blob is not kept by it.
        if view.blob(&digest)?.is_some() {
            view.parents(&digest, Some(Link::Follows), &mut |parent, _| {
                walk.push(parent);
                ControlFlow::Continue(())
            })?;
        }
    }
    Ok(kept)
}

/// Enough of a digest to tell blobs apart, in a third of the memory. Two that agree in it would be kept both.
fn short(digest: &Digest) -> u128 {
    digest.raw().iter().take(size_of::<u128>()).fold(0, |short, byte| short << 8 | u128::from(*byte))
}
