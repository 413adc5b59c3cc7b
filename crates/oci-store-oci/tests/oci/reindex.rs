use std::collections::BTreeMap;
use std::fs;

use oci_store_base::{Condition, Edges, Extent, Space};
use oci_store_cas::Digest;
use oci_store_index::memory::MemoryBackend;
use oci_store_oci::{Error, OpenOptions, Ref, Store};
use serde_json::json;

use crate::common::{
    Bench, assert_sound, backends, benches, disk_benches, failure, files, import, import_all, import_with, incomplete,
    listed, name, overwrite, refs, sweep, unnamed,
};
use crate::images::{Images, digest, with};

/// Refs, pins, untagged referrers, nested and incomplete images.
fn filled(bench: &Bench) -> (Store, Images) {
    let store = bench.open();
    let mut images = Images::default();
    let (a, b, c) = (images.simple("a"), images.simple("b"), images.simple("c"));
    let image = images.index(&[a.clone(), b]);
    images.name("v1", &with(image, "artifactType", json!("x")));
    let signature = images.about(&a, "signature");
    images.about(&signature, "of the signature");
    images.name("pinned", &c);
    let lacking = images.simple("lacking");
    images.name("lacking", &lacking);
    images.blobs.remove(&digest(b"lacking"));
    import(&store, &images, "v1").unwrap();
    import(&store, &images, "pinned").unwrap();
    import_with(&store, &images, "lacking", &incomplete()).unwrap();
    store.pin("pinned").unwrap();
    store.remove_ref(&name("pinned")).unwrap();
    sweep(&store);
    let set = store.base().update(|txn| txn.set_data(Space::User, "k", "key", b"value", None, Condition::Any));
    set.unwrap();
    (store, images)
}

/// The same folder, without its index.
pub(crate) fn lost(bench: &Bench) -> OpenOptions {
    if bench.backend == "memory" {
        return OpenOptions::new(backends("memory", &MemoryBackend::default()));
    }
    fs::remove_dir_all(bench.root().join(".oci-store/index")).unwrap();
    bench.options()
}

type Known = (
    Vec<(String, Digest, bool)>,
    Vec<Digest>,
    BTreeMap<Digest, (String, Option<Edges>)>,
    Vec<oci_store_oci::Descriptor>,
);

fn known(store: &Store) -> Known {
    let refs = store.refs("", None, usize::MAX).unwrap().into_iter();
    let refs = refs.map(|Ref { name, target, incomplete, .. }| (name.to_string(), target.digest, incomplete));
    let rows = store.base().view(|view| {
        let blobs = view.blobs(&Default::default(), None, usize::MAX)?.into_iter();
        let rows = blobs.map(|blob| {
            let mut edges = view.edges(&blob.digest)?;
            edges.iter_mut().for_each(|edges| edges.edges.sort());
            Ok((blob.digest, (blob.media_type, edges)))
        });
        rows.collect::<oci_store_base::Result<_>>()
    });
    let pins = store.pins().unwrap().into_iter().map(|pin| pin.digest);
    (refs.collect(), pins.collect(), rows.unwrap(), listed(store.root()))
}

fn value(store: &Store) -> Option<Vec<u8>> {
    store.base().view(|view| view.data(Space::User, "k", "key")).unwrap().map(|data| data.value)
}

#[test]
fn everything_is_found_again() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        let before = known(&store);
        drop(store);
        // From the index before, then from the folder alone.
        let (store, report) = bench.options().reindex(bench.root()).unwrap();
        assert_eq!((report.refs, report.blobs, report.lost.is_some()), (2, before.2.len() as u64, false));
        assert_eq!((report.skipped.len(), value(&store)), (0, Some(b"value".to_vec())));
        assert_eq!(known(&store), before);
        assert_eq!(known(&bench.open()), before);
        drop(store);
        let options = lost(&bench);
        assert!(matches!(
            options.clone().open(bench.root()),
            Err(Error::Base(oci_store_base::Error::IndexLost { .. }))
        ));
        let (store, report) = options.reindex(bench.root()).unwrap();
        assert_eq!((report.refs, report.blobs, report.lost.is_some()), (2, before.2.len() as u64, true));
        assert_eq!((report.skipped.len(), value(&store)), (0, None));
        assert_eq!(known(&store), before);
        let all = files(store.root());
        sweep(&store);
        assert_eq!(files(store.root()), all);
        assert_sound(&store);
        store.remove_ref(&name("v1")).unwrap();
        sweep(&store);
        assert_eq!((files(store.root()).len(), unnamed(store.root()).len()), (3 + 2, 1));
    }
}

#[test]
fn the_index_is_the_truth_as_long_as_it_can_be_read() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("a");
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        store.pin("v1").unwrap();
        let before = fs::read(bench.index_json()).unwrap();
        store.unpin("v1").unwrap();
        store.remove_ref(&name("v1")).unwrap();
        // A crash before the file was written.
        fs::write(bench.index_json(), before).unwrap();
        drop(store);
        let (store, report) = bench.options().reindex(bench.root()).unwrap();
        assert_eq!((report.refs, refs(&store).len(), store.pins().unwrap().len()), (0, 0, 0));
        assert_sound(&store);
    }
}

#[test]
fn what_others_have_written_before_a_reindex_is_not_lost() {
    for bench in benches() {
        for with_index in [true, false] {
            let (store, mut images) = filled(&bench);
            let new = images.simple("new");
            images.write_blobs(store.root());
            let text = fs::read_to_string(bench.index_json()).unwrap();
            let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
            for entry in index["manifests"].as_array_mut().unwrap() {
                if entry["annotations"]["org.opencontainers.image.ref.name"] == "v1" {
                    entry["digest"] = json!(new.digest);
                    entry["size"] = json!(new.size);
                    entry["mediaType"] = json!(new.media_type);
                }
            }
            let mut bad = index["manifests"][0].clone();
            bad["annotations"] = json!({ "org.opencontainers.image.ref.name": "no name!" });
            index["manifests"].as_array_mut().unwrap().push(bad);
            fs::write(bench.index_json(), index.to_string()).unwrap();
            drop(store);
            let options = if with_index { bench.options() } else { lost(&bench) };
            let (store, _) = options.reindex(bench.root()).unwrap();
            assert_eq!(refs(&store)["v1"], new.digest, "{} {with_index}", bench.backend);
            assert_sound(&store);
            drop(store);
            fs::remove_dir_all(bench.root()).unwrap();
            if bench.backend == "memory" {
                break;
            }
        }
    }
}

#[test]
fn what_is_damaged_is_told_and_a_wrong_size_is_mended() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        for text in ["a", "b", "cut"] {
            let image = images.simple(text);
            images.name(text, &image);
        }
        import_all(&store, &images).unwrap();
        drop(store);
        let manifest = &images.entries[1].digest;
        overwrite(&bench.root(), manifest, b"{");
        overwrite(&bench.root(), &digest(b"cut"), b"cu");
        let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
        assert_eq!((report.refs, report.skipped.len()), (3, 0));
        assert_eq!(report.lacking.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(store.check(&[], false, &()).unwrap().problems.len(), 2);
        import_all(&store, &images).unwrap();
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
        assert_sound(&store);
        drop(store);
        // Without an index, and without a list: nothing is thought up.
        fs::write(bench.index_json(), "{").unwrap();
        failure(lost(&bench).reindex(bench.root()));
    }
}

#[test]
fn an_image_that_lacks_something_is_told_and_keeps_what_is_there() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("a");
        images.name("v1", &image);
        import_all(&store, &images).unwrap();
        let there = files(store.root()).len();
        drop(store);
        fs::remove_file(crate::common::path_of(&bench.root(), &digest(b"a"))).unwrap();
        let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
        assert_eq!((report.refs, report.lacking.len(), report.skipped.len()), (1, 1, 0), "{}", bench.backend);
        sweep(&store);
        assert_eq!(files(store.root()).len(), there - 1);
        assert_eq!(store.check(&[], false, &()).unwrap().problems.len(), 1);
        import_all(&store, &images).unwrap();
        assert_sound(&store);
    }
}

#[test]
fn another_backend_shows_the_same() {
    for (from, to) in [("lmdb", "sqlite"), ("sqlite", "lmdb"), ("memory", "lmdb")] {
        let bench = Bench::new(from);
        let (store, _) = filled(&bench);
        let before = known(&store);
        assert!(store.base().convert(to).unwrap());
        assert_eq!((known(&store), known(&bench.open())), (before.clone(), before));
        assert_sound(&store);
        drop(store);
        let (store, _) = bench.options().index(Some(from)).reindex(bench.root()).unwrap();
        assert_eq!(store.base().index_name().unwrap(), from);
        assert_sound(&store);
    }
}

/// An image that nothing keeps and no gc has taken yet is an image after a reindex too, also if the index before is lost.
#[test]
fn what_no_entry_reaches_is_known_for_what_it_is() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        let mut images = Images::default();
        let image = images.simple("unreached");
        let whole = images.index(std::slice::from_ref(&image));
        images.name("unreached", &whole);
        import(&store, &images, "unreached").unwrap();
        store.remove_ref(&name("unreached")).unwrap();
        drop(store);
        for options in [bench.options(), lost(&bench)] {
            let (store, report) = options.reindex(bench.root()).unwrap();
            assert_eq!(report.skipped, []);
            let edges = store.base().view(|view| view.edges(&image.digest)).unwrap();
            assert_eq!(edges.unwrap().edges.len(), 2);
            assert_eq!(store.find(&image.digest.to_string()).unwrap().media_type, image.media_type);
        }
        // Whoever tags it before a gc has all of it.
        let store = bench.options().reindex(bench.root()).unwrap().0;
        store.tag(&whole.digest.to_string(), &name("again"), Condition::Any).unwrap();
        sweep(&store);
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
        assert_sound(&store);
    }
}

/// Entries are read in groups: what one has found wrong with a document, one of another group says, too.
#[test]
fn a_damaged_document_is_told_of_each_entry_that_reaches_it() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let shared = images.simple("shared");
        let index = images.index(std::slice::from_ref(&shared));
        let both = [index.clone(), images.index(&[index])];
        images.name("a-first", &both[0]);
        for number in 0..140 {
            let image = images.simple(&format!("image {number}"));
            images.name(&format!("m-{number}"), &image);
        }
        images.name("z-last", &both[1]);
        import_all(&store, &images).unwrap();
        drop(store);
        for damaged in [false, true] {
            if damaged {
                overwrite(&bench.root(), &shared.digest, b"{ no manifest any more");
            }
            let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
            let lacking: Vec<&str> = report.lacking.iter().map(|(name, _)| name.as_str()).collect();
            let expected: &[&str] = if damaged { &["a-first", "z-last"] } else { &[] };
            assert_eq!((lacking.as_slice(), report.refs), (expected, 142), "{}", bench.backend);
            drop(store);
        }
    }
}

#[test]
fn a_wrong_size_is_told_of_the_entry_that_has_it() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        drop(store);
        let mut index = crate::common::index_json(&bench.root());
        let mut wrong = index["manifests"][0].clone();
        wrong["size"] = json!(image.size + 7);
        wrong["annotations"] = json!({ "org.opencontainers.image.ref.name": "v2" });
        index["manifests"].as_array_mut().unwrap().push(wrong);
        fs::write(bench.index_json(), index.to_string()).unwrap();
        let (store, report) = lost(&bench).reindex(bench.root()).unwrap();
        let skipped: Vec<&str> = report.skipped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((skipped, refs(&store).len()), (vec!["v2"], 1), "{}", bench.backend);
    }
}

/// A list that would be too short is not given, not collected by, and not written into `index.json`.
#[track_caller]
fn refuses_to_list(bench: &Bench, image: &Digest) {
    let before = fs::read(bench.index_json()).unwrap();
    let store = bench.open();
    let new = "new".parse().unwrap();
    let refused = [
        store.refs("", None, usize::MAX).map(drop),
        store.gc(Extent::Full, false).map(drop),
        store.tag(&image.to_string(), &new, Condition::Any).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("reindex"), "{}: {error}", bench.backend);
    }
    assert_eq!(fs::read(bench.index_json()).unwrap(), before, "{}", bench.backend);
}

/// A ref's row that has come to stand under a key of another table's, still in its place: only its checksum tells.
#[test]
fn a_ref_that_an_index_has_under_another_key_is_found_in_the_file() {
    for bench in disk_benches() {
        let store = bench.open();
        let mut images = Images::default();
        let image = images.simple("image");
        images.name("v1", &image);
        import(&store, &images, "v1").unwrap();
        drop(store);
        let folder = bench.root().join(".oci-store/index/1");
        let path = folder.join(if bench.backend == "lmdb" { "data.mdb" } else { "index.sqlite" });
        let mut bytes = fs::read(&path).unwrap();
        let rows: Vec<usize> = (0..bytes.len() - 7).filter(|at| bytes[*at..].starts_with(b"sref\0v1")).collect();
        assert!(!rows.is_empty(), "{}", bench.backend);
        rows.into_iter().for_each(|at| bytes[at] = b't');
        fs::write(&path, bytes).unwrap();
        refuses_to_list(&bench, &image.digest);
        let (store, report) = bench.options().reindex(bench.root()).unwrap();
        assert!(report.lost.is_some(), "{}", bench.backend);
        assert_eq!(refs(&store).len(), 1, "{}", bench.backend);
        assert_sound(&store);
    }
}

/// LMDB does not notice when its pages do not lead to some rows any more. Its count of them tells, and `index.json` brings
/// the refs back; what can be read is carried over.
#[test]
fn refs_that_an_index_hides_are_found_in_the_file() {
    let bench = Bench::new("lmdb");
    let store = bench.open();
    let mut images = Images::default();
    let [replaced, first, _] = [("v1", "one"), ("v1", "two"), ("v2", "three")].map(|(ref_name, text)| {
        let image = images.simple(text);
        images.entries.clear();
        images.name(ref_name, &image);
        import(&store, &images, ref_name).unwrap();
        image.digest
    });
    drop(store);
    let path = bench.root().join(".oci-store/index/1/data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    // A leaf has flag 2. Its head says where its table ends, now one row sooner: the last row of all is a ref.
    let has_ref = |page: &[u8]| page.windows(7).any(|key| key == b"sref\0v2");
    for page in bytes.chunks_exact_mut(4096).skip(2).filter(|page| page[10..12] == [2, 0] && has_ref(page)) {
        let end = u16::from_le_bytes([page[12], page[13]]);
        page[12..14].copy_from_slice(&(end - 2).to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let store = bench.open();
    assert!(store.maintain(std::time::Duration::ZERO, &()).unwrap().checked.index.is_some());
    // What nothing keeps, as the index says: but it is not to be believed.
    assert!(store.base().cas().size(&replaced).unwrap().is_some());
    drop(store);
    refuses_to_list(&bench, &first);
    let (store, report) = bench.options().reindex(bench.root()).unwrap();
    assert!(report.lost.is_some_and(|why| why.contains("rows")));
    assert_eq!(refs(&store).len(), 2);
    assert_sound(&store);
}
