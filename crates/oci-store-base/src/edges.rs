//! Edges: which blob points at which, and what that means for a garbage collection.

use std::collections::HashSet;
use std::ops::ControlFlow;

use oci_store_cas::Digest;
use oci_store_index::ReadTxn;

use crate::schema::{self, EdgesHead};
use crate::{Error, Result, Txn, View};

/// What an edge means for the life of its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Link {
    /// The parent needs the child: it keeps it, and is incomplete without it.
    Needs,
    /// The parent keeps the child while it is there, but is complete without it.
    Uses,
    /// The parent lives as long as the child does and does not keep it: it is about the child.
    Follows,
}

impl Link {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Needs => 1,
            Self::Uses => 2,
            Self::Follows => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Needs, Self::Uses, Self::Follows].into_iter().find(|link| link.code() == code)
    }
}

/// An edge to a blob, which may be absent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// What is pointed at.
    pub child: Digest,
    /// What the child is to the parent: numbers of the store on top.
    pub role: u8,
    /// What it means for their lives.
    pub link: Link,
}

/// The edges of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// The media types under which the blob was read.
    pub read_as: Vec<String>,
    /// Without repetition, in the order in which they were found.
    pub edges: Vec<Edge>,
}

impl Edges {
    /// With what was found under other types; what was found under one before is the same.
    pub(crate) fn add(&mut self, other: Self) {
        let new: Vec<String> = other.read_as.into_iter().filter(|read_as| !self.read_as.contains(read_as)).collect();
        if new.is_empty() {
            return;
        }
        self.read_as.extend(new);
        let mut seen: HashSet<Edge> = self.edges.iter().cloned().collect();
        self.edges.extend(other.edges.into_iter().filter(|edge| seen.insert(edge.clone())));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (head, mut raw): (EdgesHead, _) = schema::decode("edges", bytes)?;
        let mut edges = Vec::new();
        while let Some((&[link, role], rest)) = raw.split_first_chunk() {
            let (child, rest) = Digest::split_key(rest).ok_or(Error::Row { what: "edges" })?;
            edges.push(Edge { child, role, link: Link::from_code(link).ok_or(Error::Row { what: "edges" })? });
            raw = rest;
        }
        Ok(Self { read_as: head.read_as, edges })
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut raw = Vec::new();
        for edge in &self.edges {
            raw.extend([edge.link.code(), edge.role]);
            raw.extend_from_slice(&edge.child.to_key());
        }
        schema::encode("edges", &EdgesHead { read_as: self.read_as.clone() }, &raw)
    }
}

impl View<'_> {
    /// The edges of a blob, or `None` if none were recorded: it was never read as anything that has some.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn edges(&self, parent: &Digest) -> Result<Option<Edges>> {
        self.0.get(&schema::of_digest(schema::EDGES, parent))?.map(|row| Edges::decode(&row)).transpose()
    }

    /// Visits all blobs that have edges, with those, in the order of their digests.
    ///
    /// # Errors
    /// Those of `visit`; [`Error::Row`], [`Error::Index`].
    pub fn each_edges(&self, visit: &mut dyn FnMut(Digest, Edges) -> Result<ControlFlow<()>>) -> Result<()> {
        scan(self.0, &[schema::EDGES], &[], &mut |key, row| {
            visit(schema::digest_of("edges", key)?, Edges::decode(row)?)
        })
    }

    /// Visits the blobs that point at `child`, with the edge, in the order of link, role and parent; only those
    /// with that `link`, if one is given.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn parents(
        &self,
        child: &Digest,
        link: Option<Link>,
        visit: &mut dyn FnMut(Digest, Edge) -> ControlFlow<()>,
    ) -> Result<()> {
        scan(self.0, &schema::reverse_prefix(child, link), &[], &mut |key, _| {
            let (parent, edge) = schema::split_reverse(key)?;
            Ok(visit(parent, edge))
        })
    }
}

impl Txn<'_> {
    /// Adds the edges that were found when `parent` was read as `media_type`, and records that it was. Edges
    /// found under other types stay. Idempotent. Children may be absent.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn add_edges(&mut self, parent: &Digest, media_type: &str, found: &[Edge]) -> Result<()> {
        let mut row = self.view().edges(parent)?.unwrap_or_default();
        if row.read_as.iter().any(|known| known == media_type) {
            return Ok(());
        }
        let known = row.edges.len();
        row.add(Edges { read_as: vec![media_type.to_owned()], edges: found.to_vec() });
        for edge in row.edges.iter().skip(known) {
            self.0.put(&schema::reverse(&edge.child, edge.link, edge.role, parent), &[])?;
        }
        self.0.put(&schema::of_digest(schema::EDGES, parent), &row.encode()?)?;
        Ok(())
    }

    /// Removes the edges that go out from `parent`, and returns them.
    pub(crate) fn remove_edges(&mut self, parent: &Digest) -> Result<Vec<Edge>> {
        let Some(row) = self.view().edges(parent)? else { return Ok(Vec::new()) };
        for edge in &row.edges {
            self.0.delete(&schema::reverse(&edge.child, edge.link, edge.role, parent))?;
        }
        self.0.delete(&schema::of_digest(schema::EDGES, parent))?;
        Ok(row.edges)
    }
}

type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'v;

/// A scan whose visitor may fail.
pub(crate) fn scan(txn: &dyn ReadTxn, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    let mut failed = None;
    txn.scan(prefix, from, &mut |key, value| {
        visit(key, value).unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    })?;
    failed.map_or(Ok(()), Err)
}
