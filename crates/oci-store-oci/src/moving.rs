//! Moving: what an import has taken out of an image layout's folder goes from there, once it is in the store for good.
//!
//! `index.json` first, atomically and durably, then blobs: wherever this is stopped, what the layout lists is whole, and
//! what it does not list any more is in the store. What stays is the layout's alone: where store and layout have one file,
//! by a hard link, the layout gets a copy.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use oci_store_base::{LeaseGuard, OWN_FOLDER};
use oci_store_cas::{Access as Shared, Blob, Cas, Digest};
use rustix::fs::{Access, access};

use crate::destination::sync_folder;
use crate::document::{Child, Role, children};
use crate::index_json::IndexJson;
use crate::intake::Image;
use crate::into_folder::lock_folder;
use crate::layout::read_small;
use crate::limits::Most;
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
    /// Those that were verified on their way into the store. All others were there.
    fresh: HashSet<Digest>,
}

impl Taken {
    /// Notes what an image brings that the store did not have.
    pub(crate) fn bring(&mut self, image: &Image, lease: &LeaseGuard) {
        self.fresh.extend(image.digests().filter(|digest| lease.staged(digest).is_some()).cloned());
    }

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
    check_no_store(layout)?;
    // What is removed lies in the folder itself, and nowhere else.
    let blobs = folder.join("blobs");
    let below = match fs::read_dir(&blobs) {
        Ok(below) => below.collect::<Result<Vec<_>, _>>().map_err(Error::io(&blobs))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(blobs)(error)),
    };
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

fn check_no_store(layout: &Layout) -> Result<()> {
    match fs::symlink_metadata(layout.folder().join(OWN_FOLDER)) {
        Ok(_) => Err(Error::NotForThis {
            origin: layout.origin(),
            why: "is a store, or was one, and --move takes nothing out of stores: export from it",
        }),
        Err(_) => Ok(()),
    }
}

/// Removes what was taken: the entries, with what is about them and came along, as long as nothing left is what that is
/// about; and the blobs that nothing left refers to. Of what can't be read nobody knows what it refers to: then no blob
/// is removed. Nothing is removed of which the store has no good copy. Idempotent.
pub(crate) fn remove(store: &Store, layout: &Layout, taken: &Taken) -> Result<()> {
    let Some(blobs) = layout.blobs() else { return Ok(()) };
    let folder = layout.folder();
    let _alone = lock_folder(folder)?;
    // It may have become one meanwhile.
    check_no_store(layout)?;
    let path = folder.join("index.json");
    let mut index =
        IndexJson::parse(&path, &read_small(&path, Most::index_json(layout.limits().index_json))?, layout.limits())?;
    let before = index.manifests.len();
    let mut left = Left { layout, seen: HashSet::new(), digests: HashSet::new(), is_unsure: false };
    index.manifests = left.entries(index.manifests, taken);
    let stays = |digest: &&Digest| left.is_unsure || left.digests.contains(*digest);
    let (stay, go): (Vec<&Digest>, Vec<&Digest>) = taken.blobs.iter().partition(stays);
    for digest in &go {
        check_copy(store, blobs, digest, taken)?;
    }
    if index.manifests.len() < before {
        let text = serde_json::to_vec(&index).map_err(|error| Error::document(path.display(), error))?;
        let was = fs::metadata(&path).map_err(Error::io(&path))?;
        Temporary::make(folder)?.replace(folder, "index.json", &text, true)?;
        like(&path, &was)?;
    }
    // Also if it was so already: whoever wrote it may have been stopped before this.
    sync_folder(folder)?;
    let mut failed = Ok(());
    for digest in go {
        // An image may lack what is to be had elsewhere.
        if store.base().has(digest)? {
            if let Some((file, _)) = shared(store, blobs, digest)? {
                own(store, &file, 2);
            }
            // One that can't be removed keeps no other there.
            if let Err(error) = blobs.delete(digest) {
                failed = Err(error.into());
            }
        }
    }
    part(store, layout, stay)?;
    failed
}

/// After an import that failed in part: nothing is removed, and each has its own.
pub(crate) fn keep(store: &Store, layout: &Layout, taken: &Taken) -> Result<()> {
    let _alone = lock_folder(layout.folder())?;
    part(store, layout, taken.blobs.iter())
}

/// Gives the layout a copy of what is one file with the store's.
fn part<'d>(store: &Store, layout: &Layout, digests: impl IntoIterator<Item = &'d Digest>) -> Result<()> {
    let Some(blobs) = layout.blobs() else { return Ok(()) };
    for digest in digests {
        let Some((file, was)) = shared(store, blobs, digest)?.filter(|(_, meta)| meta.nlink() > 1) else { continue };
        let target = layout.folder().join("blobs").join(digest.algorithm()).join(digest.encoded());
        let temporary = Temporary::make(layout.folder())?;
        let path = temporary.path.join(digest.encoded());
        let mut copy = File::create(&path).map_err(Error::io(&path))?;
        if rustix::fs::ioctl_ficlone(&copy, &file).is_err() {
            io::copy(&mut &file, &mut copy).map_err(Error::io(&path))?;
        }
        copy.sync_all().map_err(Error::io(&path))?;
        like(&path, &was)?;
        fs::rename(&path, &target).map_err(Error::io(target))?;
        own(store, &file, 1);
    }
    Ok(())
}

/// Gives a file the mode and the owner of the one in whose place it comes, as far as we may.
fn like(path: &Path, was: &Metadata) -> Result<()> {
    let _ = chown(path, Some(was.uid()), Some(was.gid()));
    fs::set_permissions(path, was.permissions()).map_err(Error::io(path))
}

/// That the store has a good copy of what is to be removed. What it had before may have rotted.
fn check_copy(store: &Store, blobs: &dyn Cas, digest: &Digest, taken: &Taken) -> Result<()> {
    if !store.base().has(digest)? {
        return Ok(());
    }
    let why = match shared(store, blobs, digest)? {
        Some((_, meta)) if meta.nlink() < 2 => "it is the store's own, and would be gone from both",
        Some(_) => return Ok(()),
        None if taken.fresh.contains(digest) || store.base().check_blob(digest, &mut |_| Ok(()))? => return Ok(()),
        None => "the store's copy is damaged: import the image again, which fetches it anew",
    };
    Err(Error::document(digest, why))
}

/// The store's file of a blob, if the layout's is the same.
fn shared(store: &Store, blobs: &dyn Cas, digest: &Digest) -> Result<Option<(File, Metadata)>> {
    let (Some(here), Some(there)) = (store.base().cas().open(digest)?, blobs.open(digest)?) else { return Ok(None) };
    let meta = |blob: &dyn Blob| blob.as_file().map(File::metadata).and_then(Result::ok);
    let (Some(file), Some(a), Some(b)) = (here.as_file(), meta(&*here), meta(&*there)) else { return Ok(None) };
    let is_same = (a.dev(), a.ino()) == (b.dev(), b.ino());
    let file = file.try_clone().map_err(Error::io(digest.to_string()))?;
    Ok(is_same.then_some((file, a)))
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
