//! The documents that a store's index is built from: each is read once, by as many threads as there are processors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci_store_base::{Described, Edge, Link, Rebuild};
use oci_store_cas::threads::{available, side_by_side};
use oci_store_cas::{Digest, VerifyReader};

use crate::document::{Child, Role, children};
use crate::entries::Entries;
use crate::limits::Limits;
use crate::media_type::is_document;
use crate::refs::descriptor_of;
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
    /// Entries of which something is not what it is said to be.
    pub(super) failed: BTreeMap<usize, Error>,
    pub(super) lost: Lost,
}

/// Documents whose bytes are gone, or are others, and whether there are any.
pub(super) type Lost = HashMap<Digest, (Descriptor, bool)>;

/// How a blob was found.
pub(super) enum State {
    /// Whole, or it is no document, and nobody has looked.
    Whole,
    Gone,
    Damaged,
    /// Its bytes are what its digest names, or nobody can say; but not what its descriptor says.
    Wrong(Error),
}

/// Takes what was read: a document with what it lists, or a blob that is none, or of which that is not known. Of a document
/// that can't be read it is what the index before says.
type Take<'t> = dyn FnMut(&Descriptor, Option<&[Child]>, State) -> Result<()> + 't;

/// What was found below one entry.
#[derive(Default)]
struct Noted {
    referrers: Vec<Descriptor>,
    failed: Option<Error>,
    lost: Lost,
}

impl<'r> Documents<'r> {
    pub(super) fn new(rebuild: &'r Rebuild<'r>) -> Self {
        Self { rebuild, read: Mutex::default() }
    }

    /// Reads all that entries reach, as far as it is there, and notes what it says.
    pub(super) fn read_all(&self, entries: &Entries) -> Result<Found> {
        let threads = if entries.len() < FEW { 1 } else { available() };
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Found::default());
        let is_over = AtomicBool::new(false);
        side_by_side(threads, || {
            while !is_over.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= entries.len() {
                    return;
                }
                let mut noted = Noted::default();
                let mut note = |blob: &_, children: Option<&[_]>, state| self.note(blob, children, state, &mut noted);
                let outcome = entries.get(place).and_then(|entry| self.read_below(&entry, &mut note));
                if outcome.as_ref().is_err_and(Error::hinders_all) {
                    is_over.store(true, Ordering::Relaxed);
                }
                let mut found = lock(&found);
                found.referrers.extend(noted.referrers.into_iter().map(|referrer| (place, referrer)));
                found.lost.extend(noted.lost);
                if matches!(outcome, Ok(true)) {
                    found.about.insert(place);
                }
                if let Some(error) = outcome.err().or(noted.failed) {
                    found.failed.insert(place, error);
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
            take(root, None, State::Whole)?;
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
                    let (state, children) = match read_one(self.rebuild, &document)? {
                        Ok(children) => (State::Whole, Some(children)),
                        Err(state) => (state, children_before(self.rebuild, &document.digest)?),
                    };
                    let is_whole = matches!(state, State::Whole);
                    take(&document, children.as_deref(), state)?;
                    let Some(children) = children else { continue };
                    let (is_about, below) = (has_subject(&children), documents(children));
                    let read = (is_about || !below.is_empty()).then(|| Box::new(Read { is_about, below }));
                    // What is not is told of each entry that reaches it.
                    if is_whole { lock(&self.read).documents.entry(key).or_insert(read).clone() } else { read }
                }
            };
            let Read { is_about: is_this, below } = read.map_or_else(Read::default, |read| *read);
            is_about.get_or_insert(is_this && document.digest == root.digest);
            stack.extend(below);
        }
        Ok(is_about.unwrap_or(false))
    }

    /// Notes what was read for the index.
    fn note(&self, blob: &Descriptor, children: Option<&[Child]>, state: State, noted: &mut Noted) -> Result<()> {
        match state {
            State::Whole => {}
            State::Damaged => drop(noted.lost.insert(blob.digest.clone(), (blob.clone(), true))),
            // What the index before did not have is missing as it was.
            State::Gone => {
                let known = self.rebuild.old_view(|view| view.blob(&blob.digest));
                if matches!(known, Some(Ok(Some(_)))) {
                    noted.lost.insert(blob.digest.clone(), (blob.clone(), false));
                }
            }
            State::Wrong(error) => drop(noted.failed.get_or_insert(error)),
        }
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
        noted.referrers.extend(has_subject(children).then(|| blob.clone()));
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

/// Gives what has gone, or is damaged, a row that says so: a ref needs one of what it names, and edges one of whose they are.
pub(super) fn note_lost(rebuild: &Rebuild<'_>, lost: &Lost) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let blobs: Vec<_> = lost.values().map(|(blob, _)| described(blob, Link::Needs)).collect();
    Ok(rebuild.note_lost(&blobs)?)
}

fn described(blob: &Descriptor, link: Link) -> Described<'_> {
    Described { digest: &blob.digest, size: blob.size, media_type: &blob.media_type, link }
}

/// What a document lists; or why that can't be read.
fn read_one(rebuild: &Rebuild<'_>, descriptor: &Descriptor) -> Result<Result<Vec<Child>, State>> {
    use oci_store_cas::Error as Cas;
    let error = match try_read_one(rebuild, descriptor) {
        Ok(children) => return Ok(Ok(children)),
        Err(error) if error.hinders_all() => return Err(error),
        Err(error) => error,
    };
    Ok(Err(match error {
        // Or something else is in its place.
        Error::Base(oci_store_base::Error::BlobNotFound(_) | oci_store_base::Error::Cas(Cas::Io { .. })) => State::Gone,
        Error::Cas(Cas::DigestMismatch { .. }) => State::Damaged,
        // One of the two is wrong.
        Error::Cas(Cas::SizeMismatch { .. }) if !rebuild.is_good(&descriptor.digest)? => State::Damaged,
        error => State::Wrong(error),
    }))
}

fn try_read_one(rebuild: &Rebuild<'_>, descriptor: &Descriptor) -> Result<Vec<Child>> {
    if descriptor.size > Limits::OWN.manifest {
        return Err(Error::document(&descriptor.digest, "it is larger than a manifest may be"));
    }
    let mut bytes = Vec::new();
    let blob = rebuild.read_blob(&descriptor.digest)?;
    let mut reader = VerifyReader::new(blob, &descriptor.digest, Some(descriptor.size))?;
    reader.read_to_end(&mut bytes).map_err(|error| unread(&descriptor.digest, error))?;
    children(descriptor, &bytes)
}

/// What a document listed when the index before was made; `None` if that does not say.
fn children_before(rebuild: &Rebuild<'_>, document: &Digest) -> Result<Option<Vec<Child>>> {
    let children = rebuild.old_view(|view| {
        let Some(row) = view.edges(document)? else { return Ok(None) };
        let child = |Edge { child, role, link }| {
            let descriptor = match view.blob(&child)? {
                Some(info) => descriptor_of(view, info)?,
                None => Descriptor::new("", child, 0),
            };
            Ok(Child { descriptor, role: Role::from_code(role).unwrap_or(Role::Blob), link })
        };
        row.edges.into_iter().map(child).collect::<oci_store_base::Result<_>>().map(Some)
    });
    match children {
        Some(Ok(children)) => Ok(children),
        Some(Err(error)) if error.as_io().is_some() => Err(error.into()),
        // It is damaged there, too.
        Some(Err(_)) | None => Ok(None),
    }
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
