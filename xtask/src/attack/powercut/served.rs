//! Shows a disk in memory as a file (FUSE), so that a loop device can stand on it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use super::disk::Disk;

/// A disk that is served as long as this lives.
pub(super) struct Served {
    pub(super) disk: Disk,
    folder: PathBuf,
    /// How often the disk was asked for.
    files: AtomicU64,
    session: Option<BackgroundSession>,
}

impl Served {
    /// Serves an empty disk of `size` bytes in `folder`, which is made.
    pub(super) fn start(folder: &Path, size: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let disk = Disk::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("oci-store-powercut".to_owned())];
        let session =
            fuser::spawn_mount(Server { disk: disk.clone(), size }, folder, &config).context("FUSE does not mount")?;
        Ok(Self { disk, folder: folder.to_owned(), files: AtomicU64::new(0), session: Some(session) })
    }

    /// A file that is the disk. Each has a name and an inode of its own, so that the kernel has nothing of it cached.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join((2 + self.files.fetch_add(1, Ordering::Relaxed)).to_string())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Server {
    disk: Disk,
    size: u64,
}

/// Kept by the kernel as long as it likes: a file never changes its size.
const KEPT: Duration = Duration::from_secs(3600);

impl Server {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let folder = ino == INodeNo::ROOT;
        FileAttr {
            ino,
            size: if folder { 0 } else { self.size },
            blocks: self.size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: if folder { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str().and_then(|name| name.parse::<u64>().ok()) {
            Some(number) if number >= 2 => reply.entry(&KEPT, &self.attr(INodeNo(number)), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&KEPT, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = u64::from(size).min(self.size.saturating_sub(offset));
        let bytes = self.disk.lock().pages.read(offset, size as usize);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset.saturating_add(data.len() as u64) > self.size {
            return reply.error(Errno::ENOSPC);
        }
        self.disk.lock().write(offset, data);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.disk.lock().flush();
        reply.ok();
    }
}
