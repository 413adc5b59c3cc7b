//! System calls: which there are that touch files, what they are about, and which of them can change anything.

use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::Pid;

use super::object;
use super::object::Object::{self, At, Descriptor};

/// Calls of which the same may be expected, and that can fail for the same reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Open,
    Read,
    Write,
    Copy,
    Sync,
    Rename,
    Link,
    Unlink,
    Mkdir,
    Truncate,
    Map,
    Lock,
    Stat,
    List,
    Mode,
    Clone,
}

/// A system call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pid: Pid,
    pub(crate) arguments: [u64; 6],
    kind: Option<&'static Kind>,
}

/// What is known of a system call.
#[derive(Debug)]
struct Kind {
    number: libc::c_long,
    name: &'static str,
    class: Class,
    objects: &'static [Object],
}

const fn kind(number: libc::c_long, name: &'static str, class: Class, objects: &'static [Object]) -> Kind {
    Kind { number, name, class, objects }
}

#[cfg(target_arch = "x86_64")]
static KINDS: &[Kind] = &[
    kind(libc::SYS_open, "open", Class::Open, &[Object::Path(0)]),
    kind(libc::SYS_openat, "openat", Class::Open, &[At(0, 1)]),
    kind(libc::SYS_read, "read", Class::Read, &[Descriptor(0)]),
    kind(libc::SYS_readv, "readv", Class::Read, &[Descriptor(0)]),
    kind(libc::SYS_pread64, "pread64", Class::Read, &[Descriptor(0)]),
    kind(libc::SYS_preadv, "preadv", Class::Read, &[Descriptor(0)]),
    kind(libc::SYS_write, "write", Class::Write, &[Descriptor(0)]),
    kind(libc::SYS_writev, "writev", Class::Write, &[Descriptor(0)]),
    kind(libc::SYS_pwrite64, "pwrite64", Class::Write, &[Descriptor(0)]),
    kind(libc::SYS_pwritev, "pwritev", Class::Write, &[Descriptor(0)]),
    kind(libc::SYS_copy_file_range, "copy_file_range", Class::Copy, &[Descriptor(0), Descriptor(2)]),
    kind(libc::SYS_sendfile, "sendfile", Class::Copy, &[Descriptor(0), Descriptor(1)]),
    kind(libc::SYS_ioctl, "ioctl", Class::Clone, &[Descriptor(0)]),
    kind(libc::SYS_fsync, "fsync", Class::Sync, &[Descriptor(0)]),
    kind(libc::SYS_fdatasync, "fdatasync", Class::Sync, &[Descriptor(0)]),
    kind(libc::SYS_syncfs, "syncfs", Class::Sync, &[Descriptor(0)]),
    kind(libc::SYS_sync_file_range, "sync_file_range", Class::Sync, &[Descriptor(0)]),
    kind(libc::SYS_msync, "msync", Class::Sync, &[]),
    kind(libc::SYS_rename, "rename", Class::Rename, &[Object::Path(0), Object::Path(1)]),
    kind(libc::SYS_renameat, "renameat", Class::Rename, &[At(0, 1), At(2, 3)]),
    kind(libc::SYS_renameat2, "renameat2", Class::Rename, &[At(0, 1), At(2, 3)]),
    kind(libc::SYS_link, "link", Class::Link, &[Object::Path(0), Object::Path(1)]),
    kind(libc::SYS_linkat, "linkat", Class::Link, &[At(0, 1), At(2, 3)]),
    kind(libc::SYS_symlink, "symlink", Class::Link, &[Object::Path(1)]),
    kind(libc::SYS_symlinkat, "symlinkat", Class::Link, &[At(1, 2)]),
    kind(libc::SYS_unlink, "unlink", Class::Unlink, &[Object::Path(0)]),
    kind(libc::SYS_unlinkat, "unlinkat", Class::Unlink, &[At(0, 1)]),
    kind(libc::SYS_rmdir, "rmdir", Class::Unlink, &[Object::Path(0)]),
    kind(libc::SYS_mkdir, "mkdir", Class::Mkdir, &[Object::Path(0)]),
    kind(libc::SYS_mkdirat, "mkdirat", Class::Mkdir, &[At(0, 1)]),
    kind(libc::SYS_truncate, "truncate", Class::Truncate, &[Object::Path(0)]),
    kind(libc::SYS_ftruncate, "ftruncate", Class::Truncate, &[Descriptor(0)]),
    kind(libc::SYS_fallocate, "fallocate", Class::Truncate, &[Descriptor(0)]),
    kind(libc::SYS_mmap, "mmap", Class::Map, &[Descriptor(4)]),
    kind(libc::SYS_flock, "flock", Class::Lock, &[Descriptor(0)]),
    kind(libc::SYS_fcntl, "fcntl", Class::Lock, &[Descriptor(0)]),
    kind(libc::SYS_stat, "stat", Class::Stat, &[Object::Path(0)]),
    kind(libc::SYS_lstat, "lstat", Class::Stat, &[Object::Path(0)]),
    kind(libc::SYS_fstat, "fstat", Class::Stat, &[Descriptor(0)]),
    kind(libc::SYS_newfstatat, "newfstatat", Class::Stat, &[At(0, 1)]),
    kind(libc::SYS_statx, "statx", Class::Stat, &[At(0, 1)]),
    kind(libc::SYS_statfs, "statfs", Class::Stat, &[Object::Path(0)]),
    kind(libc::SYS_fstatfs, "fstatfs", Class::Stat, &[Descriptor(0)]),
    kind(libc::SYS_access, "access", Class::Stat, &[Object::Path(0)]),
    kind(libc::SYS_faccessat, "faccessat", Class::Stat, &[At(0, 1)]),
    kind(libc::SYS_faccessat2, "faccessat2", Class::Stat, &[At(0, 1)]),
    kind(libc::SYS_lseek, "lseek", Class::Stat, &[Descriptor(0)]),
    kind(libc::SYS_getdents64, "getdents64", Class::List, &[Descriptor(0)]),
    kind(libc::SYS_chmod, "chmod", Class::Mode, &[Object::Path(0)]),
    kind(libc::SYS_fchmod, "fchmod", Class::Mode, &[Descriptor(0)]),
    kind(libc::SYS_fchmodat, "fchmodat", Class::Mode, &[At(0, 1)]),
];

/// The numbers are those of one kind of processor, the only one that is traced.
#[cfg(not(target_arch = "x86_64"))]
static KINDS: &[Kind] = &[];

/// The ioctl that makes a file share another's bytes.
const FICLONE: u64 = 0x4004_9409;

impl Call {
    pub(super) fn new(pid: Pid, number: i64, arguments: [u64; 6]) -> Self {
        let kind = KINDS.iter().find(|kind| kind.number == number).filter(|kind| match kind.name {
            // They do other things as well, which no attack is about.
            "fcntl" => is_lock(arguments[1]),
            "ioctl" => arguments[1] == FICLONE,
            _ => true,
        });
        Self { pid, arguments, kind }
    }

    /// What kind of call it is, if it is one that touches files.
    pub(crate) fn class(&self) -> Option<Class> {
        self.kind.map(|kind| kind.class)
    }

    /// Its name, if it is one that touches files.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.map_or("?", |kind| kind.name)
    }

    /// The first file that it is about that lies in one of `folders`.
    pub(crate) fn object_in(&self, folders: &[&Path]) -> Option<PathBuf> {
        let objects = self.kind.map_or(&[][..], |kind| kind.objects);
        objects
            .iter()
            .filter_map(|object| object.find(self.pid, &self.arguments))
            .find(|path| folders.iter().any(|folder| path.starts_with(folder)))
    }

    /// Whether it makes a file.
    pub(crate) fn creates(&self) -> bool {
        let flags = match self.name() {
            "open" => self.arguments[1],
            "openat" => self.arguments[2],
            _ => 0,
        };
        flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0
    }

    /// Whether it gives a lock back, which can't fail.
    pub(crate) fn releases(&self) -> bool {
        match self.name() {
            "flock" => self.arguments[1] == libc::LOCK_UN as u64,
            "fcntl" => object::half(self.pid, self.arguments[2]) == Some(libc::F_UNLCK),
            _ => false,
        }
    }

    /// Whether what lies on disk, or who holds a lock, can be another after it than before.
    pub(crate) fn changes(&self) -> bool {
        match self.class() {
            None | Some(Class::Read | Class::Stat | Class::List) => false,
            Some(Class::Open) => self.creates(),
            // Only what is written through.
            Some(Class::Map) => self.arguments[2] & libc::PROT_WRITE as u64 != 0 && self.arguments[4] < 1 << 31,
            Some(_) => true,
        }
    }
}

fn is_lock(command: u64) -> bool {
    [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW].iter().any(|lock| *lock as u64 == command)
}
