//! The operating system's own answer, for backends whose libraries keep it to themselves.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, fallocate, openat};
use rustix::io::Errno;

/// More bytes than a transaction is likely to have wanted: what to ask for when one has failed.
pub const MUCH: u64 = 8 << 20;

/// Whether a file can be made in `dir` and given `room` bytes. It has no name, and is gone when this returns.
/// `Ok` says nothing where a file system knows no such files.
///
/// # Errors
/// What hinders it: a full disk, a quota, no right, too many open files.
pub fn probe(dir: &Path, room: u64) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR);
    match made.and_then(|file| fallocate(&file, FallocateFlags::empty(), 0, room)) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}
