//! Migration and conversion: another index in place of the one before.

use std::fs;
use std::path::Path;

use oci_store_base::{Condition, Error, Link, Space};
use oci_store_index::{Backend, IndexExt};
use serde_json::json;

use crate::common::{
    Row, assert_blobs, benches, config, disk_benches, edge, failure, gc, index_folder, link, loose, names, put,
    raw_rows, read, set_config, settle,
};

/// Rows but for the number that says which index it is.
fn rows_of(backend: &dyn Backend, folder: &Path) -> Vec<Row> {
    let mut rows = raw_rows(backend, folder);
    rows.retain(|(key, _)| key != b"mepoch");
    rows
}

#[test]
fn from_format_0() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let root = put(&store, "r", b"root");
        let [child, about, loose] = ["child", "about", "loose"].map(|text| loose(&store, text.as_bytes()));
        link(&store, &root, &[(&child, Link::Needs), (&loose, Link::Uses)]);
        link(&store, &about, &[(&root, Link::Follows)]);
        store
            .update(|txn| {
                for n in 0..1500_u32 {
                    txn.add_edges(&crate::common::digest(&n.to_be_bytes()), "type", &[edge(&child, Link::Uses)])?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        let old_folder = index_folder(&bench.own());
        let wanted = rows_of(&*bench.backend(), &old_folder);
        let reverse: Vec<&Row> = wanted.iter().filter(|(key, _)| key[0] == b'r').collect();
        assert_eq!(reverse.len(), 1503);

        // What a version before would have left.
        let index = bench.backend().open(&old_folder).unwrap();
        let deleted: Result<(), oci_store_index::Error> = index.write(|txn| {
            for (key, _) in &reverse {
                txn.delete(key)?;
            }
            Ok(())
        });
        deleted.unwrap();
        set_config(&bench.own(), "format", json!(0));

        let migrated = bench.open();
        assert_eq!(
            (config(&bench.own())["format"].clone(), config(&bench.own())["epoch"].clone()),
            (json!(2), json!(2))
        );
        assert_eq!(rows_of(&*bench.backend(), &index_folder(&bench.own())), wanted, "{}", bench.name);
        // The index before is as it was.
        assert!(rows_of(&*bench.backend(), &old_folder).iter().all(|(key, _)| key[0] != b'r'));
        // One that was open goes on, over the new one.
        put(&store, "other", b"other");
        assert_eq!(read(&migrated, &crate::common::digest(b"other")), b"other");
        assert_eq!(gc(&store).blobs, 0);
        // Nothing to do any more.
        bench.open();
        assert_eq!(config(&bench.own())["epoch"], 2);
    }
}

#[test]
fn everybody_migrates_at_once() {
    for bench in benches() {
        put(&bench.open(), "r", b"blob");
        set_config(&bench.own(), "format", json!(0));
        std::thread::scope(|scope| {
            for n in 0..6 {
                let bench = &bench;
                scope.spawn(move || put(&bench.open(), &n.to_string(), n.to_string().as_bytes()));
            }
        });
        assert_eq!(config(&bench.own())["epoch"], 2);
        assert_eq!(bench.open().view(|view| view.blobs(&Default::default(), None, 99)).unwrap().len(), 7);
    }
}

#[test]
fn a_lost_index_can_not_be_migrated() {
    for bench in disk_benches() {
        bench.open();
        set_config(&bench.own(), "format", json!(0));
        fs::remove_dir_all(index_folder(&bench.own())).unwrap();
        assert!(matches!(failure(bench.options().open(bench.root())), Error::IndexLost { .. }));
        assert_eq!(config(&bench.own())["epoch"], 1);
    }
}

#[test]
fn five_former_indexes_are_kept() {
    for bench in benches() {
        let store = bench.open();
        let blob = put(&store, "r", b"blob");
        let carry = |rebuild: &oci_store_base::Rebuild<'_>| {
            rebuild.update(|txn| txn.set_data(Space::Store, "ref", "r", b"", Some(&blob), Condition::Any))
        };
        for round in 1..=7 {
            bench.options().reindex(bench.root(), carry).unwrap();
            assert_eq!(names(&bench.own().join("index")).len(), (round + 1).min(6));
            // One that was opened at the beginning.
            assert_eq!(gc(&store).blobs, 0);
            store.update(|txn| txn.count("n")).unwrap();
        }
        assert_eq!(names(&bench.own().join("index")), ["3", "4", "5", "6", "7", "8"]);
        assert_eq!(store.view(|view| view.number("n")).unwrap(), 7);
        // What an attempt left that did not get to its end is in nobody's way.
        if bench.name != "memory" {
            fs::create_dir(bench.own().join("index/9")).unwrap();
            fs::write(bench.own().join("index/9/data.mdb"), b"garbage").unwrap();
            fs::write(bench.own().join("index/9/index.sqlite"), b"garbage").unwrap();
        }
        bench.options().reindex(bench.root(), carry).unwrap();
        assert_blobs(&store, &[&blob]);
    }
}

#[test]
fn convert_there_and_back() {
    for bench in disk_benches() {
        let store = bench.open();
        let other = if bench.name == "lmdb" { "sqlite" } else { "lmdb" };
        let second = bench.open();
        let root = put(&store, "r", b"root");
        link(&store, &root, &[(&root, Link::Follows)]);
        loose(&store, b"garbage");
        store
            .update(|txn| {
                for n in 0..5000 {
                    txn.set_data(Space::User, "kind", &n.to_string(), b"value", None, Condition::Any)?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        let backends = bench.backends();
        let find = |name: &str| backends.iter().find(|backend| backend.name() == name).unwrap().clone();
        let wanted = rows_of(&*find(bench.name), &index_folder(&bench.own()));
        assert!(!store.convert(bench.name).unwrap());
        assert!(matches!(failure(store.convert("redis")), Error::NoBackend { .. }));
        assert_eq!(config(&bench.own())["epoch"], 1);
        for name in [other, bench.name, other] {
            assert!(store.convert(name).unwrap());
            assert_eq!((store.index_name().unwrap(), second.index_name().unwrap()), (name.to_owned(), name.to_owned()));
            assert_eq!(rows_of(&*find(name), &index_folder(&bench.own())), wanted, "{name}");
            assert_eq!(second.view(|view| view.blob(&root)).unwrap().unwrap().size, 4);
        }
        second.update(|txn| txn.count("n")).unwrap();
        assert_eq!(store.view(|view| view.number("n")).unwrap(), 1);
        bench.options().index(Some(other)).open(bench.root()).unwrap();
    }
}
