//! What has become of images that were walked and copied, and how they are published.

use std::collections::HashSet;
use std::sync::Arc;

use oci_store_base::{Edge, Link, NewBlob, Txn};
use oci_store_cas::Digest;

use super::{Blob, Child, Document, Image, Intake, Reached, State};
use crate::closure::Missing;
use crate::document::Role;
use crate::{Error, Result, refs};

impl Intake<'_> {
    /// What could not be copied, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&Digest, &str)> {
        self.blobs.iter().filter_map(|(_, blob)| match &blob.state {
            State::Failed(why) => Some((&blob.digest, why.as_str())),
            _ => None,
        })
    }

    fn blob_of(&self, member: &Reached) -> Option<&Blob> {
        self.blobs.get(member.named.0)
    }

    /// All that an image consists of, and all that is about it, and of that.
    pub(crate) fn digests(&self, image: &Image) -> impl Iterator<Item = &Digest> {
        image.members.iter().filter_map(|member| self.blob_of(member)).map(|blob| &blob.digest)
    }

    fn path_to(&self, image: &Image, parent: Option<usize>) -> Arc<[Digest]> {
        let member_of = |parent: Option<usize>| image.members.get(parent?);
        let above = |member: &&Reached| member_of(member.parent.map(|(parent, _)| parent));
        let members = std::iter::successors(member_of(parent), above);
        let mut path: Vec<Digest> = members.filter_map(|member| Some(self.blob_of(member)?.digest.clone())).collect();
        path.reverse();
        path.into()
    }

    /// Whether an image is whole now: all that it needs is here, or it may lack what is nowhere. Returns whether
    /// it lacks something. None may lack all of it.
    pub(crate) fn settle(&self, image: &Image, allow_incomplete: bool) -> Result<bool> {
        let mut missing: Vec<Missing> = Vec::new();
        let mut is_nowhere = false;
        let mut last = None;
        for (at, member) in image.members.iter().enumerate() {
            let Some(blob) = self.blob_of(member) else { continue };
            match &blob.state {
                State::Failed(why) => return Err(Error::Copy(why.clone())),
                State::Here => {}
                _ if member.link != Link::Needs => {}
                _ => {
                    is_nowhere |= at == 0;
                    let (parent, role) = member.parent.unzip();
                    // What one document names follows each other.
                    let path = match &last {
                        Some((of, path)) if *of == parent => Arc::clone(path),
                        _ => self.path_to(image, parent),
                    };
                    last = Some((parent, Arc::clone(&path)));
                    missing.push(Missing { digest: blob.digest.clone(), role, path });
                }
            }
        }
        if missing.is_empty() || (allow_incomplete && !is_nowhere) {
            return Ok(!missing.is_empty());
        }
        Err(self.blame(Error::Incomplete(missing)))
    }

    /// Publishes images in one transaction, in which `tie` ties them to something. `None`: a gc has taken some of
    /// it meanwhile. That was fetched again as far as the source has it: [settle](Self::settle) again.
    pub(crate) fn publish<T>(
        &mut self,
        images: &[&Image],
        tie: &mut dyn FnMut(&mut Txn<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let blobs = self.new_blobs(images);
        self.lease.discard_staged(&|digest| blobs.binary_search_by(|blob| blob.digest.cmp(digest)).is_err())?;
        let published = self.lease.publish(&blobs, |txn| {
            let mut added = HashSet::new();
            for member in images.iter().flat_map(|image| &image.members) {
                if let (Some(document), Some(blob)) = (self.documents.get(&member.named), self.blob_of(member))
                    && added.insert(member.named)
                {
                    let media_type = member.named.1.unwrap_or_default();
                    txn.add_edges(&blob.digest, media_type, &self.edges(document))?;
                    if document.children.iter().any(|child| child.role == Role::Subject) {
                        let listed = images.iter().flat_map(|image| &image.referrers);
                        let listed = listed.into_iter().find(|descriptor| descriptor.digest == blob.digest);
                        let descriptor = listed.cloned().unwrap_or_else(|| blob.whole_descriptor());
                        refs::add_unnamed(txn, refs::REFERRER, &descriptor)?;
                    }
                }
            }
            tie(txn)
        });
        match published {
            Ok(done) => {
                self.claims.clear();
                Ok(Some(done))
            }
            Err(error) => {
                let gone = error.gone().map(<[Digest]>::to_vec).ok_or(error)?;
                tracing::debug!("{} blobs were collected meanwhile: fetching them again", gone.len());
                self.fetch_again(&gone)?;
                Ok(None)
            }
        }
    }

    /// All of the images that is here, by digest, each once.
    fn new_blobs(&self, images: &[&Image]) -> Vec<NewBlob> {
        let members = images.iter().flat_map(|image| &image.members);
        let mut blobs: Vec<&Blob> = members.filter_map(|member| self.blob_of(member)).collect();
        blobs.retain(|blob| blob.state == State::Here);
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup_by(|a, b| a.digest == b.digest);
        blobs.into_iter().map(Blob::new_blob).collect()
    }

    fn edges(&self, document: &Document) -> Vec<Edge> {
        let edge = |child: &Child| {
            let child_digest = self.blobs.get(child.named.0)?.digest.clone();
            Some(Edge { child: child_digest, role: child.role.code(), link: child.link })
        };
        document.children.iter().filter_map(edge).collect()
    }

    fn fetch_again(&mut self, gone: &[Digest]) -> Result<()> {
        let gone: HashSet<&Digest> = gone.iter().collect();
        for blob in self.blobs.iter_mut().filter(|blob| blob.state == State::Here && gone.contains(&blob.digest)) {
            blob.state = State::Wanted;
        }
        self.copy()
    }
}
