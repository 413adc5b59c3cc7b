//! Taking images in: the walk over what a source has, and the copy of what the store has not. Nothing is visible
//! until [`publish`](Intake::publish), which is where it is decided.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oci_store_base::{LeaseGuard, Link, NewBlob, Txn};
use oci_store_cas::Digest;

use crate::check::Missing;
use crate::document::{Child, MAX_DEPTH, Role, children};
use crate::media_type::is_document;
use crate::progress::{Progress, passed};
use crate::refs;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Error, Result, Store};

/// One taking-in of any number of images that share what they share.
pub(crate) struct Intake<'i> {
    store: &'i Store,
    source: &'i dyn ImageSource,
    progress: &'i dyn Progress,
    lease: LeaseGuard,
    /// The source's blobs lie where the store's own are: they are verified in place.
    in_place: bool,
    documents: HashMap<(Digest, String), Arc<Vec<Child>>>,
    blobs: HashMap<Digest, Blob>,
}

struct Blob {
    descriptor: Descriptor,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// In the store already, or staged.
    Here,
    /// Still to be copied.
    Wanted,
    /// The source does not have it either.
    Absent,
    /// It could not be copied; why.
    Failed(String),
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
    digest: Digest,
    media_type: String,
    parent: Option<(usize, Role)>,
    link: Link,
}

impl Image {
    fn path_to(&self, parent: Option<(usize, Role)>) -> Vec<Digest> {
        let mut path = Vec::new();
        let mut at = parent.and_then(|(at, _)| self.members.get(at));
        while let Some(member) = at {
            path.push(member.digest.clone());
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
        in_place: bool,
    ) -> Result<Self> {
        let lease = store.base().lease("import")?;
        Ok(Self { store, source, progress, lease, in_place, documents: HashMap::new(), blobs: HashMap::new() })
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
            if !is_document(&member.media_type) || !asked.insert(member.digest.clone()) {
                continue;
            }
            for referrer in self.source.referrers(&member.digest)? {
                if seen.contains(&(referrer.digest.clone(), referrer.media_type.clone())) {
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
    fn walk_from(&mut self, root: &Descriptor, image: &mut Image, seen: &mut HashSet<(Digest, String)>) -> Result<()> {
        let mut stack = vec![(root.clone(), None, Link::Needs, 0)];
        while let Some((descriptor, parent, link, depth)) = stack.pop() {
            if self.progress.cancelled() {
                return Err(oci_store_base::Error::Cancelled.into());
            }
            let Descriptor { digest, media_type, .. } = &descriptor;
            if let Some(known) = self.blobs.get(digest)
                && known.descriptor.size != descriptor.size
            {
                let why = format!("one descriptor says {} bytes, another {}", known.descriptor.size, descriptor.size);
                return Err(Error::document(digest, why));
            }
            let at = image.members.len();
            image.members.push(Reached { digest: digest.clone(), media_type: media_type.clone(), parent, link });
            if !seen.insert((digest.clone(), media_type.clone())) {
                continue;
            }
            if !is_document(media_type) {
                self.look(&descriptor)?;
                continue;
            }
            if depth > MAX_DEPTH {
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
        if !self.blobs.contains_key(&descriptor.digest) {
            let state = if self.has(descriptor)? { State::Here } else { State::Wanted };
            if state == State::Wanted {
                self.progress.expect(1, descriptor.size);
            }
            self.blobs.insert(descriptor.digest.clone(), Blob { descriptor: descriptor.clone(), state });
        }
        Ok(())
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let Some(info) = self.store.base().view(|view| view.blob(&descriptor.digest))? else { return Ok(false) };
        if info.size != descriptor.size {
            let why = format!("its descriptor says {} bytes, the store has {}", descriptor.size, info.size);
            return Err(Error::document(&descriptor.digest, why));
        }
        Ok(self.store.base().has(&descriptor.digest)?)
    }

    /// Reads a manifest or an index, staging it if the store does not have it. `None`: it is nowhere.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Arc<Vec<Child>>>> {
        let key = (descriptor.digest.clone(), descriptor.media_type.clone());
        if let Some(known) = self.documents.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let own = if self.has(descriptor)? { read_document(&self.store.as_source(), descriptor)? } else { None };
        let here = own.is_some();
        let bytes = match own {
            Some(bytes) => Some(bytes),
            None => read_document(self.source, descriptor)?,
        };
        let Some(bytes) = bytes else {
            let blob = Blob { descriptor: descriptor.clone(), state: State::Absent };
            self.blobs.insert(descriptor.digest.clone(), blob);
            return Ok(None);
        };
        let children = Arc::new(children(descriptor, &bytes).map_err(|error| self.blame(error))?);
        if !here {
            self.progress.expect(1, descriptor.size);
            self.stage(descriptor, &mut bytes.as_slice())?;
        }
        self.blobs.insert(descriptor.digest.clone(), Blob { descriptor: descriptor.clone(), state: State::Here });
        self.documents.insert(key, Arc::clone(&children));
        Ok(Some(children))
    }

    fn stage(&self, descriptor: &Descriptor, bytes: &mut dyn std::io::Read) -> Result<()> {
        let passed = &mut |bytes| passed(self.progress, bytes);
        if self.in_place {
            self.lease.adopt(&descriptor.digest, descriptor.size, passed)?;
        } else {
            self.lease.stage(&descriptor.digest, descriptor.size, bytes, passed)?;
        }
        self.progress.blob_done();
        Ok(())
    }

    pub(crate) fn blame(&self, error: Error) -> Error {
        match error {
            error @ Error::Source { .. } => error,
            error => Error::Source { origin: self.source.origin(), error: Box::new(error) },
        }
    }

    /// Copies what is wanted, side by side. What fails is noted with the blob: only the images that need it fail.
    pub(crate) fn copy(&mut self) -> Result<()> {
        let mut wanted: Vec<Descriptor> = Vec::new();
        wanted.extend(self.blobs.values().filter(|blob| blob.state == State::Wanted).map(|b| b.descriptor.clone()));
        // The largest first, so that no thread is left alone with one at the end.
        wanted.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        let this = &*self;
        let work = || {
            while let Some(descriptor) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                if this.progress.cancelled() {
                    return;
                }
                let state = match this.copy_one(descriptor) {
                    Ok(state) => state,
                    Err(error) => State::Failed(error.to_string()),
                };
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((descriptor.digest.clone(), state));
            }
        };
        if threads > 1 {
            std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        } else {
            work();
        }
        if self.progress.cancelled() {
            return Err(oci_store_base::Error::Cancelled.into());
        }
        for (digest, state) in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Some(blob) = self.blobs.get_mut(&digest) {
                blob.state = state;
            }
        }
        Ok(())
    }

    fn copy_one(&self, descriptor: &Descriptor) -> Result<State> {
        let Some(mut content) = self.source.fetch(descriptor)? else { return Ok(State::Absent) };
        self.stage(descriptor, &mut content)?;
        Ok(State::Here)
    }

    /// Whether an image is whole now: all that it needs is here, or it may lack what is nowhere. Returns whether
    /// it lacks something.
    pub(crate) fn settle(&self, image: &Image, allow_incomplete: bool) -> Result<bool> {
        let mut missing = Vec::new();
        for member in &image.members {
            match self.blobs.get(&member.digest).map(|blob| &blob.state) {
                Some(State::Failed(why)) => {
                    return Err(self.blame(Error::Copy(why.clone())));
                }
                Some(State::Here) => {}
                _ if member.link != Link::Needs => {}
                _ => missing.push(Missing {
                    digest: member.digest.clone(),
                    role: member.parent.map(|(_, role)| role),
                    path: image.path_to(member.parent),
                }),
            }
        }
        if missing.is_empty() || allow_incomplete {
            return Ok(!missing.is_empty());
        }
        Err(self.blame(Error::Incomplete(missing)))
    }

    /// Publishes images in one transaction, in which `tie` ties them to something. What a gc has taken meanwhile
    /// is fetched again.
    pub(crate) fn publish<T>(
        &mut self,
        images: &[&Image],
        tie: &mut dyn FnMut(&mut Txn<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut blobs: HashMap<Digest, NewBlob> = HashMap::new();
        for member in images.iter().flat_map(|image| &image.members) {
            if let Some(blob) = self.blobs.get(&member.digest).filter(|blob| blob.state == State::Here) {
                let Descriptor { digest, size, media_type, .. } = &blob.descriptor;
                let new = || NewBlob { digest: digest.clone(), size: *size, media_type: media_type.clone() };
                blobs.entry(digest.clone()).or_insert_with(new);
            }
        }
        let mut blobs: Vec<NewBlob> = blobs.into_values().collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        self.lease.discard_staged(&|digest| blobs.binary_search_by(|blob| blob.digest.cmp(digest)).is_err())?;
        loop {
            let published = self.lease.publish(&blobs, |txn| {
                for member in images.iter().flat_map(|image| &image.members) {
                    let key = (member.digest.clone(), member.media_type.clone());
                    if let Some(children) = self.documents.get(&key) {
                        let edges: Vec<_> = children.iter().map(Child::edge).collect();
                        txn.add_edges(&member.digest, &member.media_type, &edges)?;
                        if children.iter().any(|child| child.role == Role::Subject)
                            && let Some(blob) = self.blobs.get(&member.digest)
                        {
                            let listed = images.iter().flat_map(|image| &image.referrers);
                            let listed = listed.into_iter().find(|descriptor| descriptor.digest == member.digest);
                            refs::add_unnamed(txn, refs::REFERRER, listed.unwrap_or(&blob.descriptor))?;
                        }
                    }
                }
                tie(txn)
            });
            match published {
                Err(error) if error.gone().is_some() => {
                    let gone = error.gone().unwrap_or_default().to_vec();
                    tracing::debug!("{} blobs were collected meanwhile: fetching them again", gone.len());
                    self.fetch_again(&gone)?;
                }
                other => return other,
            }
        }
    }

    fn fetch_again(&mut self, gone: &[Digest]) -> Result<()> {
        for digest in gone {
            let Some(blob) = self.blobs.get(digest) else { continue };
            let descriptor = blob.descriptor.clone();
            match self.copy_one(&descriptor)? {
                State::Here => {}
                // It was the store's own, and is the source's no more.
                _ => {
                    let path = Vec::new();
                    return Err(Error::Incomplete(vec![Missing { digest: digest.clone(), role: None, path }]));
                }
            }
        }
        Ok(())
    }
}
