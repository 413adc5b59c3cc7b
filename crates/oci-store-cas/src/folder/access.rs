use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::{Error, Result};

/// Who may use a store's files besides their owner. Modes are set by `chmod`, so they don't depend on the umask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Private,
    /// The group of the folder they are in, which new folders pass on.
    Group,
}

impl Access {
    /// The mode of folders.
    #[must_use]
    pub const fn folder_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::Group => 0o2770,
        }
    }

    /// The mode of files that change.
    #[must_use]
    pub const fn file_mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Group => 0o660,
        }
    }

    /// The mode of blobs, which never change.
    #[must_use]
    pub const fn blob_mode(self) -> u32 {
        match self {
            Self::Private => 0o400,
            Self::Group => 0o440,
        }
    }

    /// Makes one folder with [`folder_mode`](Self::folder_mode), unless there is one; says whether this call made
    /// it. What is there already keeps its mode, which may be somebody's choice.
    ///
    /// # Errors
    /// [`Error::Io`], also if the folder above it is missing.
    pub fn make_folder(self, path: &Path) -> Result<bool> {
        match DirBuilder::new().mode(self.folder_mode()).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(Error::io(path)(error)),
        }
        match fs::set_permissions(path, Permissions::from_mode(self.folder_mode())) {
            // Somebody took it for left-over and removed it, as batches of one name may: it was made all the same.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => Ok(true),
        }
    }
}
