//! The documents that a store's index is built from: each is read once, by as many threads as there are processors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use oci_store_base::{Described, Link, Rebuild};
use oci_store_cas::threads::side_by_side;
use oci_store_cas::{Digest, VerifyReader};

use crate::document::{Child, Role, children};
use crate::entries::Entries;
use crate::limits::Limits;
use crate::media_type::is_document;
use crate::{Descriptor, Error, Result};

/// So many entries are read by one thread.
const FEW: usize = 64;

/// Reads documents, each once.
pub(super) struct Documents<'r> {
    rebuild: &'r Rebuild<'r>,
    read: Mutex<Known>,
}

/// What a descriptor claims of a document: digest, media type, by its number, and size.
type Key = (Digest, u32, u64);

/// What was read. There may be very many documents, and nearly all have no subject and list no others.
#[derive(Default)]
struct Known {
    media_types: HashMap<Box<str>, u32>,
    documents: HashMap<Key, Option<Box<Read>>>,
}

/// What has to be known of a document that was read, when something else leads to it.
#[derive(Clone, Default)]
struct Read {
    /// It has a subject.
    is_about: bool,
    /// Documents that it lists.
    below: Vec<Descriptor>,
}

impl Known {
    fn key(&mut self, document: &Descriptor) -> Key {
        let media_type = document.media_type.as_str();
        let number = self.media_types.get(media_type).copied().unwrap_or_else(|| {
            let next = u32::try_from(self.media_types.len()).unwrap_or(u32::MAX);
            self.media_types.insert(media_type.into(), next);
            next
        });
        (document.digest.clone(), number, document.size)
    }
}

/// What was found below entries, by their places.
#[derive(Default)]
pub(super) struct Found {
    /// Entries that have a subject.
    pub(super) about: HashSet<usize>,
    /// What has one, entries or documents below them, with the place of the entry.
    pub(super) referrers: Vec<(usize, Descriptor)>,
    /// Entries of which something can't be read.
    pub(super) failed: BTreeMap<usize, Error>,
}

/// Takes what was read: a document with what it lists, or a blob that is none, or is not there.
type Take<'t> = dyn FnMut(&Descriptor, Option<&[Child]>) -> Result<()> + 't;

impl<'r> Documents<'r> {
    pub(super) fn new(rebuild: &'r Rebuild<'r>) -> Self {
        Self { rebuild, read: Mutex::default() }
    }

    /// Reads all that entries reach, as far as it is there, and notes what it says.
    pub(super) fn read_all(&self, entries: &Entries) -> Result<Found> {
        let threads = if entries.len() < FEW { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Found::default());
        let is_over = AtomicBool::new(false);
        side_by_side(threads, || {
            while !is_over.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= entries.len() {
                    return;
                }
                let mut referrers = Vec::new();
                let mut note = |blob: &_, children: Option<&[_]>| self.note(blob, children, &mut referrers);
                let outcome = entries.get(place).and_then(|entry| self.read_below(&entry, &mut note));
                if outcome.as_ref().is_err_and(Error::hinders_all) {
                    is_over.store(true, Ordering::Relaxed);
                }
                let mut found = lock(&found);
                found.referrers.extend(referrers.into_iter().map(|referrer| (place, referrer)));
                match outcome {
                    Ok(true) => drop(found.about.insert(place)),
                    Ok(false) => {}
                    Err(error) => drop(found.failed.insert(place, error)),
                }
            }
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hindered = found.failed.iter().find(|(_, error)| error.hinders_all()).map(|(place, _)| *place);
        if let Some(error) = hindered.and_then(|place| found.failed.remove(&place)) {
            return Err(error);
        }
        // By entry; what is below one is in its order already.
        found.referrers.sort_by_key(|(place, _)| *place);
        Ok(found)
    }

    /// Reads what `root` reaches and was not read yet; says whether it has a subject.
    pub(super) fn read_below(&self, root: &Descriptor, take: &mut Take<'_>) -> Result<bool> {
        if !is_document(&root.media_type) {
            take(root, None)?;
            return Ok(false);
        }
        let (mut stack, mut seen) = (vec![root.clone()], HashSet::new());
        let mut is_about = None;
        while let Some(document) = stack.pop() {
            let (key, known) = {
                let mut read = lock(&self.read);
                let key = read.key(&document);
                let known = read.documents.get(&key).cloned();
                (key, known)
            };
            if !seen.insert(key.clone()) {
                continue;
            }
            let read = match known {
                Some(known) => known,
                None => {
                    let children = read_one(self.rebuild, &document)?;
                    take(&document, children.as_deref())?;
                    let Some(children) = children else { continue };
                    let (is_about, below) = (has_subject(&children), documents(children));
                    let read = (is_about || !below.is_empty()).then(|| Box::new(Read { is_about, below }));
                    lock(&self.read).documents.entry(key).or_insert(read).clone()
                }
            };
            let Read { is_about: is_this, below } = read.map_or_else(Read::default, |read| *read);
            is_about.get_or_insert(is_this && document.digest == root.digest);
            stack.extend(below);
        }
        Ok(is_about.unwrap_or(false))
    }

    /// Notes what was read for the index.
    fn note(&self, blob: &Descriptor, children: Option<&[Child]>, referrers: &mut Vec<Descriptor>) -> Result<()> {
        let Some(children) = children else {
            return Ok(self.rebuild.describe(&[described(blob, Link::Needs)])?);
        };
        // Documents are described when they are read: only then is it known that they are such.
        let leaves = children.iter().filter(|child| is_part(child) && !is_document(&child.descriptor.media_type));
        let mut blobs = vec![described(blob, Link::Needs)];
        blobs.extend(leaves.map(|child| described(&child.descriptor, child.link)));
        self.rebuild.describe(&blobs)?;
        let edges: Vec<_> = children.iter().map(Child::edge).collect();
        self.rebuild.add_edges(&blob.digest, &blob.media_type, &edges)?;
        referrers.extend(has_subject(children).then(|| blob.clone()));
        Ok(())
    }
}

pub(super) fn has_subject(children: &[Child]) -> bool {
    children.iter().any(|child| child.role == Role::Subject)
}

fn is_part(child: &Child) -> bool {
    child.role != Role::Subject
}

/// Those of a document's parts that are documents.
fn documents(children: Vec<Child>) -> Vec<Descriptor> {
    let below = children.into_iter().filter(|child| is_part(child) && is_document(&child.descriptor.media_type));
    below.map(|child| child.descriptor).collect()
}

fn described(blob: &Descriptor, link: Link) -> Described<'_> {
    Described { digest: &blob.digest, size: blob.size, media_type: &blob.media_type, link }
}

/// What a document lists; `None` if it is not there.
fn read_one(rebuild: &Rebuild<'_>, descriptor: &Descriptor) -> Result<Option<Vec<Child>>> {
    if descriptor.size > Limits::OWN.manifest {
        return Err(Error::document(&descriptor.digest, "it is larger than a manifest may be"));
    }
    let blob = match rebuild.read_blob(&descriptor.digest) {
        Ok(blob) => blob,
        Err(oci_store_base::Error::BlobNotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let mut reader = VerifyReader::new(blob, &descriptor.digest, Some(descriptor.size))?;
    reader.read_to_end(&mut bytes).map_err(|error| unread(&descriptor.digest, error))?;
    children(descriptor, &bytes).map(Some)
}

/// What the system says of a blob's file is not about its bytes: it may be read another time.
pub(super) fn unread(digest: &Digest, error: io::Error) -> Error {
    match oci_store_cas::Error::from(error) {
        oci_store_cas::Error::Stream(error) => Error::io(digest.to_string())(error),
        other => other.into(),
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
