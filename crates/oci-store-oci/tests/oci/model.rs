//! Random images and random operations, against a model that is a map and a set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use oci_store_cas::Digest;
use oci_store_oci::media_type::MANIFEST;
use oci_store_oci::{Condition, Descriptor, Error, Extent, REF_NAME, Store};
use serde_json::json;

use crate::common::{
    Bench, Random, assert_sound, export, files, import_with, incomplete, index_json, listed, listed_names, name, refs,
    unnamed,
};
use crate::images::Images;

const NAMES: [&str; 5] = ["a", "b/c:1", "d@sha256:0c", "e--f", "g.h"];

/// What should be there.
#[derive(Debug, Default)]
struct Model {
    refs: BTreeMap<String, (Descriptor, bool)>,
    pins: BTreeMap<Digest, Descriptor>,
    /// What was brought in and not collected.
    there: BTreeSet<Digest>,
    /// What of it is known to be about something.
    about: BTreeSet<Digest>,
}

impl Model {
    /// What a gc keeps: what refs and pins reach, and what is about that, and so on.
    fn kept(&self, images: &Images) -> BTreeSet<Digest> {
        let mut kept = BTreeSet::new();
        let targets = self.refs.values().map(|(target, _)| target).chain(self.pins.values());
        for target in targets {
            kept.extend(images.reach(target));
        }
        loop {
            let before = kept.len();
            for digest in &self.about {
                if images
                    .subject_of(digest)
                    .is_some_and(|subject| kept.contains(&subject) && self.there.contains(&subject))
                {
                    kept.extend(images.reach(&manifest(images, digest)));
                }
            }
            if kept.len() == before {
                return &kept & &self.there;
            }
        }
    }

    fn gc(&mut self, images: &Images) {
        self.there = self.kept(images);
        let there = &self.there;
        self.about.retain(|digest| there.contains(digest));
    }

    fn bring(&mut self, images: &Images, lacking: &Images, image: &Descriptor, referrers: bool) {
        let mut roots = vec![image.clone()];
        let mut seen = BTreeSet::new();
        while let Some(root) = roots.pop() {
            // Below what is missing nothing is found.
            for digest in lacking.reach(&root).into_iter().filter(|digest| lacking.blobs.contains_key(digest)) {
                if !seen.insert(digest.clone()) {
                    continue;
                }
                if images.subject_of(&digest).is_some() {
                    self.about.insert(digest.clone());
                }
                let about = lacking.blobs.keys().filter(|other| lacking.subject_of(other).as_ref() == Some(&digest));
                roots.extend(about.filter(|_| referrers).map(|other| manifest(images, other)));
                self.there.insert(digest);
            }
        }
    }
}

fn manifest(images: &Images, digest: &Digest) -> Descriptor {
    Descriptor::new(MANIFEST, digest.clone(), images.blobs[digest].len() as u64)
}

/// Nested indexes, shared layers, signatures of all of it.
fn graph(random: &mut Random) -> (Images, Vec<Descriptor>) {
    let mut images = Images::default();
    let layers: Vec<Descriptor> = (0..5).map(|n| images.layer(&format!("layer {n}"))).collect();
    let mut all: Vec<Descriptor> = Vec::new();
    for n in 0..8 {
        let some = |random: &mut Random, of: &[Descriptor]| -> Vec<Descriptor> {
            (0..1 + random.below(3)).map(|_| of[random.below(of.len())].clone()).collect()
        };
        let image = match random.below(4) {
            0 if n > 1 => images.index(&some(random, &all)),
            1 if n > 0 => images.about(&all[random.below(n)].clone(), &format!("about {n}")),
            _ => images.manifest(&format!("image {n}"), &some(random, &layers)),
        };
        all.push(image);
    }
    (images, all)
}

fn case(bench: &Bench, seed: u64) {
    let mut random = Random(seed);
    let (images, all) = graph(&mut random);
    let mut store = bench.open();
    // The first gc of a boot is always full.
    store.gc(Extent::Full, false).unwrap();
    let mut model = Model::default();
    let mut log = Vec::new();
    for _ in 0..25 {
        let step = step(bench, &mut store, &images, &all, &mut model, &mut random);
        log.push(step.clone());
        let context = || format!("seed {seed}, {}: {log:?}", bench.backend);
        let targets: BTreeMap<String, Digest> =
            model.refs.iter().map(|(name, (target, _))| (name.clone(), target.digest.clone())).collect();
        assert_eq!(refs(&store), targets, "{}", context());
        let pins: BTreeSet<Digest> = store.pins().unwrap().into_iter().map(|pin| pin.digest).collect();
        assert_eq!(pins, model.pins.keys().cloned().collect(), "{}", context());
        for found in store.refs("", None, usize::MAX).unwrap() {
            assert_eq!(found.incomplete, model.refs[found.name.as_str()].1, "{}", context());
        }
        assert_sound(&store);
        let named: BTreeSet<Digest> = listed_names(store.root()).into_values().collect();
        let mut without: BTreeSet<Digest> = &model.about - &named;
        without.extend(model.pins.keys().cloned());
        assert_eq!(unnamed(store.root()), without, "{}", context());
        let wanted = if step.starts_with("gc") { model.kept(&images) } else { model.there.clone() };
        assert_eq!(files(store.root()), wanted, "{}", context());
        assert_logged(&store, &context());
        if !seed.is_multiple_of(8) {
            continue;
        }
        let (kept, would) = (model.kept(&images), store.gc(Extent::Changed, true).unwrap());
        let garbage = store.stats().unwrap().garbage;
        assert_eq!((garbage.blobs, garbage.bytes), (would.blobs, would.bytes), "{}", context());
        for digest in &wanted {
            let why = store.why(&digest.to_string(), 1).unwrap();
            assert_eq!(!why.paths.is_empty(), kept.contains(digest), "{digest}, {}", context());
        }
    }
}

/// The last change of each ref says what it is now.
fn assert_logged(store: &Store, context: &str) {
    let log = store.log(None, usize::MAX).unwrap();
    for text in NAMES {
        let last = log.iter().find(|change| change.name == text || change.from.as_deref() == Some(text));
        let said = last.and_then(|change| change.new.clone().filter(|_| change.name == text));
        let found = store.get_ref(&name(text)).unwrap().map(|found| found.target.digest);
        assert_eq!(said, found, "{text}: {last:?}, {context}");
    }
}

fn step(
    bench: &Bench,
    store: &mut Store,
    images: &Images,
    all: &[Descriptor],
    model: &mut Model,
    random: &mut Random,
) -> String {
    let image = &all[random.below(all.len())];
    let (to, from) = (NAMES[random.below(5)], NAMES[random.below(5)]);
    match random.below(15) {
        0..=2 => {
            let mut source = images.clone();
            source.name(to, image);
            let allow = random.below(3) == 0;
            if allow {
                // Something that is missing, and is not the image itself.
                let reach: Vec<Digest> = images.reach(image).into_iter().filter(|d| *d != image.digest).collect();
                source.blobs.remove(&reach[random.below(reach.len())]);
            }
            let mut options = if allow { incomplete() } else { Default::default() };
            options.referrers = !allow && random.below(2) == 0;
            let imported = import_with(store, &source, to, &options).unwrap();
            // What the store has had need not come from the source.
            source.blobs.extend(
                images.blobs.iter().filter(|(d, _)| model.there.contains(*d)).map(|(d, b)| (d.clone(), b.clone())),
            );
            model.bring(images, &source, image, options.referrers);
            let lacks = images.reach(image).iter().any(|digest| !model.there.contains(digest));
            assert_eq!(imported.incomplete, lacks);
            model.refs.insert(to.to_owned(), (image.clone(), lacks));
            format!("import {to} {} {allow}", image.digest)
        }
        3 => {
            let lacks = images.reach(image).iter().any(|digest| !model.there.contains(digest));
            match store.tag(&image.digest.to_string(), &name(to), Condition::Any) {
                Ok(_) => {
                    assert!(!lacks);
                    model.refs.insert(to.to_owned(), (image.clone(), false));
                }
                Err(Error::Base(oci_store_base::Error::BlobNotFound(_))) => {
                    assert!(!model.there.contains(&image.digest))
                }
                Err(error) => assert!(lacks && matches!(error, Error::Incomplete(_)), "{error}"),
            }
            format!("tag {} {to}", image.digest)
        }
        4 => {
            let tagged = store.tag(from, &name(to), Condition::Any);
            assert_eq!(tagged.is_ok(), model.refs.contains_key(from));
            if let Some(old) = model.refs.get(from).cloned() {
                model.refs.insert(to.to_owned(), old);
            }
            format!("tag {from} {to}")
        }
        5 => {
            let renamed = store.rename_ref(&name(from), &name(to));
            let may = model.refs.contains_key(from) && (from == to || !model.refs.contains_key(to));
            assert_eq!(renamed.is_ok(), may);
            if may {
                let old = model.refs.remove(from).unwrap();
                model.refs.insert(to.to_owned(), old);
            }
            format!("rename {from} {to}")
        }
        6 | 7 => {
            assert_eq!(store.remove_ref(&name(to)).is_ok(), model.refs.remove(to).is_some());
            format!("remove {to}")
        }
        8 => {
            let lacks = images.reach(image).iter().any(|digest| !model.there.contains(digest));
            assert_eq!(store.pin(&image.digest.to_string()).is_ok(), !lacks);
            if !lacks {
                model.pins.insert(image.digest.clone(), image.clone());
            }
            format!("pin {}", image.digest)
        }
        9 => {
            let pinned = model.pins.remove(&image.digest).is_some();
            match store.unpin(&image.digest.to_string()) {
                Ok((_, was)) => assert_eq!(was, pinned),
                Err(_) => assert!(!pinned && !model.there.contains(&image.digest)),
            }
            format!("unpin {}", image.digest)
        }
        10 => {
            let extent = if random.below(2) == 0 { Extent::Full } else { Extent::Changed };
            let would = store.gc(extent, true).unwrap();
            assert_eq!(store.gc(extent, false).unwrap(), would);
            model.gc(images);
            format!("gc {extent:?}")
        }
        11 => {
            let out = tempfile::tempdir().unwrap();
            assert_eq!(export(store, from, out.path(), to).is_ok(), model.refs.contains_key(from));
            if let Some((target, _)) = model.refs.get(from) {
                assert_eq!(listed_names(out.path()), [(to.to_owned(), target.digest.clone())].into());
                let wanted = &images.reach(target) & &model.there;
                assert!(files(out.path()).is_superset(&wanted));
                assert!(files(out.path()).is_subset(&model.there));
            }
            format!("export {from} {to}")
        }
        12 => {
            *store = bench
                .options()
                .index(Some(store.base().index_name().unwrap().as_str()))
                .reindex(bench.root())
                .unwrap()
                .0;
            "reindex".to_owned()
        }
        13 => {
            let to = ["lmdb", "sqlite"][random.below(2)];
            store.base().convert(to).unwrap();
            format!("convert {to}")
        }
        _ => {
            // Another tool brings an image, and drops a name of ours, which is put back.
            if model.refs.get(to).is_some_and(|(old, _)| old.digest == image.digest) {
                return "nothing".to_owned();
            }
            let mut index = index_json(store.root());
            let entries = index["manifests"].as_array_mut().unwrap();
            entries.retain(|entry| entry["annotations"][REF_NAME] != from);
            let mut entry = image.clone();
            entry.set_annotation(REF_NAME, Some(to));
            if from != to {
                entries.retain(|entry| entry["annotations"][REF_NAME] != to);
            }
            entries.push(json!(entry));
            let mut brought = Images::default();
            for digest in images.reach(image) {
                brought.blobs.insert(digest.clone(), images.blobs[&digest].clone());
            }
            brought.write_blobs(store.root());
            fs::write(store.root().join("index.json"), index.to_string()).unwrap();
            store.refresh().unwrap();
            model.bring(images, images, image, false);
            model.refs.insert(to.to_owned(), (image.clone(), false));
            assert!(!listed(store.root()).is_empty());
            format!("foreign {to} {}", image.digest)
        }
    }
}

fn cases(backend: &'static str) {
    for seed in 0..48 {
        case(&Bench::new(backend), seed);
    }
}

#[test]
fn model_over_memory() {
    cases("memory");
}

#[test]
fn model_over_lmdb() {
    cases("lmdb");
}

#[test]
fn model_over_sqlite() {
    cases("sqlite");
}
