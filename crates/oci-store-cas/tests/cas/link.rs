//! Blobs that are hard links of their source.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use oci_store_cas::{Access, Algorithm, BlobWriter, Cas, Error, Expect, Result};

use crate::folder::{Store, tree};

const BYTES: &[u8] = b"somebody's bytes";

fn source(store: &Store, mode: u32) -> File {
    let path = store.path("source");
    fs::write(&path, BYTES).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    File::open(path).unwrap()
}

fn passed(_: u64) -> Result<()> {
    Ok(())
}

#[test]
fn a_link_is_the_very_file_with_its_mode() {
    let store = Store::new(Access::Private);
    let source = source(&store, 0o640);
    let before = source.metadata().unwrap();
    let batch = store.cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.hardlink(&source, &mut passed).unwrap().unwrap();
    let (digest, size) = blob.finish().unwrap();
    assert_eq!(size, BYTES.len() as u64);
    batch.persist().unwrap();
    let after = store.cas.open(&digest).unwrap().unwrap().as_file().unwrap().metadata().unwrap();
    assert_eq!((after.ino(), after.mode(), after.nlink()), (before.ino(), before.mode(), 2));
    drop(batch);
    store.cas.delete(&digest).unwrap();
    assert_eq!(tree(&store.path("ingest")), [""; 0]);
    assert_eq!(fs::read(store.path("source")).unwrap(), BYTES);
}

#[test]
fn what_does_not_verify_is_not_linked_and_the_source_is_as_it_was() {
    let store = Store::new(Access::Private);
    let source = source(&store, 0o644);
    let batch = store.cas.batch("b").unwrap();
    let other = "sha256:".to_owned() + &"ab".repeat(32);
    let mut blob = BlobWriter::new(&*batch, Expect::digest(other.parse().unwrap())).unwrap();
    blob.hardlink(&source, &mut passed).unwrap().unwrap();
    assert!(blob.write_all(b"more").is_err(), "the source would be written into");
    assert!(matches!(blob.finish().unwrap_err(), Error::DigestMismatch { .. }));
    assert_eq!(tree(&store.path("ingest/b")), [""; 0]);
    assert_eq!(fs::read(store.path("source")).unwrap(), BYTES);
    assert_eq!(source.metadata().unwrap().nlink(), 1);
}

#[test]
fn the_file_that_was_opened_is_linked_whatever_has_its_name_now() {
    let store = Store::new(Access::Private);
    let source = source(&store, 0o644);
    fs::hard_link(store.path("source"), store.path("kept")).unwrap();
    fs::remove_file(store.path("source")).unwrap();
    fs::write(store.path("source"), b"another file").unwrap();
    let batch = store.cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.hardlink(&source, &mut passed).unwrap().unwrap();
    let digest = blob.finish().unwrap().0;
    batch.persist().unwrap();
    let linked = store.cas.open(&digest).unwrap().unwrap().as_file().unwrap().metadata().unwrap();
    assert_eq!(linked.ino(), source.metadata().unwrap().ino());
}

/// As `rename` does nothing with two names of one file.
#[test]
fn a_link_of_a_blob_that_is_there_already_leaves_nothing() {
    let store = Store::new(Access::Private);
    let source = source(&store, 0o644);
    for _ in 0..2 {
        let batch = store.cas.batch("b").unwrap();
        let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
        blob.hardlink(&source, &mut passed).unwrap().unwrap();
        blob.finish().unwrap();
        batch.persist().unwrap();
        assert_eq!(tree(&store.path("ingest/b")), [""; 0]);
    }
    assert_eq!(source.metadata().unwrap().nlink(), 2);
}

#[test]
fn others_of_a_shared_store_can_read_what_is_linked() {
    let store = Store::new(Access::Group);
    let batch = store.cas.batch("b").unwrap();
    for (mode, is_good) in [(0o600, false), (0o640, true), (0o604, true)] {
        let source = source(&store, mode);
        let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
        let linked = blob.hardlink(&source, &mut passed).unwrap();
        assert_eq!(linked.is_ok(), is_good, "{mode:o}: {linked:?}");
        drop(blob);
        assert_eq!(source.metadata().unwrap().nlink(), 1);
        assert_eq!(tree(&store.path("ingest/b")), [""; 0]);
    }
}
