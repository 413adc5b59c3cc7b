//! Discarding what dead batches left in the folder.

use std::fs;
use std::os::unix::fs::symlink;

use oci_store_cas::{Access, Cas};

use crate::folder::{Store, seal, tree};

#[test]
fn a_staged_file_that_vanished_is_named() {
    let store = Store::new(Access::Private);
    let batch = store.cas.batch("b").unwrap();
    let digest = seal(&*batch, b"abc");
    store.cas.discard("b").unwrap();
    let error = batch.persist().unwrap_err().to_string();
    assert!(error.starts_with(store.path("ingest/b").to_str().unwrap()), "{error}");
    assert_eq!(store.cas.size(&digest).unwrap(), None);
}

#[test]
fn discard_takes_all_that_is_in_a_batch_and_follows_nothing() {
    let store = Store::new(Access::Private);
    fs::create_dir_all(store.path("ingest/dead")).unwrap();
    fs::create_dir(store.path("precious")).unwrap();
    fs::write(store.path("precious/file"), b"x").unwrap();
    fs::write(store.path("ingest/dead/1-1.tmp"), b"x").unwrap();
    fs::write(store.path("ingest/dead/anything"), b"x").unwrap();
    store.cas.discard("dead").unwrap();
    assert!(!store.path("ingest/dead").exists());

    // A batch's folder that is a symlink is none.
    symlink(store.path("precious"), store.path("ingest/link")).unwrap();
    assert!(store.cas.batches().unwrap().is_empty());
    store.cas.discard("link").unwrap_err();
    assert!(store.path("precious/file").exists());

    // Whatever else lies in a batch's folder is of the dead as well.
    fs::create_dir_all(store.path("ingest/odd/folder")).unwrap();
    fs::write(store.path("ingest/odd/1-1.tmp"), b"x").unwrap();
    symlink(store.path("precious"), store.path("ingest/odd/link")).unwrap();
    fs::write(store.path("ingest/odd/folder/file"), b"xx").unwrap();
    assert_eq!(store.cas.discard("odd").unwrap(), 1);
    assert_eq!(tree(&store.path("ingest")), ["link"]);
    assert!(store.path("precious/file").exists());
}

#[test]
fn strays_are_what_is_no_batch() {
    let store = Store::new(Access::Private);
    let batch = store.cas.batch("live").unwrap();
    seal(&*batch, b"abc");
    fs::create_dir_all(store.path("ingest/dead")).unwrap();
    fs::create_dir_all(store.path("ingest/Not A Batch/folder")).unwrap();
    fs::create_dir_all(store.path("precious")).unwrap();
    fs::write(store.path("ingest/file"), b"xyz").unwrap();
    fs::write(store.path("ingest/empty"), b"").unwrap();
    symlink(store.path("precious"), store.path("ingest/link")).unwrap();
    assert_eq!(store.cas.discard_strays().unwrap(), 3);
    assert_eq!(store.cas.batches().unwrap(), ["dead", "live"]);
    assert_eq!(fs::read_dir(store.path("ingest")).unwrap().count(), 2);
    assert!(store.path("precious").exists());
    batch.persist().unwrap();
    assert_eq!(store.cas.discard_strays().unwrap(), 0);
}

#[test]
fn a_blob_tells_when_it_changed() {
    let store = Store::new(Access::Private);
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
    assert_eq!(store.cas.changed(&digest).unwrap(), None);
    let batch = store.cas.batch("b").unwrap();
    assert_eq!(seal(&*batch, b"abc"), digest);
    batch.persist().unwrap();
    // Its content may claim to be of any time.
    let file = fs::File::open(store.path("blobs/sha256").join(digest.encoded())).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let age = store.cas.changed(&digest).unwrap().unwrap().elapsed().unwrap_or_default();
    assert!(age.as_secs() < 60, "{age:?}");
}

#[test]
fn an_empty_folder_of_a_dead_batch_is_found() {
    let store = Store::new(Access::Private);
    fs::create_dir_all(store.path("ingest/dead")).unwrap();
    fs::create_dir_all(store.path("ingest/Not A Batch")).unwrap();
    fs::write(store.path("ingest/file"), b"x").unwrap();
    assert_eq!(store.cas.batches().unwrap(), ["dead"]);
    store.cas.discard("dead").unwrap();
    assert!(store.cas.batches().unwrap().is_empty());
}
