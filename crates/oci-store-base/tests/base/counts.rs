//! An index that does not lead to all of its rows shows nothing that is wrong, only less than there is. Whatever lists all of
//! something has to notice.

use std::ops::ControlFlow;

use oci_store_base::{Condition, Error, Extent, Link, Result, Space, Store};
use oci_store_index::IndexExt as _;
use serde_json::json;

use crate::common::{
    Bench, REF, benches, collect, config, disk_benches, drop_ref, failure, files, gc, index_folder, link, loose, put,
    raw_rows, set_config, settle,
};

const LONG: &str = "a type of so many bytes that a key has only the first of them";

/// Something of each table.
fn fill(store: &Store) {
    let [one, two] = ["one", "two"].map(|key| put(store, key, key.as_bytes()));
    link(store, &one, &[(&two, Link::Needs)]);
    link(store, &two, &[(&one, Link::Uses)]);
    let set = store.update(|txn| {
        for kind in ["kind", LONG] {
            for key in ["a", "b"] {
                txn.set_data(Space::User, kind, key, b"value", Some(&one), Condition::Any)?;
                // Twice: a row that is replaced is one.
                txn.set_data(Space::User, kind, key, b"value", None, Condition::Any)?;
            }
        }
        Ok::<_, Error>(())
    });
    set.unwrap();
}

/// How many of each there are, if all is listed. What is not listed whole fails here as `Err`.
fn list(store: &Store) -> [Result<usize>; 5] {
    let kind = |space, kind| {
        store.view(|view| {
            let mut found = 0;
            view.each_data(space, kind, "", None, &mut |_| {
                found += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(found)
        })
    };
    let edges = store.view(|view| {
        let mut found = 0;
        view.each_edges(&mut |_, _| {
            found += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    });
    [
        store.view(|view| view.blobs(&Default::default(), None, 100)).map(|blobs| blobs.len()),
        edges,
        kind(Space::Store, REF),
        kind(Space::User, "kind"),
        kind(Space::User, LONG),
    ]
}

/// What a flipped bit of a page does to rows: they are there, and are not found.
fn hide(bench: &Bench, beginning: &[u8]) {
    let folder = index_folder(&bench.own());
    let rows = raw_rows(&*bench.backend(), &folder);
    let (key, _) = rows.iter().find(|(key, _)| key.starts_with(beginning)).unwrap();
    let index = bench.backend().open(&folder).unwrap();
    assert!(index.write(|txn| txn.delete(key)).unwrap());
}

#[test]
fn a_list_with_a_row_too_few_is_an_error() {
    let tables: [&[u8]; 5] = [b"b", b"e", b"sref\0", b"ukind\0", &[b"u", &LONG.as_bytes()[..32]].concat()];
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        fill(&store);
        assert_eq!(list(&store).map(Result::unwrap), [2; 5], "{}", bench.name);
        for (nth, table) in tables.into_iter().enumerate() {
            store.check_index().unwrap();
            hide(&bench, table);
            for (other, listed) in list(&store).into_iter().enumerate() {
                match listed {
                    Ok(found) => assert!(other != nth && found == 2, "{}: {other} beside {nth}", bench.name),
                    Err(error) => {
                        assert!(other == nth && matches!(error, Error::IndexLost { .. }), "{}: {error}", bench.name);
                        assert!(error.to_string().contains("reindex"), "{error}");
                    }
                }
            }
            assert!(matches!(failure(store.check_index()), Error::IndexLost { .. }));
            // Nobody takes what is not shown for what is not there.
            for dry_run in [false, true] {
                let refused = store.collect(&[REF], Extent::Full, dry_run);
                assert!(matches!(failure(refused), Error::IndexLost { .. }));
            }
            assert_eq!(files(&store).len(), 2);
            if bench.name != "memory" {
                let other = if bench.name == "lmdb" { "sqlite" } else { "lmdb" };
                assert!(matches!(failure(store.convert(other)), Error::IndexLost { .. }));
            }
            // What is lost is said to be, and what there is after it is counted anew.
            let (_, found, ()) = bench
                .options()
                .reindex(bench.root(), |rebuild| {
                    rebuild.update(|txn| {
                        for blob in ["one", "two"].map(|text| crate::common::digest(text.as_bytes())) {
                            txn.add_edges(&blob, "type", &[])?;
                            txn.set_data(Space::Store, REF, &blob.to_string(), b"", Some(&blob), Condition::Any)?;
                        }
                        Ok(())
                    })
                })
                .unwrap();
            assert!(found.lost.is_some());
            store
                .update(|txn| {
                    for (kind, key) in ["kind", LONG].into_iter().flat_map(|kind| ["a", "b"].map(|key| (kind, key))) {
                        txn.set_data(Space::User, kind, key, b"", None, Condition::Any)?;
                    }
                    Ok::<_, Error>(())
                })
                .unwrap();
            assert_eq!(list(&store).map(Result::unwrap), [2; 5], "{}", bench.name);
        }
    }
}

#[test]
fn what_goes_is_counted_and_what_is_rolled_back_is_not() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        fill(&store);
        loose(&store, b"loose");
        let rolled_back = store.update(|txn| {
            txn.set_data(Space::User, "kind", "c", b"", None, Condition::Any)?;
            txn.delete_data(Space::User, LONG, "a", Condition::Any)?;
            // What the transaction itself lists is what it has made of it.
            let mut keys = Vec::new();
            txn.view().each_data(Space::User, "kind", "", None, &mut |data| {
                keys.push(data.key);
                Ok(ControlFlow::Continue(()))
            })?;
            assert_eq!(keys, ["a", "b", "c"]);
            Err::<(), _>(Error::Cancelled)
        });
        assert!(matches!(failure(rolled_back), Error::Cancelled));
        store.check_index().unwrap();
        assert_eq!(list(&store).map(Result::unwrap), [3, 2, 2, 2, 2], "{}", bench.name);
        for key in ["one", "two"] {
            drop_ref(&store, key);
            drop_ref(&store, key);
        }
        gc(&store);
        store.update(|txn| txn.delete_data(Space::User, "kind", "a", Condition::Any)).unwrap();
        store.check_index().unwrap();
        assert_eq!(list(&store).map(Result::unwrap), [0, 0, 0, 1, 2], "{}", bench.name);
        // A count stays: all blobs may be hidden, and their count with them.
        let index = bench.backend().open(&index_folder(&bench.own())).unwrap();
        assert!(index.write(|txn| txn.delete(b"#b")).unwrap());
        assert!(list(&store)[0].is_err() && list(&store)[1..].iter().all(Result::is_ok), "{}", bench.name);
    }
}

#[test]
fn an_index_from_before_rows_were_counted_is_counted() {
    for bench in disk_benches() {
        fill(&bench.open());
        for reindexed in [false, true] {
            let folder = index_folder(&bench.own());
            let rows = raw_rows(&*bench.backend(), &folder);
            let index = bench.backend().open(&folder).unwrap();
            for (key, _) in rows.iter().filter(|(key, _)| key[0] == b'#') {
                assert!(index.write(|txn| txn.delete(key)).unwrap());
            }
            drop(index);
            set_config(&bench.own(), "format", json!(1));
            if reindexed {
                let (_, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
                assert_eq!(found.lost, None, "{}", bench.name);
            }
            let store = bench.open();
            assert_eq!(config(&bench.own())["format"], 2);
            store.check_index().unwrap();
            let wanted = if reindexed { [2, 0, 0, 2, 2] } else { [2; 5] };
            assert_eq!(list(&store).map(Result::unwrap), wanted, "{}", bench.name);
            collect(&store, Extent::Changed);
        }
    }
}
