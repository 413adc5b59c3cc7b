//! A data file with a flipped bit is read, or refused, and never the end of the process.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use oci_store_index::{Backend, Error, IndexExt, Result};
use oci_store_index_lmdb::LmdbBackend;

#[test]
fn what_is_said_to_be_readable_ends_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let index = LmdbBackend.open(&made).unwrap();
    // Branches, leaves, large values, and a free list.
    let value = |n: u32| vec![7; if n.is_multiple_of(40) { 9000 } else { 60 }];
    for half in 0..2 {
        let put = |n: u32| (n.to_be_bytes(), value(n));
        let rows = (0..400).filter(|n| n % 2 == half).map(put);
        index.write(|txn| rows.into_iter().try_for_each(|(key, value)| txn.put(&key, &value).map(drop))).unwrap();
    }
    index.write(|txn| (0..50_u32).try_for_each(|n| txn.delete(&n.to_be_bytes()).map(drop))).unwrap();
    index.check_readable().unwrap();
    let bytes = fs::read(made.join("data.mdb")).unwrap();
    let (mut refused, mut read) = (0, 0);
    // Where pages begin stands what leads to others.
    for at in (0..bytes.len()).filter(|at| at % 4096 < 48 && at % 3 == 0 || at % 397 == 0) {
        let dir = folder.path().join(format!("flip-{at}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("data.mdb"), &bytes).unwrap();
        let file = fs::OpenOptions::new().write(true).open(dir.join("data.mdb")).unwrap();
        file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
        let look = || -> Result<()> {
            let index = LmdbBackend.open(&dir)?;
            index.check_readable()?;
            index.read(|txn| txn.scan(&[], &[], &mut |_, _| ControlFlow::Continue(())))?;
            index.read(|txn| (0..400_u32).try_for_each(|n| txn.get(&n.to_be_bytes()).map(drop)))
        };
        match look() {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(refused > 10 && read > 10, "{refused} refused, {read} read");
}

/// LMDB maps as much as a header says was ever used, and finds no room for it: which is not for want of memory.
#[test]
fn more_pages_than_there_can_be_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let index = LmdbBackend.open(folder.path()).unwrap();
    index.write(|txn| txn.put(b"key", b"value")).unwrap();
    drop(index);
    let data = folder.path().join("data.mdb");
    let bytes = fs::read(&data).unwrap();
    // The last page, in both metas: 16 bytes of a page's head, 120 before it in a meta.
    for meta in [0, 4096] {
        for byte in [4, 5, 7] {
            let mut flipped = bytes.clone();
            flipped[meta + 136 + byte] ^= 1;
            fs::write(&data, flipped).unwrap();
            let refused = LmdbBackend.open(folder.path()).map(drop);
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{meta} {byte}: {refused:?}");
        }
    }
}
