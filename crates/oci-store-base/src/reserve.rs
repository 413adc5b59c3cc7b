//! Room that is kept for what makes room. On a full disk no index can commit, not even that something is to go. So a
//! store holds some empty files, which a removal or a collection gives up, one after the other, where it has to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_store_cas::Access;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use rustix::io::retry_on_intr;

/// Several, as a disk may lack inodes as well: each gives one back.
const PIECES: u64 = 8;
/// The bytes of each. Together it is more than a commit of a small collection writes.
const PIECE: u64 = 512 << 10;
/// What is to be left for others when a piece is taken: bytes, and inodes.
const SPARE: u64 = 8 * PIECE;
const SPARE_INODES: u64 = 64;

/// The files `reserve/0` to `reserve/7`.
#[derive(Debug)]
pub(crate) struct Reserve {
    folder: PathBuf,
    access: Access,
}

impl Reserve {
    pub(crate) fn new(own: &Path, access: Access) -> Self {
        Self { folder: own.join("reserve"), access }
    }

    /// Takes what is missing of it, as far as there is room to spare and nobody is giving it up. Best effort: a store
    /// works without.
    pub(crate) fn fill(&self) {
        if (0..PIECES).all(|number| self.is_whole(number)) {
            return;
        }
        let Some(_alone) = self.lock(FlockOperation::NonBlockingLockExclusive) else { return };
        for number in (0..PIECES).filter(|number| !self.is_whole(*number)) {
            let _ = fs::remove_file(self.path(number));
            if !self.has_room() || self.take(number, PIECE).is_err() {
                return;
            }
        }
    }

    /// Runs `op`; as long as it fails for want of room, gives up a piece and runs it again. In the end it takes back
    /// what is left of that, so that nobody else eats it up.
    pub(crate) fn with<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut op: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut outcome = op();
        if !outcome.as_ref().is_err_and(&is_full) {
            return outcome;
        }
        // While this is held nobody fills it.
        let _held = self.lock(FlockOperation::LockShared);
        let mut given = Vec::new();
        while outcome.as_ref().is_err_and(&is_full)
            && let Some(piece) = self.give_one()
        {
            given.push(piece);
            outcome = op();
        }
        for piece in given {
            // Rather less of it than nothing.
            let _ = (1..=8).rev().find(|eighths| self.take(piece, PIECE / 8 * eighths).is_ok());
        }
        outcome
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn is_whole(&self, number: u64) -> bool {
        // By its blocks: its length alone takes none.
        fs::symlink_metadata(self.path(number)).is_ok_and(|meta| meta.blocks() * 512 >= PIECE)
    }

    fn has_room(&self) -> bool {
        statvfs(&self.folder).is_ok_and(|fs| {
            let bytes = fs.f_bavail.saturating_mul(fs.f_frsize);
            bytes >= PIECE + SPARE && (fs.f_files == 0 || fs.f_favail > SPARE_INODES)
        })
    }

    /// Takes a piece that is not there.
    fn take(&self, number: u64, bytes: u64) -> io::Result<()> {
        let path = self.path(number);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        // The umask has no say.
        let mode = Permissions::from_mode(self.access.file_mode());
        let taken = file.set_permissions(mode).and_then(|()| Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?));
        if taken.is_err() {
            let _ = fs::remove_file(&path);
        }
        taken
    }

    fn give_one(&self) -> Option<u64> {
        (0..PIECES).rev().find(|number| fs::remove_file(self.path(*number)).is_ok())
    }

    fn lock(&self, how: FlockOperation) -> Option<File> {
        let _ = self.access.make_folder(&self.folder);
        let folder = File::open(&self.folder).ok()?;
        retry_on_intr(|| flock(&folder, how)).ok().map(|()| folder)
    }
}
