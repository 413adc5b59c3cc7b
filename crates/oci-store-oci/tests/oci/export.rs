use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_store_base::BlobFilter;
use oci_store_oci::{
    Archive, Destination, Error, ExportOptions, ImageSource, ImportOptions, Layout, Packing, Progress, Selection, Store,
};
use serde_json::{Value, json};

use crate::common::{
    Bench, assert_sound, benches, export, export_with, files, import, import_all, import_with, incomplete, index_json,
    listed, listed_names, name, names, outgoing, overwrite, path_of, refs, sweep, unnamed, walk_files,
};
use crate::images::{Images, digest};

fn sample() -> Images {
    let mut images = Images::default();
    let (a, b) = (images.simple("a"), images.simple("b"));
    let image = images.index(&[a.clone(), b]);
    images.name("v1", &image);
    let signature = images.about(&a, "signature");
    images.about(&signature, "of the signature");
    let other = images.simple("other");
    images.name("other", &other);
    images
}

#[test]
fn an_image_goes_out_with_what_is_about_it() {
    for bench in benches() {
        let store = bench.open();
        let images = sample();
        import_all(&store, &images).unwrap();
        let to = bench.beside("out");
        let done = export_with(&store, "v1", &to, "x:1", &ExportOptions::default(), &()).unwrap();
        let target = done.images[0].1.clone();
        assert_eq!(target.digest, refs(&store)["v1"]);
        assert_eq!(
            (done.blobs, done.bytes),
            (files(&to).len() as u64, files(&to).iter().map(|d| images.blobs[d].len() as u64).sum())
        );
        assert_eq!(listed_names(&to), [("x:1".to_owned(), target.digest.clone())].into());
        assert_eq!(unnamed(&to).len(), 2);
        for entry in listed(&to) {
            assert!(walk_files(&to, &entry).1.is_empty());
        }
        assert_eq!(names(&to), ["blobs", "index.json", "oci-layout"]);
        // What is there is not copied again; what is damaged is, if it is looked at.
        assert_eq!(export_with(&store, "v1", &to, "x:1", &ExportOptions::default(), &()).unwrap().blobs, 0);
        overwrite(&to, &digest(b"a"), b"A");
        let verify = ExportOptions { verify: true, sync: true, ..ExportOptions::default() };
        assert_eq!(export_with(&store, "v1", &to, "x:1", &ExportOptions::default(), &()).unwrap().blobs, 0);
        assert_eq!(export_with(&store, "v1", &to, "x:1", &verify, &()).unwrap().blobs, 1);
        overwrite(&to, &digest(b"b"), b"");
        assert_eq!(export_with(&store, "v1", &to, "x:1", &ExportOptions::default(), &()).unwrap().blobs, 1);
        // And back: everything is the same.
        let back = Bench::new(bench.backend);
        let back = back.open();
        import(&back, &Layout::open(&to).unwrap(), "x:1").unwrap();
        assert_eq!(files(back.root()), files(&to));
        assert_sound(&back);
        let plain = bench.beside("plain");
        let options = ExportOptions { referrers: false, ..ExportOptions::default() };
        export_with(&store, &target.digest.to_string(), &plain, "v1", &options, &()).unwrap();
        assert_eq!(files(&plain), images.reach(&target));
        assert!(matches!(export(&store, "absent", &plain, "v1"), Err(Error::RefNotFound(_))));
    }
}

#[test]
fn what_the_destination_has_survives() {
    for bench in benches() {
        let store = bench.open();
        import_all(&store, &sample()).unwrap();
        let to = bench.beside("out");
        let mut theirs = Images::default();
        let image = theirs.simple("theirs");
        theirs.name("theirs", &image);
        theirs.name("v1", &image);
        theirs.write(&to);
        let mut index = index_json(&to);
        index["annotations"] = json!({ "made-by": "somebody" });
        index["new-field"] = json!([1, 2.5, null]);
        index["manifests"][0]["artifactType"] = json!("x");
        fs::write(to.join("index.json"), index.to_string()).unwrap();
        export(&store, "v1", &to, "v1").unwrap();
        let after = index_json(&to);
        assert_eq!((&after["annotations"], &after["new-field"]), (&index["annotations"], &index["new-field"]));
        assert_eq!(after["manifests"][0], index["manifests"][0]);
        assert_eq!(listed_names(&to)["v1"], refs(&store)["v1"]);
        assert_eq!(listed(&to).iter().filter(|e| e.ref_name() == Some("v1")).count(), 1);
        let text = fs::read(to.join("index.json")).unwrap();
        export(&store, "v1", &to, "v1").unwrap();
        assert_eq!(fs::read(to.join("index.json")).unwrap(), text);
        // What `umoci init` makes.
        let empty = bench.beside("empty");
        fs::create_dir(&empty).unwrap();
        fs::write(empty.join("index.json"), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        export(&store, "v1", &empty, "v1").unwrap();
        // Not a layout, or not one that can be read: left alone.
        let other = bench.beside("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        assert!(matches!(export(&store, "v1", &other, "v1"), Err(Error::NotALayout { .. })));
        assert_eq!(names(&other), ["file"]);
        assert!(export(&store, "v1", &other.join("file"), "v1").is_err());
        let damaged = bench.beside("damaged");
        fs::create_dir(&damaged).unwrap();
        fs::write(damaged.join("index.json"), "{").unwrap();
        assert!(export(&store, "v1", &damaged, "v1").is_err());
        assert_eq!(fs::read(damaged.join("index.json")).unwrap(), b"{");
    }
}

#[test]
fn exports_at_once_into_one_folder() {
    for bench in benches() {
        let store = bench.open();
        let mut images = sample();
        for n in 0..8 {
            let image = images.simple(&format!("image {n}"));
            images.name(&format!("i{n}"), &image);
        }
        import_all(&store, &images).unwrap();
        let to = bench.beside("out");
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (store, to, barrier) = (&store, &to, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..4 {
                        export(store, &format!("i{n}"), to, &format!("x{n}-{round}")).unwrap();
                    }
                    export(store, "v1", to, "v1").unwrap();
                });
            }
        });
        assert_eq!(listed_names(&to).len(), 33);
        for entry in listed(&to) {
            assert!(walk_files(&to, &entry).1.is_empty());
        }
        assert_eq!(names(&to), ["blobs", "index.json", "oci-layout"]);
    }
}

#[test]
fn to_another_store() {
    for bench in benches() {
        let store = bench.open();
        let images = sample();
        import_all(&store, &images).unwrap();
        let other = Bench::new(bench.backend);
        // In memory, an index is only found by those who share it.
        let root = if bench.backend == "memory" { bench.beside("other") } else { other.root() };
        let there = bench.options().open(&root).unwrap();
        let copy = || export_with(&store, "v1", &root, "there", &ExportOptions::default(), &()).unwrap();
        let exported = copy();
        let came = there.base().view(|view| view.blobs(&BlobFilter::default(), None, usize::MAX)).unwrap();
        let bytes: u64 = came.iter().map(|blob| blob.size).sum();
        assert_eq!((exported.blobs, exported.bytes), (came.len() as u64, bytes));
        let again = copy();
        assert_eq!((again.blobs, again.bytes), (0, 0));
        assert_eq!(refs(&there)["there"], refs(&store)["v1"]);
        assert_eq!(unnamed(&root).len(), 2);
        sweep(&there);
        assert_sound(&there);
        // To itself: another name.
        export(&store, "v1", store.root(), "v2").unwrap();
        assert_eq!(refs(&store)["v2"], refs(&store)["v1"]);
        assert_sound(&store);
        let mut lacking = images.clone();
        lacking.entries.retain(|entry| entry.ref_name() == Some("v1"));
        lacking.blobs.remove(&digest(b"b"));
        let third = bench.options().open(bench.beside("third")).unwrap();
        import_with(&third, &lacking, "v1", &incomplete()).unwrap();
        export(&third, "v1", &root, "lacking").unwrap();
        let out = bench.beside("out");
        export(&third, "v1", &out, "v1").unwrap();
        assert!(!files(&out).contains(&digest(b"b")));
        let digest = refs(&third)["v1"].to_string();
        assert!(matches!(export(&third, &digest, &out, "v2"), Err(Error::Incomplete(_))));
    }
}

/// Everything that is exported stays until it is: what removes it comes too late.
#[test]
fn a_gc_beside_an_export() {
    struct Meddler<'s>(&'s Store);
    impl Progress for Meddler<'_> {
        fn expect(&self, _: u64, _: u64) {
            let _ = self.0.remove_ref(&name("v1"));
            sweep(self.0);
        }
    }
    for bench in benches() {
        let store = bench.open();
        import_all(&store, &sample()).unwrap();
        let to = bench.beside("out");
        export_with(&store, "v1", &to, "v1", &ExportOptions::default(), &Meddler(&store)).unwrap();
        for entry in listed(&to) {
            assert!(walk_files(&to, &entry).1.is_empty());
        }
        assert_eq!(unnamed(&to).len(), 2);
        sweep(&store);
        assert_eq!(files(store.root()).len(), 3, "the other image");
        assert_sound(&store);
    }
}

#[test]
fn a_damaged_blob_is_not_exported() {
    let bench = Bench::new("memory");
    let store = bench.open();
    import_all(&store, &sample()).unwrap();
    overwrite(store.root(), &digest(b"a"), b"");
    let to = bench.beside("out");
    assert!(export(&store, "v1", &to, "v1").is_err());
    assert!(!to.join("index.json").exists());
    assert_eq!(names(&to), ["blobs"]);
    fs::remove_file(path_of(store.root(), &digest(b"a"))).unwrap();
    assert!(export(&store, "v1", &to, "v1").is_err());
}

/// A store that may not be written is read as the layout that it is.
#[test]
fn from_the_files_alone() {
    let bench = Bench::new("lmdb");
    let store = bench.open();
    let images = sample();
    import_all(&store, &images).unwrap();
    let mut lacking = Images::default();
    let image = lacking.simple("lacking");
    lacking.name("lacking", &image);
    lacking.blobs.remove(&digest(b"lacking"));
    import_with(&store, &lacking, "lacking", &incomplete()).unwrap();
    let layout = Layout::open(store.root()).unwrap();
    let image = layout.find("v1").unwrap();
    assert_eq!(layout.find(&image.digest.encoded()[..16]).unwrap().digest, image.digest);
    assert!(matches!(layout.find("absent"), Err(Error::RefNotFound(_))));
    let (whole, part) = (bench.beside("whole"), bench.beside("part"));
    layout.export(&[outgoing("v1", "v1")], Destination::Folder(&whole), &ExportOptions::default(), &()).unwrap();
    export(&store, "v1", &part, "v1").unwrap();
    assert_eq!((files(&whole), unnamed(&whole)), (files(&part), unnamed(&part)));
    // An archive has the same bytes from both.
    let (by_files, by_index) = (bench.beside("files.tar"), bench.beside("index.tar"));
    let (one, options) = ([outgoing("v1", "v1")], ExportOptions::default());
    layout.export(&one, Destination::File(&by_files, Packing::default()), &options, &()).unwrap();
    store.export(&one, Destination::File(&by_index, Packing::default()), &options, &()).unwrap();
    assert!(fs::read(&by_files).unwrap() == fs::read(&by_index).unwrap(), "the archives differ");
    let (by_files, by_index) = (layout.inventory().unwrap(), store.inventory().unwrap());
    assert_eq!((by_files.blobs, by_files.refs), (by_index.blobs, by_index.refs));
    let checked = layout.check(&[], true, &()).unwrap();
    assert_eq!((checked.problems.len(), checked.incomplete), (0, vec!["lacking".to_owned()]));
    overwrite(store.root(), &digest(b"a"), b"A");
    assert_eq!(layout.check(&[name("v1")], true, &()).unwrap().problems.len(), 1);
    assert!(layout.entries().unwrap().len() >= 3);
    let _: Value = index_json(store.root());
}

#[test]
fn what_is_known_to_be_damaged_does_not_go_out() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("a");
        images.name("v1", &image);
        import_all(&store, &images).unwrap();
        overwrite(&bench.root(), &digest(b"a"), b"x");
        assert_eq!(store.check(&[], true, &()).unwrap().problems.len(), 1);
        let to = bench.beside("damaged");
        let error = export_with(&store, "v1", &to, "v1", &ExportOptions::default(), &()).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(!to.exists());
        import_all(&store, &images).unwrap();
        export_with(&store, "v1", &to, "v1", &ExportOptions::default(), &()).unwrap();
    }
}

/// An import that relies on what is in the store keeps it from when it has read what it needs, whatever is removed and
/// collected beside it.
#[test]
fn a_gc_beside_an_import_of_a_thin_archive() {
    /// The manifest is the first that is expected; what it names is named in the lease before the second.
    struct Meddler<'s>(&'s Store, AtomicUsize);
    impl Progress for Meddler<'_> {
        fn expect(&self, _: u64, _: u64) {
            if self.1.fetch_add(1, Ordering::Relaxed) > 0 {
                let _ = self.0.remove_ref(&name("base"));
                sweep(self.0);
            }
        }
    }
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (shared, new) = (images.layer("shared"), images.layer("new"));
        let base = images.manifest("base", std::slice::from_ref(&shared));
        let app = images.manifest("app", &[shared, new]);
        images.name("base", &base);
        images.name("app", &app);
        import_all(&store, &images).unwrap();
        store.remove_ref(&name("app")).unwrap();
        sweep(&store);
        let all = Bench::new("memory");
        let all = all.open();
        import_all(&all, &images).unwrap();
        let thin = bench.beside("thin.tar");
        let options =
            ExportOptions { exclude: store.inventory().unwrap().digests().cloned().collect(), ..Default::default() };
        let done =
            all.export(&[outgoing("app", "app")], Destination::File(&thin, Packing::default()), &options, &()).unwrap();
        assert_eq!(done.excluded, 1);
        let one = Selection::One { source: None, name: None };
        let thin = Archive::open(&thin).unwrap();
        let meddler = Meddler(&store, AtomicUsize::new(0));
        store.import(&thin, &one, &ImportOptions::default(), &meddler).unwrap();
        assert!(meddler.1.into_inner() > 1);
        sweep(&store);
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["app"]);
        assert_sound(&store);
    }
}
