use oci_store_base as base;
use oci_store_oci::{Condition, Error, Extent};

use crate::common::{
    assert_sound, benches, failure, files, import, import_all, listed, listed_names, name, refs, seen, sweep, unnamed,
};
use crate::images::Images;

/// Of two who have read the same, one sets it.
#[test]
fn a_ref_is_set_if_nobody_has_set_it_meanwhile() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        for text in ["a", "b"] {
            let image = images.simple(text);
            images.name(text, &image);
        }
        import_all(&store, &images).unwrap();
        let read = store.get_ref(&name("b")).unwrap().unwrap().version;
        store.tag("a", &name("b"), Condition::Version(read)).unwrap();
        for target in ["a", "b"] {
            let late = store.tag(target, &name("b"), Condition::Version(read));
            assert!(matches!(late, Err(Error::RefConflict(_))));
        }
        let now = store.get_ref(&name("b")).unwrap().unwrap().version;
        store.remove_ref(&name("b")).unwrap();
        assert!(matches!(store.tag("a", &name("b"), Condition::Version(now)), Err(Error::RefConflict(_))));
        assert_sound(&store);
    }
}

#[test]
fn tags_renames_and_removals() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (a, b) = (images.simple("a"), images.simple("b"));
        images.name("a", &a);
        images.name("b", &b);
        import_all(&store, &images).unwrap();
        let hex = a.digest.encoded();
        for (n, target) in
            ["a", &a.digest.to_string(), &hex, &hex[..12], &format!("sha256:{}", &hex[..12])].iter().enumerate()
        {
            let tagged = store.tag(target, &name(&format!("t{n}")), Condition::Absent).unwrap();
            assert_eq!(tagged, a, "{target}");
            assert_sound(&store);
        }
        let before = seen(&store);
        assert!(matches!(store.tag("a", &name("b"), Condition::Absent), Err(Error::RefConflict(_))));
        assert!(matches!(store.tag("absent", &name("c"), Condition::Any), Err(Error::RefNotFound(_))));
        assert!(matches!(store.rename_ref(&name("a"), &name("b")), Err(Error::RefConflict(_))));
        assert!(matches!(store.rename_ref(&name("x"), &name("y")), Err(Error::RefNotFound(_))));
        assert!(matches!(store.remove_ref(&name("x")), Err(Error::RefNotFound(_))));
        failure(store.find("\u{1b}[31m"));
        failure(store.find(""));
        store.rename_ref(&name("a"), &name("a")).unwrap();
        assert_eq!(seen(&store), before);
        assert!(matches!(store.find("zz"), Err(Error::RefNotFound(_))));
        store.tag("a", &name("b"), Condition::Any).unwrap();
        store.rename_ref(&name("b"), &name("c")).unwrap();
        let removed = store.remove_ref(&name("a")).unwrap();
        assert_eq!((removed.name.as_str(), removed.target), ("a", a.clone()));
        assert_sound(&store);
        assert!(!refs(&store).contains_key("a") && refs(&store)["c"] == a.digest);
        // Blobs are the gc's.
        assert_eq!(files(store.root()), images.blobs.keys().cloned().collect());
        sweep(&store);
        assert_eq!(files(store.root()), images.reach(&a));
        // All of it is there for the next one that opens it.
        assert_eq!(refs(&bench.open()), refs(&store));
    }
}

#[test]
fn refs_come_in_pages_in_order() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("a");
        for n in 0..25 {
            images.name(&format!("a/{n:02}"), &image);
        }
        images.name(&format!("a/{}", "x".repeat(600)), &image);
        images.name("b", &image);
        import_all(&store, &images).unwrap();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.refs("a/", after.as_ref(), 10).unwrap();
            all.extend(page.iter().map(|found| found.name.clone()));
            after = all.last().cloned();
            if page.len() < 10 {
                break;
            }
        }
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!((all.len(), &all), (26, &sorted));
        assert_sound(&store);
    }
}

#[test]
fn pins_keep_without_a_name() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (a, b) = (images.simple("a"), images.simple("b"));
        let image = images.index(&[a.clone(), b]);
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        assert_eq!(store.pin(&a.digest.to_string()).unwrap(), (a.digest.clone(), true));
        assert_eq!(store.pin(&a.digest.encoded()[..10]).unwrap(), (a.digest.clone(), false));
        assert!(matches!(store.pin("absent"), Err(Error::RefNotFound(_))));
        assert!(matches!(store.unpin("absent"), Err(Error::RefNotFound(_))));
        assert_eq!(store.pins().unwrap(), std::slice::from_ref(&a));
        assert_sound(&store);
        store.remove_ref(&name("v1")).unwrap();
        store.gc(Extent::Changed, false).unwrap();
        assert_eq!(files(store.root()), images.reach(&a));
        assert_eq!(unnamed(store.root()), [a.digest.clone()].into());
        assert_eq!(store.unpin(&a.digest.to_string()).unwrap(), (a.digest.clone(), true));
        assert_eq!(store.unpin(&a.digest.to_string()).unwrap(), (a.digest.clone(), false));
        store.gc(Extent::Changed, false).unwrap();
        assert_eq!((files(store.root()).len(), listed(store.root())), (0, Vec::new()));
    }
}

#[test]
fn a_digest_of_two_blobs_is_ambiguous() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let layers: Vec<_> = (0..600).map(|n| images.layer(&n.to_string())).collect();
        let image = images.manifest("many", &layers);
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        let mut starts: Vec<String> = layers.iter().map(|layer| layer.digest.encoded()[..2].to_owned()).collect();
        starts.sort();
        let twice =
            starts.windows(2).find(|pair| pair[0] == pair[1] && pair[0].parse::<u8>().is_ok()).unwrap()[0].clone();
        for result in [
            store.find(&twice).map(drop),
            store.tag(&twice, &name("x"), Condition::Any).map(drop),
            store.pin(&twice).map(drop),
        ] {
            assert!(matches!(result, Err(Error::Base(base::Error::Ambiguous { .. }))), "{result:?}");
        }
        // A ref of that name comes first.
        store.tag("v1", &name(&twice), Condition::Any).unwrap();
        assert_eq!(store.find(&twice).unwrap(), image);
        assert_eq!(listed_names(store.root()).len(), 2);
    }
}

#[test]
fn a_whole_digest_means_the_blob_whatever_a_ref_is_called() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let (a, b) = (images.simple("a"), images.simple("b"));
        images.name("a", &a);
        images.name(&a.digest.to_string(), &b);
        import_all(&store, &images).unwrap();
        assert_eq!(store.find(&a.digest.to_string()).unwrap().digest, a.digest, "{}", bench.backend);
        store.remove_ref(&name("a")).unwrap();
        sweep(&store);
        // There is no such blob any more: then it is a name like any other.
        assert_eq!(store.find(&a.digest.to_string()).unwrap().digest, b.digest, "{}", bench.backend);
    }
}
