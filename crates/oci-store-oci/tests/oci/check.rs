use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use oci_store_cas::Digest;
use oci_store_oci::media_type::MANIFEST;
use oci_store_oci::{Condition, Error, Fault, Layout, Progress, Store};
use serde_json::json;

use crate::common::{
    assert_sound, benches, export, files, import, import_all, import_with, incomplete, name, overwrite, path_of, sweep,
};
use crate::images::{CONFIG, Images, LAYER, digest, with};

#[test]
fn each_fault_is_told_with_its_path() {
    for bench in benches() {
        let mut images = Images::default();
        let (image, other) = (images.simple("layer"), images.simple("other"));
        let index = images.index(std::slice::from_ref(&image));
        images.name("v1", &index);
        images.name("other", &other);
        let store = bench.open();
        import_all(&store, &images).unwrap();
        let layer = digest(b"layer");
        let path = path_of(store.root(), &layer);
        type Damage<'d> = &'d dyn Fn();
        let damages: [(Fault, bool, Damage<'_>); 5] = [
            (Fault::Missing, false, &|| fs::remove_file(&path).unwrap()),
            (Fault::WrongSize, false, &|| fs::write(&path, "LAYERS").unwrap()),
            (Fault::Damaged, true, &|| overwrite(store.root(), &layer, b"LAYER")),
            (Fault::Damaged, false, &|| {}),
            (Fault::Damaged, false, &|| {
                fs::remove_file(&path).unwrap();
                symlink("elsewhere", &path).unwrap();
            }),
        ];
        for (fault, read, damage) in damages {
            damage();
            let checked = store.check(&[], read, &()).unwrap();
            assert_eq!((checked.images, checked.blobs), (2, 7));
            let [problem] = checked.problems.as_slice() else { panic!("{fault:?}: {:?}", checked.problems) };
            assert_eq!((problem.fault, problem.image.as_str(), &problem.blob.digest), (fault, "v1", &layer));
            assert_eq!(*problem.blob.path, [index.digest.clone(), image.digest.clone()]);
            assert!(problem.to_string().contains(&layer.to_string()));
            assert!(store.check(&[name("other")], read, &()).unwrap().problems.is_empty());
        }
        assert!(matches!(store.check(&[name("absent")], false, &()), Err(Error::RefNotFound(_))));
    }
}

/// A layer that one manifest may lack, and another may not.
#[test]
fn needed_by_one_and_used_by_another() {
    for bench in benches() {
        let mut images = Images::default();
        let layer = images.layer("layer");
        let foreign = with(layer.clone(), "urls", json!(["https://example.com"]));
        let config = images.blob(CONFIG, b"{}");
        let used = images.document(MANIFEST, &json!({ "config": config, "layers": [foreign] }));
        let needed = images.document(MANIFEST, &json!({ "config": config, "layers": [layer] }));
        for manifests in [[used.clone(), needed.clone()], [needed.clone(), used.clone()]] {
            let image = images.index(&manifests);
            let mut images = images.clone();
            images.name("v1", &image);
            images.name("used", &used);
            let store = bench.open();
            let mut lacking = images.clone();
            lacking.blobs.remove(&layer.digest);
            assert!(import(&store, &lacking, "v1").is_err());
            import(&store, &lacking, "used").unwrap();
            let folder = tempfile::tempdir().unwrap();
            lacking.write(folder.path());
            let checked = Layout::open(folder.path()).unwrap().check(&[name("v1")], true, &()).unwrap();
            assert_eq!(checked.problems.len(), 1, "{:?}", checked.problems);
            import(&store, &images, "v1").unwrap();
            fs::remove_file(path_of(store.root(), &layer.digest)).unwrap();
            assert_eq!(store.check(&[name("v1")], false, &()).unwrap().problems.len(), 1);
            store.remove_ref(&name("v1")).unwrap();
            store.remove_ref(&name("used")).unwrap();
            sweep(&store);
        }
    }
}

/// What came in under one name makes the image of another whole.
#[test]
fn an_image_that_became_whole_is_not_called_incomplete() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("layer");
        images.name("v1", &image);
        let mut lacking = images.clone();
        lacking.blobs.remove(&digest(b"layer"));
        import_with(&store, &lacking, "v1", &incomplete()).unwrap();
        store.tag("v1", &name("v2"), Condition::Any).unwrap();
        let is_incomplete = || store.get_ref(&name("v2")).unwrap().unwrap().incomplete;
        assert_eq!(store.check(&[], false, &()).unwrap().incomplete, ["v1", "v2"]);
        import(&store, &images, "v1").unwrap();
        assert!(is_incomplete());
        let (before, log) = (store.get_ref(&name("v2")).unwrap().unwrap(), store.log(None, 9).unwrap());
        assert_eq!(store.check(&[name("v2")], false, &()).unwrap().incomplete, [""; 0]);
        assert!(!is_incomplete());
        // It was not set: what is undone is something else, and it is as old as before.
        let after = store.get_ref(&name("v2")).unwrap().unwrap();
        assert_eq!((after.updated, after.version), (before.updated, before.version));
        assert_eq!(store.log(None, 9).unwrap(), log);
        assert!(!fs::read_to_string(store.root().join("index.json")).unwrap().contains("incomplete"));
        assert_sound(&store);
    }
}

/// By the index and by the folder alone: what is about an image is no image of its own.
#[test]
fn images_are_counted_alike_by_index_and_folder() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (image, pinned) = (images.simple("image"), images.simple("pinned"));
        images.name("v1", &image);
        let about = images.about(&image, "about");
        images.list(&about);
        images.name("v2", &pinned);
        import_all(&store, &images).unwrap();
        store.pin("v2").unwrap();
        store.remove_ref(&name("v2")).unwrap();
        let by_index = store.check(&[], false, &()).unwrap();
        let by_folder = Layout::open(store.root()).unwrap().check(&[], false, &()).unwrap();
        assert_eq!((by_index.images, by_index.blobs), (by_folder.images, by_folder.blobs));
    }
}

/// However far it is: between two blobs, and while the bytes of one pass.
#[test]
fn a_check_that_is_cancelled_says_so() {
    struct OncePassed(AtomicBool);
    impl Progress for OncePassed {
        fn passed(&self, _: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        import_all(&store, &images).unwrap();
        let is_cancelled = |error: Error| matches!(error, Error::Base(oci_store_base::Error::Cancelled));
        for cancelled in [false, true] {
            let by_index = store.check(&[], true, &OncePassed(cancelled.into()));
            assert!(is_cancelled(by_index.unwrap_err()));
            let layout = Layout::open(store.root()).unwrap();
            assert!(is_cancelled(layout.check(&[], true, &OncePassed(cancelled.into())).unwrap_err()));
        }
    }
}

/// What a gc takes while it is being checked is not wrong.
#[test]
fn a_gc_beside_a_check() {
    struct Meddler<'s>(&'s Store);
    impl Progress for Meddler<'_> {
        fn expect(&self, _: u64, _: u64) {
            let _ = self.0.remove_ref(&name("v1"));
            sweep(self.0);
        }
    }
    for bench in benches() {
        for read in [false, true] {
            let store = bench.open();
            let mut images = Images::default();
            let image = images.simple("image");
            images.name("v1", &image);
            import(&store, &images, "v1").unwrap();
            let checked = store.check(&[], read, &Meddler(&store)).unwrap();
            assert_eq!(checked.problems, []);
        }
    }
}

/// What a check has read a while ago is not said of a blob that somebody has found damaged since.
#[test]
fn damage_that_another_has_found_meanwhile_stays_noted() {
    struct Meddler<'s>(&'s Store, AtomicBool);
    impl Progress for Meddler<'_> {
        fn begin(&self, blob: &Digest, _: u64) {
            self.1.store(*blob == digest(b"layer"), Ordering::Relaxed);
        }
        fn blob_done(&self) {
            if self.1.load(Ordering::Relaxed) {
                self.0.base().update(|txn| txn.note_check(&digest(b"layer"), false)).unwrap();
            }
        }
    }
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let layer = images.layer("layer");
        let image = images.manifest("image", &[layer]);
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        let is_damaged = || store.base().view(|view| view.blob(&digest(b"layer"))).unwrap().unwrap().damaged;
        store.check(&[], true, &Meddler(&store, AtomicBool::new(false))).unwrap();
        assert!(is_damaged(), "{}", bench.backend);
        // What was noted before it was read is another matter.
        store.check(&[], true, &()).unwrap();
        assert!(!is_damaged(), "{}", bench.backend);
    }
}

/// To one image a blob is a layer, to another it is a manifest of which all is missing: that is no matter of the first.
#[test]
fn what_another_image_makes_of_a_layer_is_not_missing() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let inner = images.simple("inner");
        let mut as_layer = inner.clone();
        LAYER.clone_into(&mut as_layer.media_type);
        let image = images.manifest("outer", &[as_layer]);
        images.name("a", &image);
        let index = images.index(std::slice::from_ref(&inner));
        images.name("b", &index);
        images.blobs.remove(&digest(b"inner"));
        import(&store, &images, "a").unwrap();
        import_with(&store, &images, "b", &incomplete()).unwrap();
        let check = || store.check(&[], false, &()).unwrap();
        assert_eq!(check().problems, [], "{}", bench.backend);
        store.tag("a", &name("tagged"), Condition::Any).unwrap();
        store.pin("a").unwrap();
        let to = bench.beside("exported");
        export(&store, "a", &to, "a").unwrap();
        assert_eq!(files(&to).len(), 3, "{}", bench.backend);
        // A reindex sees it the same. And what it does need is missed nevertheless.
        for (is_gone, wrong) in [(false, 0), (true, 1)] {
            if is_gone {
                fs::remove_file(path_of(store.root(), &inner.digest)).unwrap();
            }
            assert_eq!(check().problems.iter().filter(|problem| problem.image == "a").count(), wrong);
            let (_, report) = bench.options().reindex(bench.root()).unwrap();
            assert_eq!(report.lacking.iter().filter(|(image, _)| image == "a").count(), wrong, "{:?}", report.lacking);
        }
    }
}
