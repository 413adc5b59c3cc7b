//! Taking images in: the walk over what a source has, and the copy of what the store has not. Nothing is visible
//! until [`publish`](Intake::publish), which is where it is decided.

mod blobs;
mod publish;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_store_base::{Guard, LeaseGuard, Link, LinkMode};
use oci_store_cas::Digest;
use oci_store_cas::attack::{Point, reached};

use blobs::NEW;
pub(crate) use blobs::{At, Blob, Blobs, State};

use crate::document::{MAX_DEPTH, Role, each_child};
use crate::import_options::ImportOptions;
use crate::limits::too_many_descriptors;
use crate::media_type::document_type;
use crate::progress::{Progress, check_cancelled, passed};
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
    documents: HashMap<Named, Arc<Document>>,
    pub(crate) blobs: Blobs,
    /// Blobs that this copies, or has copied, and that have no row yet.
    pub(crate) claims: HashMap<Digest, (At, Box<dyn Guard>)>,
    /// What all images that were walked have spent of the room there is for descriptors.
    spent: u64,
    /// The images count together, and not each by itself, as they can't be taken in groups.
    together: bool,
}

/// A blob, and as which kind of document it was found, if as one: a leaf to one parent may be a manifest to another.
type Named = (At, Option<&'static str>);

/// What is kept of a document that was read.
#[derive(Default)]
struct Document {
    children: Vec<Child>,
}

/// What a document points at.
struct Child {
    named: Named,
    role: Role,
    link: Link,
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
    spent: u64,
}

/// A blob of an image, and how it was reached.
#[derive(Clone, Copy)]
struct Reached {
    named: Named,
    parent: Option<(usize, Role)>,
    link: Link,
}

impl<'i> Intake<'i> {
    pub(crate) fn new(
        store: &'i Store,
        source: &'i dyn ImageSource,
        progress: &'i dyn Progress,
        lease: &'i LeaseGuard,
        in_place: bool,
    ) -> Self {
        let (documents, blobs, claims) = (HashMap::new(), Blobs::default(), HashMap::new());
        let (link, resume, spent, together) = (LinkMode::Auto, false, 0, false);
        Self { store, source, progress, lease, in_place, link, resume, documents, blobs, claims, spent, together }
    }

    /// With how blobs are to be taken.
    pub(crate) fn with(self, options: &ImportOptions) -> Self {
        Self { link: options.link, resume: options.resume, ..self }
    }

    /// With one limit for all images.
    pub(crate) fn together(self) -> Self {
        Self { together: true, ..self }
    }

    /// Whether it has enough images to be published: they are in memory until then.
    pub(crate) fn is_full(&self) -> bool {
        !self.together && self.spent >= FULL
    }

    /// Finds all that `root` reaches, and with `referrers` all that is about it, transitively.
    pub(crate) fn walk(&mut self, root: &Descriptor, referrers: bool) -> Result<Image> {
        let mut image = Image { root: root.clone(), members: Vec::new(), referrers: Vec::new(), spent: 0 };
        let mut seen = HashSet::new();
        self.lease.name(std::slice::from_ref(&root.digest))?;
        self.walk_from(root, &mut image, &mut seen)?;
        // Members grow while they are looked at: a signature may itself be signed.
        let mut asked = HashSet::new();
        let mut next = 0;
        while let Some(&Reached { named: (at, kind), .. }) = image.members.get(next).filter(|_| referrers) {
            next += 1;
            let Some(blob) = self.blobs.get(at).filter(|_| kind.is_some() && asked.insert(at)) else { continue };
            for referrer in self.source.referrers(&blob.digest.clone())? {
                let kind = document_type(&referrer.media_type);
                if self.blobs.find(&referrer).is_some_and(|at| seen.contains(&(at, kind))) {
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
    fn walk_from(&mut self, root: &Descriptor, image: &mut Image, seen: &mut HashSet<Named>) -> Result<()> {
        let (at, takes) = self.blobs.add(root);
        self.spend(image, takes)?;
        let root = Reached { named: (at, document_type(&root.media_type)), parent: None, link: Link::Needs };
        let mut stack = vec![(root, 0)];
        while let Some((reached, depth)) = stack.pop() {
            check_cancelled(self.progress)?;
            let parent = image.members.len();
            image.members.push(reached);
            if !seen.insert(reached.named) {
                continue;
            }
            let (at, Some(kind)) = reached.named else {
                self.look(reached.named.0)?;
                continue;
            };
            let Some(blob) = self.blobs.get(at) else { continue };
            let descriptor = Descriptor::new(kind, blob.digest.clone(), blob.size);
            if depth > MAX_DEPTH {
                let digest = &descriptor.digest;
                return Err(Error::document(digest, format!("manifests lie more than {MAX_DEPTH} deep in each other")));
            }
            let Some(document) = self.document((at, kind), &descriptor, image)? else { continue };
            self.spend(image, document.children.len() as u64)?;
            let named = document.children.iter().filter_map(|child| self.blobs.get(child.named.0));
            self.lease.name(&named.map(|blob| blob.digest.clone()).collect::<Vec<_>>())?;
            for child in document.children.iter().rev().filter(|child| child.link != Link::Follows) {
                let Child { named, role, link } = *child;
                stack.push((Reached { named, parent: Some((parent, role)), link }, depth + 1));
            }
        }
        Ok(())
    }

    /// Counts what an image takes: it is in memory until it is published, and so there is a limit to that.
    fn spend(&mut self, image: &mut Image, takes: u64) -> Result<()> {
        image.spent += takes;
        self.spent += takes;
        let (spent, most) = (if self.together { self.spent } else { image.spent }, self.source.max_descriptors());
        if spent > most.saturating_mul(NEW) {
            return Err(too_many_descriptors(&image.root.digest, most, self.together));
        }
        Ok(())
    }

    /// Notes a blob, and whether the store has it.
    fn look(&mut self, at: At) -> Result<()> {
        let Some(blob) = self.blobs.get(at).filter(|blob| blob.state == State::Unasked) else { return Ok(()) };
        let descriptor = blob.descriptor();
        let is_here = self.is_staged(&descriptor) || self.has(&descriptor)?;
        reached(Point::Looked);
        if !is_here {
            self.progress.expect(1, descriptor.size);
        }
        self.set(at, if is_here { State::Here } else { State::Wanted });
        Ok(())
    }

    pub(crate) fn set(&mut self, at: At, state: State) {
        if let Some(blob) = self.blobs.get_mut(at) {
            blob.state = state;
        }
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
    fn document(
        &mut self,
        (at, kind): (At, &'static str),
        descriptor: &Descriptor,
        image: &mut Image,
    ) -> Result<Option<Arc<Document>>> {
        if let Some(known) = self.documents.get(&(at, Some(kind))) {
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
            self.set(at, State::Absent);
            return Ok(None);
        };
        let document = Arc::new(self.read(descriptor, &bytes, image).map_err(|error| self.blame(error))?);
        if !here && !self.is_staged(descriptor) {
            self.progress.expect(1, descriptor.size);
            let file = if self.link.shares() { self.source.fetch(descriptor)? } else { None };
            self.stage(descriptor, file.map_or(Bytes::Read(&bytes), Bytes::Of))?;
        }
        if let Some(blob) = self.blobs.get_mut(at) {
            (blob.media_type, blob.state) = (kind.into(), State::Here);
            if document.children.iter().all(|child| child.role != Role::Subject) {
                blob.said = None;
            }
        }
        self.documents.insert((at, Some(kind)), Arc::clone(&document));
        Ok(Some(document))
    }

    /// Notes what a document points at, unless that is more than the image may have.
    fn read(&mut self, descriptor: &Descriptor, bytes: &[u8], image: &mut Image) -> Result<Document> {
        let mut document = Document::default();
        each_child(descriptor, bytes, &mut |child| {
            let (at, takes) = self.blobs.add(&child.descriptor);
            self.spend(image, takes)?;
            let named = (at, document_type(&child.descriptor.media_type));
            document.children.push(Child { named, role: child.role, link: child.link });
            Ok(())
        })?;
        Ok(document)
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
}

/// An intake of so many descriptors of new blobs takes in no further image.
const FULL: u64 = NEW << 14;
