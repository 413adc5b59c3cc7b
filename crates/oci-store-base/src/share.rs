//! The group's rights to a shared store. Who makes a folder or a file sets its mode in a second step and may die in between,
//! and other tools make folders by their umask: whoever owns what lacks a right adds it when it opens the store.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use oci_store_cas::Access;
use rustix::fs::{Dir, Mode, OFlags, openat};

use crate::config::OWN_FOLDER;
use crate::{Error, Result};

/// Lets the group use the folders of the store in `root`, and its locks, as far as this process may. What it may not
/// change is its owner's to mend, so no failure is told. Idempotent.
pub(crate) fn share(root: &Path, access: Access) {
    let Some(sharing) = Sharing::of(root, access, access.file_mode()) else { return };
    sharing.give_below(&sharing.root, "blobs".as_ref(), 1);
    if let Some(own) = sharing.give_below(&sharing.root, OWN_FOLDER.as_ref(), 0) {
        for (name, depth) in [("leases", 0), ("reserve", 0), ("locks", 1), ("ingest", 1), ("index", 1)] {
            sharing.give_below(&own, name.as_ref(), depth);
        }
    }
}

/// Lets the group read the blobs in `root`, which another tool has written, as [`share`] does.
pub(crate) fn share_blobs(root: &Path, access: Access) {
    if let Some(sharing) = Sharing::of(root, access, access.blob_mode()) {
        sharing.give_below(&sharing.root, "blobs".as_ref(), 2);
    }
}

/// Rights for the group of a store's folder. Whoever is in the group may exchange what lies in the store: nothing is given
/// that is reached through a symlink, or may be somebody's private file that was put there.
struct Sharing {
    root: File,
    group: u32,
    access: Access,
    file_mode: u32,
}

impl Sharing {
    fn of(root: &Path, access: Access, file_mode: u32) -> Option<Self> {
        // The store's own path may be a link.
        let root = (access == Access::Group).then(|| File::open(root).ok()).flatten()?;
        let group = root.metadata().ok()?.gid();
        let sharing = Self { root, group, access, file_mode };
        let _ = sharing.give(&sharing.root);
        Some(sharing)
    }

    /// Gives what is called `name` in a folder the rights that it lacks, and what is below that, so deep; returns it.
    fn give_below(&self, folder: &File, name: &OsStr, depth: u32) -> Option<File> {
        // A link may lead to what is not the store's, and a FIFO would make us wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
        self.give(&file).ok()?;
        if depth > 0 && file.metadata().is_ok_and(|meta| meta.is_dir()) {
            for entry in Dir::read_from(&file).ok()?.flatten() {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    self.give_below(&file, name, depth - 1);
                }
            }
        }
        Some(file)
    }

    /// Only what is of the store's group: what has got here in another way is not to be given to others. Locks are empty, and
    /// a blob has no second name; what is not so may be anybody's.
    fn give(&self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        let is_blob = self.file_mode == self.access.blob_mode();
        let needed = match meta.file_type() {
            kind if kind.is_dir() => self.access.folder_mode(),
            kind if kind.is_file() && meta.nlink() == 1 && (is_blob || meta.len() == 0) => self.file_mode,
            _ => return Ok(()),
        };
        let mode = meta.mode() & 0o7777;
        if meta.gid() == self.group && mode & needed != needed {
            file.set_permissions(Permissions::from_mode(mode | needed))?;
        }
        Ok(())
    }
}

/// Opens a file of the store, to read and write it; makes it if it is absent.
pub(crate) fn open_or_create(path: &Path, access: Access) -> Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other.map_err(Error::io(path)),
    }
    match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
        Ok(file) => set_mode(&file, path, access).map(|()| file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open().map_err(Error::io(path)),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Gives a file of the store its mode, which the umask has had a say in.
pub(crate) fn set_mode(file: &File, path: &Path, access: Access) -> Result<()> {
    file.set_permissions(Permissions::from_mode(access.file_mode())).map_err(Error::io(path))
}
