use oci_store_oci::{Extent, ImportOptions, Layout};

use crate::common::{
    Bench, assert_sound, benches, files, import, import_all, import_with, listed, name, names, refs, sweep, unnamed,
};
use crate::images::{Images, digest};

#[test]
fn what_is_shared_stays_until_nobody_needs_it() {
    for bench in benches() {
        for extent in [Extent::Changed, Extent::Full] {
            let store = bench.open();
            let mut images = Images::default();
            let shared = images.layer("shared");
            let own = images.layer("own");
            let a = images.manifest("a", &[shared.clone(), own]);
            let b = images.manifest("b", &[shared]);
            let nested = images.index(&[a, b.clone()]);
            images.name("nested", &nested);
            images.name("b", &b);
            import_all(&store, &images).unwrap();
            store.gc(extent, false).unwrap();
            assert_eq!(files(store.root()).len(), images.blobs.len());
            store.remove_ref(&name("nested")).unwrap();
            let would = store.gc(extent, true).unwrap();
            assert_eq!(files(store.root()).len(), images.blobs.len());
            assert_eq!(store.gc(extent, false).unwrap(), would);
            assert_eq!(would.blobs, 4, "index, a, its config, its own layer");
            assert_eq!(files(store.root()), images.reach(&b));
            assert_sound(&store);
            store.remove_ref(&name("b")).unwrap();
            store.gc(extent, false).unwrap();
            assert_eq!(files(store.root()).len(), 0);
        }
    }
}

#[test]
fn what_is_about_an_image_is_kept_with_it_and_goes_with_it() {
    for bench in benches() {
        for extent in [Extent::Changed, Extent::Full] {
            let store = bench.open();
            let mut images = Images::default();
            let (inner, outer) = (images.simple("inner"), images.simple("outer"));
            let image = images.index(&[inner.clone(), outer]);
            images.name("v1", &image);
            let signature = images.about(&inner, "signature");
            let signed = images.about(&signature, "signature of the signature");
            let sbom = images.about(&image, "sbom");
            let other = images.simple("other");
            images.name("other", &other);
            let elsewhere = images.about(&other, "about another");
            import_all(&store, &images).unwrap();
            assert_eq!(
                unnamed(store.root()),
                [&signature, &signed, &sbom, &elsewhere].map(|d| d.digest.clone()).into()
            );
            store.gc(extent, false).unwrap();
            assert_eq!(files(store.root()).len(), images.blobs.len());
            // By its other parent: the signature is about what is nested.
            store.remove_ref(&name("v1")).unwrap();
            store.pin(&inner.digest.to_string()).unwrap();
            store.gc(extent, false).unwrap();
            let wanted = [&inner, &signature, &signed, &other, &elsewhere];
            assert_eq!(files(store.root()), wanted.iter().flat_map(|d| images.reach(d)).collect());
            assert_eq!(
                unnamed(store.root()),
                [&inner, &signature, &signed, &elsewhere].map(|d| d.digest.clone()).into()
            );
            assert_sound(&store);
            store.unpin(&inner.digest.to_string()).unwrap();
            store.remove_ref(&name("other")).unwrap();
            store.gc(extent, false).unwrap();
            assert_eq!((files(store.root()).len(), listed(store.root())), (0, Vec::new()));
        }
    }
}

#[test]
fn without_referrers_none_come_along() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        images.about(&image, "signature");
        let options = ImportOptions { referrers: false, ..ImportOptions::default() };
        import_with(&store, &images, "v1", &options).unwrap();
        assert_eq!(files(store.root()), images.reach(&image));
        import(&store, &images, "v1").unwrap();
        assert_eq!(files(store.root()).len(), images.blobs.len());
    }
}

/// A signature comes in after its image, and by a name of its own.
#[test]
fn a_named_referrer_is_a_root_of_its_own() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        let signature = images.about(&image, "signature");
        images.name("signature", &signature);
        import(&store, &images, "signature").unwrap();
        assert_eq!(files(store.root()), images.reach(&signature));
        assert_eq!((unnamed(store.root()).len(), refs(&store).len()), (0, 1));
        import(&store, &images, "v1").unwrap();
        store.remove_ref(&name("signature")).unwrap();
        sweep(&store);
        assert_eq!(unnamed(store.root()), [signature.digest.clone()].into());
        store.tag(&signature.digest.to_string(), &name("again"), oci_store_oci::Condition::Any).unwrap();
        store.remove_ref(&name("v1")).unwrap();
        sweep(&store);
        assert_eq!(files(store.root()), images.reach(&signature));
        assert_sound(&store);
    }
}

/// Layouts list what is about an image without a name, or in an index under a tag made of the digest.
#[test]
fn referrers_in_layouts() {
    let mut images = Images::default();
    let (inner, other) = (images.simple("inner"), images.simple("other"));
    let image = images.index(&[inner.clone(), other]);
    images.name("v1", &image);
    let listed = images.about(&inner, "listed");
    images.list(&listed);
    let tagged = images.about(&listed, "tagged");
    let fallback = images.index(std::slice::from_ref(&tagged));
    images.name(&listed.digest.to_string().replace(':', "-"), &fallback);
    let bad = images.blob(oci_store_oci::media_type::MANIFEST, b"{");
    images.list(&bad);
    for bench in benches() {
        let store = bench.open();
        let folder = bench.beside("layout");
        images.write(&folder);
        import(&store, &Layout::open(&folder).unwrap(), "v1").unwrap();
        let wanted = [&image, &listed, &tagged];
        assert_eq!(files(store.root()), wanted.iter().flat_map(|d| images.reach(d)).collect());
        assert_eq!(unnamed(store.root()), [listed.digest.clone(), tagged.digest.clone()].into());
        sweep(&store);
        assert_eq!(files(store.root()), wanted.iter().flat_map(|d| images.reach(d)).collect());
        assert_sound(&store);
    }
}

#[test]
fn a_gc_that_came_half_way_is_completed() {
    for bench in benches() {
        let store = bench.open();
        sweep(&store);
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        images.about(&image, "signature");
        let kept = images.simple("kept");
        images.name("kept", &kept);
        import_all(&store, &images).unwrap();
        store.remove_ref(&name("v1")).unwrap();
        // Rows are gone, and the process with them.
        store.base().collect(&["ref", "pin"], Extent::Changed, false).unwrap();
        assert_eq!(unnamed(store.root()).len(), 1, "still listed");
        store.gc(Extent::Changed, false).unwrap();
        assert_eq!(unnamed(store.root()).len(), 0);
        assert_eq!(files(store.root()), images.reach(&kept));
        assert_sound(&store);
    }
}

/// What a gc has taken the row of, and an import has brought in again before its file went.
#[test]
fn what_comes_back_before_its_file_went_stays() {
    for bench in benches() {
        let store = bench.open();
        sweep(&store);
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        store.remove_ref(&name("v1")).unwrap();
        store.base().collect(&["ref", "pin"], Extent::Changed, false).unwrap();
        import(&store, &images, "v1").unwrap();
        store.gc(Extent::Changed, false).unwrap();
        assert_eq!(files(store.root()), images.reach(&image));
        assert_sound(&store);
    }
}

#[test]
fn files_that_nobody_knows() {
    let bench = Bench::new("memory");
    let store = bench.open();
    let mut images = Images::default();
    let image = images.simple("image");
    images.name("v1", &image);
    import(&store, &images, "v1").unwrap();
    store.gc(Extent::Changed, false).unwrap();
    let stray = digest(b"stray");
    std::fs::write(crate::common::path_of(store.root(), &stray), "stray").unwrap();
    store.gc(Extent::Changed, false).unwrap();
    assert!(files(store.root()).contains(&stray));
    assert_eq!(store.gc(Extent::Full, true).unwrap().blobs, 1);
    store.gc(Extent::Full, false).unwrap();
    assert_eq!(files(store.root()), images.reach(&image));
    assert_eq!(names(&store.base().own_folder().join("leases")), Vec::<String>::new());
}

/// Whoever takes a referrer and comes no further leaves it to the next gc to say so outside, also if that finds nothing else
/// to do, and even the file gone.
#[test]
fn what_is_gone_is_shown_by_the_next_gc() {
    for bench in benches() {
        for extent in [Extent::Changed, Extent::Full] {
            let store = bench.open();
            let mut images = Images::default();
            let image = images.simple(&format!("{extent:?}"));
            images.about(&image, "signature");
            images.name("v1", &image);
            import(&store, &images, "v1").unwrap();
            assert_eq!(unnamed(store.root()).len(), 1);
            store.remove_ref(&name("v1")).unwrap();
            store.base().collect(&["ref", "pin"], extent, false).unwrap();
            store.base().unlink_pending().unwrap();
            assert_eq!((files(store.root()).len(), unnamed(store.root()).len()), (0, 1));
            assert_eq!(store.gc(extent, false).unwrap().blobs, 0);
            assert_eq!(unnamed(store.root()).len(), 0, "{}", bench.backend);
        }
    }
}
