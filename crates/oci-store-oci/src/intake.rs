//! Taking images in: the walk over what a source has, and the copy of what the store has not. Nothing is visible
//! until [`publish`](Intake::publish), which is where it is decided.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_store_base::{Guard, LeaseGuard, Link, LinkMode, NewBlob, Txn};
use oci_store_cas::Digest;
use oci_store_cas::attack::{Point, reached};

use crate::closure::Missing;
use crate::document::{Child, MAX_DEPTH, Role, children};
use crate::import_options::ImportOptions;
use crate::media_type::is_document;
use crate::progress::{Progress, passed};
use crate::refs;
use crate::source::{Content, ImageSource, read_document};
use crate::{Descriptor, Error, Result, Store};

/// One taking-in of any number of images that share what they share.
pub(crate) struct Intake<'i> {
    store: &'i Store,
    pub(crate) source: &'i dyn ImageSource,
    pub(crate) progress: &'i dyn Progress,
    pub(crate) lease: &'i LeaseGuard,
    /// The source's blobs lie where the store's own are: they are verified in place.
    pub(crate) in_place: bool,
    link: LinkMode,
    /// Go on with what dead imports have left of blobs.
    pub(crate) resume: bool,
    documents: HashMap<Key, Arc<Vec<Child>>>,
    /// By digest and size.
    pub(crate) blobs: HashMap<(Digest, u64), Blob>,
    /// Blobs that this copies, or has copied, and that have no row yet.
    pub(crate) claims: HashMap<Digest, Box<dyn Guard>>,
}

pub(crate) struct Blob {
    pub(crate) descriptor: Descriptor,
    pub(crate) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the store already, or staged.
    Here,
    /// Still to be copied.
    Wanted,
    /// The source does not have it either.
    Absent,
    /// It could not be copied; why.
    Failed(String),
}

/// Digest, media type and size: what a descriptor claims. A wrong size fails the image that claims it, and no
/// other that has the same blob.
type Key = (Digest, String, u64);

fn key_of(descriptor: &Descriptor) -> Key {
    (descriptor.digest.clone(), descriptor.media_type.clone(), descriptor.size)
}

/// The bytes of a blob that is to be staged.
pub(crate) enum Bytes<'b> {
    Read(&'b [u8]),
    Of(Box<dyn Content + 'b>),
}

/// What a walk has found of one image.
pub(crate) struct Image {
    pub(crate) root: Descriptor,
    members: Vec<Reached>,
    /// Images that are about this one, each walked too.
    pub(crate) referrers: Vec<Descriptor>,
}

/// A blob of an image, and how it was reached.
struct Reached {
    key: Key,
    parent: Option<(usize, Role)>,
    link: Link,
}

impl Image {
    /// All that it consists of, and all that is about it, and of that.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.members.iter().map(|member| &member.key.0)
    }

    fn path_to(&self, parent: Option<(usize, Role)>) -> Vec<Digest> {
        let mut path = Vec::new();
        let mut at = parent.and_then(|(at, _)| self.members.get(at));
        while let Some(member) = at {
            path.push(member.key.0.clone());
            at = member.parent.and_then(|(at, _)| self.members.get(at));
        }
        path.reverse();
        path
    }
}

impl<'i> Intake<'i> {
    pub(crate) fn new(
        store: &'i Store,
        source: &'i dyn ImageSource,
        progress: &'i dyn Progress,
        lease: &'i LeaseGuard,
        in_place: bool,
    ) -> Self {
        let (documents, blobs, claims) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { store, source, progress, lease, in_place, link: LinkMode::Auto, resume: false, documents, blobs, claims }
    }

    /// With how blobs are to be taken.
    pub(crate) fn with(self, options: &ImportOptions) -> Self {
        Self { link: options.link, resume: options.resume, ..self }
    }

    /// Finds all that `root` reaches, and with `referrers` all that is about it, transitively.
    pub(crate) fn walk(&mut self, root: &Descriptor, referrers: bool) -> Result<Image> {
        let mut image = Image { root: root.clone(), members: Vec::new(), referrers: Vec::new() };
        let mut seen = HashSet::new();
        self.lease.name(std::slice::from_ref(&root.digest))?;
        self.walk_from(root, &mut image, &mut seen)?;
        // Members grow while they are looked at: a signature may itself be signed.
        let mut asked = HashSet::new();
        let mut at = 0;
        while let Some(member) = image.members.get(at).filter(|_| referrers) {
            at += 1;
            let (digest, media_type, _) = &member.key;
            if !is_document(media_type) || !asked.insert(digest.clone()) {
                continue;
            }
            for referrer in self.source.referrers(digest)? {
                if seen.contains(&key_of(&referrer)) {
                    continue;
                }
                self.lease.name(std::slice::from_ref(&referrer.digest))?;
                self.walk_from(&referrer, &mut image, &mut seen)?;
                image.referrers.push(referrer);
            }
        }
        Ok(image)
    }

    /// Iterative, each (blob, type) once: an image with 2^40 paths costs what its blobs cost.
    fn walk_from(&mut self, root: &Descriptor, image: &mut Image, seen: &mut HashSet<Key>) -> Result<()> {
        let mut stack = vec![(root.clone(), None, Link::Needs, 0)];
        while let Some((descriptor, parent, link, depth)) = stack.pop() {
            if self.progress.cancelled() {
                return Err(oci_store_base::Error::Cancelled.into());
            }
            let at = image.members.len();
            let key = key_of(&descriptor);
            image.members.push(Reached { key: key.clone(), parent, link });
            if !seen.insert(key) {
                continue;
            }
            if !is_document(&descriptor.media_type) {
                self.look(&descriptor)?;
                continue;
            }
            if depth > MAX_DEPTH {
                let digest = &descriptor.digest;
                return Err(Error::document(digest, format!("manifests lie more than {MAX_DEPTH} deep in each other")));
            }
            let Some(children) = self.document(&descriptor)? else { continue };
            let named: Vec<Digest> = children.iter().map(|child| child.descriptor.digest.clone()).collect();
            self.lease.name(&named)?;
            for child in children.iter().rev().filter(|child| child.link != Link::Follows) {
                stack.push((child.descriptor.clone(), Some((at, child.role)), child.link, depth + 1));
            }
        }
        Ok(())
    }

    /// Notes a blob, and whether the store has it.
    fn look(&mut self, descriptor: &Descriptor) -> Result<()> {
        let key = (descriptor.digest.clone(), descriptor.size);
        if !self.blobs.contains_key(&key) {
            let is_here = self.is_staged(descriptor) || self.has(descriptor)?;
            let state = if is_here { State::Here } else { State::Wanted };
            reached(Point::Looked);
            if state == State::Wanted {
                self.progress.expect(1, descriptor.size);
            }
            self.blobs.insert(key, Blob { descriptor: descriptor.clone(), state });
        }
        Ok(())
    }

    /// Whether the lease has it already: it came with a stream.
    fn is_staged(&self, descriptor: &Descriptor) -> bool {
        self.lease.staged(&descriptor.digest) == Some(descriptor.size)
    }

    pub(crate) fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let base = self.store.base();
        let Some(info) = base.view(|view| view.blob(&descriptor.digest))? else { return Ok(false) };
        if info.size == descriptor.size {
            return Ok(base.has(&descriptor.digest)?);
        }
        // If nobody has hashed it since a reindex, it may be the file that is wrong.
        let is_unsure = info.verified.is_none() && !info.damaged;
        let passed = &mut |bytes| passed(self.progress, bytes);
        if info.damaged || (is_unsure && !base.check_blob(&descriptor.digest, passed)?) {
            return Ok(false);
        }
        let why = format!("its descriptor says {} bytes, the store has {}", descriptor.size, info.size);
        Err(Error::document(&descriptor.digest, why))
    }

    /// Reads a document that the store has. One whose bytes have rotted is fetched again.
    fn read_own(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        match read_document(&self.store.as_source(), descriptor) {
            Err(Error::Source { origin, error }) => {
                tracing::warn!("{origin}: {error}: fetching it again");
                Ok(None)
            }
            other => other,
        }
    }

    /// Reads a manifest or an index, staging it if the store does not have it. `None`: it is nowhere.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Arc<Vec<Child>>>> {
        let key = key_of(descriptor);
        if let Some(known) = self.documents.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let own = if self.has(descriptor)? { self.read_own(descriptor)? } else { None };
        let here = own.is_some();
        reached(Point::Looked);
        let bytes = match own {
            Some(bytes) => Some(bytes),
            None => read_document(self.source, descriptor)?,
        };
        let Some(bytes) = bytes else {
            let blob = Blob { descriptor: descriptor.clone(), state: State::Absent };
            self.blobs.insert((descriptor.digest.clone(), descriptor.size), blob);
            return Ok(None);
        };
        let children = Arc::new(children(descriptor, &bytes).map_err(|error| self.blame(error))?);
        if !here && !self.is_staged(descriptor) {
            self.progress.expect(1, descriptor.size);
            let file = if self.link.shares() { self.source.fetch(descriptor)? } else { None };
            self.stage(descriptor, file.map_or(Bytes::Read(&bytes), Bytes::Of))?;
        }
        let blob = Blob { descriptor: descriptor.clone(), state: State::Here };
        self.blobs.insert((descriptor.digest.clone(), descriptor.size), blob);
        self.documents.insert(key, Arc::clone(&children));
        Ok(Some(children))
    }

    pub(crate) fn stage(&self, descriptor: &Descriptor, mut content: Bytes<'_>) -> Result<()> {
        let passed = &mut |bytes| passed(self.progress, bytes);
        let Descriptor { digest, size, .. } = descriptor;
        match &mut content {
            _ if self.in_place => self.lease.adopt(digest, *size, passed)?,
            Bytes::Read(bytes) => self.lease.stage(digest, *size, bytes, passed)?,
            Bytes::Of(content) => {
                let is_done = self.resume && self.go_on(descriptor, &mut **content)?;
                match content.as_file() {
                    _ if is_done => {}
                    Some(file) => self.lease.stage_file(digest, *size, file, self.link, passed)?,
                    None => self.lease.stage(digest, *size, content, passed)?,
                }
            }
        }
        self.progress.blob_done();
        Ok(())
    }

    /// Says that it is the source's fault, if it is: a full disk here is not.
    pub(crate) fn blame(&self, error: Error) -> Error {
        use oci_store_base::Error as Base;
        match error {
            error @ (Error::Source { .. } | Error::Copy(_)) => error,
            Error::Base(Base::Cas(error @ oci_store_cas::Error::Io { .. })) => error.into(),
            error @ Error::Base(
                Base::Cancelled
                | Base::Io { .. }
                | Base::Index(_)
                | Base::LockTimeout { .. }
                | Base::NotShared { .. }
                | Base::Row { .. },
            ) => error,
            error => Error::Source { origin: self.source.origin(), error: Box::new(error) },
        }
    }

    /// What could not be copied, and why.
    pub(crate) fn failures(&self) -> Vec<(&Digest, &str)> {
        let failed = self.blobs.values().filter_map(|blob| match &blob.state {
            State::Failed(why) => Some((&blob.descriptor.digest, why.as_str())),
            _ => None,
        });
        failed.collect()
    }

    fn state_of(&self, member: &Reached) -> Option<&Blob> {
        self.blobs.get(&(member.key.0.clone(), member.key.2))
    }

    /// Whether an image is whole now: all that it needs is here, or it may lack what is nowhere. Returns whether
    /// it lacks something. None may lack all of it.
    pub(crate) fn settle(&self, image: &Image, allow_incomplete: bool) -> Result<bool> {
        let mut missing = Vec::new();
        let mut is_nowhere = false;
        for (at, member) in image.members.iter().enumerate() {
            match self.state_of(member).map(|blob| &blob.state) {
                Some(State::Failed(why)) => {
                    return Err(Error::Copy(why.clone()));
                }
                Some(State::Here) => {}
                _ if member.link != Link::Needs => {}
                _ => {
                    is_nowhere |= at == 0;
                    missing.push(Missing {
                        digest: member.key.0.clone(),
                        role: member.parent.map(|(_, role)| role),
                        path: image.path_to(member.parent),
                    });
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
        let mut blobs: HashMap<Digest, NewBlob> = HashMap::new();
        for member in images.iter().flat_map(|image| &image.members) {
            if let Some(blob) = self.state_of(member).filter(|blob| blob.state == State::Here) {
                let Descriptor { digest, size, media_type, .. } = &blob.descriptor;
                let new = || NewBlob { digest: digest.clone(), size: *size, media_type: media_type.clone() };
                blobs.entry(digest.clone()).or_insert_with(new);
            }
        }
        let mut blobs: Vec<NewBlob> = blobs.into_values().collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        self.lease.discard_staged(&|digest| blobs.binary_search_by(|blob| blob.digest.cmp(digest)).is_err())?;
        let published = self.lease.publish(&blobs, |txn| {
            for member in images.iter().flat_map(|image| &image.members) {
                let (digest, media_type, _) = &member.key;
                if let Some(children) = self.documents.get(&member.key) {
                    let edges: Vec<_> = children.iter().map(Child::edge).collect();
                    txn.add_edges(digest, media_type, &edges)?;
                    if children.iter().any(|child| child.role == Role::Subject)
                        && let Some(blob) = self.state_of(member)
                    {
                        let listed = images.iter().flat_map(|image| &image.referrers);
                        let listed = listed.into_iter().find(|descriptor| descriptor.digest == *digest);
                        refs::add_unnamed(txn, refs::REFERRER, listed.unwrap_or(&blob.descriptor))?;
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

    fn fetch_again(&mut self, gone: &[Digest]) -> Result<()> {
        let gone: HashSet<&Digest> = gone.iter().collect();
        let is_gone = |blob: &&mut Blob| blob.state == State::Here && gone.contains(&blob.descriptor.digest);
        for blob in self.blobs.values_mut().filter(is_gone) {
            blob.state = State::Wanted;
        }
        self.copy()
    }
}
