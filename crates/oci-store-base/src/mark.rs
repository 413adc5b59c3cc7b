//! The walk of a full collection: everything that is kept.

use std::collections::HashSet;
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::{Link, Result, Space, View};

/// What a walk has found.
pub(crate) struct Marked {
    pub(crate) kept: HashSet<Digest>,
    /// Those of them that only leases keep.
    pub(crate) by_lease_only: Vec<Digest>,
}

/// Walks from the records of the types `roots`, then from what is leased, over all edges. Visits each blob once,
/// however many paths lead to it, and doesn't recurse.
pub(crate) fn mark(view: View<'_>, roots: &[String], leased: &HashSet<Digest>) -> Result<Marked> {
    let mut walk = Vec::new();
    for kind in roots {
        view.each_data(Space::Store, kind, "", None, &mut |record| {
            walk.extend(record.blob);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let mut kept = HashSet::new();
    spread(view, walk, &mut kept, &mut |_| {})?;
    let mut by_lease_only = Vec::new();
    spread(view, leased.iter().cloned().collect(), &mut kept, &mut |digest| by_lease_only.push(digest.clone()))?;
    Ok(Marked { kept, by_lease_only })
}

fn spread(
    view: View<'_>,
    mut walk: Vec<Digest>,
    kept: &mut HashSet<Digest>,
    found: &mut dyn FnMut(&Digest),
) -> Result<()> {
    while let Some(digest) = walk.pop() {
        if kept.contains(&digest) {
            continue;
        }
        found(&digest);
        for edge in view.edges(&digest)?.unwrap_or_default().edges {
            if edge.link != Link::Follows {
                walk.push(edge.child);
            }
        }
        // What follows an absent blob is not kept by it.
        if view.blob(&digest)?.is_some() {
            view.parents(&digest, Some(Link::Follows), &mut |parent, _| {
                walk.push(parent);
                ControlFlow::Continue(())
            })?;
        }
        kept.insert(digest);
    }
    Ok(())
}
