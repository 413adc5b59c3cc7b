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
fn discard_takes_plain_files_and_follows_nothing() {
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

    // What is not ours stays, and is said.
    fs::create_dir_all(store.path("ingest/odd/folder")).unwrap();
    fs::write(store.path("ingest/odd/1-1.tmp"), b"x").unwrap();
    symlink(store.path("precious"), store.path("ingest/odd/link")).unwrap();
    store.cas.discard("odd").unwrap_err();
    assert_eq!(tree(&store.path("ingest/odd")), ["folder", "link"]);
    assert!(store.path("precious/file").exists());
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
