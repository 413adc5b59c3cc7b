//! The LMDB backend under the suite.

use oci_store_index::conformance;
use oci_store_index_lmdb::LmdbBackend;

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&LmdbBackend, dir.path());
}

#[test]
fn is_durable() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run_durable(&LmdbBackend, dir.path());
}

#[test]
fn follows_the_model() {
    let dir = tempfile::tempdir().unwrap();
    conformance::model(&LmdbBackend, dir.path(), 96);
}

#[test]
fn is_shared_by_processes() {
    let dir = tempfile::tempdir().unwrap();
    conformance::processes(&LmdbBackend, dir.path(), "is_shared_by_processes");
}

#[test]
fn may_be_made_by_several_processes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    conformance::fresh_open(&LmdbBackend, dir.path(), "may_be_made_by_several_processes_at_once");
}

#[test]
fn survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    conformance::kills(&LmdbBackend, dir.path(), "survives_kills");
}
