//! Building an OCI store's index anew, from its blobs and its `index.json`.

use std::collections::HashSet;
use std::path::Path;

use oci_store_base::{Condition, Rebuild, Reindexed};
use oci_store_cas::VerifyReader;

use crate::document::{Child, MAX_DOCUMENT, Role, children};
use crate::layout::Layout;
use crate::media_type::is_document;
use crate::source::{Entry, ImageSource};
use crate::store::OpenOptions;
use crate::{Descriptor, Error, Result, Store, check, refs};

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

fn rebuild_refs(rebuild: &Rebuild<'_>, root: &Path, report: &mut Report) -> Result<()> {
    let mut floor = 0;
    let mut entries = match old_entries(rebuild) {
        // The index was the truth: its refs are newer than the file, or the same.
        Some(Ok((generation, entries))) => {
            floor = generation;
            entries
        }
        Some(Err(_)) | None => Vec::new(),
    };
    if entries.is_empty() && root.join("index.json").exists() {
        entries = Layout::open(root)?.entries()?;
        floor = floor.max(generation_of(root));
    }
    rebuild.update(|txn| {
        let generation = txn.view().number(refs::GENERATION)?.max(floor) + 1;
        txn.set_number(refs::GENERATION, generation)
    })?;
    let mut seen = HashSet::new();
    for Entry { name, descriptor } in entries {
        let label = name.clone().unwrap_or_else(|| descriptor.digest.to_string());
        match rebuild_one(rebuild, name.as_deref(), &descriptor, &mut seen) {
            Ok(true) => report.refs += 1,
            Ok(false) => {}
            Err(error @ Error::Base(oci_store_base::Error::Index(_))) => return Err(error),
            Err(error) => report.skipped.push((label, error.to_string())),
        }
    }
    Ok(())
}

/// What `index.json` would show of the index before.
fn old_entries(rebuild: &Rebuild<'_>) -> Option<Result<(u64, Vec<Entry>)>> {
    let mut read = Ok((0, Vec::new()));
    rebuild
        .old_view(|view| {
            read = (|| {
                let entries = crate::projection::entries(view)?.into_iter();
                let entry =
                    |descriptor: Descriptor| Entry { name: descriptor.ref_name().map(str::to_owned), descriptor };
                Ok((refs::generation(view)?, entries.map(entry).collect()))
            })();
            Ok(())
        })?
        .ok()?;
    Some(read)
}

fn generation_of(root: &Path) -> u64 {
    crate::projection::shown_generation(&root.join("index.json"))
}

/// Reads what an entry reaches, and makes its ref, pin or referrer; says whether that was a ref.
fn rebuild_one(
    rebuild: &Rebuild<'_>,
    name: Option<&str>,
    root: &Descriptor,
    seen: &mut HashSet<(oci_store_cas::Digest, String)>,
) -> Result<bool> {
    let mut stack = vec![root.clone()];
    let mut is_referrer = false;
    while let Some(descriptor) = stack.pop() {
        let first = seen.insert((descriptor.digest.clone(), descriptor.media_type.clone()));
        let is_root = descriptor.digest == root.digest;
        if !first && !is_root {
            continue;
        }
        if !is_document(&descriptor.media_type) {
            rebuild.update(|txn| txn.set_media_type(&descriptor.digest, &descriptor.media_type))?;
            continue;
        }
        let blob = match rebuild.read_blob(&descriptor.digest) {
            Ok(blob) if descriptor.size <= MAX_DOCUMENT => blob,
            Ok(_) => return Err(Error::document(&descriptor.digest, "it is larger than a manifest may be")),
            // Missing: the closure's check below says so, and with what path.
            Err(oci_store_base::Error::BlobNotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let mut reader = VerifyReader::new(blob, &descriptor.digest, Some(descriptor.size))?;
        std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(oci_store_cas::Error::from)?;
        let children = children(&descriptor, &bytes)?;
        let about = children.iter().any(|child| child.role == Role::Subject);
        is_referrer |= is_root && about;
        rebuild.update(|txn| {
            txn.set_media_type(&descriptor.digest, &descriptor.media_type)?;
            let edges: Vec<_> = children.iter().map(Child::edge).collect();
            txn.add_edges(&descriptor.digest, &descriptor.media_type, &edges)?;
            if about {
                refs::add_unnamed(txn, refs::REFERRER, &descriptor).map_err(to_base)?;
            }
            Ok(())
        })?;
        stack.extend(children.into_iter().filter(|c| c.role != Role::Subject).map(|child| child.descriptor));
    }
    let incomplete = root.annotation(refs::INCOMPLETE).is_some();
    let missing = rebuild.view(|view| check::closure(view, &root.digest).map_err(to_base))?.missing;
    if missing.iter().any(|missing| missing.path.is_empty()) || (!missing.is_empty() && !incomplete) {
        return Err(Error::Incomplete(missing));
    }
    let pinned = root.annotation(refs::PINNED).is_some();
    rebuild
        .update(|txn| match name {
            Some(name) => {
                let name = name.parse().map_err(to_base)?;
                refs::set(txn, &name, root, incomplete, Condition::Any).map_err(to_base).map(|_| true)
            }
            None if pinned || !is_referrer => refs::add_unnamed(txn, refs::PIN, root).map_err(to_base).map(|_| false),
            None => Ok(false),
        })
        .map_err(Error::from)
}

fn to_base(error: Error) -> oci_store_base::Error {
    match error {
        Error::Base(error) => error,
        other => oci_store_base::Error::Cas(std::io::Error::other(other).into()),
    }
}
