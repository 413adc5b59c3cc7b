//! What lies below a store. Locks that die with their process, and memory that processes share, are promises of one
//! machine's kernel: a network filesystem that several machines mount does not keep them, or only in some versions and
//! by some mounts.

use std::fs::File;
use std::path::Path;

/// The network filesystems, by the numbers that Linux tells them by (`statfs(2)`, `linux/magic.h`).
const NETWORK: [(u32, &str); 13] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "kAFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x00c3_6400, "Ceph"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Those on which stores mostly are.
const LOCAL: [(u32, &str); 6] = [
    (0xef53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "ZFS"),
];

/// The name of the filesystem that a file is on, for people.
pub(crate) fn filesystem_of(file: &File) -> String {
    // The kernel's numbers have 32 bits, whatever the type is here.
    let number = rustix::fs::fstatfs(file).map_or(0, |found| found.f_type as u32);
    let known = LOCAL.iter().chain(&NETWORK).find(|(known, _)| *known == number);
    known.map_or_else(|| format!("the filesystem of type {number:#x}"), |(_, name)| (*name).to_owned())
}

/// The name of a network filesystem, by its number; `None` for every other. What FUSE brings is not told apart: much of
/// it is local, and keeps its promises.
#[must_use]
pub fn network_filesystem(number: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The name of the network filesystem that a folder is on, if it is on one. Of a folder that is not there yet the next
/// above it that is counts.
pub(crate) fn network_below(root: &Path) -> Option<&'static str> {
    let above = root.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let found = above.map(rustix::fs::statfs).find_map(std::result::Result::ok)?;
    // The kernel's numbers have 32 bits, whatever the type is here.
    network_filesystem(found.f_type as u32)
}
