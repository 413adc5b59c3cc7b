//! Building an OCI store's index anew, from its blobs and its `index.json`.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use oci_store_base::{BlobFilter, BlobInfo, Condition, Data, Rebuild, Reindexed, Txn, View};
use oci_store_cas::{Digest, VerifyReader};

use crate::document::{self, Child, Role, children};
use crate::media_type::is_document;
use crate::shown::{Found as Shown, read_own};
use crate::source::Limits;
use crate::store::OpenOptions;
use crate::{Descriptor, Error, RefName, Result, Store, check, history, refs};

/// What a reindex has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Blobs that have a row.
    pub blobs: u64,
    /// Refs that were set.
    pub refs: u64,
    /// Names, or digests, of entries that were not taken: their image is not there, or can't be read; with why.
    pub skipped: Vec<(String, String)>,
    /// Names, or digests, of entries that were kept although something is missing; with what. `check` goes on
    /// saying so, and an import mends it.
    pub lacking: Vec<(String, String)>,
    /// Why the index before could not be read: what the folder does not tell is lost then. `None`: it could, and
    /// that was carried over.
    pub lost: Option<String>,
}

impl OpenOptions {
    /// Builds the index of the store in `root` anew: every ref, blob row and edge, from the folder alone, or, if
    /// the index before can be read, with its refs and all that the folder does not tell. Manifests are read, layers
    /// are not. Atomic; others wait meanwhile and go on with the new index.
    ///
    /// # Errors
    /// As [`open`](Self::open), but that the index before may be gone or damaged.
    pub fn reindex(self, root: impl AsRef<Path>) -> Result<(Store, Report)> {
        let root = root.as_ref();
        let mut report = Report::default();
        let build = |rebuild: &Rebuild<'_>| {
            rebuild_refs(rebuild, root, &mut report).map_err(|error| match error {
                Error::Base(error) => error,
                other => oci_store_base::Error::Io { path: root.to_owned(), source: std::io::Error::other(other) },
            })
        };
        let (base, Reindexed { blobs, lost, .. }, ()) = self.base.clone().reindex(root, build)?;
        let store = Store::over(base, self);
        store.refresh()?;
        Ok((store, Report { blobs, lost, ..report }))
    }
}

/// An entry, and the generation in which it was set.
type Dated = (Descriptor, u64);

/// Entries that are made in one transaction.
const GROUP: usize = 128;

fn rebuild_refs(rebuild: &Rebuild<'_>, root: &Path, report: &mut Report) -> Result<()> {
    let (floor, entries) = match rebuild.old_view(|view| old_entries(view).map_err(to_base)) {
        // The index was the truth: its refs are newer than the file, or the same.
        Some(Ok(old)) => old,
        // It can be read another time.
        Some(Err(error)) if error.as_io().is_some() => return Err(error.into()),
        Some(Err(_)) | None => listed_entries(root)?,
    };
    // Before the refs: one that is there again has none.
    if let Some(removed) = rebuild.old_view(|view| refs::all(view, refs::REMOVED).map_err(to_base)) {
        carry(rebuild, removed, refs::restore_removed)?;
    }
    if let Some(log) = rebuild.old_view(|view| refs::all(view, history::LOG).map_err(to_base)) {
        carry(rebuild, log, history::restore)?;
    }
    for group in entries.chunks(GROUP) {
        let (mut read, mut known) = (Vec::new(), HashMap::new());
        for (root, generation) in group {
            let mut found = Vec::new();
            let outcome = read_below(rebuild, root, &mut known, &mut found);
            read.push((root, *generation, found, outcome));
        }
        rebuild.update(|txn| {
            for (root, generation, found, outcome) in read {
                let label = root.ref_name().map_or_else(|| root.digest.to_string(), str::to_owned);
                let made = write_edges(txn, &found)
                    .and(outcome)
                    .and_then(|is_referrer| make_entry(txn, root, generation, is_referrer));
                match made {
                    Ok((is_ref, missing)) => {
                        report.refs += u64::from(is_ref);
                        report.lacking.extend(missing.into_iter().map(|missing| (label.clone(), missing.to_string())));
                    }
                    // Not the entry's fault: to skip it would lose it.
                    Err(error) if error.hinders_all() => return Err(to_base(error)),
                    Err(error) => report.skipped.push((label, error.to_string())),
                }
            }
            Ok(())
        })?;
    }
    read_rest(rebuild)?;
    rebuild.update(|txn| {
        let generation = txn.view().number(refs::GENERATION)?.max(floor) + 1;
        txn.set_number(refs::GENERATION, generation)
    })?;
    Ok(())
}

/// What was removed stays removed, for the files that were read before; and what changed refs is still known.
fn carry(
    rebuild: &Rebuild<'_>,
    records: oci_store_base::Result<Vec<Data>>,
    restore: fn(&mut Txn<'_>, &Data) -> oci_store_base::Result<()>,
) -> Result<()> {
    match records {
        Ok(records) => {
            for group in records.chunks(GROUP) {
                rebuild.update(|txn| group.iter().try_for_each(|old| restore(txn, old)))?;
            }
            Ok(())
        }
        Err(error) if error.as_io().is_some() => Err(error.into()),
        // A courtesy that is lost with a damaged index.
        Err(error) => {
            tracing::debug!("what was removed lately, or what changed refs, is forgotten: {error}");
            Ok(())
        }
    }
}

/// What `index.json` would show of the index before, and its generation.
fn old_entries(view: View<'_>) -> Result<(u64, Vec<Dated>)> {
    let floor = refs::generation(view)?;
    let mut entries = Vec::new();
    refs::each_entry(view, &mut |entry| {
        let wrong = |error| Error::document("record", error);
        let entry: Descriptor = serde_json::from_str(entry).map_err(wrong)?;
        let name = entry.ref_name().map(str::parse::<RefName>).transpose()?;
        let found = name.map(|name| refs::get(view, &name)).transpose()?.flatten();
        entries.push((entry, found.map_or(floor, |found| found.generation)));
        Ok(())
    })?;
    Ok((floor, entries))
}

/// What `index.json` lists.
fn listed_entries(root: &Path) -> Result<(u64, Vec<Dated>)> {
    let path = root.join("index.json");
    let (generation, index) = match read_own(&path, None) {
        Ok(Shown::Ours(ours)) => (ours.generation, ours.index(&path)?),
        Ok(Shown::Foreign { generation, index, .. }) => (generation, index),
        Ok(Shown::Nothing) => return Ok((0, Vec::new())),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(error),
    };
    Ok((generation, index.manifests.into_iter().map(|entry| (entry, generation)).collect()))
}

/// Documents that were read for one group, as what. Those of former groups are in the index.
type Known = HashMap<(Digest, String), Arc<Vec<Child>>>;

/// A blob that an entry reaches, and its children, if it is a document that was read.
type Found = (Descriptor, Option<Arc<Vec<Child>>>);

/// Reads what an entry reaches, as far as it is there; says whether the entry is about something.
fn read_below(rebuild: &Rebuild<'_>, root: &Descriptor, known: &mut Known, found: &mut Vec<Found>) -> Result<bool> {
    let mut stack = vec![root.clone()];
    let mut seen = HashSet::new();
    let mut is_referrer = false;
    while let Some(descriptor) = stack.pop() {
        if !seen.insert((descriptor.digest.clone(), descriptor.media_type.clone(), descriptor.size)) {
            continue;
        }
        if !is_document(&descriptor.media_type) {
            found.push((descriptor, None));
            continue;
        }
        let key = (descriptor.digest.clone(), descriptor.media_type.clone());
        let below = match known.get(&key) {
            Some(below) => Arc::clone(below),
            None if rebuild.view(|view| is_read(view, &descriptor))? => {
                let edges = rebuild.view(|view| view.edges(&descriptor.digest))?.unwrap_or_default().edges;
                let is_about = edges.iter().any(|edge| edge.role == Role::Subject.code());
                is_referrer |= is_about && descriptor.digest == root.digest;
                continue;
            }
            None => {
                // A missing one is for the closure to tell, with its path.
                let Some(below) = read_one(rebuild, &descriptor)? else { continue };
                Arc::clone(known.entry(key).or_insert(Arc::new(below)))
            }
        };
        let is_about = below.iter().any(|child| child.role == Role::Subject);
        is_referrer |= is_about && descriptor.digest == root.digest;
        let parts = below.iter().filter(|child| child.role != Role::Subject);
        stack.extend(parts.map(|child| child.descriptor.clone()));
        found.push((descriptor, Some(below)));
    }
    Ok(is_referrer)
}

/// Whether the index has all edges of a document and of those below it, so that nothing of it need be read again.
fn is_read(view: View<'_>, document: &Descriptor) -> oci_store_base::Result<bool> {
    let Some(edges) = view.edges(&document.digest)? else { return Ok(false) };
    if !edges.read_as.contains(&document.media_type) {
        return Ok(false);
    }
    let (mut stack, mut seen) = (edges.edges, HashSet::new());
    while let Some(edge) = stack.pop() {
        if edge.role == Role::Subject.code() || !seen.insert(edge.child.clone()) {
            continue;
        }
        match view.edges(&edge.child)? {
            Some(below) => stack.extend(below.edges),
            // A document that could not be read, which is to be said of this entry too; or a leaf.
            None => {
                let is_document = |blob: BlobInfo| edge.role == Role::Manifest.code() || is_document(&blob.media_type);
                if view.blob(&edge.child)?.is_some_and(is_document) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Reads the documents that no entry reaches: who tags or exports one by its digest gets all that it needs, or is told
/// what is missing. What is about something is left to the gc: to list it is to publish it.
fn read_rest(rebuild: &Rebuild<'_>) -> Result<()> {
    let mut after = None;
    loop {
        let (last, unread) = rebuild.view(|view| {
            let page = view.blobs(&BlobFilter::default(), after.as_ref(), GROUP)?;
            let last = page.last().map(|blob| blob.digest.clone());
            let mut unread = Vec::new();
            for blob in page {
                if view.edges(&blob.digest)?.is_none() {
                    unread.push(blob);
                }
            }
            Ok((last, unread))
        })?;
        if last.is_none() {
            return Ok(());
        }
        after = last;
        let (mut found, mut known) = (Vec::new(), HashMap::new());
        for blob in unread {
            let read = name_unread(rebuild, blob).and_then(|root| match root {
                Some(root) => read_below(rebuild, &root, &mut known, &mut found).map(drop),
                None => Ok(()),
            });
            match read {
                Err(error) if error.hinders_all() => return Err(error),
                // It is no good, and nobody's.
                _ => {}
            }
        }
        rebuild.update(|txn| {
            for (document, below) in &found {
                let Some(below) = below.as_ref().filter(|below| below.iter().all(|c| c.role != Role::Subject)) else {
                    continue;
                };
                txn.set_media_type(&document.digest, &document.media_type)?;
                let edges: Vec<_> = below.iter().map(Child::edge).collect();
                txn.add_edges(&document.digest, &document.media_type, &edges)?;
            }
            Ok(())
        })?;
    }
}

/// What a blob is named, if it is a document; one that has no media type is asked.
fn name_unread(rebuild: &Rebuild<'_>, blob: BlobInfo) -> Result<Option<Descriptor>> {
    let BlobInfo { digest, size, media_type, .. } = blob;
    if !media_type.is_empty() {
        return Ok(is_document(&media_type).then(|| Descriptor::new(&media_type, digest, size)));
    }
    let mut content = rebuild.read_blob(&digest)?;
    let mut bytes = vec![0];
    if size > Limits::OWN.manifest
        || content.read(&mut bytes).map_err(oci_store_cas::Error::from)? == 0
        || bytes != *b"{"
    {
        return Ok(None);
    }
    content.take(size).read_to_end(&mut bytes).map_err(oci_store_cas::Error::from)?;
    Ok(document::media_type_of(&bytes).map(|media_type| Descriptor::new(&media_type, digest, size)))
}

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
    reader.read_to_end(&mut bytes).map_err(oci_store_cas::Error::from)?;
    children(descriptor, &bytes).map(Some)
}

fn write_edges(txn: &mut Txn<'_>, found: &[Found]) -> Result<()> {
    for (descriptor, below) in found {
        txn.set_media_type(&descriptor.digest, &descriptor.media_type)?;
        let Some(below) = below else {
            // Of another size than it is to have: an import that has it replaces it.
            if txn.view().blob(&descriptor.digest)?.is_some_and(|blob| blob.size != descriptor.size) {
                txn.note_check(&descriptor.digest, false)?;
            }
            continue;
        };
        let edges: Vec<_> = below.iter().map(Child::edge).collect();
        txn.add_edges(&descriptor.digest, &descriptor.media_type, &edges)?;
        if below.iter().any(|child| child.role == Role::Subject) {
            refs::add_unnamed(txn, refs::REFERRER, descriptor)?;
        }
    }
    Ok(())
}

/// Makes an entry's ref or pin, or leaves it at the record of a referrer; says whether it was a ref, and what of
/// the image is missing and should not be. What is there of it stays kept: dropping the ref would lose that too.
fn make_entry(
    txn: &mut Txn<'_>,
    root: &Descriptor,
    generation: u64,
    is_referrer: bool,
) -> Result<(bool, Vec<check::Missing>)> {
    // A document that another entry has named, with its right size, was not read again for this one.
    if let Some(actual) = txn.view().blob(&root.digest)?.map(|blob| blob.size).filter(|size| *size != root.size) {
        let (digest, expected) = (root.digest.clone(), root.size);
        let truncated = actual < expected;
        return Err(oci_store_cas::Error::SizeMismatch { digest, expected, actual, truncated }.into());
    }
    let incomplete = root.annotation(refs::INCOMPLETE).is_some();
    let mut missing = check::closure(txn.view(), &root.digest)?.missing;
    let is_ours =
        root.annotation(refs::PINNED).is_some() || root.ref_name().is_some_and(|n| n.parse::<RefName>().is_ok());
    if missing.iter().any(|missing| missing.path.is_empty()) || (!missing.is_empty() && !incomplete && !is_ours) {
        return Err(Error::Incomplete(missing));
    }
    if incomplete {
        missing.clear();
    }
    // A name that is none by the grammar is not ours: another tool's entry, kept as such are kept.
    if let Some(Ok(name)) = root.ref_name().map(str::parse::<RefName>) {
        refs::restore(txn, &name, root, incomplete, generation, Condition::Any)?;
        return Ok((true, missing));
    }
    if root.annotation(refs::PINNED).is_some() || !is_referrer {
        refs::add_unnamed(txn, refs::PIN, root)?;
    }
    Ok((false, missing))
}

fn to_base(error: Error) -> oci_store_base::Error {
    match error {
        Error::Base(error) => error,
        other => oci_store_base::Error::Cas(std::io::Error::other(other).into()),
    }
}
