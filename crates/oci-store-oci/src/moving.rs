//! Moving: what an import has taken out of an image layout's folder goes from there, once it is in the store for good.
//!
//! `index.json` first, atomically and durably, then blobs: wherever this is stopped, what the layout lists is whole, and
//! what it does not list any more is in the store.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use oci_store_base::OWN_FOLDER;
use oci_store_cas::{Blob, Cas, Digest};
use rustix::fs::{Access, access};

use crate::destination::sync_folder;
use crate::document::{Child, Role, children};
use crate::index_json::IndexJson;
use crate::intake::Image;
use crate::into_folder::lock_folder;
use crate::layout::read_small;
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};
use crate::temporary::Temporary;
use crate::{Descriptor, Error, Layout, Result, Store};

/// What was taken out of a source.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Entries, by name and digest.
    entries: HashSet<(Option<String>, Digest)>,
    /// What is about them, and came along.
    referrers: HashSet<Digest>,
    blobs: HashSet<Digest>,
}

impl Taken {
    /// Notes an image that is in the store for good.
    pub(crate) fn add(&mut self, image: &Image) {
        self.entries.insert(name_and_digest(&image.root));
        self.referrers.extend(image.referrers.iter().map(|about| about.digest.clone()));
        self.blobs.extend(image.digests().cloned());
    }
}

fn name_and_digest(entry: &Descriptor) -> (Option<String>, Digest) {
    (entry.ref_name().map(str::to_owned), entry.digest.clone())
}

/// Whether something can be moved out of a layout, before any of it is read.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let folder = layout.folder();
    let refused = |why| Error::NotForThis { origin: layout.origin(), why };
    if !layout.is_v1() {
        return Err(refused("--move does not know its form, that of 2016: import it without"));
    }
    if fs::symlink_metadata(folder.join(OWN_FOLDER)).is_ok() {
        return Err(refused("is a store, or was one, and --move takes nothing out of stores: export from it"));
    }
    // What is removed lies in the folder itself, and nowhere else.
    let blobs = folder.join("blobs");
    let below = fs::read_dir(&blobs).map_err(Error::io(&blobs))?;
    let below: Vec<_> = below.collect::<Result<_, _>>().map_err(Error::io(&blobs))?;
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if is_link(&blobs) || below.iter().any(|entry| is_link(&entry.path())) {
        return Err(refused("its blobs lie elsewhere, behind a symlink: --move removes nothing there"));
    }
    let algorithms = below.iter().map(fs::DirEntry::path).filter(|path| path.is_dir());
    for path in [folder.to_owned()].into_iter().chain(algorithms) {
        access(&path, Access::WRITE_OK).map_err(|error| Error::io(path)(error.into()))?;
    }
    Ok(())
}

/// Removes what was taken: the entries, with what is about them and came along, as long as nothing left is what that is
/// about; and the blobs that nothing left refers to. Of what can't be read nobody knows what it refers to: then no blob
/// is removed. Idempotent.
pub(crate) fn remove(store: &Store, layout: &Layout, taken: &Taken) -> Result<()> {
    let Some(blobs) = layout.blobs() else { return Ok(()) };
    let folder = layout.folder();
    let _alone = lock_folder(folder)?;
    let path = folder.join("index.json");
    let mut index = IndexJson::parse(&path, &read_small(&path, layout.limits().index_json)?)?;
    let before = index.manifests.len();
    let mut left = Left { layout, seen: HashSet::new(), digests: HashSet::new(), is_unsure: false };
    index.manifests = left.entries(index.manifests, taken);
    if index.manifests.len() < before {
        let text = serde_json::to_vec(&index).map_err(|error| Error::document(path.display(), error))?;
        let mode = fs::metadata(&path).map_err(Error::io(&path))?.permissions();
        Temporary::make(folder)?.replace(folder, "index.json", &text, true)?;
        fs::set_permissions(&path, mode).map_err(Error::io(&path))?;
    }
    // Also if it was so already: whoever wrote it may have been stopped before this.
    sync_folder(folder)?;
    if left.is_unsure {
        return Ok(());
    }
    for digest in taken.blobs.iter().filter(|digest| !left.digests.contains(*digest)) {
        // An image may lack what is to be had elsewhere.
        if store.base().has(digest)? {
            own(store, blobs, digest)?;
            blobs.delete(digest)?;
        }
    }
    Ok(())
}

/// Makes a file that is both the store's and the layout's read-only, as blobs are, if these are all the names that it has.
fn own(store: &Store, blobs: &dyn Cas, digest: &Digest) -> Result<()> {
    let (Some(here), Some(there)) = (store.base().cas().open(digest)?, blobs.open(digest)?) else { return Ok(()) };
    let meta = |blob: &dyn Blob| blob.as_file().map(File::metadata).and_then(Result::ok);
    if let (Some(file), Some(a), Some(b)) = (here.as_file(), meta(&*here), meta(&*there))
        && (a.dev(), a.ino(), a.nlink()) == (b.dev(), b.ino(), 2)
    {
        // Of a file of somebody else's, who let us link it, the mode stays.
        let _ = file.set_permissions(Permissions::from_mode(store.base().access().blob_mode()));
    }
    Ok(())
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
        let mut stack = vec![entry.clone()];
        while let Some(descriptor) = stack.pop() {
            if self.seen.insert((descriptor.digest.clone(), descriptor.media_type.clone())) {
                stack.extend(self.children(&descriptor).into_iter().map(|child| child.descriptor));
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
                tracing::warn!("{}: {error}: it may need any of the blobs, so they stay there", self.layout.origin());
                self.is_unsure = true;
                Vec::new()
            }
        }
    }
}
