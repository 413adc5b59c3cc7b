use std::cell::Cell;

use oci_store_oci::{Condition, Policy, RefName, Store};

use crate::common::{assert_sound, benches, import_all, listed_names, name};
use crate::images::Images;

/// A store with one image, and these refs to it, set in this order.
fn fill(store: &Store, names: &[&str]) {
    let mut images = Images::default();
    let image = images.simple("image");
    images.name("image", &image);
    import_all(store, &images).unwrap();
    for to in names {
        store.tag("image", &name(to), Condition::Any).unwrap();
    }
    store.remove_ref(&name("image")).unwrap();
}

/// The refs that are left, which are those that `index.json` shows.
fn left(store: &Store) -> Vec<String> {
    let names: Vec<String> = store.refs("", None, 1000).unwrap().iter().map(|left| left.name.to_string()).collect();
    let shown: Vec<String> = listed_names(store.root()).into_keys().collect();
    assert_eq!(names, shown);
    names
}

fn keep(n: usize) -> Policy<'static> {
    Policy { keep_last: Some(n), ..Policy::default() }
}

fn names(removed: &[oci_store_oci::Ref]) -> Vec<&str> {
    removed.iter().map(|old| old.name.as_str()).collect()
}

#[test]
fn of_each_name_the_newest_stay() {
    for bench in benches() {
        let store = bench.open();
        fill(&store, &["a:2", "a:1", "a:3", "b", "h:5000/a", "h:5000/a:1", "h:5000/a:2@x", "h:1"]);
        let would = store.prune(&keep(1), true).unwrap();
        assert_eq!(names(&would), ["a:2", "a:1", "h:5000/a", "h:5000/a:1"]);
        assert_eq!(store.refs("", None, 100).unwrap().len(), 8);
        let removed = store.prune(&keep(1), false).unwrap();
        assert_eq!(removed, would);
        assert_eq!(left(&store), ["a:3", "b", "h:1", "h:5000/a:2@x"]);
        assert_eq!(store.prune(&keep(1), false).unwrap(), []);
        assert_sound(&store);
    }
}

#[test]
fn a_policy_that_says_nothing_removes_nothing() {
    for bench in benches() {
        let store = bench.open();
        fill(&store, &["a:1", "a:2"]);
        assert_eq!(store.prune(&Policy::default(), false).unwrap(), []);
        assert_eq!(left(&store).len(), 2);
    }
}

#[test]
fn more_than_a_group_of_one_name() {
    for bench in benches() {
        let store = bench.open();
        let many: Vec<String> =
            (0..300).map(|n| format!("many:{n}")).chain((0..300).map(|n| format!("n{n}:1"))).collect();
        fill(&store, &many.iter().map(String::as_str).collect::<Vec<_>>());
        let filter = |name: &RefName| name.as_str() != "many:7";
        let policy = Policy { filter: Some(&filter), keep_last: Some(1), ..Policy::default() };
        assert_eq!(store.prune(&policy, false).unwrap().len(), 298);
        assert_eq!(left(&store).len(), 302);
        let policy = Policy { keep_last: None, ..policy };
        assert_eq!(store.prune(&policy, false).unwrap().len(), 301);
        assert_eq!(left(&store), ["many:7"]);
        assert_sound(&store);
    }
}

/// What is set anew between the look and the removal is a new ref; and what is removed meanwhile does not make it too many.
#[test]
fn what_changes_meanwhile_counts() {
    for bench in benches() {
        for meddle in ["tag", "remove"] {
            let store = bench.open();
            fill(&store, &["a:1", "a:2"]);
            let first = Cell::new(true);
            // The first time it is asked, no transaction is under way.
            let filter = |_: &RefName| {
                if first.replace(false) {
                    match meddle {
                        "tag" => drop(store.tag("a:2", &name("a:1"), Condition::Any).unwrap()),
                        _ => drop(store.remove_ref(&name("a:2")).unwrap()),
                    }
                }
                true
            };
            let policy = Policy { filter: Some(&filter), keep_last: Some(1), ..Policy::default() };
            let removed = store.prune(&policy, false).unwrap();
            assert_eq!(names(&removed), if meddle == "tag" { vec!["a:2"] } else { vec![] });
            assert_eq!(left(&store), ["a:1"]);
            store.remove_ref(&name("a:1")).unwrap();
        }
    }
}
