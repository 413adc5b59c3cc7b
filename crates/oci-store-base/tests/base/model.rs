//! Random operations on a store, against a simple model of what must be there.

use std::collections::{BTreeMap, BTreeSet};

use oci_store_base::{Condition, Error, Extent, Keeper, LeaseGuard, Link, Space, Store};
use oci_store_cas::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::common::{Bench, REF, any, collect, digest, drop_ref, files, link, rows, settle};

/// How many blobs there are at the most.
const BLOBS: usize = 9;

#[derive(Clone, Debug)]
enum Op {
    /// A blob that nothing keeps.
    Write(usize),
    SetRef(u8, usize),
    DropRef(u8),
    SetUser(u8, usize),
    SetBlobData(usize),
    AddEdge(usize, usize, Link),
    /// A lease, and whether it writes what it names.
    Lease(u8, usize, bool),
    Release(u8),
    Collect(Extent),
    Rehearse(Extent),
    Unlink,
    UnlinkOrphans,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let blob = 0..BLOBS;
    let links = prop_oneof![Just(Link::Needs), Just(Link::Uses), Just(Link::Follows)];
    let extent = || prop_oneof![4 => Just(Extent::Changed), 1 => Just(Extent::Full)];
    prop_oneof![
        6 => blob.clone().prop_map(Op::Write),
        4 => (0..4_u8, blob.clone()).prop_map(|(key, blob)| Op::SetRef(key, blob)),
        3 => (0..4_u8).prop_map(Op::DropRef),
        1 => (0..4_u8, blob.clone()).prop_map(|(key, blob)| Op::SetUser(key, blob)),
        1 => blob.clone().prop_map(Op::SetBlobData),
        8 => (blob.clone(), blob.clone(), links).prop_map(|(parent, child, link)| Op::AddEdge(parent, child, link)),
        2 => (0..3_u8, blob, any_bool()).prop_map(|(slot, blob, writes)| Op::Lease(slot, blob, writes)),
        3 => (0..3_u8).prop_map(Op::Release),
        4 => extent().prop_map(Op::Collect),
        1 => extent().prop_map(Op::Rehearse),
        3 => Just(Op::Unlink),
        1 => Just(Op::UnlinkOrphans),
        1 => Just(Op::Reopen),
    ]
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop_oneof![Just(true), Just(false)]
}

#[derive(Default)]
struct Model {
    rows: BTreeSet<usize>,
    /// Files without a row that wait for the second half.
    pending: BTreeSet<usize>,
    refs: BTreeMap<u8, usize>,
    users: BTreeMap<u8, usize>,
    blob_data: BTreeSet<usize>,
    edges: BTreeSet<(usize, usize, Link)>,
    leases: BTreeMap<u8, usize>,
}

impl Model {
    fn write(&mut self, blob: usize) {
        self.rows.insert(blob);
        self.pending.remove(&blob);
    }

    fn kept(&self) -> BTreeSet<usize> {
        let mut kept = BTreeSet::new();
        let mut walk: Vec<usize> = self.refs.values().chain(self.leases.values()).copied().collect();
        while let Some(blob) = walk.pop() {
            if !kept.insert(blob) {
                continue;
            }
            for &(parent, child, link) in &self.edges {
                if link != Link::Follows && parent == blob {
                    walk.push(child);
                } else if link == Link::Follows && child == blob && self.rows.contains(&blob) {
                    walk.push(parent);
                }
            }
        }
        kept
    }

    fn garbage(&self) -> BTreeSet<usize> {
        self.rows.difference(&self.kept()).copied().collect()
    }

    fn collect(&mut self) {
        for blob in self.garbage() {
            self.rows.remove(&blob);
            self.pending.insert(blob);
            self.blob_data.remove(&blob);
            self.users.retain(|_, user| *user != blob);
            self.edges.retain(|(parent, ..)| *parent != blob);
        }
    }

    fn unlink(&mut self) -> u64 {
        let leased: BTreeSet<usize> = self.leases.values().copied().collect();
        let before = self.pending.len();
        self.pending.retain(|blob| leased.contains(blob));
        (before - self.pending.len()) as u64
    }
}

fn bytes(blob: usize) -> Vec<u8> {
    format!("blob {blob}").into_bytes()
}

fn name(blob: usize) -> Digest {
    digest(&bytes(blob))
}

fn run(bench: &Bench, ops: &[Op]) {
    let mut store = bench.open();
    settle(&store);
    let mut model = Model::default();
    let mut leases: BTreeMap<u8, LeaseGuard> = BTreeMap::new();
    for op in ops {
        step(&mut store, bench, &mut model, &mut leases, op);
        check(&store, &model);
    }
    // At the end of all leases exactly what the records keep is there.
    drop(leases);
    model.leases.clear();
    collect(&store, Extent::Changed);
    model.collect();
    store.unlink_pending().unwrap();
    model.unlink();
    check(&store, &model);
    assert_eq!(collect(&store, Extent::Full).blobs, 0);
    assert_eq!(store.unlink_orphans().unwrap().blobs, 0);
    assert_eq!(rows(&store), files(&store));
}

fn step(store: &mut Store, bench: &Bench, model: &mut Model, leases: &mut BTreeMap<u8, LeaseGuard>, op: &Op) {
    match *op {
        Op::Write(blob) => {
            let lease = store.lease("model").unwrap();
            lease.write(any(), "", &mut bytes(blob).as_slice()).unwrap();
            model.write(blob);
        }
        Op::SetRef(key, blob) => {
            let key_text = key.to_string();
            let set =
                store.update(|txn| txn.set_data(Space::Store, REF, &key_text, b"", Some(&name(blob)), Condition::Any));
            if model.rows.contains(&blob) {
                set.unwrap();
                model.refs.insert(key, blob);
            } else {
                assert!(matches!(set, Err(Error::BlobNotFound(_))));
            }
        }
        Op::DropRef(key) => {
            drop_ref(store, &key.to_string());
            model.refs.remove(&key);
        }
        Op::SetUser(key, blob) => {
            let blob = Some(blob).filter(|blob| model.rows.contains(blob));
            let digest = blob.map(name);
            let key_text = key.to_string();
            store
                .update(|txn| txn.set_data(Space::User, REF, &key_text, b"", digest.as_ref(), Condition::Any))
                .unwrap();
            match blob {
                Some(blob) => model.users.insert(key, blob),
                None => model.users.remove(&key),
            };
        }
        Op::SetBlobData(blob) => {
            let set = store.update(|txn| txn.set_blob_data(&name(blob), "kind", b"data"));
            assert_eq!(set.is_ok(), model.rows.contains(&blob));
            if set.is_ok() {
                model.blob_data.insert(blob);
            }
        }
        Op::AddEdge(parent, child, kind) => {
            if model.rows.contains(&parent) {
                link(store, &name(parent), &[(&name(child), kind)]);
                model.edges.insert((parent, child, kind));
            }
        }
        Op::Lease(slot, blob, writes) => {
            leases.remove(&slot);
            let lease = store.lease("model").unwrap();
            lease.name(&[name(blob)]).unwrap();
            if writes {
                lease.write(any(), "", &mut bytes(blob).as_slice()).unwrap();
                model.write(blob);
            }
            leases.insert(slot, lease);
            model.leases.insert(slot, blob);
        }
        Op::Release(slot) => {
            leases.remove(&slot);
            model.leases.remove(&slot);
        }
        Op::Collect(extent) => {
            let garbage = model.garbage().len() as u64;
            assert_eq!(collect(store, extent).blobs, garbage, "{extent:?}");
            model.collect();
        }
        Op::Rehearse(extent) => {
            let leased: BTreeSet<usize> = model.leases.values().copied().collect();
            let files = model.pending.union(&model.garbage()).filter(|blob| !leased.contains(blob)).count() as u64;
            assert_eq!(store.collect(&[REF], extent, true).unwrap().blobs, files, "{extent:?}");
        }
        Op::Unlink => assert_eq!(store.unlink_pending().unwrap().blobs, model.unlink()),
        Op::UnlinkOrphans => assert_eq!(store.unlink_orphans().unwrap().blobs, 0),
        Op::Reopen => *store = bench.open(),
    }
}

fn check(store: &Store, model: &Model) {
    let wanted: BTreeSet<Digest> = model.rows.iter().map(|blob| name(*blob)).collect();
    assert_eq!(rows(store), wanted, "rows");
    let wanted = model.rows.union(&model.pending).map(|blob| name(*blob)).collect();
    assert_eq!(files(store), wanted, "files");
    let page = store.view(|view| view.data_page(Space::User, REF, "", None, 99)).unwrap();
    let users: BTreeSet<(String, Digest)> = page.into_iter().filter_map(|data| Some((data.key, data.blob?))).collect();
    assert_eq!(users, model.users.iter().map(|(key, blob)| (key.to_string(), name(*blob))).collect(), "users' data");
    for blob in 0..BLOBS {
        let data = store.view(|view| view.blob_data(&name(blob), "kind")).unwrap();
        assert_eq!(data.is_some(), model.blob_data.contains(&blob), "additional data");
    }
    check_why(store, model);
}

/// A blob has a path if and only if it is kept, and each path leads from what keeps it over edges that keep.
fn check_why(store: &Store, model: &Model) {
    let kept = model.kept();
    for blob in model.rows.union(&model.pending).copied() {
        let why = store.why(&[REF], &name(blob), 50).unwrap();
        assert_eq!(!why.paths.is_empty(), kept.contains(&blob), "{blob}: {why:?}");
        assert!(why.more == 0 || why.paths.len() == 50);
        for path in &why.paths {
            let steps: Vec<usize> =
                path.steps.iter().map(|step| (0..BLOBS).find(|blob| name(*blob) == step.digest).unwrap()).collect();
            match &path.keeper {
                Keeper::Record { key, .. } => assert_eq!(model.refs.get(&key.parse().unwrap()), steps.first()),
                Keeper::Lease(_) => assert!(model.leases.values().any(|leased| Some(leased) == steps.first())),
            }
            assert_eq!(steps.last(), Some(&blob));
            assert_eq!(steps.iter().collect::<BTreeSet<_>>().len(), steps.len(), "no blob twice");
            for (at, step) in path.steps.iter().enumerate().skip(1) {
                let (above, below) = (steps[at - 1], steps[at]);
                let edge = match step.link.unwrap() {
                    Link::Follows => (below, above, Link::Follows),
                    link => (above, below, link),
                };
                assert!(model.edges.contains(&edge), "{edge:?}");
            }
        }
    }
}

fn explore(backend: &'static str) {
    // The same cases every time, unless a number says otherwise.
    let seed = std::env::var("OCI_STORE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7_u8);
    let cases = std::env::var("OCI_STORE_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let explored = runner.run(&prop::collection::vec(op(), 1..=80), |ops| {
        run(&Bench::new(backend), &ops);
        Ok(())
    });
    if let Err(error) = explored {
        panic!("{error}");
    }
}

#[test]
fn over_memory() {
    explore("memory");
}

#[test]
fn over_lmdb() {
    explore("lmdb");
}

#[test]
fn over_sqlite() {
    explore("sqlite");
}
