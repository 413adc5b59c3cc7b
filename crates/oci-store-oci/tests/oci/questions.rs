//! What the store says of itself, against what is done to it.

use oci_store_oci::questions::{Amount, Holder};
use oci_store_oci::{Condition, Extent, RefName};

use crate::common::{Bench, Random, benches, files, import_all, name, path_of, sweep};
use crate::images::Images;

/// Images over a few layers, indexes over images, signatures of them, and tags twice.
fn images(random: &mut Random) -> Images {
    let mut images = Images::default();
    let layers: Vec<_> = (0..6).map(|n| images.layer(&"layer ".repeat(n + 1))).collect();
    let mut all = Vec::new();
    for n in 0..10 {
        let mut pick = |of: &[oci_store_oci::Descriptor]| -> Vec<_> {
            (0..1 + random.below(3)).map(|_| of[random.below(of.len())].clone()).collect()
        };
        let image = match n % 4 {
            3 => images.index(&pick(&all)),
            2 => images.about(&pick(&all)[0].clone(), &format!("about {n}")),
            _ => images.manifest(&format!("image {n}"), &pick(&layers)),
        };
        if n % 4 != 2 || n == 6 {
            images.name(&format!("i{n}"), &image);
            if n == 4 {
                images.name("twice", &image);
            }
        }
        all.push(image);
    }
    images
}

fn amount(bench: &Bench, digests: impl IntoIterator<Item = oci_store_cas::Digest>) -> Amount {
    let mut amount = Amount::default();
    for digest in digests {
        amount += std::fs::metadata(path_of(&bench.root(), &digest)).unwrap().len();
    }
    amount
}

#[test]
fn what_is_said_to_be_freed_is_freed() {
    for backend in ["memory", "lmdb"] {
        for seed in 0..4 {
            let mut random = Random(seed);
            let bench = Bench::new(backend);
            let store = bench.open();
            import_all(&store, &images(&mut random)).unwrap();
            sweep(&store);
            if seed % 3 == 0 {
                store.pin("i0").unwrap();
            }
            let all = store.usage(&[], true).unwrap();
            let refs: Vec<RefName> = all.images.iter().map(|image| name(&image.name)).collect();
            assert!(refs.is_sorted());
            assert_eq!(all.total, amount(&bench, files(&bench.root())), "everything is some image's");
            let shared: u64 = all.shares.iter().map(|share| share.bytes).sum();
            assert_eq!(shared, all.total.bytes);
            let chosen: Vec<RefName> = refs.iter().filter(|_| random.below(3) == 0).cloned().collect();
            let alone = &refs[random.below(refs.len())];
            let unique = all.images.iter().find(|image| image.name == alone.as_str()).unwrap().unique;
            assert_eq!(store.usage(std::slice::from_ref(alone), false).unwrap().freed, unique, "seed {seed}");

            for removed in [vec![alone.clone()], chosen, refs.clone()] {
                let mut there = removed;
                there.retain(|name| store.get_ref(name).unwrap().is_some());
                if there.is_empty() {
                    continue;
                }
                let usage = store.usage(&there, false).unwrap();
                assert_eq!(usage.images.len(), there.len());
                let before = files(&bench.root());
                store.remove_refs(&there).unwrap();
                store.gc(Extent::Changed, false).unwrap();
                let gone = &before - &files(&bench.root());
                assert_eq!(usage.freed.blobs, gone.len() as u64, "seed {seed}: {there:?}");
                assert!(usage.freed.bytes <= usage.total.bytes);
                assert_eq!(usage.freed.without(usage.freed), Amount::default());
            }
        }
    }
}

#[test]
fn leases_are_seen_and_not_taken() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("one");
        images.name("one", &image);
        import_all(&store, &images).unwrap();
        sweep(&store);
        let lease = store.base().lease("looking").unwrap();
        lease.name(std::slice::from_ref(&image.digest)).unwrap();
        store.remove_ref(&name("one")).unwrap();
        let why = store.why(&image.digest.to_string(), 9).unwrap();
        let [path] = why.paths.as_slice() else { panic!("{why:?}") };
        let Holder::Lease(found) = &path.holder else { panic!("{path:?}") };
        assert_eq!((found.purpose(), found.pid(), found.live), ("looking", Some(std::process::id()), true));
        assert_eq!(store.stats().unwrap().garbage, Amount::default());
        assert_eq!(store.gc(Extent::Changed, false).unwrap().blobs, 0);
        drop(lease);
        assert_eq!(store.base().look_at_leases().unwrap(), []);
        assert!(store.why(&image.digest.to_string(), 9).unwrap().paths.is_empty());
        assert_eq!(store.stats().unwrap().garbage.blobs, 3);
    }
}

#[test]
fn a_gc_forgets_changes_of_long_ago() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("one");
        images.name("one", &image);
        import_all(&store, &images).unwrap();
        store.tag("one", &name("two"), Condition::Any).unwrap();
        let later = |generations: u64| {
            store
                .base()
                .update(|txn| {
                    let generation = txn.view().number("refs")?;
                    txn.set_number("refs", generation + generations)
                })
                .unwrap();
        };
        later(10_500);
        store.gc(Extent::Changed, false).unwrap();
        assert_eq!(store.log(None, 9).unwrap().len(), 2, "nothing is begun for so little");
        store.tag("one", &name("three"), Condition::Any).unwrap();
        later(600);
        assert_eq!(store.gc(Extent::Changed, true).unwrap().blobs, 0);
        assert_eq!(store.log(None, 9).unwrap().len(), 3, "a dry run changes nothing");
        store.gc(Extent::Changed, false).unwrap();
        let log = store.log(None, 9).unwrap();
        assert_eq!(log.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["three"]);
        assert!(store.get_ref(&name("one")).unwrap().is_some());
    }
}
