use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use oci_store_cas::{Algorithm, Digest, Expect};
use oci_store_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST};
use oci_store_oci::{
    Content, Descriptor, Entry, Error, ImageSource, ImportOptions, Progress, Result, Selection, Store,
};
use serde_json::json;

use crate::common::{
    assert_sound, benches, failure, files, import, import_all, import_with, incomplete, name, overwrite, path_of, refs,
    seen, sweep,
};
use crate::images::{CONFIG, Images, LAYER, digest_with, with};

#[test]
fn images_come_in_whole_and_once() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (a, b) = (images.simple("a"), images.simple("b"));
        let inner = images.index(&[b]);
        let image = images.index(&[a, inner]);
        images.name("v1", &image);
        let imported = import(&store, &images, "v1").unwrap();
        assert_eq!((imported.name.as_str(), &imported.target, imported.incomplete), ("v1", &image, false));
        assert_eq!(files(store.root()), images.blobs.keys().cloned().collect());
        assert_sound(&store);
        // The same again is no change.
        let before = seen(&store);
        import(&store, &images, "v1").unwrap();
        assert_eq!(seen(&store), before);
        // Under another name, from a source that has nothing any more but the list.
        images.blobs.clear();
        let selection = Selection::One { source: Some("v1"), name: Some(&name("v2")) };
        store.import(&images, &selection, &ImportOptions::default(), &()).unwrap();
        assert_eq!(refs(&store)["v2"], image.digest);
        assert_sound(&store);
    }
}

#[test]
fn docker_manifests_and_other_algorithms() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let config = images.blob("application/vnd.docker.container.image.v1+json", b"{}");
        let layer = images.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", b"x");
        let manifest = images
            .document(DOCKER_MANIFEST, &json!({ "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer] }));
        let list = images.document(DOCKER_LIST, &json!({ "mediaType": DOCKER_LIST, "manifests": [manifest] }));
        images.name("docker", &list);
        let long = digest_with(Algorithm::Sha512, b"long");
        images.blobs.insert(long.clone(), b"long".to_vec());
        let layers = [Descriptor::new(LAYER, long, 4), images.layer("")];
        let image = images.manifest("mixed", &layers);
        images.name("mixed", &image);
        import_all(&store, &images).unwrap();
        sweep(&store);
        assert_sound(&store);
        assert_eq!(files(store.root()), images.blobs.keys().cloned().collect());
    }
}

#[test]
fn foreign_layers_and_dangling_subjects_may_be_absent() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let foreign = with(images.layer("foreign"), "urls", json!(["https://example.com"]));
        let gone = images.simple("gone");
        let config = images.blob(CONFIG, b"{}");
        let document = json!({ "config": config, "layers": [foreign], "subject": gone });
        let image = images.document(MANIFEST, &document);
        images.name("v1", &image);
        images.blobs.retain(|digest, _| [&image.digest, &config.digest].contains(&digest));
        assert!(!import(&store, &images, "v1").unwrap().incomplete);
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
        sweep(&store);
        assert_eq!(files(store.root()).len(), 2);
        store.remove_ref(&name("v1")).unwrap();
        sweep(&store);
        assert_eq!(files(store.root()).len(), 0);
        assert_eq!(crate::common::listed(store.root()), []);
    }
}

#[test]
fn of_several_images_the_bad_ones_stay_out() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let shared = images.layer("shared");
        let mut lied_about = shared.clone();
        lied_about.size += 1;
        let absent = images.layer("absent");
        images.blobs.remove(&absent.digest);
        let damaged = images.layer("damaged");
        images.blobs.insert(damaged.digest.clone(), b"DAMAGED".to_vec());
        let nowhere = images.simple("nowhere");
        images.blobs.remove(&nowhere.digest);
        for (text, layer) in [("a-lie", &lied_about), ("good", &shared), ("lacking", &absent), ("damaged", &damaged)] {
            let image = images.manifest(text, std::slice::from_ref(layer));
            images.name(text, &image);
        }
        images.name("nowhere", &nowhere);
        let good = images.simple("last");
        images.name("last", &good);
        images.name("\u{1b}[31m", &good);
        for allow in [false, true] {
            let options = ImportOptions { allow_incomplete: allow, ..ImportOptions::default() };
            let result = store.import(&images, &Selection::All, &options, &());
            let (error, line) = failure(result);
            let Error::Several { imported, total, failed } = error else { panic!("{line}") };
            let failed: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
            let mut wanted = vec!["\u{1b}[31m", "a-lie", "damaged", "lacking", "nowhere"];
            wanted.retain(|name| !allow || *name != "lacking");
            let mut sorted = failed.clone();
            sorted.sort_unstable();
            assert_eq!((total, sorted), (7, wanted), "{}", bench.backend);
            assert_eq!(imported.len(), total - failed.len());
            assert!(refs(&store).contains_key("good") && refs(&store).contains_key("last"));
            assert_eq!(refs(&store).contains_key("lacking"), allow);
            assert_sound(&store);
        }
        sweep(&store);
        let reached: usize = 3 + 3 + 2;
        assert_eq!(files(store.root()).len(), reached, "good, last, and what there is of lacking");
    }
}

#[test]
fn incomplete_images_are_recorded_as_such_and_completed_later() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (a, b) = (images.simple("a"), images.simple("b"));
        let image = images.index(&[a, b.clone()]);
        images.name("v1", &image);
        let whole = images.clone();
        images.blobs.remove(&b.digest);
        let before = seen(&store);
        let (error, line) = failure(import(&store, &images, "v1"));
        assert!(line.contains(&b.digest.to_string()) && line.contains(&image.digest.to_string()), "{line}");
        drop(error);
        assert_eq!(seen(&store), before);
        assert!(import_with(&store, &images, "v1", &incomplete()).unwrap().incomplete);
        assert_sound(&store);
        let listed = crate::common::listed(store.root());
        assert_eq!(listed[0].annotation("io.oci-store.incomplete"), Some("true"));
        // Handed on by name, but not by digest: nobody said so there.
        store.tag("v1", &name("v2"), oci_store_oci::Condition::Any).unwrap();
        store.rename_ref(&name("v2"), &name("v3")).unwrap();
        assert!(store.get_ref(&name("v3")).unwrap().unwrap().incomplete);
        let result = store.tag(&image.digest.to_string(), &name("v4"), oci_store_oci::Condition::Any);
        assert!(matches!(result, Err(Error::Incomplete(_))));
        assert!(matches!(store.pin("v1"), Err(Error::Incomplete(_))));
        let checked = store.check(&[], true, &()).unwrap();
        assert_eq!((checked.problems.len(), checked.incomplete.len()), (0, 2));
        sweep(&store);
        assert_sound(&store);
        assert!(!import(&store, &whole, "v1").unwrap().incomplete);
        assert!(!store.get_ref(&name("v1")).unwrap().unwrap().incomplete);
        assert!(crate::common::listed(store.root())[0].annotation("io.oci-store.incomplete").is_none());
        sweep(&store);
        assert_sound(&store);
        store.pin("v1").unwrap();
    }
}

#[test]
fn a_leaf_that_is_named_as_a_manifest_later() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let inner = images.simple("inner");
        let outer = images.index(std::slice::from_ref(&inner));
        images.name("outer", &outer);
        let whole = images.clone();
        images.blobs.remove(&inner.digest);
        import_with(&store, &images, "outer", &incomplete()).unwrap();
        // What was missing comes in, as something that nobody reads, and its own parts do not.
        let lease = store.base().lease("test").unwrap();
        let bytes = &whole.blobs[&inner.digest];
        lease.write(Expect::any(Algorithm::Sha256), "application/octet-stream", &mut bytes.as_slice()).unwrap();
        store.remove_ref(&name("outer")).unwrap();
        let outer_digest = outer.digest.to_string();
        for result in [
            store.tag(&outer_digest, &name("v1"), oci_store_oci::Condition::Any).map(drop),
            store.pin(&outer_digest).map(drop),
        ] {
            assert!(matches!(result, Err(Error::Incomplete(_))), "{result:?}");
        }
        import(&store, &whole, "outer").unwrap();
        // It is found as what it is, and keeps what it needs.
        assert_eq!(store.find(&inner.digest.to_string()).unwrap().media_type, MANIFEST);
        store.tag(&inner.digest.to_string(), &name("inner"), oci_store_oci::Condition::Any).unwrap();
        store.remove_ref(&name("outer")).unwrap();
        drop(lease);
        sweep(&store);
        assert_sound(&store);
        assert_eq!(files(store.root()), whole.reach(&inner));
        assert_eq!(crate::common::listed(store.root())[0].media_type, MANIFEST);
    }
}

#[test]
fn damaged_blobs_of_the_store_are_fetched_again() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("layer");
        let layer = crate::images::digest(b"layer");
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        let manifest = &images.blobs[&image.digest];
        let rotten: Vec<u8> = manifest.iter().map(|byte| byte ^ 1).collect();
        type Damage<'d> = &'d dyn Fn(&Store);
        let damages: [(&str, Damage<'_>); 5] = [
            ("cut", &|store| overwrite(store.root(), &layer, b"la")),
            ("gone", &|store| std::fs::remove_file(path_of(store.root(), &layer)).unwrap()),
            ("rotten, and checked", &|store| {
                overwrite(store.root(), &layer, b"LAYER");
                assert_eq!(store.check(&[], true, &()).unwrap().problems.len(), 1);
                // Known, and told again.
                assert_eq!(store.check(&[], false, &()).unwrap().problems.len(), 1);
            }),
            ("manifest cut", &|store| overwrite(store.root(), &image.digest, b"{")),
            ("manifest rotten", &|store| overwrite(store.root(), &image.digest, &rotten)),
        ];
        for (what, damage) in damages {
            damage(&store);
            import(&store, &images, "v1").unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_sound(&store);
            assert!(store.check(&[], true, &()).unwrap().problems.is_empty(), "{what}");
        }
    }
}

/// A source that lets something happen in the middle: before a blob is read from it.
#[derive(Debug)]
struct Meddling<'m> {
    images: &'m Images,
    store: &'m Store,
    at: Digest,
    absent: Mutex<Option<Digest>>,
    done: AtomicBool,
}

impl ImageSource for Meddling<'_> {
    fn origin(&self) -> String {
        "meddling".to_owned()
    }
    fn entries(&self) -> Result<Vec<Entry>> {
        self.images.entries()
    }
    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        if descriptor.digest == self.at && !self.done.swap(true, Ordering::SeqCst) {
            // As a gc does that has looked at the leases just before this import named anything.
            forget_rows(self.store);
        }
        if self.absent.lock().unwrap().as_ref() == Some(&descriptor.digest) {
            return Ok(None);
        }
        self.images.fetch(descriptor)
    }
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.images.referrers(subject)
    }
}

/// Marks every blob as damaged, which for a publish is as good as gone.
fn forget_rows(store: &Store) {
    let all = store.base().view(|view| view.blobs(&Default::default(), None, usize::MAX)).unwrap();
    let noted = store.base().update(|txn| {
        for blob in &all {
            txn.note_check(&blob.digest, false)?;
        }
        Ok::<_, oci_store_base::Error>(())
    });
    noted.unwrap();
}

#[test]
fn what_goes_between_look_and_publish_is_fetched_again() {
    for bench in benches() {
        for lost_for_good in [false, true] {
            let store = bench.open();
            let mut images = Images::default();
            let (kept, text) = (images.layer("kept"), if lost_for_good { "new, lost" } else { "new" });
            let old = images.manifest("old", std::slice::from_ref(&kept));
            images.name("old", &old);
            import(&store, &images, "old").unwrap();
            // Needs a layer that is there already, and a new one: while that is read, what was there goes.
            let new = images.layer(text);
            let image = images.manifest(text, &[kept.clone(), new.clone()]);
            images.name("image", &image);
            let other = images.simple(&format!("other, {lost_for_good}"));
            images.name("other", &other);
            let absent = Mutex::new(lost_for_good.then(|| kept.digest.clone()));
            let source =
                Meddling { images: &images, store: &store, at: new.digest, absent, done: AtomicBool::new(false) };
            let result = store.import(&source, &Selection::All, &ImportOptions::default(), &());
            assert!(source.done.load(Ordering::SeqCst));
            if lost_for_good {
                // The others are in nonetheless.
                let Err(Error::Several { failed, .. }) = result else { panic!("{result:?}") };
                let failed: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
                assert!(failed.contains(&"image") && !failed.contains(&"other"), "{failed:?}");
            } else {
                result.unwrap();
                let checked = store.check(&[], false, &()).unwrap();
                assert!(checked.problems.is_empty(), "{:?}", checked.problems);
            }
            assert_eq!(refs(&store)["other"], other.digest);
        }
    }
}

#[test]
fn an_import_that_is_cancelled_leaves_nothing() {
    struct After(std::sync::atomic::AtomicI64);
    impl Progress for After {
        fn cancelled(&self) -> bool {
            self.0.fetch_sub(1, Ordering::SeqCst) <= 0
        }
    }
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        for n in 0..4 {
            let image = images.simple(&format!("{n}"));
            images.name(&format!("v{n}"), &image);
        }
        let before = seen(&store);
        let mut cancelled = 0;
        for n in 0..200 {
            let progress = After(n.into());
            match store.import(&images, &Selection::All, &ImportOptions::default(), &progress) {
                Ok(imported) => {
                    assert_eq!(imported.len(), 4);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Base(oci_store_base::Error::Cancelled)), "{error}");
                    cancelled += 1;
                    assert_eq!(seen(&store), before, "after {n}");
                }
            }
        }
        assert!((5..200).contains(&cancelled), "{cancelled}");
        assert_sound(&store);
    }
}
