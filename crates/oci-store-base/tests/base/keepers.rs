//! What keeps a blob, and that whoever stops doing so says it.

use oci_store_base::{Collected, Condition, Extent, Link, Space};

use crate::common::{
    REF, assert_blobs, benches, collect, digest, drop_ref, gc, has_row, link, loose, put, set_ref, settle, write,
};

#[test]
fn edges_keep_and_let_go() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let root = put(&store, "r", b"root");
        let [needed, used, deep, subject_of_nobody] =
            ["needed", "used", "deep", "alone"].map(|text| loose(&store, text.as_bytes()));
        link(&store, &root, &[(&needed, Link::Needs), (&used, Link::Uses)]);
        link(&store, &used, &[(&deep, Link::Needs)]);
        assert_eq!(gc(&store).blobs, 1, "{}", bench.name);
        assert!(!has_row(&store, &subject_of_nobody));
        assert_blobs(&store, &[&root, &needed, &used, &deep]);
        assert_eq!(gc(&store), Collected::default());
        drop_ref(&store, "r");
        assert_eq!(gc(&store).blobs, 4);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn followers_live_as_long_as_their_subject() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let subject = put(&store, "r", b"subject");
        let [referrer, its_layer, second, orphan] =
            ["referrer", "layer", "second", "orphan"].map(|text| loose(&store, text.as_bytes()));
        link(&store, &referrer, &[(&subject, Link::Follows), (&its_layer, Link::Needs)]);
        // One that is about one that is about it.
        link(&store, &second, &[(&referrer, Link::Follows)]);
        // The subject of this one is absent.
        link(&store, &orphan, &[(&digest(b"absent"), Link::Follows)]);
        gc(&store);
        assert_blobs(&store, &[&subject, &referrer, &its_layer, &second]);
        // It does not keep its subject.
        drop_ref(&store, "r");
        assert_eq!(gc(&store).blobs, 4, "{}", bench.name);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn a_referrer_with_a_ref_outlives_its_subject() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let subject = put(&store, "s", b"subject");
        let referrer = put(&store, "r", b"referrer");
        link(&store, &referrer, &[(&subject, Link::Follows)]);
        drop_ref(&store, "s");
        gc(&store);
        assert_blobs(&store, &[&referrer]);
        // The subject comes back, and keeps it now.
        put(&store, "s", b"subject");
        drop_ref(&store, "r");
        gc(&store);
        assert_blobs(&store, &[&subject, &referrer]);
        drop_ref(&store, "s");
        gc(&store);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn cycles_end() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|text| loose(&store, text.as_bytes()));
        // a needs b, b follows a: a kept a keeps b, and b alone keeps nobody.
        link(&store, &a, &[(&b, Link::Needs)]);
        link(&store, &b, &[(&a, Link::Follows)]);
        // c and d follow each other, and c needs a.
        link(&store, &c, &[(&d, Link::Follows), (&a, Link::Needs)]);
        link(&store, &d, &[(&c, Link::Follows)]);
        set_ref(&store, "r", &d);
        gc(&store);
        assert_blobs(&store, &[&a, &b, &c, &d]);
        drop_ref(&store, "r");
        gc(&store);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn only_records_of_root_types_keep() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let [by_ref, by_other, by_user] = ["a", "b", "c"].map(|text| loose(&store, text.as_bytes()));
        let set = |space, kind: &str, blob| {
            store.update(|txn| txn.set_data(space, kind, "key", b"value", Some(blob), Condition::Any)).unwrap();
        };
        set(Space::Store, REF, &by_ref);
        set(Space::Store, "other", &by_other);
        set(Space::User, REF, &by_user);
        gc(&store);
        assert_blobs(&store, &[&by_ref]);
        // Those that referenced what went are gone with it.
        let get = |space, kind: &str| store.view(|view| view.data(space, kind, "key")).unwrap();
        assert!(get(Space::Store, REF).is_some());
        assert_eq!(get(Space::Store, "other"), None);
        assert_eq!(get(Space::User, REF), None);
    }
}

#[test]
fn whoever_stops_keeping_says_so() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let kept = put(&store, "kept", b"kept");
        // A record is overwritten with another blob, with none, and as it is.
        let first = put(&store, "r", b"first");
        gc(&store);
        let second = put(&store, "r", b"second");
        gc(&store);
        assert_blobs(&store, &[&kept, &second]);
        set_ref(&store, "r", &second);
        gc(&store);
        assert_blobs(&store, &[&kept, &second]);
        store.update(|txn| txn.set_data(Space::Store, REF, "r", b"", None, Condition::Any)).unwrap();
        gc(&store);
        assert_blobs(&store, &[&kept]);

        // A lease is released after gcs have seen what it kept: itself, below it, and about it.
        let lease = store.lease("test").unwrap();
        let [top, below, about] = ["top", "below", "about"].map(|text| write(&lease, text.as_bytes()).digest);
        link(&store, &top, &[(&below, Link::Needs)]);
        link(&store, &about, &[(&top, Link::Follows)]);
        let only_top = store.lease("test").unwrap();
        only_top.name(std::slice::from_ref(&top)).unwrap();
        drop(lease);
        for extent in [Extent::Changed, Extent::Full, Extent::Changed] {
            collect(&store, extent);
            store.unlink_pending().unwrap();
            assert_blobs(&store, &[&kept, &top, &below, &about]);
        }
        drop(only_top);
        assert_eq!(gc(&store).blobs, 3, "{}", bench.name);

        // A lease on what a ref keeps, whose ref goes while the lease lives.
        put(&store, "r", b"first");
        gc(&store);
        let lease = store.lease("test").unwrap();
        lease.name(std::slice::from_ref(&first)).unwrap();
        drop_ref(&store, "r");
        gc(&store);
        assert_blobs(&store, &[&kept, &first]);
        drop(lease);
        gc(&store);
        assert_blobs(&store, &[&kept]);

        // The lease's blob is kept by a ref, and what is below it came later.
        let lease = store.lease("test").unwrap();
        let [top, below] = ["top 2", "below 2"].map(|text| write(&lease, text.as_bytes()).digest);
        set_ref(&store, "r", &top);
        gc(&store);
        link(&store, &top, &[(&below, Link::Uses)]);
        drop(lease);
        gc(&store);
        assert_blobs(&store, &[&kept, &top, &below]);
        drop_ref(&store, "r");
        gc(&store);
        assert_blobs(&store, &[&kept]);
    }
}

/// Edges of a blob that is not there yet count as long as a lease names it.
#[test]
fn what_an_absent_leased_parent_keeps_goes_with_the_lease() {
    for bench in benches() {
        for extent in [Extent::Changed, Extent::Full] {
            let store = bench.open();
            settle(&store);
            let child = loose(&store, format!("child {extent:?}").as_bytes());
            let absent = digest(format!("absent {extent:?}").as_bytes());
            link(&store, &absent, &[(&child, Link::Needs)]);
            let lease = store.lease("test").unwrap();
            lease.name(std::slice::from_ref(&absent)).unwrap();
            collect(&store, extent);
            assert_blobs(&store, &[&child]);
            drop(lease);
            gc(&store);
            assert_blobs(&store, &[]);
        }
    }
}
