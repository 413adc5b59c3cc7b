//! Threads and processes that do everything at once, and are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oci_store_cas::Digest;
use oci_store_oci::{Condition, Descriptor, Extent, Store};

use crate::child::{Here, Process, say};
use crate::common::{
    Random, assert_sound, benches, disk_benches, export, files, import, name, names, refs, sweep, walk_files,
};
use crate::images::Images;

type Refs = BTreeMap<String, Digest>;

/// Images of which all share something with others.
fn catalogue() -> (Images, Vec<Descriptor>) {
    let mut images = Images::default();
    let shared: Vec<Descriptor> = (0..3).map(|n| images.layer(&format!("shared {n}"))).collect();
    let mut all: Vec<Descriptor> = Vec::new();
    for n in 0..12 {
        let own = images.layer(&"own ".repeat(n * 200 + 1));
        let image = images.manifest(&format!("image {n}"), &[shared[n % 3].clone(), own]);
        if n % 4 == 0 {
            images.about(&image, &format!("about {n}"));
        }
        let image = if n % 3 == 2 { images.index(&[all[n - 1].clone(), image]) } else { image };
        all.push(images.name(&format!("i{n}"), &image));
    }
    (images, all)
}

/// Does `rounds` things, with names of its own; returns the refs that it has made. Without a store it only says
/// which those would be.
fn work(store: Option<&Store>, who: u64, rounds: usize) -> Refs {
    let (images, all) = catalogue();
    let mut random = Random(who);
    let mut mine = Refs::new();
    let out = tempfile::tempdir().unwrap();
    for _ in 0..rounds {
        let n = random.below(all.len());
        let own = format!("w{who}/{}", random.below(4));
        let other = format!("w{who}/{}", random.below(4));
        match random.below(10) {
            0..=3 => {
                if let Some(store) = store {
                    let selection =
                        oci_store_oci::Selection::One { source: Some(&format!("i{n}")), name: Some(&name(&own)) };
                    store.import(&images, &selection, &Default::default(), &()).unwrap();
                }
                mine.insert(own, all[n].digest.clone());
            }
            4 if mine.contains_key(&own) => {
                if let Some(store) = store {
                    store.tag(&own, &name(&other), Condition::Any).unwrap();
                }
                mine.insert(other, mine[&own].clone());
            }
            5 | 6 if mine.contains_key(&own) => {
                if let Some(store) = store {
                    store.remove_ref(&name(&own)).unwrap();
                }
                mine.remove(&own);
            }
            7 if mine.contains_key(&own) && !mine.contains_key(&other) => {
                if let Some(store) = store {
                    store.rename_ref(&name(&own), &name(&other)).unwrap();
                }
                let digest = mine.remove(&own).unwrap();
                mine.insert(other, digest);
            }
            8 if mine.contains_key(&own) => {
                if let Some(store) = store {
                    export(store, &own, out.path(), "v1").unwrap();
                    let listed = crate::common::listed(out.path());
                    assert!(listed.iter().all(|entry| walk_files(out.path(), entry).1.is_empty()));
                    let checked = store.check(&[name(&own)], true, &()).unwrap();
                    assert_eq!(checked.problems, []);
                }
            }
            9 => {
                if let Some(store) = store {
                    store.gc(if n == 0 { Extent::Full } else { Extent::Changed }, false).unwrap();
                }
            }
            _ => {}
        }
    }
    mine
}

/// All that was acknowledged is there, and after a gc nothing else.
#[track_caller]
fn assert_ends_as(store: &Store, wanted: &Refs) {
    assert_eq!(refs(store), *wanted);
    assert_sound(store);
    sweep(store);
    assert_sound(store);
    let (images, all) = catalogue();
    let mut reached = BTreeSet::new();
    for image in all.iter().filter(|image| wanted.values().any(|digest| *digest == image.digest)) {
        reached.extend(images.reach(image));
    }
    for (digest, bytes) in &images.blobs {
        if images.subject_of(digest).is_some_and(|subject| reached.contains(&subject)) {
            reached.extend(images.reach(&Descriptor::new(
                oci_store_oci::media_type::MANIFEST,
                digest.clone(),
                bytes.len() as u64,
            )));
        }
    }
    assert_eq!(files(store.root()), reached);
    assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
    let own = store.base().own_folder();
    assert_eq!((names(&own.join("leases")), names(&own.join("ingest"))), (Vec::new(), Vec::new()));
    assert!(!own.join("index.json.new").exists());
}

#[test]
fn threads_at_once() {
    for bench in benches() {
        let shared = bench.open();
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|who| {
                    // Half of them share a handle.
                    let store = if who % 2 == 0 { shared.clone() } else { bench.open() };
                    scope.spawn(move || work(Some(&store), who, 25))
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Refs>()
        });
        assert_eq!(made, (0..8).flat_map(|who| work(None, who, 25)).collect::<Refs>());
        assert_ends_as(&shared, &made);
    }
}

pub(crate) fn child_work(here: &Here) {
    work(Some(&here.open()), here.number, 30);
}

#[test]
fn processes_at_once() {
    for bench in disk_benches() {
        let processes: Vec<_> = (100..104).map(|who| Process::start(&bench, "work", who)).collect();
        let store = bench.open();
        for _ in 0..10 {
            sweep(&store);
        }
        processes.into_iter().for_each(Process::join);
        assert_ends_as(&store, &(100..104).flat_map(|who| work(None, who, 30)).collect::<Refs>());
    }
}

pub(crate) fn child_add(here: &Here) {
    here.open().tag("i0", &name(&format!("added/{}", here.number)), Condition::Absent).unwrap();
}

#[test]
fn twenty_processes_add_a_ref_each() {
    for bench in disk_benches() {
        let store = bench.open();
        import(&store, &catalogue().0, "i0").unwrap();
        let processes: Vec<_> = (0..20).map(|n| Process::start(&bench, "add", n)).collect();
        processes.into_iter().for_each(Process::join);
        let image = refs(&store)["i0"].clone();
        let mut wanted: Refs = (0..20).map(|n| (format!("added/{n}"), image.clone())).collect();
        wanted.insert("i0".to_owned(), image);
        assert_ends_as(&store, &wanted);
    }
}

/// Imports, tells that it did, and removes, until it is killed.
pub(crate) fn child_import(here: &Here) {
    let store = here.open();
    let (images, all) = catalogue();
    let mut random = Random(here.number);
    say("begin");
    loop {
        let n = random.below(all.len());
        import(&store, &images, &format!("i{n}")).unwrap();
        say(&format!("i{n}"));
        if random.below(3) == 0 {
            store.gc(Extent::Changed, false).unwrap();
        }
    }
}

#[test]
fn killed_at_any_moment() {
    let (_, all) = catalogue();
    for bench in disk_benches() {
        let store = bench.open();
        let mut random = Random(7);
        let mut told = 0;
        for round in 0..10 {
            let mut child = Process::start(&bench, "import", round);
            assert_eq!(child.hear().as_deref(), Some("begin"));
            // Once at the least something was told, however slow the machine is.
            let mut said: Vec<String> = (round == 0).then(|| child.hear().unwrap()).into_iter().collect();
            std::thread::sleep(Duration::from_micros(random.next() % 60_000));
            said.extend(child.kill());
            told += said.len();
            // By another handle, too: as a program that begins anew.
            let store = if round % 2 == 0 { store.clone() } else { bench.open() };
            // A commit in whose middle it was killed is seen from the next writer on: LMDB publishes it then.
            store.base().update(|_| Ok::<_, oci_store_base::Error>(())).unwrap();
            let found = refs(&store);
            assert!(said.iter().all(|name| found.contains_key(name)), "{said:?} in {found:?}");
            store.refresh().unwrap();
            let wanted: Refs = found
                .keys()
                .map(|name| (name.clone(), all[name[1..].parse::<usize>().unwrap()].digest.clone()))
                .collect();
            if round % 3 != 2 {
                // A plain one is enough.
                store.gc(Extent::Changed, false).unwrap();
                let own = store.base().own_folder();
                assert_eq!((names(&own.join("leases")), names(&own.join("ingest"))), (Vec::new(), Vec::new()));
                let before = files(store.root());
                sweep(&store);
                assert_eq!(files(store.root()), before, "a plain gc left something");
            }
            assert_ends_as(&store, &wanted);
            for name in found.keys().filter(|_| round % 2 == 0) {
                store.remove_ref(&name.parse().unwrap()).unwrap();
            }
        }
        assert!(told > 0);
    }
}
