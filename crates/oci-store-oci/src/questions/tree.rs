//! An image as a tree: what its documents list, and what is about them.

use std::collections::HashSet;

use oci_store_cas::Digest;

use crate::document::{MAX_DEPTH, Role, children};
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Result, Store, refs};

use super::graph::Graph;
use super::{about, config};

/// What a node is to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// There is none above it.
    Image,
    /// It is listed there.
    Listed(Role),
    /// It is about that.
    Referrer,
}

/// A blob of an image, and what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The blob, as it is described where it is listed.
    pub descriptor: Descriptor,
    /// What it is to the node above.
    pub part: Part,
    /// The platform that it is for, as `os/architecture/variant`.
    pub platform: Option<String>,
    /// How many other images that refs or pins name have it, too.
    pub sharers: u32,
    /// It is not there.
    pub missing: bool,
    /// Why it can't be read, if it should be.
    pub unreadable: Option<String>,
    /// What is below it stands where it came first.
    pub repeated: bool,
    /// In the order in which they are listed; then what is about it.
    pub below: Vec<Node>,
}

impl Store {
    /// What `image` names (a ref, a digest, or the beginning of one) as a tree. Reads its documents, and of a manifest that
    /// nobody gives a platform its config. Each document is opened once, however often it is listed.
    ///
    /// # Errors
    /// [`Error::RefNotFound`](crate::Error::RefNotFound), [`Ambiguous`](oci_store_base::Error::Ambiguous).
    pub fn tree(&self, image: &str) -> Result<Node> {
        let (target, graph) = self.base().view(|view| {
            let target = refs::find(view, image)?.0;
            Ok::<_, crate::Error>((target, Graph::load(view)?))
        })?;
        let others = graph.find(&target.digest).map(|id| graph.held_by_others(id)).unwrap_or_default();
        Planter { store: self, graph, others, seen: HashSet::new() }.plant(target, Part::Image, 0)
    }
}

struct Planter<'s> {
    store: &'s Store,
    graph: Graph,
    others: Vec<u32>,
    seen: HashSet<Digest>,
}

impl Planter<'_> {
    fn plant(&mut self, descriptor: Descriptor, part: Part, depth: usize) -> Result<Node> {
        let id = self.graph.find(&descriptor.digest);
        let mut node = Node {
            platform: descriptor.platform().as_ref().map(config::platform_text),
            part,
            sharers: id.and_then(|id| self.others.get(id)).copied().unwrap_or_default(),
            missing: id.and_then(|id| self.graph.size(id)).is_none(),
            unreadable: None,
            repeated: false,
            below: Vec::new(),
            descriptor,
        };
        if node.missing || part == Part::Listed(Role::Subject) || !is_document(&node.descriptor.media_type) {
            return Ok(node);
        }
        if depth >= MAX_DEPTH || !self.seen.insert(node.descriptor.digest.clone()) {
            node.repeated = true;
            return Ok(node);
        }
        let source = self.store.as_source();
        let read = read_document(&source, &node.descriptor).and_then(|bytes| match bytes {
            Some(bytes) => children(&node.descriptor, &bytes).map(Some),
            None => Ok(None),
        });
        let listed = match read {
            Ok(Some(listed)) => listed,
            Ok(None) => {
                node.missing = true;
                Vec::new()
            }
            Err(error) if error.hinders_all() => return Err(error),
            Err(error) => {
                node.unreadable = Some(error.to_string());
                Vec::new()
            }
        };
        if node.platform.is_none()
            && let Some(child) = listed.iter().find(|child| child.role == Role::Config)
        {
            // What can't be read of it is for `check` to tell.
            let read = config::read_about(&source, &child.descriptor).ok().flatten();
            node.platform = read.and_then(|config| config.platform).as_ref().map(config::platform_text);
        }
        for child in listed {
            if part == Part::Referrer && child.role == Role::Subject {
                // It stands above.
                continue;
            }
            node.below.push(self.plant(child.descriptor, Part::Listed(child.role), depth + 1)?);
        }
        for referrer in self.referrers(&node.descriptor.digest)? {
            node.below.push(self.plant(referrer, Part::Referrer, depth + 1)?);
        }
        Ok(node)
    }

    /// What is about a blob; one whose manifest can't be read is shown all the same.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let source = self.store.as_source();
        match about::referrers(&source, subject, None) {
            Err(error) if error.hinders_all() => Err(error),
            Err(_) => source.referrers(subject),
            found => found,
        }
    }
}
