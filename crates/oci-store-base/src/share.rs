//! The group's rights to a shared store. Who makes a folder or a file sets its mode in a second step and may die in between,
//! and other tools make folders by their umask: whoever owns what lacks a right adds it when it opens the store.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_store_cas::Access;
use rustix::fs::OFlags;

use crate::config::OWN_FOLDER;
use crate::{Error, Result};

/// Lets the group use the folders of the store in `root`, and its locks, as far as this process may. What it may not
/// change is its owner's to mend, so no failure is told. Idempotent.
pub(crate) fn share(root: &Path, access: Access) {
    let own = root.join(OWN_FOLDER);
    let above = ["locks", "ingest", "index"].map(|name| own.join(name));
    let within = above.iter().flat_map(|folder| inside(folder));
    let folders = ["leases", "reserve"].map(|name| own.join(name));
    // `root` itself may be a link.
    let all = [root.join("."), root.join("blobs"), own].into_iter().chain(inside(&root.join("blobs")));
    give(root, all.chain(folders).chain(above.clone()).chain(within), access, access.file_mode());
}

/// Lets the group read the blobs in `root`, which another tool has written, as [`share`] does.
pub(crate) fn share_blobs(root: &Path, access: Access) {
    let blobs = inside(&root.join("blobs")).flat_map(|folder| inside(&folder));
    give(root, blobs, access, access.blob_mode());
}

/// The paths in a folder; none where it can't be read.
fn inside(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn give(root: &Path, paths: impl Iterator<Item = PathBuf>, access: Access, file_mode: u32) {
    let Ok(root) = fs::metadata(root) else { return };
    if access == Access::Group {
        paths.for_each(|path| drop(give_one(&path, root.gid(), access.folder_mode(), file_mode)));
    }
}

/// Adds what a folder or a file lacks. Only one of the store's group: what has got here in another way is not to be given
/// to others.
fn give_one(path: &Path, group: u32, folder_mode: u32, file_mode: u32) -> io::Result<()> {
    // A link may lead to what is not the store's, and a FIFO would make us wait.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let needed = if meta.is_dir() { folder_mode } else { file_mode };
    let mode = meta.mode() & 0o7777;
    if meta.gid() == group && mode & needed != needed && (meta.is_dir() || meta.is_file()) {
        file.set_permissions(Permissions::from_mode(mode | needed))?;
    }
    Ok(())
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
