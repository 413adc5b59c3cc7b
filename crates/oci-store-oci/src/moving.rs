//! Moving: what an import has taken out of an image layout's folder goes from there, once it is in the store for good.
//!
//! `index.json` first, atomically and durably, then blobs: wherever this is stopped, what the layout lists is whole, and
//! what it does not list any more is in the store. What stays is the layout's alone: where store and layout have one file,
//! by a hard link, the layout gets a copy.

mod origin;

use std::collections::HashSet;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use oci_store_cas::{Access as Shared, Digest};

pub(crate) use origin::Origin;

use crate::document::{Child, Role, children};
use crate::index_json::IndexJson;
use crate::intake::{Image, Intake};
use crate::limits::Most;
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Error, Layout, Result, Store};

/// What was taken out of a source.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Entries, by name and digest.
    entries: HashSet<(Option<String>, Digest)>,
    /// What is about them, and came along.
    referrers: HashSet<Digest>,
    blobs: HashSet<Digest>,
    /// Those that were verified on their way into the store. All others were there.
    fresh: HashSet<Digest>,
}

impl Taken {
    /// Notes what an image brings that the store did not have.
    pub(crate) fn bring(&mut self, image: &Image, intake: &Intake<'_>) {
        let is_staged = |digest: &&Digest| intake.lease.staged(digest).is_some();
        self.fresh.extend(intake.digests(image).filter(is_staged).cloned());
    }

    /// Notes an image that is in the store for good.
    pub(crate) fn add(&mut self, image: &Image, intake: &Intake<'_>) {
        self.entries.insert(name_and_digest(&image.root));
        self.referrers.extend(image.referrers.iter().map(|about| about.digest.clone()));
        self.blobs.extend(intake.digests(image).cloned());
    }
}

fn name_and_digest(entry: &Descriptor) -> (Option<String>, Digest) {
    (entry.ref_name().map(str::to_owned), entry.digest.clone())
}

/// Removes what was taken: the entries, with what is about them and came along, as long as nothing left is what that is
/// about; and the blobs that nothing left refers to. Of what can't be read nobody knows what it refers to: then no blob
/// is removed. Nothing is removed of which the store has no good copy. Idempotent.
pub(crate) fn remove(store: &Store, layout: &Layout, origin: &Origin, taken: &Taken) -> Result<()> {
    origin.lock()?;
    origin.check_same()?;
    let (path, bytes, was) = origin.index_json(Most::index_json(layout.limits().index_json))?;
    let mut index = IndexJson::parse(&path, &bytes, layout.limits())?;
    let before = index.manifests.len();
    let mut left = Left { layout, seen: HashSet::new(), digests: HashSet::new(), is_unsure: false };
    index.manifests = left.entries(index.manifests, taken);
    let stays = |digest: &&Digest| left.is_unsure || left.digests.contains(*digest);
    let (stay, go): (Vec<&Digest>, Vec<&Digest>) = taken.blobs.iter().partition(stays);
    for digest in &go {
        check_copy(store, origin, digest, taken)?;
    }
    if index.manifests.len() < before {
        let text = serde_json::to_vec(&index).map_err(|error| Error::document(path.display(), error))?;
        origin.replace_index_json(&text, &was)?;
    }
    // Also if it was so already: whoever wrote it may have been stopped before this.
    origin.sync()?;
    let mut failed = Ok(());
    for digest in go {
        // An image may lack what is to be had elsewhere.
        if store.base().has(digest)? {
            if let Some((file, _)) = shared(store, origin, digest)? {
                own(store, &file, 2);
            }
            // One that can't be removed keeps no other there.
            if let Err(error) = origin.remove(digest) {
                failed = Err(error);
            }
        }
    }
    part(store, origin, stay)?;
    failed
}

/// After an import that failed in part: nothing is removed, and each has its own.
pub(crate) fn keep(store: &Store, origin: &Origin, taken: &Taken) -> Result<()> {
    origin.lock()?;
    part(store, origin, taken.blobs.iter())
}

/// Gives the layout a copy of what is one file with the store's.
fn part<'d>(store: &Store, origin: &Origin, digests: impl IntoIterator<Item = &'d Digest>) -> Result<()> {
    for digest in digests {
        let Some((file, was)) = shared(store, origin, digest)?.filter(|(_, meta)| meta.nlink() > 1) else { continue };
        origin.replace_blob(digest, &was, &mut |mut copy| {
            if rustix::fs::ioctl_ficlone(copy, &file).is_err() {
                io::copy(&mut &file, &mut copy)?;
            }
            Ok(())
        })?;
        own(store, &file, 1);
    }
    Ok(())
}

/// That the store has a good copy of what is to be removed. What it had before may have rotted.
fn check_copy(store: &Store, origin: &Origin, digest: &Digest, taken: &Taken) -> Result<()> {
    if !store.base().has(digest)? {
        return Ok(());
    }
    let why = match shared(store, origin, digest)? {
        Some((_, meta)) if meta.nlink() < 2 => "it is the store's own, and would be gone from both",
        Some(_) => return Ok(()),
        None if taken.fresh.contains(digest) || store.base().check_blob(digest, &mut |_| Ok(()))? => return Ok(()),
        None => "the store's copy is damaged: import the image again, which fetches it anew",
    };
    Err(Error::document(digest, why))
}

/// The store's file of a blob, if the layout's is the same.
fn shared(store: &Store, origin: &Origin, digest: &Digest) -> Result<Option<(File, Metadata)>> {
    let Some(here) = store.base().cas().open(digest)? else { return Ok(None) };
    let Some(file) = here.as_file() else { return Ok(None) };
    let io = |error| Error::io(digest.to_string())(error);
    let meta = file.metadata().map_err(io)?;
    if !origin.has(digest, &meta) {
        return Ok(None);
    }
    Ok(Some((file.try_clone().map_err(io)?, meta)))
}

/// Makes a file of the store's that was somebody else's read-only, as blobs are, if `names` are all the names that it has.
fn own(store: &Store, file: &File, names: u64) {
    let access = store.base().access();
    // In a store of a group, a file of another group may be readable only because all may read it.
    let is_groups = |meta: &Metadata| fs::metadata(store.root()).is_ok_and(|root| root.gid() == meta.gid());
    if file.metadata().is_ok_and(|meta| meta.nlink() == names && (access == Shared::Private || is_groups(&meta))) {
        // Of a file of somebody else's, who let us link it, the mode stays.
        let _ = file.set_permissions(Permissions::from_mode(access.blob_mode()));
    }
}

/// What is left in a layout.
struct Left<'l> {
    layout: &'l Layout,
    /// By digest and media type, as a blob may be a leaf under one and a document under another.
    seen: HashSet<(Digest, String)>,
    digests: HashSet<Digest>,
    is_unsure: bool,
}

impl Left<'_> {
    /// The entries that stay, in their order.
    fn entries(&mut self, entries: Vec<Descriptor>, taken: &Taken) -> Vec<Descriptor> {
        let is_about = |entry: &Descriptor| entry.ref_name().is_none() && taken.referrers.contains(&entry.digest);
        // Those that may stay, with whether they do.
        let mut entries: Vec<(Descriptor, bool)> = entries
            .into_iter()
            .filter(|entry| !taken.entries.contains(&name_and_digest(entry)))
            .map(|entry| {
                let stays = !is_about(&entry);
                (entry, stays)
            })
            .collect();
        entries.iter().filter(|(_, stays)| *stays).for_each(|(entry, _)| self.reach(entry));
        loop {
            let mut found = false;
            for (entry, stays) in entries.iter_mut().filter(|(_, stays)| !stays) {
                let children = self.children(entry);
                let mut subjects = children.iter().filter(|child| child.role == Role::Subject);
                if subjects.any(|subject| self.digests.contains(&subject.descriptor.digest)) {
                    (*stays, found) = (true, true);
                    self.reach(entry);
                }
            }
            if !found {
                return entries.into_iter().filter_map(|(entry, stays)| stays.then_some(entry)).collect();
            }
        }
    }

    /// Notes all that an entry refers to, in whatever way.
    fn reach(&mut self, entry: &Descriptor) {
        let mut stack = vec![(entry.clone(), true)];
        while let Some((descriptor, is_manifest)) = stack.pop() {
            if is_manifest && !is_document(&descriptor.media_type) {
                self.doubt(&format!(
                    "{}: a document of an unknown type, {:?}",
                    descriptor.digest, descriptor.media_type
                ));
            }
            if self.seen.insert((descriptor.digest.clone(), descriptor.media_type.clone())) {
                let children = self.children(&descriptor).into_iter();
                stack.extend(children.map(|child| (child.descriptor, child.role == Role::Manifest)));
                self.digests.insert(descriptor.digest);
            }
        }
    }

    /// What a blob points at; nothing, if it is not there.
    fn children(&mut self, descriptor: &Descriptor) -> Vec<Child> {
        if !is_document(&descriptor.media_type) {
            return Vec::new();
        }
        let bytes = read_document(self.layout, descriptor);
        match bytes.and_then(|bytes| bytes.map_or(Ok(Vec::new()), |bytes| children(descriptor, &bytes))) {
            Ok(children) => children,
            Err(error) => {
                self.doubt(&error.to_string());
                Vec::new()
            }
        }
    }

    fn doubt(&mut self, why: &str) {
        tracing::warn!("{}: {why}: it may need any of the blobs, so they stay there", self.layout.origin());
        self.is_unsure = true;
    }
}
