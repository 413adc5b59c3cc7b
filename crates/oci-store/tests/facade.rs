//! The library as a program sees it that depends on this crate alone, over every index of the build.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::path::Path;
use std::sync::Arc;

use oci_store::{Extent, ImportOptions, Layout, RefName, Selection, base, index};

fn hello() -> Layout {
    Layout::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/images/hello")).unwrap()
}

fn import(store: &oci_store::Store, name: &str) {
    let name: RefName = name.parse().unwrap();
    let one = Selection::One { source: Some("latest"), name: Some(&name) };
    store.import(&hello(), &one, &ImportOptions::default(), &()).unwrap();
}

#[test]
fn each_index_of_the_build_takes_an_image_and_lets_go_of_it() {
    assert!(!oci_store::backends().is_empty(), "built without any index");
    for backend in oci_store::backends() {
        let folder = tempfile::tempdir().unwrap();
        let store = oci_store::options().index(Some(backend.name())).open(folder.path()).unwrap();
        assert_eq!(store.base().index_name().unwrap(), backend.name());

        import(&store, "hello:latest");
        let checked = store.check(&[], true, &()).unwrap();
        assert_eq!((checked.images, checked.problems.len()), (1, 0));
        assert!(checked.blobs >= 5, "manifest, config and three layers");

        store.remove_ref(&"hello:latest".parse().unwrap()).unwrap();
        assert_eq!(store.gc(Extent::Changed, false).unwrap().blobs, checked.blobs);
    }
}

#[test]
fn features_are_what_brings_an_index() {
    let names: Vec<&str> = oci_store::backends().iter().map(|backend| backend.name()).collect();
    assert_eq!(names.contains(&"lmdb"), cfg!(feature = "lmdb"));
    assert_eq!(names.contains(&"sqlite"), cfg!(feature = "sqlite"));
}

#[test]
fn an_index_that_is_not_in_the_build_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = oci_store::options().index(Some("cardbox")).open(folder.path().join("new")).unwrap_err();
    assert!(error.to_string().contains("cardbox"), "{error}");
    assert!(!folder.path().join("new").exists(), "an error has left a folder");
}

#[test]
fn an_index_of_ones_own_serves_a_store() {
    let backends: Vec<Arc<dyn index::Backend>> = vec![Arc::new(index::memory::MemoryBackend::default())];
    let folder = tempfile::tempdir().unwrap();
    let store = oci_store::OpenOptions::new(backends).open(folder.path()).unwrap();
    import(&store, "hello:latest");
    assert_eq!(store.base().index_name().unwrap(), "memory");
    assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
}

#[test]
fn a_store_of_one_kind_is_not_opened_as_another() {
    let folder = tempfile::tempdir().unwrap();
    oci_store::open(folder.path()).unwrap();
    let error = base::OpenOptions::new("appc", oci_store::backends()).open(folder.path()).unwrap_err();
    assert!(matches!(error, base::Error::Kind { .. }), "{error}");
}

#[test]
fn a_store_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<oci_store::Store>();
}
