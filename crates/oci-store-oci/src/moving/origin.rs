//! The folders of a layout that is moved from. They are held open from before anything is taken until it is removed, and it
//! is removed by these: who may write the layout can't lead a removal elsewhere by putting a symlink in a folder's place.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::PathBuf;

use oci_store_base::OWN_FOLDER;
use oci_store_base::index::folder;
use oci_store_cas::{Algorithm, Digest};
use rustix::fs::{Access, AtFlags, Mode, OFlags, access, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::layout::{open_regular_at, read_all};
use crate::limits::Most;
use crate::source::ImageSource;
use crate::temporary::Temporary;
use crate::{Error, Layout, Result};

/// See the [module](self).
pub(crate) struct Origin {
    path: PathBuf,
    folder: File,
    blobs: Option<File>,
    algorithms: Vec<(Algorithm, File)>,
}

impl Origin {
    /// Opens the folders, and says whether something can be moved out of them, before any of it is read.
    ///
    /// # Errors
    /// [`Error::NotForThis`] if the layout is none that things are moved from; [`Error::Io`], also if one of them may not be
    /// written.
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let path = layout.folder().to_owned();
        let refused = |why| Error::NotForThis { origin: layout.origin(), why };
        if !layout.is_v1() {
            return Err(refused("--move does not know its form, that of 2016: import it without"));
        }
        let below = |folder: &File, name: &str| match open_folder(folder, name) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(refused("its blobs lie elsewhere, behind a symlink: --move removes nothing there"))
            }
            Err(error) => Err(Error::io(path.join(name))(error.into())),
        };
        let folder = File::open(&path).map_err(Error::io(&path))?;
        let blobs = below(&folder, BLOBS)?;
        let mut algorithms = Vec::new();
        // What another algorithm names can't be verified, and so is never taken.
        for (algorithm, blobs) in Algorithm::ALL.into_iter().zip(blobs.iter().cycle()) {
            algorithms.extend(below(blobs, algorithm.name())?.map(|folder| (algorithm, folder)));
        }
        let origin = Self { path, folder, blobs, algorithms };
        origin.check_no_store()?;
        origin.check_writable()?;
        Ok(origin)
    }

    fn check_writable(&self) -> Result<()> {
        let blobs = self.path.join(BLOBS);
        let below = self.algorithms.iter().map(|(algorithm, _)| blobs.join(algorithm.name()));
        for path in std::iter::once(self.path.clone()).chain(below) {
            access(&path, Access::WRITE_OK).map_err(|error| Error::io(path)(error.into()))?;
        }
        Ok(())
    }

    fn check_no_store(&self) -> Result<()> {
        match statat(&self.folder, OWN_FOLDER, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                Err(self.refused("is a store, or was one, and --move takes nothing out of stores: export from it"))
            }
            Err(_) => Ok(()),
        }
    }

    fn refused(&self, why: &'static str) -> Error {
        Error::NotForThis { origin: self.path.display().to_string(), why }
    }

    /// Keeps exports and other moves away for as long as this lives.
    pub(crate) fn lock(&self) -> Result<()> {
        folder::lock(&self.folder).map_err(Error::io(&self.path))
    }

    /// That the layout is still what it was when this was opened: it may have become a store, and its folders others.
    pub(crate) fn check_same(&self) -> Result<()> {
        self.check_no_store()?;
        let is = |folder: &File, there: rustix::io::Result<rustix::fs::Stat>| {
            let there = there.map(|there| (there.st_dev, there.st_ino));
            folder.metadata().is_ok_and(|held| there == Ok((held.dev(), held.ino())))
        };
        let at = |folder: &File, name: &str| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut same = is(&self.folder, rustix::fs::stat(&self.path));
        if let Some(blobs) = &self.blobs {
            same &= is(blobs, at(&self.folder, BLOBS));
            same &= self.algorithms.iter().all(|(algorithm, folder)| is(folder, at(blobs, algorithm.name())));
        }
        if same { Ok(()) } else { Err(self.refused("its folders are others than before, so nothing is removed there")) }
    }

    /// The layout's `index.json`, with its path and how it lies there.
    pub(crate) fn index_json(&self, most: Most) -> Result<(PathBuf, Vec<u8>, Metadata)> {
        let path = self.path.join(INDEX_JSON);
        let file = open_regular_at(&self.folder, INDEX_JSON.as_ref()).map_err(Error::io(&path))?;
        let was = file.metadata().map_err(Error::io(&path))?;
        let bytes = read_all(&path, file, most)?;
        Ok((path, bytes, was))
    }

    /// Replaces `index.json` atomically; its content is durable before it is seen.
    pub(crate) fn replace_index_json(&self, bytes: &[u8], was: &Metadata) -> Result<()> {
        self.replace(&self.folder, INDEX_JSON, was, &mut |mut file| file.write_all(bytes))
    }

    pub(crate) fn sync(&self) -> Result<()> {
        folder::sync(&self.folder).map_err(Error::io(&self.path))
    }

    /// Whether a blob's file here is `file`.
    pub(crate) fn has(&self, digest: &Digest, file: &Metadata) -> bool {
        let Some(folder) = self.folder_of(digest) else { return false };
        statat(folder, digest.encoded(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|there| (there.st_dev, there.st_ino) == (file.dev(), file.ino()))
    }

    /// Removes a blob. Idempotent.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        let Some(folder) = self.folder_of(digest) else { return Ok(()) };
        match unlinkat(folder, digest.encoded(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io(self.path_of(digest))(error.into())),
        }
    }

    /// Puts a copy in a blob's place, with the mode and the owner that `was` there.
    pub(crate) fn replace_blob(
        &self,
        digest: &Digest,
        was: &Metadata,
        write: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<()> {
        let Some(folder) = self.folder_of(digest) else { return Ok(()) };
        self.replace(folder, &digest.encoded(), was, write)
    }

    fn replace(
        &self,
        folder: &File,
        name: &str,
        was: &Metadata,
        write: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<()> {
        let temporary = Temporary::make(&self.path)?;
        let path = temporary.path.join(name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = openat(temporary.as_fd(), name, flags, Mode::RUSR | Mode::WUSR);
        let new = File::from(new.map_err(|error| Error::io(&path)(error.into()))?);
        write(&new).map_err(Error::io(&path))?;
        // As far as we may.
        let _ = fchown(&new, Some(was.uid()), Some(was.gid()));
        new.set_permissions(was.permissions()).and_then(|()| new.sync_all()).map_err(Error::io(&path))?;
        renameat(temporary.as_fd(), name, folder, name).map_err(|error| Error::io(path)(error.into()))
    }

    fn folder_of(&self, digest: &Digest) -> Option<&File> {
        let algorithm = digest.known_algorithm()?;
        self.algorithms.iter().find_map(|(known, folder)| (*known == algorithm).then_some(folder))
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(BLOBS).join(digest.algorithm()).join(digest.encoded())
    }
}

const BLOBS: &str = "blobs";
const INDEX_JSON: &str = "index.json";

/// Opens a folder in another that is really one, and no symlink.
fn open_folder(above: impl AsFd, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty()).map(File::from)
}
