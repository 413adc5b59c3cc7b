//! The memory backend under the suite.

use oci_store_index::conformance;
use oci_store_index::memory::MemoryBackend;

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&MemoryBackend::default(), dir.path());
}

#[test]
fn follows_the_model() {
    let dir = tempfile::tempdir().unwrap();
    conformance::model(&MemoryBackend::default(), dir.path(), 1000);
}
