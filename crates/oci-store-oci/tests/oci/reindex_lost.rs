//! Building the index anew where documents are damaged or gone.

use std::fs;
use std::os::unix::fs::symlink;

use oci_store_cas::Digest;
use oci_store_oci::{Descriptor, Extent, Source, Store};
use serde_json::json;

use crate::common::{
    Bench, assert_sound, benches, files, import, import_all, index_json, name, overwrite, path_of, refs, sweep, unnamed,
};
use crate::images::{Images, digest};
use crate::reindex::lost;

/// An image for two platforms, in an index in an index.
fn images() -> (Images, Descriptor, Descriptor) {
    let mut images = Images::default();
    let (a, b) = (images.simple("a"), images.simple("b"));
    let both = images.index(&[a.clone(), b]);
    let root = images.index(&[both]);
    images.name("v1", &root);
    (images, root, a)
}

type Harm = fn(&Bench, &Digest);

const HARMS: [Harm; 4] = [
    |bench, digest| {
        let mut bytes = fs::read(path_of(&bench.root(), digest)).unwrap();
        bytes[20] ^= 1;
        overwrite(&bench.root(), digest, &bytes);
    },
    |bench, digest| overwrite(&bench.root(), digest, b"{"),
    |bench, digest| fs::remove_file(path_of(&bench.root(), digest)).unwrap(),
    |bench, digest| {
        fs::remove_file(path_of(&bench.root(), digest)).unwrap();
        symlink("elsewhere", path_of(&bench.root(), digest)).unwrap();
    },
];

/// A repair mends all that is wrong, and a gc takes nothing then.
#[track_caller]
fn assert_mended(store: &Store, images: &Images) {
    let repaired = store.repair(&[], vec![Source::InPlace(Box::new(images))], &()).unwrap();
    assert_eq!(repaired.checked.problems, []);
    sweep(store);
    assert!(images.blobs.keys().all(|digest| files(store.root()).contains(digest)));
    assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
    assert_sound(store);
}

#[test]
fn what_a_lost_document_lists_is_known_by_the_index_before() {
    for (number, harm) in HARMS.iter().enumerate().take(3) {
        for is_root in [true, false] {
            for bench in benches() {
                let case = format!("{} {number} {is_root}", bench.backend);
                let store = bench.open();
                let (images, root, child) = images();
                import(&store, &images, "v1").unwrap();
                drop(store);
                let harmed = if is_root { &root.digest } else { &child.digest };
                harm(&bench, harmed);
                let there = files(&bench.root());
                let (store, report) = bench.options().reindex(bench.root()).unwrap();
                assert_eq!((report.refs, report.skipped.len(), report.lacking.len()), (1, 0, 1), "{case}");
                assert!(report.lacking[0].1.contains(&harmed.encoded()), "{case}");
                // Once more: the row that stands for it is as good as the one before.
                drop(store);
                let (store, report) = bench.options().reindex(bench.root()).unwrap();
                assert_eq!((report.refs, report.lacking.len(), report.lost), (1, 1, None), "{case}");
                store.gc(Extent::Changed, false).unwrap();
                assert_eq!(files(store.root()), there, "{case}");
                let problems = store.check(&[], false, &()).unwrap().problems;
                assert_eq!((problems.len(), &problems[0].blob.digest), (1, harmed), "{case}: {problems:?}");
                assert_mended(&store, &images);
                // And it goes as any image does.
                harm(&bench, harmed);
                let (store, _) = bench.options().reindex(bench.root()).unwrap();
                store.remove_ref(&name("v1")).unwrap();
                sweep(&store);
                let left: Vec<Digest> = files(store.root()).into_iter().filter(|file| file != harmed).collect();
                assert_eq!(left, [], "{case}");
                assert!(store.base().view(|view| view.blob(harmed)).unwrap().is_none(), "{case}");
            }
        }
    }
}

#[test]
fn what_else_an_image_has_is_kept_without_the_index_before() {
    for (number, harm) in HARMS.iter().enumerate() {
        for is_root in [true, false] {
            for bench in benches() {
                let case = format!("{} {number} {is_root}", bench.backend);
                let store = bench.open();
                let (images, root, child) = images();
                import(&store, &images, "v1").unwrap();
                drop(store);
                let harmed = if is_root { &root.digest } else { &child.digest };
                harm(&bench, harmed);
                let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
                assert_eq!((report.refs, report.skipped.len(), report.lacking.len()), (1, 0, 1), "{case}");
                store.gc(Extent::Changed, false).unwrap();
                assert_eq!(files(store.root()).contains(&digest(b"b")), !is_root, "{case}: the other platform");
                assert_mended(&store, &images);
            }
        }
    }
}

/// A list of ours says what was whole. What another tool lists may never have been there.
#[test]
fn what_another_tool_lists_and_is_lost_is_not_taken() {
    for harm in HARMS {
        for bench in benches() {
            let store = bench.open();
            let mut images = Images::default();
            let [gone, half, _] = ["gone", "half", "there"].map(|text| {
                let image = images.simple(text);
                let index = images.index(std::slice::from_ref(&image));
                images.name(text, &index);
                (index.digest, image.digest)
            });
            import_all(&store, &images).unwrap();
            drop(store);
            let mut index = index_json(&bench.root());
            index["manifests"][0]["annotations"]["another"] = json!("tool");
            fs::write(bench.index_json(), index.to_string()).unwrap();
            harm(&bench, &gone.0);
            harm(&bench, &half.1);
            let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
            let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!((names(&report.skipped), names(&report.lacking)), (vec!["gone".into()], vec!["half".into()]));
            assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["half", "there"], "{}", bench.backend);
            assert!(store.base().view(|view| view.blob(&gone.0)).unwrap().is_none_or(|blob| blob.damaged));
        }
    }
}

#[test]
fn a_lost_signature_stays_one_and_keeps_what_it_has() {
    for harm in HARMS {
        for bench in benches() {
            let store = bench.open();
            let (mut images, _, a) = images();
            let signature = images.about(&a, "signature");
            import(&store, &images, "v1").unwrap();
            drop(store);
            harm(&bench, &signature.digest);
            let there = files(&bench.root());
            let (store, report) = bench.options().reindex(bench.root()).unwrap();
            assert_eq!((report.refs, report.lacking.len(), report.skipped.len()), (1, 1, 0), "{}", bench.backend);
            sweep(&store);
            assert_eq!(files(store.root()), there, "{}", bench.backend);
            assert_eq!(store.pins().unwrap(), []);
            assert!(unnamed(store.root()).contains(&signature.digest));
            assert_mended(&store, &images);
        }
    }
}
