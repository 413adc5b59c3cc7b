//! Whether anything keeps one blob: what a collection of what has changed asks.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::edges::scan;
use crate::{Link, Result, Space, View, schema};

/// Whether anything keeps a blob: a search for a keeper, from the blob upwards. `verdicts` remembers what was
/// found; a search that ends without a keeper has seen all that could be one, and settles every blob on its way.
pub(crate) fn search(
    view: View<'_>,
    roots: &[Vec<u8>],
    is_leased: &dyn Fn(&Digest) -> bool,
    verdicts: &mut HashMap<Digest, bool>,
    digest: &Digest,
) -> Result<bool> {
    /// Parents fetched at once: a base layer may have thousands, and the first is often kept.
    const PAGE: usize = 8;
    let mut seen = HashSet::from([digest.clone()]);
    // What is still to be looked at, with the reverse edge behind which to go on.
    let mut stack = vec![(digest.clone(), Vec::new())];
    while let Some((blob, after)) = stack.pop() {
        if after.is_empty() {
            let known = verdicts.get(&blob).copied();
            if known == Some(true) || is_leased(&blob) || is_root(view, roots, &blob)? {
                verdicts.insert(blob, true);
                verdicts.insert(digest.clone(), true);
                return Ok(true);
            }
            if known == Some(false) {
                continue;
            }
            for edge in view.edges(&blob)?.unwrap_or_default().edges {
                // A follower is kept by the blob that it follows, if that is there.
                if edge.link == Link::Follows && view.blob(&edge.child)?.is_some() && seen.insert(edge.child.clone()) {
                    stack.push((edge.child, Vec::new()));
                }
            }
        }
        let mut page = Vec::new();
        let mut next = None;
        scan(view.0, &schema::reverse_prefix(&blob, None), &after, &mut |key, _| {
            if key == after.as_slice() {
                return Ok(ControlFlow::Continue(()));
            }
            let (parent, edge) = schema::split_reverse(key)?;
            if edge.link != Link::Follows {
                page.push(parent);
            }
            next = Some(key.to_vec());
            Ok(if page.len() == PAGE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if let Some(next) = next.filter(|_| page.len() == PAGE) {
            stack.push((blob, next));
        }
        stack.extend(page.into_iter().filter(|parent| seen.insert(parent.clone())).map(|parent| (parent, Vec::new())));
    }
    verdicts.extend(seen.into_iter().map(|blob| (blob, false)));
    Ok(false)
}

fn is_root(view: View<'_>, roots: &[Vec<u8>], digest: &Digest) -> Result<bool> {
    let mut found = false;
    view.each_reference(digest, Some(Space::Store), &mut |row| {
        found = roots.iter().any(|root| row.starts_with(root));
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}
