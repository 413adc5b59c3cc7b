//! Building the index anew.

use std::fs;
use std::ops::ControlFlow;
use std::thread;

use oci_store_base::{BlobFilter, Condition, Data, Described, Error, Link, Rebuild, Space, Store, View};
use oci_store_cas::{Algorithm, Digest};
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
            txn.put(b"mbad", b"123")?;
            Ok(())
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
                        txn.put(to, row)?;
                        Ok(())
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

fn described<'d>(digest: &'d Digest, size: u64, media_type: &'d str, link: Link) -> Described<'d> {
    Described { digest, size, media_type, link }
}

/// What is said of the blobs makes the same index whoever says it first, in as many threads as there are, and also where
/// the index is there already.
#[test]
fn what_is_described_in_any_order() {
    for bench in disk_benches() {
        let store = bench.open();
        let [parent, child, wrong] = [b"parent".as_slice(), b"child", b"wrong"].map(|content| loose(&store, content));
        let absent = digest(b"absent");
        let path = bench.root().join("blobs/sha256").join(wrong.encoded());
        fs::remove_file(&path).unwrap();
        fs::write(path, b"wrung!!").unwrap();
        let say = |rebuild: &Rebuild<'_>, turn: usize| match turn {
            0 => rebuild.describe(&[
                described(&parent, 6, "m/b", Link::Needs),
                described(&child, 5, "", Link::Needs),
                described(&absent, 1, "m/x", Link::Uses),
            ]),
            1 => rebuild.describe(&[described(&child, 5, "m/c", Link::Uses), described(&wrong, 5, "m/w", Link::Needs)]),
            2 => rebuild.describe(&[described(&parent, 6, "m/a", Link::Uses)]),
            3 => rebuild.add_edges(&parent, "m/b", &[edge(&child, Link::Needs), edge(&child, Link::Needs)]),
            4 => rebuild.add_edges(&parent, "m/a", &[edge(&wrong, Link::Uses), edge(&child, Link::Needs)]),
            _ => rebuild.add_edges(&parent, "m/b", &[edge(&child, Link::Needs), edge(&child, Link::Needs)]),
        };
        let seen = |store: &Store| {
            let view = |view: View<'_>| {
                let parents = |of: &Digest| {
                    let mut parents = Vec::new();
                    view.parents(of, None, &mut |parent, edge| {
                        parents.push((parent, edge));
                        ControlFlow::Continue(())
                    })?;
                    Ok::<_, Error>(parents)
                };
                let mut blobs = view.blobs(&BlobFilter::default(), None, 100)?;
                blobs.iter_mut().for_each(|blob| (blob.created, blob.used, blob.verified) = (0, 0, None));
                Ok::<_, Error>((blobs, view.edges(&parent)?, parents(&child)?, parents(&wrong)?))
            };
            store.view(view).unwrap()
        };
        let lose = || fs::remove_dir_all(index_folder(&bench.own())).unwrap();
        drop(store);
        let mut outcomes = Vec::new();
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 4, 0, 5, 3, 1]] {
            lose();
            let (store, found, lacks) = bench
                .options()
                .reindex(bench.root(), |rebuild| {
                    thread::scope(|scope| {
                        let all = order.map(|turn| scope.spawn(move || say(rebuild, turn)));
                        all.into_iter().try_for_each(|said| said.join().unwrap())
                    })?;
                    rebuild.lacks()
                })
                .unwrap();
            assert_eq!((found.blobs, lacks), (3, false), "only used");
            outcomes.push(seen(&store));
        }
        let (blobs, edges, ..) = &outcomes[0];
        let of = |digest: &Digest| blobs.iter().find(|blob| blob.digest == *digest).unwrap();
        assert_eq!((of(&parent).media_type.as_str(), of(&child).media_type.as_str()), ("m/a", "m/c"), "{}", bench.name);
        assert_eq!(blobs.iter().filter(|blob| blob.damaged).map(|blob| &blob.digest).collect::<Vec<_>>(), [&wrong]);
        let edges = edges.as_ref().unwrap();
        assert_eq!((edges.read_as.len(), edges.edges.len()), (2, 2));
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{}", bench.name);

        // The same, said when all is there.
        lose();
        let (store, _, lacks) = bench
            .options()
            .reindex(bench.root(), |rebuild| {
                assert!(!rebuild.lacks()?);
                [2, 0, 1, 4, 3, 5].into_iter().try_for_each(|turn| say(rebuild, turn))?;
                rebuild.describe(&[described(&absent, 1, "m/x", Link::Needs)])?;
                rebuild.lacks()
            })
            .unwrap();
        assert!(!lacks, "what comes later can be looked for");
        assert_eq!(seen(&store), outcomes[0]);

        // What was known stays.
        let say_other = |rebuild: &Rebuild<'_>| rebuild.describe(&[described(&child, 5, "a/a", Link::Needs)]);
        let (store, ..) = bench.options().reindex(bench.root(), say_other).unwrap();
        assert_eq!(store.view(|view| view.blob(&child)).unwrap().unwrap().media_type, "m/c");

        // Behind the last blob, and before the first, and between: each is missed.
        for name in [[0; 32], [0xff; 32], [0x80; 32]] {
            let absent = Digest::from_raw(Algorithm::Sha256, &name).unwrap();
            let missed = bench.options().reindex(bench.root(), |rebuild| {
                rebuild.describe(&[described(&absent, 1, "", Link::Needs)])?;
                rebuild.lacks()
            });
            assert!(missed.unwrap().2, "{absent}");
        }
    }
}

/// Who says another size of a blob than its file has may be wrong: the blob is what it was verified to be, or is read.
#[test]
fn what_is_described_with_a_wrong_size() {
    for bench in disk_benches() {
        let store = bench.open();
        let blob = loose(&store, b"right");
        drop(store);
        let lie = [described(&blob, 999, "", Link::Uses)];
        let mut shorter = lie;
        shorter[0].size = 3;
        for is_lost in [false, true] {
            if is_lost {
                fs::remove_dir_all(index_folder(&bench.own())).unwrap();
            }
            // Before the rows are there, and after.
            let say = |rebuild: &Rebuild<'_>| {
                rebuild.describe(&lie)?;
                rebuild.lacks()?;
                rebuild.describe(&shorter)
            };
            let (store, ..) = bench.options().reindex(bench.root(), say).unwrap();
            let info = store.view(|view| view.blob(&blob)).unwrap().unwrap();
            assert_eq!((info.size, info.damaged, info.verified.is_none()), (5, false, is_lost), "{}", bench.name);
        }
    }
}

/// The first row that is read of an index says which one it is. LMDB believes its pages that a row is as long as they say.
#[test]
fn an_index_whose_first_row_leads_astray_is_done_without() {
    for bench in disk_benches().into_iter().filter(|bench| bench.name == "lmdb") {
        let store = bench.open();
        let root = put(&store, "r", b"root");
        drop(store);
        let path = index_folder(&bench.own()).join("data.mdb");
        let mut bytes = fs::read(&path).unwrap();
        // The length of the value stands eight bytes before the key.
        let rows: Vec<usize> =
            bytes.windows(6).enumerate().filter(|(_, key)| key == b"mepoch").map(|(at, _)| at).collect();
        assert!(!rows.is_empty());
        rows.into_iter().for_each(|at| bytes[at - 8..at - 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]));
        fs::write(&path, bytes).unwrap();
        let (store, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert!(found.lost.unwrap().contains("damaged"));
        assert_eq!(read(&store, &root), b"root");
    }
}
