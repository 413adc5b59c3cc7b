//! The file that a system call is about.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::Pid;

/// How a call names a file: by arguments of these numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    Descriptor(usize),
    /// A path from where the process is.
    Path(usize),
    /// A path from a folder; of an empty one, the folder itself is meant.
    At(usize, usize),
}

impl Object {
    /// Its path, if it has one.
    pub(super) fn find(self, pid: Pid, arguments: &[u64; 6]) -> Option<PathBuf> {
        let argument = |number: usize| arguments.get(number).copied();
        match self {
            Self::Descriptor(number) => of_descriptor(pid, argument(number)?),
            Self::Path(number) => Some(of_folder(pid, None)?.join(text(pid, argument(number)?)?)),
            Self::At(folder, path) => {
                let path = text(pid, argument(path)?)?;
                let folder = of_folder(pid, argument(folder))?;
                Some(if path.as_os_str().is_empty() { folder } else { folder.join(path) })
            }
        }
    }
}

fn of_folder(pid: Pid, descriptor: Option<u64>) -> Option<PathBuf> {
    match descriptor {
        Some(descriptor) if low(descriptor) != libc::AT_FDCWD => of_descriptor(pid, descriptor),
        _ => fs::read_link(format!("/proc/{pid}/cwd")).ok(),
    }
}

fn of_descriptor(pid: Pid, descriptor: u64) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/fd/{}", low(descriptor))).ok()?;
    // The kernel says so of what was unlinked.
    let text = path.to_string_lossy();
    Some(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Descriptors are 32 bits of a register.
fn low(descriptor: u64) -> i32 {
    (descriptor & 0xffff_ffff) as u32 as i32
}

/// The beginning of a piece of memory of a process: 16 bits.
pub(super) fn half(pid: Pid, address: u64) -> Option<i32> {
    let mut bytes = [0; 2];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    Some(i16::from_ne_bytes(bytes).into())
}

/// A path in the memory of a process.
fn text(pid: Pid, address: u64) -> Option<PathBuf> {
    let memory = File::open(Path::new("/proc").join(pid.to_string()).join("mem")).ok()?;
    let mut bytes = Vec::new();
    while bytes.len() < libc::PATH_MAX as usize {
        let at = address + bytes.len() as u64;
        // Up to the end of the page, as the next may not be there.
        let mut piece = vec![0; 4096 - (at % 4096) as usize];
        let n = memory.read_at(&mut piece, at).ok()?;
        piece.truncate(n);
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            piece.truncate(end);
            bytes.extend(piece);
            return Some(OsString::from_vec(bytes).into());
        }
        if n == 0 {
            return None;
        }
        bytes.extend(piece);
    }
    None
}
