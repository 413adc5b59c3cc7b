//! Making what many files hold durable with few flushes of the disk.
//!
//! The pages of a large file are sent on their way while it is written, and it is synced when it ends. Small ones wait
//! until all are made durable together: up to [`HELD`] of them each by the descriptor it was written through, as only
//! that one is sure to be told of an earlier write that failed, and once, as a second try may succeed without having
//! written anything. If there are more, by one `syncfs`, whose descriptor is told of every write to the filesystem that
//! failed since it was opened, which was before the first of them.

use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::Advice;

use super::open_folder;
use crate::attack::{Guard, without};
use crate::{Error, Result};

/// From this size on, a file is synced when it ends.
const LARGE: u64 = 1 << 20;
/// So many bytes are sent to the disk at a time.
const PIECE: u64 = 8 << 20;
/// So many small files are synced one by one. Only for more of them is it worth to flush what others have written to the
/// same filesystem as well.
const HELD: usize = 16;

/// What is still to be made durable.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// A folder on the filesystem, opened before anything was written; none if one flush for all is not to be had.
    before: OnceLock<Option<(PathBuf, File)>>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    Files(Vec<(PathBuf, File)>),
    /// So many that no descriptors are held.
    All,
}

impl Default for Waiting {
    fn default() -> Self {
        Self::Files(Vec::new())
    }
}

impl Flush {
    /// To be called before a file in `folder` is written.
    pub(super) fn begin(&self, folder: &Path) -> Result<()> {
        if self.before.get().is_none() {
            let open = open_folder(folder).map_err(Error::io(folder))?;
            self.before.get_or_init(|| tells_of_errors(&open).then(|| (folder.to_owned(), open)));
        }
        Ok(())
    }

    /// Takes a file that is complete: it is durable by the end of the next [`settle`](Self::settle).
    pub(super) fn ended(&self, path: &Path, file: File, size: u64) -> Result<()> {
        if size >= LARGE {
            return sync(path, &file);
        }
        let all = self.before.get().is_some_and(Option::is_some);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Waiting::All => {}
            Waiting::Files(files) if files.len() < HELD => {
                on_its_way(&file, 0, size);
                files.push((path.to_owned(), file));
            }
            waiting if all => *waiting = Waiting::All,
            Waiting::Files(_) => {
                drop(waiting);
                sync(path, &file)?;
            }
        }
        Ok(())
    }

    /// Makes durable what has ended so far.
    pub(super) fn settle(&self) -> Result<()> {
        let waiting = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        match (waiting, self.before.get()) {
            (Waiting::Files(files), _) => files.iter().try_for_each(|(path, file)| sync(path, file)),
            (Waiting::All, Some(Some((path, folder)))) if !without(Guard::FileSync) => {
                rustix::fs::syncfs(folder).map_err(|error| Error::io(path)(error.into()))
            }
            (Waiting::All, _) => Ok(()),
        }
    }
}

/// Not fdatasync: the inode of a new file has to be written in either case, and its mode shall be in it.
fn sync(path: &Path, file: &File) -> Result<()> {
    if without(Guard::FileSync) {
        return Ok(());
    }
    file.sync_all().map_err(Error::io(path))
}

/// Makes a file durable that another process has written, and lets go of what memory has of it: what is read from here
/// on comes from the disk, where that can be. An earlier write that failed, and that somebody else was told of, shows.
pub(super) fn sync_others(file: &File) -> io::Result<()> {
    file.sync_all()?;
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    Ok(())
}

/// Sends what was written in a range on its way to the disk, and does not wait.
fn on_its_way(file: &File, from: u64, length: u64) {
    // The kernel begins to write what is dirty there before it lets go of what is not. It is advice: it can't fail in a
    // way that matters.
    if let Ok(length) = length.try_into() {
        let _ = rustix::fs::fadvise(file, from, Some(length), Advice::DontNeed);
    }
}

/// How far a file that is being written was sent on its way.
#[derive(Debug, Default)]
pub(super) struct Sent {
    written: u64,
    sent: u64,
}

impl Sent {
    /// Of a file with so many bytes that are on the disk.
    pub(super) fn until(end: u64) -> Self {
        Self { written: end, sent: end }
    }

    /// Notes that so many more bytes were written at the end.
    pub(super) fn wrote(&mut self, file: &File, bytes: u64) {
        self.written += bytes;
        if self.written - self.sent >= PIECE {
            on_its_way(file, self.sent, self.written - self.sent);
            self.sent = self.written;
        }
    }
}

/// Whether a flush of a whole filesystem is known to say that an earlier write failed.
fn tells_of_errors(folder: &File) -> bool {
    // ext4, XFS, btrfs, F2FS and tmpfs.
    const KNOWN: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];
    let release = rustix::system::uname();
    let numbers: Vec<u32> =
        release.release().to_string_lossy().split(['.', '-']).map_while(|part| part.parse().ok()).take(2).collect();
    // Linux 5.8.
    numbers.as_slice() >= [5, 8].as_slice()
        && rustix::fs::fstatfs(folder)
            .is_ok_and(|stat| u32::try_from(stat.f_type).is_ok_and(|kind| KNOWN.contains(&kind)))
}
