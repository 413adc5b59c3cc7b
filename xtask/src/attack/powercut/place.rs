//! Where one disk at a time is served and mounted.

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use super::served::Served;

pub(super) struct Place {
    pub(super) served: Served,
    pub(super) mountpoint: PathBuf,
    /// Dropped last.
    _folder: TempDir,
}

impl Place {
    /// A place for a disk of `size` bytes.
    pub(super) fn new(size: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("oci-store-powercut-").tempdir()?;
        let mountpoint = folder.path().join("mounted");
        std::fs::create_dir(&mountpoint)?;
        Ok(Self { served: Served::start(&folder.path().join("served"), size)?, mountpoint, _folder: folder })
    }
}
