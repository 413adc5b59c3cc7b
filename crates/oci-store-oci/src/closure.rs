//! An image as the index knows it: all that it reaches, and what is about that.

use std::collections::HashSet;
use std::fmt;

use oci_store_base::{Link, View};
use oci_store_cas::Digest;

use crate::Result;
use crate::document::Role;

/// A blob that is not there although an image needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub digest: Digest,
    /// What it is to the last of the path.
    pub role: Option<Role>,
    /// From the image down to what names the missing blob; empty if the image itself is missing.
    pub path: Vec<Digest>,
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
    pub(crate) fn path_to(&self, member: Option<usize>) -> Vec<Digest> {
        let mut path = Vec::new();
        let mut at = member.and_then(|at| self.members.get(at));
        while let Some(member) = at {
            path.push(member.digest.clone());
            at = member.parent.and_then(|(parent, _)| self.members.get(parent));
        }
        path.reverse();
        path
    }
}

/// Walks the edges from `root`: every blob once, without recursion. Subjects are not part of an image.
pub(crate) fn closure(view: View<'_>, root: &Digest) -> Result<Closure> {
    let mut closure = Closure::default();
    let mut seen = HashSet::new();
    let mut stack = vec![(root.clone(), None, Link::Needs)];
    while let Some((digest, parent, link)) = stack.pop() {
        if !seen.insert((digest.clone(), link)) {
            continue;
        }
        let Some(info) = view.blob(&digest)? else {
            if link == Link::Needs {
                let path = closure.path_to(parent.map(|(at, _): (usize, Role)| at));
                closure.missing.push(Missing { digest, role: parent.map(|(_, role)| role), path });
            }
            continue;
        };
        // Met before, by a link of another kind: what is there needs no second look.
        let other = if link == Link::Needs { Link::Uses } else { Link::Needs };
        if seen.contains(&(digest.clone(), other)) {
            continue;
        }
        let at = closure.members.len();
        closure.members.push(Member { digest: digest.clone(), size: info.size, damaged: info.damaged, parent });
        for edge in view.edges(&digest)?.unwrap_or_default().edges.into_iter().rev() {
            if edge.link != Link::Follows {
                let role = Role::from_code(edge.role).unwrap_or(Role::Blob);
                stack.push((edge.child, Some((at, role)), edge.link));
            }
        }
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
