use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use oci_store_cas::Digest;
use oci_store_oci::{Fault, Progress, Reading};

use crate::common::{benches, import_all, name, overwrite};
use crate::images::Images;

/// Which blobs were read, in which order.
#[derive(Default)]
struct Order(Mutex<Vec<Digest>>);

impl Progress for Order {
    fn begin(&self, blob: &Digest, _: u64) {
        self.0.lock().unwrap().push(blob.clone());
    }
}

impl Order {
    fn of(check: impl FnOnce(&Self)) -> Vec<Digest> {
        let order = Self::default();
        check(&order);
        order.0.into_inner().unwrap()
    }
}

fn images() -> Images {
    let mut images = Images::default();
    for text in ["a", "b", "c"] {
        let image = images.simple(text);
        images.name(text, &image);
    }
    images
}

const LONG: Reading = Reading::Within(Duration::from_secs(3600));

#[test]
fn shares_are_all_blobs_and_each_once() {
    for bench in benches() {
        let store = bench.open();
        import_all(&store, &images()).unwrap();
        let read: Vec<Digest> = (1..=4)
            .flat_map(|part| Order::of(|order| drop(store.check(&[], Reading::Share { part, of: 4 }, order).unwrap())))
            .collect();
        let whole = store.check(&[], true, &()).unwrap();
        assert_eq!((read.len() as u64, whole.read), (whole.blobs, whole.blobs));
        assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len());
        assert_eq!(store.check(&[], false, &()).unwrap().read, 0);
    }
}

#[test]
fn what_was_verified_longest_ago_comes_first_and_what_was_read_is_remembered() {
    let bench = &benches()[0];
    let store = bench.open();
    import_all(&store, &images()).unwrap();
    // Times are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let first = Order::of(|order| drop(store.check(&[name("b")], LONG, order).unwrap()));
    assert!(!first.is_empty());
    let all = Order::of(|order| drop(store.check(&[], LONG, order).unwrap()));
    assert_eq!(all[all.len() - first.len()..].iter().collect::<BTreeSet<_>>(), first.iter().collect());
    assert_eq!(store.check(&[], Reading::Within(Duration::ZERO), &()).unwrap().read, 0);
}

#[test]
fn maintenance_collects_and_finds_damage() {
    for bench in benches() {
        let store = bench.open();
        import_all(&store, &images()).unwrap();
        store.remove_ref(&name("c")).unwrap();
        let done = store.maintain(Duration::from_secs(3600), &()).unwrap();
        assert!(done.collected.blobs > 0 && done.checked.problems.is_empty());
        assert_eq!(done.checked.read, done.checked.blobs);
        let some = store.find("a").unwrap().digest;
        let bytes = std::fs::read(crate::common::path_of(store.root(), &some)).unwrap();
        overwrite(store.root(), &some, &bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
        let done = store.maintain(Duration::from_secs(3600), &()).unwrap();
        let [problem] = done.checked.problems.as_slice() else { panic!("{:?}", done.checked.problems) };
        assert_eq!((problem.fault, problem.image.as_str()), (Fault::Damaged, "a"));
        // Mended by hand: only who reads it knows.
        overwrite(store.root(), &some, &bytes);
        assert_eq!(store.check(&[], false, &()).unwrap().problems.len(), 1);
        assert_eq!(store.check(&[], LONG, &()).unwrap().problems, []);
    }
}
