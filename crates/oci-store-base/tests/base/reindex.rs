//! Building the index anew.

use std::fs;

use oci_store_base::{Condition, Data, Error, Link, Space};
use oci_store_index::IndexExt;

use crate::common::{
    REF, assert_blobs, benches, collect, config, digest, disk_benches, drop_ref, edge, failure, gc, index_folder, link,
    loose, put, raw_rows, read, settle, write,
};

#[test]
fn with_the_index_before() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let root = put(&store, "r", b"root");
        let child = loose(&store, b"child");
        let lost_file = put(&store, "lost", b"lost");
        let grown = put(&store, "grown", b"grown");
        let garbage = loose(&store, b"garbage");
        link(&store, &root, &[(&child, Link::Needs)]);
        let long = "k".repeat(4000);
        store
            .update(|txn| {
                txn.set_data(Space::User, "free", &long, b"value", None, Condition::Any)?;
                txn.set_data(Space::User, "bound", "root", b"value", Some(&root), Condition::Any)?;
                txn.set_data(Space::User, "bound", "lost", b"value", Some(&lost_file), Condition::Any)?;
                txn.set_blob_data(&root, "data", b"of root")?;
                txn.set_blob_data(&lost_file, "data", b"of lost")?;
                txn.set_number("mark", 42)
            })
            .unwrap();
        let user =
            |kind: &str, key: &str| -> Option<Data> { store.view(|view| view.data(Space::User, kind, key)).unwrap() };
        let (free, bound) = (user("free", &long), user("bound", "root"));
        let info = store.view(|view| view.blob(&root)).unwrap();
        let path = |digest: &oci_store_cas::Digest| bench.root().join("blobs/sha256").join(digest.encoded());
        fs::remove_file(path(&lost_file)).unwrap();
        fs::remove_file(path(&grown)).unwrap();
        fs::write(path(&grown), b"another size").unwrap();
        let adopted = digest(b"adopted");
        fs::write(path(&adopted), b"adopted").unwrap();

        let built = bench.options().reindex(bench.root(), |rebuild| {
            assert!(rebuild.view(|view| view.blob(&adopted))?.is_some());
            assert!(rebuild.old_view(|view| view.blob(&adopted)).unwrap()?.is_none());
            assert!(rebuild.read_blob(&root).is_ok());
            rebuild.update(|txn| {
                txn.add_edges(&root, "type", &[edge(&child, Link::Needs)])?;
                txn.set_data(Space::Store, REF, "r", b"", Some(&root), Condition::Any)
            })
        });
        let (again, found, version) = built.unwrap();
        assert_eq!((found.blobs, found.lost), (5, None), "{}", bench.name);
        assert!(version > bound.as_ref().unwrap().version);
        assert_eq!((user("free", &long), user("bound", "root")), (free, bound));
        assert_eq!(user("bound", "lost"), None);
        assert_eq!(store.view(|view| view.blob(&root)).unwrap(), info);
        assert_eq!(store.view(|view| view.blob_data(&root, "data")).unwrap().unwrap(), b"of root");
        assert_eq!(store.view(|view| view.blob_data_list(&lost_file)).unwrap(), []);
        assert_eq!(again.view(|view| view.number("mark")).unwrap(), 42);
        assert!(store.view(|view| view.blob(&grown)).unwrap().unwrap().damaged);
        assert_eq!(
            store.view(|view| view.data(Space::Store, REF, "lost")).unwrap(),
            None,
            "records are for the store on top"
        );
        // All are looked at by the next plain gc.
        assert_eq!(gc(&store).blobs, 3);
        assert_blobs(&again, &[&root, &child]);
        let _ = garbage;
        // References are whole: this goes with its blob.
        drop_ref(&store, "r");
        gc(&store);
        assert_eq!(user("bound", "root"), None);
    }
}

#[test]
fn without_the_index_before() {
    for bench in disk_benches() {
        let store = bench.open();
        let root = put(&store, "r", b"root");
        let version = store.update(|txn| txn.set_data(Space::User, "k", "k", b"", None, Condition::Any)).unwrap();
        fs::remove_dir_all(index_folder(&bench.own())).unwrap();
        drop(store);
        assert!(matches!(failure(bench.options().open(bench.root())), Error::IndexLost { .. }));
        let other = if bench.name == "lmdb" { "sqlite" } else { "lmdb" };
        let options = bench.options().index(Some(other));
        let (store, found, ()) = options
            .reindex(bench.root(), |rebuild| {
                assert!(rebuild.old_view(|view| view.blob(&root)).is_none());
                Ok(())
            })
            .unwrap();
        assert_eq!(found.blobs, 1);
        assert!(found.lost.unwrap().contains("folder is gone"), "{}", bench.name);
        assert_eq!(store.index_name().unwrap(), other);
        assert_eq!(read(&store, &root), b"root");
        let info = store.view(|view| view.blob(&root)).unwrap().unwrap();
        assert_eq!((info.size, info.verified, info.media_type.as_str()), (4, None, ""));
        assert_eq!(store.view(|view| view.data(Space::User, "k", "k")).unwrap(), None);
        // A version of before the loss is none of today's.
        let set = || store.update(|txn| txn.set_data(Space::User, "k", "k", b"", None, Condition::Any)).unwrap();
        assert!((0..5).all(|_| set() > version + 5));
        gc(&store);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn with_damaged_rows() {
    for bench in benches() {
        let store = bench.open();
        let root = put(&store, "r", b"root");
        let other = put(&store, "o", b"other");
        store
            .update(|txn| {
                for key in ["good", "bad"] {
                    txn.set_data(Space::User, "kind", key, b"value", Some(&other), Condition::Any)?;
                }
                txn.set_blob_data(&other, "good", b"good")?;
                txn.set_blob_data(&other, "bad", b"bad")
            })
            .unwrap();
        let index = bench.backend().open(&index_folder(&bench.own())).unwrap();
        let damage: Result<(), oci_store_index::Error> = index.write(|txn| {
            txn.put(&[b"b".as_slice(), &root.to_key()].concat(), b"")?;
            txn.put(b"ukind\0bad", b"\xff\xff")?;
            txn.put(&[b"a".as_slice(), &other.to_key(), b"bad"].concat(), b"")?;
            txn.put(b"mbad", b"123")
        });
        damage.unwrap();
        let damaged = failure(store.view(|view| view.blob(&root)));
        assert!(matches!(damaged, Error::IndexLost { .. }) && damaged.to_string().contains("reindex"));
        assert!(matches!(failure(store.check_index()), Error::IndexLost { .. }));
        let (store, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert_eq!(found.blobs, 2, "{}", bench.name);
        assert!(found.lost.unwrap().contains("can't be used"));
        store.check_index().unwrap();
        assert_eq!(store.view(|view| view.blob(&root)).unwrap().unwrap().size, 4);
        let page = store.view(|view| view.data_page(Space::User, "kind", "", None, 9)).unwrap();
        assert_eq!(page.iter().map(|data| data.key.as_str()).collect::<Vec<_>>(), ["good"]);
        assert_eq!(store.view(|view| view.blob_data_list(&other)).unwrap(), [("good".to_owned(), 4)]);
        gc(&store);
        assert_blobs(&store, &[]);
        assert_eq!(store.view(|view| view.data(Space::User, "kind", "good")).unwrap(), None);
    }
}

/// Every bit of every row counts, wherever it stands: what was not written so is never read.
#[test]
fn a_flipped_bit_of_a_row() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let blob = put(&store, "r", b"root");
        let set = |txn: &mut oci_store_base::Txn<'_>| {
            txn.set_data(Space::User, "kind", "key", b"value", Some(&blob), Condition::Any)
        };
        store.update(set).unwrap();
        let folder = index_folder(&bench.own());
        let index = bench.backend().open(&folder).unwrap();
        for (key, row) in raw_rows(&*bench.backend(), &folder) {
            for at in 0..key.len() + row.len() {
                let (mut bad_key, mut bad_row) = (key.clone(), row.clone());
                match at.checked_sub(key.len()) {
                    None => bad_key[at] ^= 1 << (at % 8),
                    Some(at) => bad_row[at] ^= 1 << (at % 8),
                }
                let replace = |from: &[u8], to: &[u8], row: &[u8]| {
                    let done: Result<(), oci_store_index::Error> = index.write(|txn| {
                        txn.delete(from)?;
                        txn.put(to, row)
                    });
                    done.unwrap();
                };
                replace(&key, &bad_key, &bad_row);
                assert!(
                    matches!(failure(store.check_index()), Error::IndexLost { .. }),
                    "{}: {key:?} {at}",
                    bench.name
                );
                replace(&bad_key, &key, &row);
            }
        }
        store.check_index().unwrap();
    }
}

#[test]
fn an_error_of_the_builder_changes_nothing() {
    for bench in benches() {
        let store = bench.open();
        let root = put(&store, "r", b"root");
        let failed = bench.options().reindex(bench.root(), |_| Err::<(), _>(Error::Cancelled));
        assert!(matches!(failure(failed), Error::Cancelled));
        assert_eq!(config(&bench.own())["epoch"], 1);
        collect(&store, oci_store_base::Extent::Full);
        assert_blobs(&store, &[&root]);
        // The next attempt is not in the way of this one's remains.
        bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert_eq!(store.view(|view| view.data(Space::Store, REF, "r")).unwrap(), None);
        let nowhere = bench.root().with_extension("absent");
        assert!(matches!(failure(bench.options().reindex(&nowhere, |_| Ok(()))), Error::NoStore(_)));
        assert!(!nowhere.exists());
    }
}

#[test]
fn beside_an_import() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let lease = store.lease("import").unwrap();
        let blob = write(&lease, b"written").digest;
        lease.stage(&digest(b"staged"), 6, &mut &b"staged"[..], &mut |_| Ok(())).unwrap();
        bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        gc(&store);
        let staged = oci_store_base::NewBlob { digest: digest(b"staged"), size: 6, media_type: String::new() };
        lease.publish(&[staged], |txn| txn.set_data(Space::Store, REF, "r", b"", Some(&blob), Condition::Any)).unwrap();
        drop(lease);
        gc(&store);
        assert_blobs(&store, &[&blob]);
    }
}

#[test]
fn without_anything_but_blobs() {
    for bench in disk_benches() {
        let blob = {
            let store = bench.open();
            settle(&store);
            put(&store, "r", b"root")
        };
        fs::remove_dir_all(bench.root().join(".oci-store")).unwrap();
        failure(bench.options().open(bench.root()));

        let (store, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert_eq!(found.blobs, 1, "{}", bench.name);
        assert!(found.lost.unwrap().contains("config"), "{}", bench.name);
        assert_eq!(read(&store, &blob), b"root");
        assert_eq!(config(&bench.own())["epoch"], 1);

        // With the folders of former indexes left: none of them is touched.
        let mark = bench.root().join(".oci-store/index/7/mark");
        fs::create_dir(mark.parent().unwrap()).unwrap();
        fs::write(&mark, b"").unwrap();
        fs::remove_file(bench.root().join(".oci-store/config.json")).unwrap();
        bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert_eq!(config(&bench.own())["epoch"], 8);
        assert!(mark.exists());
    }
}
