//! Key/value data.

use oci_store_base::{Condition, Data, Error, MAX_NAME, Space, Store};

use crate::common::{REF, benches, digest, drop_ref, failure, gc, has_row, loose, put, settle};

fn set(store: &Store, kind: &str, key: &str, value: &str) -> u64 {
    store.update(|txn| txn.set_data(Space::User, kind, key, value.as_bytes(), None, Condition::Any)).unwrap()
}

fn get(store: &Store, kind: &str, key: &str) -> Option<Data> {
    store.view(|view| view.data(Space::User, kind, key)).unwrap()
}

/// All keys of a type, by pages of `limit`.
fn keys(store: &Store, kind: &str, prefix: &str, limit: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned();
        let page = store.view(|view| view.data_page(Space::User, kind, prefix, after.as_deref(), limit)).unwrap();
        let last = page.len() < limit;
        keys.extend(page.into_iter().map(|data| data.key));
        if last {
            return keys;
        }
    }
}

#[test]
fn set_get_delete() {
    for bench in benches() {
        let store = bench.open();
        let first = set(&store, "kind", "key", "value");
        let data = get(&store, "kind", "key").unwrap();
        assert_eq!((data.key.as_str(), data.value.as_slice(), data.version), ("key", &b"value"[..], first));
        assert!(data.updated > 1_600_000_000 && data.blob.is_none());
        assert_eq!(store.view(|view| view.data(Space::Store, "kind", "key")).unwrap(), None, "another space");
        assert!(set(&store, "kind", "key", "other") > first);
        assert_eq!(get(&store, "kind", "key").unwrap().value, b"other");
        let delete = || store.update(|txn| txn.delete_data(Space::User, "kind", "key", Condition::Any)).unwrap();
        assert_eq!(delete().unwrap().value, b"other");
        assert_eq!(delete(), None);
        assert_eq!(get(&store, "kind", "key"), None);
        // Any bytes, and many.
        let big = "x".repeat(1 << 20);
        set(&store, "kind", "a\0b", &big);
        assert_eq!(get(&store, "kind", "a\0b").unwrap().value.len(), 1 << 20);
        for (kind, key) in [("", "k"), ("k", ""), ("a\0b", "k")] {
            let bad = store.update(|txn| txn.set_data(Space::User, kind, key, b"", None, Condition::Any));
            assert!(matches!(failure(bad), Error::InvalidName { .. }));
            assert!(matches!(failure(store.view(|view| view.data(Space::User, kind, key))), Error::InvalidName { .. }));
        }
        let long = "k".repeat(MAX_NAME + 1);
        for (kind, key) in [("k", long.as_str()), (&long, "k")] {
            let bad = store.update(|txn| txn.set_data(Space::User, kind, key, b"", None, Condition::Any));
            assert!(matches!(failure(bad), Error::InvalidName { .. }));
        }
    }
}

#[test]
fn versions_and_conditions() {
    for bench in benches() {
        let store = bench.open();
        let set = |condition| store.update(|txn| txn.set_data(Space::User, "kind", "key", b"value", None, condition));
        let conflict = |result: Result<u64, Error>| match failure(result) {
            Error::Conflict { space: Space::User, kind, key, expected, found } if kind == "kind" && key == "key" => {
                (expected, found)
            }
            other => panic!("{other}"),
        };
        assert_eq!(conflict(set(Condition::Version(1))), (Some(1), None));
        let first = set(Condition::Absent).unwrap();
        assert_eq!(conflict(set(Condition::Absent)), (None, Some(first)));
        let second = set(Condition::Version(first)).unwrap();
        assert!(second > first);
        assert_eq!(conflict(set(Condition::Version(first))), (Some(first), Some(second)));
        let delete = |condition| store.update(|txn| txn.delete_data(Space::User, "kind", "key", condition));
        assert!(matches!(failure(delete(Condition::Version(first))), Error::Conflict { .. }));
        assert!(delete(Condition::Version(second)).unwrap().is_some());
        assert!(matches!(failure(delete(Condition::Version(second))), Error::Conflict { .. }));
        // A version never comes back, also not of a key that was removed.
        assert!(set(Condition::Absent).unwrap() > second);
    }
}

/// Names of all lengths about the limits, many of which have one beginning.
fn long_names() -> Vec<String> {
    let mut names = Vec::new();
    for length in [1, 31, 32, 33, 255, 256, 257, 300, 4096] {
        names.push("a".repeat(length));
        names.push(format!("{}b", "a".repeat(length - 1)));
    }
    for n in 0..40 {
        names.push(format!("{}{n:02}", "a".repeat(4094)));
        names.push(format!("{}{n:02}{}", "a".repeat(256), "z".repeat(n)));
    }
    // A character across the border.
    names.push(format!("{}é", "a".repeat(255)));
    names.push(format!("{}éé", "a".repeat(255)));
    names.sort();
    names.dedup();
    names
}

#[test]
fn long_keys_in_order_over_pages() {
    for bench in benches() {
        let store = bench.open();
        let names = long_names();
        // Of other types, about this one in the order of rows.
        for kind in ["kin", "kind0", "kinda", "kind\u{1}"] {
            set(&store, kind, "a", "other");
        }
        store
            .update(|txn| {
                for name in names.iter().rev() {
                    txn.set_data(Space::User, "kind", name, name.as_bytes(), None, Condition::Any)?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        for name in &names {
            assert_eq!(get(&store, "kind", name).unwrap().value, name.as_bytes());
        }
        for limit in [1, 3, 7, 1000] {
            assert_eq!(keys(&store, "kind", "", limit), names, "{} {limit}", bench.name);
        }
        for prefix in
            ["a", "ab", &"a".repeat(256), &"a".repeat(257), &"a".repeat(4000), &format!("{}0", "a".repeat(256))]
        {
            let wanted: Vec<&String> = names.iter().filter(|name| name.starts_with(prefix)).collect();
            assert_eq!(keys(&store, "kind", prefix, 5).iter().collect::<Vec<_>>(), wanted);
        }
        // Behind a key that is not there.
        let after = format!("{}20x", "a".repeat(256));
        let page = store.view(|view| view.data_page(Space::User, "kind", "", Some(&after), 1000)).unwrap();
        let wanted: Vec<&String> = names.iter().filter(|name| **name > after).collect();
        assert_eq!(page.iter().map(|data| &data.key).collect::<Vec<_>>(), wanted);
        assert!(store.view(|view| view.data_page(Space::User, "kind", "", None, 0)).unwrap().is_empty());
        for name in &names {
            store.update(|txn| txn.delete_data(Space::User, "kind", name, Condition::Any)).unwrap().unwrap();
        }
        assert!(keys(&store, "kind", "", 10).is_empty());
    }
}

#[test]
fn long_types() {
    for bench in benches() {
        let store = bench.open();
        // Of those of 32 bytes and more with one beginning, some have a hash that begins with a NUL.
        let mut kinds = vec!["a".to_owned(), "b".repeat(31), "b".repeat(32), "b".repeat(33), "c".repeat(4096)];
        kinds.extend((0..600).map(|n| format!("{}{n}", "b".repeat(32))));
        kinds.push("a\u{1}".to_owned());
        store
            .update(|txn| {
                for kind in &kinds {
                    txn.set_data(Space::User, kind, "one key", kind.as_bytes(), None, Condition::Any)?;
                    txn.set_data(Space::User, kind, "two", b"", None, Condition::Any)?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        for kind in &kinds {
            assert_eq!(get(&store, kind, "one key").unwrap().value, kind.as_bytes());
            assert_eq!(keys(&store, kind, "", 10), ["one key", "two"], "{kind}");
        }
        kinds.sort();
        assert_eq!(store.view(|view| view.data_kinds(Space::User)).unwrap(), kinds, "{}", bench.name);
        assert!(store.view(|view| view.data_kinds(Space::Store)).unwrap().is_empty());
    }
}

#[test]
fn the_longest_names_of_all_reference_a_blob() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        // The longest digests are those of algorithms that nobody here knows.
        let folder = store.root().join("blobs").join("a".repeat(40));
        std::fs::create_dir_all(&folder).unwrap();
        let longest = format!("{}:{}", "a".repeat(40), "B".repeat(79));
        std::fs::write(folder.join("B".repeat(79)), b"x").unwrap();
        let (store, ..) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        let blob = longest.parse().unwrap();
        let (kind, key) = ("k".repeat(MAX_NAME), "n".repeat(MAX_NAME));
        store.update(|txn| txn.set_data(Space::Store, &kind, &key, b"", Some(&blob), Condition::Any)).unwrap();
        store
            .update(|txn| txn.add_edges(&blob, "t", &[crate::common::edge(&blob, oci_store_base::Link::Needs)]))
            .unwrap();
        store.update(|txn| txn.set_blob_data(&blob, &key, b"")).unwrap();
        store.collect(&[&kind], oci_store_base::Extent::Changed, false).unwrap();
        assert!(has_row(&store, &blob));
        store.collect(&[REF], oci_store_base::Extent::Full, false).unwrap();
        assert!(!has_row(&store, &blob));
        assert_eq!(store.view(|view| view.data(Space::Store, &kind, &key)).unwrap(), None);
    }
}

#[test]
fn references() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let absent = digest(b"absent");
        let bad = store.update(|txn| txn.set_data(Space::User, "kind", "key", b"", Some(&absent), Condition::Any));
        assert!(matches!(failure(bad), Error::BlobNotFound(_)));
        let [one, two] = ["one", "two"].map(|text| put(&store, text, text.as_bytes()));
        let refer = |key: &str, blob| {
            store.update(|txn| txn.set_data(Space::User, "kind", key, b"v", Some(blob), Condition::Any)).unwrap();
        };
        refer("a", &one);
        refer("b", &one);
        refer("b", &two);
        refer("long".repeat(1000).as_str(), &one);
        refer("a", &one);
        assert_eq!(get(&store, "kind", "a").unwrap().blob, Some(one.clone()));
        drop_ref(&store, "one");
        gc(&store);
        assert!(!has_row(&store, &one));
        assert_eq!(keys(&store, "kind", "", 10), ["b"], "{}", bench.name);
        // One that was set anew without the blob stays.
        set(&store, "kind", "b", "free");
        drop_ref(&store, "two");
        gc(&store);
        assert!(!has_row(&store, &two));
        assert_eq!(keys(&store, "kind", "", 10), ["b"]);
        let again = loose(&store, b"one");
        assert_eq!(get(&store, "kind", "a"), None);
        refer("a", &again);
        store.update(|txn| txn.delete_data(Space::User, "kind", "a", Condition::Any)).unwrap();
        gc(&store);
        assert!(!has_row(&store, &again));
    }
}
