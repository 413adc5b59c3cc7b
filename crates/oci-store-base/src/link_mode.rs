//! How a blob comes out of a file into the store: as a copy, or as something that shares the file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use oci_store_cas::{BlobWriter, Digest};
use rustix::io::Errno;

use crate::filesystem::filesystem_of;
use crate::{Error, LeaseGuard, Result};

/// How a blob comes out of a file. Whichever way it is, what was staged is hashed, and durable before it is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// By a reflink where the filesystem can, else as a copy. Never by a hard link.
    #[default]
    Auto,
    /// By a reflink, which shares the file's blocks; an error where that is impossible.
    Reflink,
    /// By a hard link, or not at all: the blob is the very file, with its mode and its owner. Whoever may write that can
    /// change the blob.
    Hardlink,
    /// As a copy.
    Copy,
    /// For a file whose name goes once the blob is in: by a hard link if it has no other name and the filesystem can,
    /// else as [`Auto`](Self::Auto).
    Move,
}

impl LinkMode {
    /// Whether even small blobs should share the file.
    #[must_use]
    pub const fn shares(self) -> bool {
        matches!(self, Self::Reflink | Self::Hardlink | Self::Move)
    }
}

/// Smaller files are copied where nothing else was asked for: that takes no longer, and they may share a block of the
/// disk with others.
const SHARED: u64 = 64 << 10;

type Passed<'p> = dyn FnMut(u64) -> oci_store_cas::Result<()> + 'p;

impl LeaseGuard {
    /// As [`stage`](Self::stage), of a file that stands at its beginning. Of what shares the file, only what was staged is
    /// read.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); [`Error::NotShared`] if it can't be done in the way that was asked for. The file is as it
    /// was.
    pub fn stage_file(
        &self,
        digest: &Digest,
        size: u64,
        source: &File,
        mode: LinkMode,
        passed: &mut Passed<'_>,
    ) -> Result<()> {
        let not_shared = |why| Error::NotShared { digest: digest.clone(), why };
        self.stage_by(digest, size, &mut |writer| match mode {
            LinkMode::Copy => Ok(writer.copy(&mut &*source, passed)?),
            LinkMode::Auto => copy(writer, size, source, passed),
            LinkMode::Reflink if writer.reflink(source, passed)? => Ok(()),
            LinkMode::Reflink => Err(not_shared(self.why_no_reflink(source))),
            LinkMode::Hardlink => writer.hardlink(source, passed)?.map_err(|error| not_shared(why_no_link(&error))),
            LinkMode::Move => {
                let is_only_name = source.metadata().is_ok_and(|meta| meta.nlink() == 1);
                if is_only_name && writer.hardlink(source, passed)?.is_ok() {
                    return Ok(());
                }
                copy(writer, size, source, passed)
            }
        })
    }

    fn why_no_reflink(&self, source: &File) -> String {
        let filesystem = filesystem_of(source);
        match (source.metadata(), fs::metadata(self.store.own_folder())) {
            (Ok(a), Ok(b)) if a.dev() != b.dev() => {
                format!("no reflink: it is on another filesystem ({filesystem}) than the store")
            }
            _ => format!("no reflink: {filesystem} can't make one of it"),
        }
    }
}

fn copy(writer: &mut BlobWriter<'_>, size: u64, source: &File, passed: &mut Passed<'_>) -> Result<()> {
    if size >= SHARED && writer.reflink(source, passed)? {
        return Ok(());
    }
    Ok(writer.copy(&mut &*source, passed)?)
}

fn why_no_link(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::XDEV) => "no hard link: it is on another filesystem, or mount, than the store".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => {
            format!("no hard link: {error}: only who may write a file may link it, and not every filesystem has links")
        }
        _ => format!("no hard link: {error}"),
    }
}
