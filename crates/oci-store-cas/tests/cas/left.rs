//! What a dead batch has left of a blob, taken over by another.

use std::fs;
use std::io::Write;
use std::mem;
use std::os::unix::fs::{PermissionsExt, symlink};

use oci_store_cas::{Access, Algorithm, Batch, BlobWriter, Cas, Digest, Expect, Hasher, Result};

use crate::folder::{Store, tree};

const BYTES: &[u8] = b"a blob that takes long to copy";

fn digest() -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(BYTES);
    hasher.finish()
}

/// A batch that was at a blob when its process died: so many bytes of it are there.
fn die(store: &Store, name: &str, length: usize) {
    let batch = store.cas.batch(name).unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::digest(digest()).size(BYTES.len() as u64)).unwrap();
    blob.write_all(&BYTES[..length]).unwrap();
    if length == BYTES.len() {
        blob.finish().unwrap();
    } else {
        mem::forget(blob);
    }
    mem::forget(batch);
}

fn passed(_: u64) -> Result<()> {
    Ok(())
}

fn take(batch: &dyn Batch, dead: &str) {
    batch.take_over(dead, &|wanted| (*wanted == digest()).then_some(BYTES.len() as u64)).unwrap();
}

fn resume(batch: &dyn Batch) -> Option<BlobWriter<'_>> {
    BlobWriter::resume(batch, &digest(), BYTES.len() as u64, &mut passed).unwrap()
}

#[test]
fn what_is_there_is_hashed_and_the_rest_is_written_behind_it() {
    for access in [Access::Private, Access::Group] {
        // The last is whole, sealed and read-only.
        for length in [1, 20, BYTES.len()] {
            let store = Store::new(access);
            die(&store, "dead", length);
            let batch = store.cas.batch("live").unwrap();
            take(&*batch, "dead");
            assert_eq!(tree(&store.path("ingest/dead")), [""; 0]);
            let mut blob = resume(&*batch).unwrap();
            assert_eq!(blob.written(), length as u64);
            blob.write_all(&BYTES[length..]).unwrap();
            assert_eq!(blob.finish().unwrap().0, digest());
            assert!(resume(&*batch).is_none(), "once");
            batch.persist().unwrap();
            let file = store.path("blobs/sha256").join(digest().encoded().as_ref() as &str);
            assert_eq!(fs::read(&file).unwrap(), BYTES);
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, access.blob_mode());
        }
    }
}

#[test]
fn what_is_not_the_beginning_is_refused_and_nothing_is_left() {
    let store = Store::new(Access::Private);
    die(&store, "dead", 20);
    let file = store.path("ingest/dead").join(&tree(&store.path("ingest/dead"))[0]);
    fs::write(&file, vec![0; 20]).unwrap();
    let batch = store.cas.batch("live").unwrap();
    take(&*batch, "dead");
    let mut blob = resume(&*batch).unwrap();
    blob.write_all(&BYTES[20..]).unwrap();
    blob.finish().unwrap_err();
    assert_eq!(tree(&store.path("ingest/live")), [""; 0]);
}

#[test]
fn the_longest_is_taken_and_what_nobody_goes_on_with_is_removed() {
    let store = Store::new(Access::Private);
    for (name, length) in [("a", 5), ("b", 15), ("c", 10)] {
        die(&store, name, length);
    }
    let batch = store.cas.batch("live").unwrap();
    ["a", "b", "c", "absent"].into_iter().for_each(|dead| take(&*batch, dead));
    assert_eq!(resume(&*batch).unwrap().written(), 15);
    die(&store, "d", 5);
    take(&*batch, "d");
    drop(batch);
    let left = tree(&store.path("ingest"));
    assert!(!left.iter().any(|path| path.starts_with("live")), "{left:?}");
}

#[test]
fn of_two_one_has_it() {
    let store = Store::new(Access::Private);
    die(&store, "dead", 20);
    let (a, b) = (store.cas.batch("a").unwrap(), store.cas.batch("b").unwrap());
    take(&*b, "dead");
    take(&*a, "dead");
    assert!(resume(&*a).is_none());
    assert!(resume(&*b).is_some());
}

#[test]
fn what_has_another_name_or_too_many_bytes_or_is_no_file_is_left_alone() {
    let store = Store::new(Access::Private);
    die(&store, "dead", 20);
    let name = tree(&store.path("ingest/dead")).remove(0);
    let path = store.path("ingest/dead").join(&name);
    let batch = store.cas.batch("live").unwrap();
    let is_left = |why: &str| {
        take(&*batch, "dead");
        assert!(resume(&*batch).is_none(), "{why}");
        assert!(fs::symlink_metadata(&path).is_ok(), "{why}");
    };

    fs::hard_link(&path, store.path("other")).unwrap();
    is_left("a hard link");
    fs::remove_file(&path).unwrap();
    symlink(store.path("other"), &path).unwrap();
    is_left("a symlink");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    is_left("a folder");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, b"").unwrap();
    is_left("empty");
    fs::write(&path, vec![0; BYTES.len() + 1]).unwrap();
    is_left("too long");
    assert_eq!(fs::read(store.path("other")).unwrap(), &BYTES[..20]);

    fs::rename(&path, store.path("ingest/dead/1-1.tmp")).unwrap();
    take(&*batch, "dead");
    assert!(resume(&*batch).is_none(), "of no digest");
}
