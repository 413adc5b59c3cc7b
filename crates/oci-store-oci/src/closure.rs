//! An image as the index knows it: all that it reaches, and what is about that.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use oci_store_base::{Link, View};
use oci_store_cas::Digest;

use crate::document::{Role, children};
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Result};

/// A blob that is not there although an image needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// What is missing.
    pub digest: Digest,
    /// What it is to the last of the path.
    pub role: Option<Role>,
    /// From the image down to what names the missing blob; empty if the image itself is missing. Shared, as one document may
    /// name very many.
    pub path: Arc<[Digest]>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} missing", self.digest, self.role.map_or("blob", Role::name))?;
        for (n, parent) in self.path.iter().rev().enumerate() {
            write!(f, "{}{parent}", if n == 0 { ", needed by " } else { " in " })?;
        }
        Ok(())
    }
}

/// A blob of a closure, as the index knows it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) damaged: bool,
    /// Where it was first met.
    pub(crate) parent: Option<(usize, Role)>,
}

/// An image as the index knows it: all blobs that it reaches, parents before children, and those that are not
/// there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    pub(crate) members: Vec<Member>,
    pub(crate) missing: Vec<Missing>,
}

impl Closure {
    pub(crate) fn path_to(&self, member: Option<usize>) -> Arc<[Digest]> {
        let mut path = Vec::new();
        let mut at = member.and_then(|at| self.members.get(at));
        while let Some(member) = at {
            path.push(member.digest.clone());
            at = member.parent.and_then(|(parent, _)| self.members.get(parent));
        }
        path.reverse();
        path.into()
    }
}

/// Walks the edges from `root`: every blob once, without recursion. Subjects are not part of an image.
pub(crate) fn closure(view: View<'_>, root: &Digest) -> Result<Closure> {
    walk(
        view,
        root.clone(),
        |digest| (digest, false),
        |digest| {
            let edges = view.edges(digest)?.unwrap_or_default().edges.into_iter();
            Ok(edges.map(|edge| (edge.child, Role::from_code(edge.role).unwrap_or(Role::Blob), edge.link)).collect())
        },
    )
}

/// The same of an image that should be whole. If something is missing, its documents are read: the index knows the edges of a
/// blob as all images name it, and to this one a manifest may be a layer, and what that manifest lists be no part of it.
pub(crate) fn whole(view: View<'_>, source: &dyn ImageSource, root: &Descriptor) -> Result<Closure> {
    let found = closure(view, &root.digest)?;
    if found.missing.is_empty() {
        return Ok(found);
    }
    let below = |named: &Descriptor| {
        if !is_document(&named.media_type) {
            return Ok(Vec::new());
        }
        let bytes = read_document(source, named)?;
        let bytes = bytes.ok_or_else(|| oci_store_base::Error::BlobNotFound(named.digest.to_string()))?;
        Ok(children(named, &bytes)?.into_iter().map(|child| (child.descriptor, child.role, child.link)).collect())
    };
    let read = walk(view, root.clone(), |named| (&named.digest, is_document(&named.media_type)), below);
    match read {
        // What can't be read lists what the index says.
        Err(error) if !error.hinders_all() => Ok(found),
        read => read,
    }
}

/// Walks from `root` to what is `below` each: `named` says its digest, and whether it is named as a document, as one blob may be
/// named both ways.
fn walk<N>(
    view: View<'_>,
    root: N,
    named: impl Fn(&N) -> (&Digest, bool),
    below: impl Fn(&N) -> Result<Vec<(N, Role, Link)>>,
) -> Result<Closure> {
    let mut closure = Closure::default();
    let mut seen = HashSet::new();
    let mut stack = vec![(root, None, Link::Needs)];
    while let Some((next, parent, link)) = stack.pop() {
        let (digest, is_document) = named(&next);
        if !seen.insert((digest.clone(), is_document, link)) {
            continue;
        }
        let Some(info) = view.blob(digest)? else {
            if link == Link::Needs {
                let path = closure.path_to(parent.map(|(at, _): (usize, Role)| at));
                closure.missing.push(Missing { digest: digest.clone(), role: parent.map(|(_, role)| role), path });
            }
            continue;
        };
        // Met before, by a link of another kind: what is there needs no second look.
        let other = if link == Link::Needs { Link::Uses } else { Link::Needs };
        if seen.contains(&(digest.clone(), is_document, other)) {
            continue;
        }
        let at = closure.members.len();
        closure.members.push(Member { digest: digest.clone(), size: info.size, damaged: info.damaged, parent });
        let parts = below(&next)?.into_iter().rev().filter(|(.., link)| *link != Link::Follows);
        stack.extend(parts.map(|(part, role, link)| (part, Some((at, role)), link)));
    }
    Ok(closure)
}

/// All that is about the blobs of a closure, transitively: signatures, SBOMs, and what signs those.
pub(crate) fn referrers(view: View<'_>, closure: &Closure) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    let mut seen: HashSet<Digest> = closure.members.iter().map(|member| member.digest.clone()).collect();
    let mut queue: Vec<Digest> = seen.iter().cloned().collect();
    queue.sort();
    while let Some(subject) = queue.pop() {
        let mut about = Vec::new();
        view.parents(&subject, Some(Link::Follows), &mut |parent, _| {
            about.push(parent);
            std::ops::ControlFlow::Continue(())
        })?;
        for referrer in about {
            if seen.contains(&referrer) || view.blob(&referrer)?.is_none() {
                continue;
            }
            for member in self::closure(view, &referrer)?.members {
                if seen.insert(member.digest.clone()) {
                    queue.push(member.digest);
                }
            }
            found.push(referrer);
        }
    }
    found.sort();
    Ok(found)
}
