//! Building an OCI store's index anew, from its blobs and its `index.json`.

mod documents;
mod entry;
mod listed;

use std::io::Read;
use std::path::Path;

use oci_store_base::{BlobFilter, BlobInfo, Data, Rebuild, Reindexed, Txn, View};

use crate::document::{self, Child};
use crate::limits::Limits;
use crate::media_type::is_document;
use crate::store::OpenOptions;
use crate::{Descriptor, Error, Layout, Result, Store, history, refs};

use documents::{Documents, Lost, State, has_subject, note_lost, unread};
use entry::Entry;
use listed::Listed;

/// What a reindex has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Blobs that have a row.
    pub blobs: u64,
    /// Refs that were set.
    pub refs: u64,
    /// Names, or digests, of entries that were not taken: they are another tool's, and their image is not there, or can't be
    /// read; with why.
    pub skipped: Vec<(String, String)>,
    /// Names, or digests, of entries that were kept although something is missing or damaged; with what. `check` goes on
    /// saying so, and a repair or an import mends it.
    pub lacking: Vec<(String, String)>,
    /// Why the index before could not be read: what the folder does not tell is lost then. `None`: it could, and
    /// that was carried over.
    pub lost: Option<String>,
}

impl OpenOptions {
    /// Builds the index of the store in `root` anew: every ref, blob row and edge, from the folder alone, or, if
    /// the index before can be read, with its refs and all that the folder does not tell. Manifests are read, layers
    /// only if their files have other sizes than they should. Atomic; others wait meanwhile and go on with the new index.
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

/// Entries that are made in one transaction.
const GROUP: usize = 1024;

fn rebuild_refs(rebuild: &Rebuild<'_>, root: &Path, report: &mut Report) -> Result<()> {
    let listed = Listed::read(rebuild, root)?;
    // First of all, so that rows come in their order.
    let documents = Documents::new(rebuild);
    let mut found = documents.read_all(&listed.entries)?;
    if rebuild.lacks()? {
        add_own(rebuild, &listed, &mut found.lost)?;
    }
    let lost = found.lost;
    note_lost(rebuild, &lost)?;
    // All that follows is newer than what was listed.
    rebuild.update(|txn| {
        let carried = refs::counted(txn.view().number(refs::GENERATION)?);
        txn.set_number(refs::GENERATION, carried.max(listed.generation))
    })?;
    // Before the refs: one that is there again has none.
    if let Some(removed) = rebuild.old_view(|view| refs::all(view, refs::REMOVED).map_err(to_base)) {
        carry(rebuild, removed, refs::restore_removed)?;
    }
    if let Some(log) = rebuild.old_view(|view| refs::all(view, history::LOG).map_err(to_base)) {
        carry(rebuild, log, history::restore)?;
    }
    for group in found.referrers.chunks(GROUP) {
        rebuild.update(|txn| {
            let mut referrers = group.iter().map(|(_, referrer)| referrer);
            referrers.try_for_each(|it| refs::add_unnamed(txn, refs::REFERRER, it).map(drop)).map_err(to_base)
        })?;
    }
    let may_lack = rebuild.lacks()? || !lost.is_empty();
    let folder = Layout::of_store(root);
    let mut left = listed.set.iter().enumerate().peekable();
    while left.peek().is_some() {
        rebuild.update(|txn| {
            for (place, set) in left.by_ref().take(GROUP) {
                let entry = Entry {
                    root: listed.entries.get(place).map_err(to_base)?,
                    generation: *set,
                    is_own: place < listed.own,
                    is_referrer: found.about.contains(&place),
                };
                let made = entry.make(txn, found.failed.remove(&place), may_lack.then_some(&lost), &folder);
                let label = || entry.root.ref_name().map_or_else(|| entry.root.digest.to_string(), str::to_owned);
                match made {
                    Ok((is_ref, lacking)) => {
                        report.refs += u64::from(is_ref);
                        report.lacking.extend(lacking.into_iter().map(|what| (label(), what)));
                    }
                    // Not the entry's fault: to skip it would lose it.
                    Err(error) if error.hinders_all() => return Err(to_base(error)),
                    Err(error) => report.skipped.push((label(), error.to_string())),
                }
            }
            Ok(())
        })?;
    }
    read_rest(rebuild, &documents)?;
    rebuild.update(|txn| txn.count(refs::GENERATION))?;
    Ok(())
}

/// Adds what the store's own entries name, and has gone.
fn add_own(rebuild: &Rebuild<'_>, listed: &Listed, lost: &mut Lost) -> Result<()> {
    let add = |view: View<'_>| {
        for place in 0..listed.own {
            let root = listed.entries.get(place).map_err(to_base)?;
            if view.blob(&root.digest)?.is_none() {
                lost.insert(root.digest.clone(), (root, false));
            }
        }
        Ok(())
    };
    Ok(rebuild.view(add)?)
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

/// Reads the documents that no entry reaches: who tags or exports one by its digest gets all that it needs, or is told
/// what is missing. What is about something is left to the gc: to list it is to publish it.
fn read_rest(rebuild: &Rebuild<'_>, documents: &Documents<'_>) -> Result<()> {
    let mut after = None;
    loop {
        let (last, unread) = rebuild.view(|view| {
            let page = view.blobs(&BlobFilter::default(), after.as_ref(), GROUP)?;
            let last = page.last().map(|blob| blob.digest.clone());
            let mut unread = Vec::new();
            for blob in page.into_iter().filter(|blob| blob.media_type.is_empty() || is_document(&blob.media_type)) {
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
        let (mut found, mut lost) = (Vec::new(), Lost::new());
        for blob in unread {
            let mut take = |document: &Descriptor, children: Option<&[Child]>, state: State| {
                if matches!(state, State::Damaged) {
                    lost.insert(document.digest.clone(), (document.clone(), true));
                }
                let children = children.filter(|children| !has_subject(children));
                found.extend(children.map(|children| (document.clone(), children.iter().map(Child::edge).collect())));
                Ok(())
            };
            let read = name_unread(rebuild, blob).and_then(|root| match root {
                Some(root) => documents.read_below(&root, &mut take).map(drop),
                None => Ok(()),
            });
            match read {
                Err(error) if error.hinders_all() => return Err(error),
                // It is no good, and nobody's.
                _ => {}
            }
        }
        note_lost(rebuild, &lost)?;
        if found.is_empty() {
            continue;
        }
        rebuild.update(|txn| {
            found.iter().try_for_each(|(Descriptor { digest, media_type, .. }, edges): &(_, Vec<_>)| {
                txn.set_media_type(digest, media_type)?;
                txn.add_edges(digest, media_type, edges)
            })
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
        || content.read(&mut bytes).map_err(|error| unread(&digest, error))? == 0
        || bytes != *b"{"
    {
        return Ok(None);
    }
    content.take(size).read_to_end(&mut bytes).map_err(|error| unread(&digest, error))?;
    Ok(document::media_type_of(&bytes).map(|media_type| Descriptor::new(&media_type, digest, size)))
}

fn to_base(error: Error) -> oci_store_base::Error {
    match error {
        Error::Base(error) => error,
        other => oci_store_base::Error::Cas(std::io::Error::other(other).into()),
    }
}
