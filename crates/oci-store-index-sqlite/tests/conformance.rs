//! The SQLite backend under the suite.

use oci_store_index::conformance;
use oci_store_index_sqlite::SqliteBackend;

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&SqliteBackend, dir.path());
}

#[test]
fn is_durable() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run_durable(&SqliteBackend, dir.path());
}

#[test]
fn follows_the_model() {
    let dir = tempfile::tempdir().unwrap();
    conformance::model(&SqliteBackend, dir.path(), 96);
}

#[test]
fn is_shared_by_processes() {
    let dir = tempfile::tempdir().unwrap();
    conformance::processes(&SqliteBackend, dir.path(), "is_shared_by_processes");
}

#[test]
fn may_be_made_by_several_processes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    conformance::fresh_open(&SqliteBackend, dir.path(), "may_be_made_by_several_processes_at_once");
}

#[test]
fn survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    conformance::kills(&SqliteBackend, dir.path(), "survives_kills");
}
