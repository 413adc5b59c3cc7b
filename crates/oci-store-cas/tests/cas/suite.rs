//! The conformance suite over every backend.

use std::sync::Arc;

use oci_store_cas::folder::FolderCas;
use oci_store_cas::memory::MemoryCas;
use oci_store_cas::{Access, Cas, conformance};

#[test]
fn memory() {
    conformance::run(&MemoryCas::default());
}

#[test]
fn folder() {
    for access in [Access::Private, Access::Group] {
        let dir = tempfile::tempdir().unwrap();
        conformance::run(&FolderCas::new(dir.path().join("blobs"), dir.path().join("ingest"), access));
    }
}

#[test]
fn shared_trait_objects() {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderCas::new(dir.path().join("blobs"), dir.path().join("ingest"), Access::Private);
    let all: [Arc<dyn Cas>; 2] = [Arc::new(MemoryCas::default()), Arc::new(folder)];
    for cas in all {
        conformance::run(&*cas);
    }
}

#[test]
fn a_clone_of_the_memory_backend_shares_its_blobs() {
    let original = MemoryCas::default();
    let clone = original.clone();
    let batch = original.batch("b").unwrap();
    batch.stage().unwrap().seal(&"a:b".parse().unwrap()).unwrap();
    assert_eq!(clone.batches().unwrap(), ["b"]);
    batch.persist().unwrap();
    assert_eq!(clone.size(&"a:b".parse().unwrap()).unwrap(), Some(0));
}
