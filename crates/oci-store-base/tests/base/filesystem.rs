//! Which filesystems a store may be on.

use oci_store_base::network_filesystem;

use crate::common::disk_benches;

#[test]
fn network_filesystems_are_told_from_local_ones() {
    for (number, name) in [
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x0bd0_0bd0, "Lustre"),
    ] {
        assert_eq!(network_filesystem(number), Some(name), "{number:x}");
    }
    // ext4, xfs, btrfs, tmpfs, overlayfs, ZFS, bcachefs, F2FS, FUSE.
    let local = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x794c_7630,
        0x2fc1_2fc1,
        0xca45_1a4e,
        0xf2f5_2010,
        0x6573_5546,
    ];
    for number in local {
        assert_eq!(network_filesystem(number), None, "{number:x}");
    }
}

#[test]
fn here_it_may_be_in_any_case() {
    for bench in disk_benches() {
        for allow in [true, false] {
            bench.options().allow_network_filesystem(allow).open(bench.root()).unwrap();
        }
    }
}
