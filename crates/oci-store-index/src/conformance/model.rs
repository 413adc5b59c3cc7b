use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::{Row, open, scanned};
use crate::{Backend, Error, Index, IndexExt, ReadTxn, Result, WriteTxn};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Runs `cases` random histories of transactions over an index and over a `BTreeMap`, and compares what they
/// give. The same histories come every time.
pub fn model(backend: &dyn Backend, dir: &Path, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let dir = dir.join("model");
    let ran = runner.run(&vec(step(), 1..12), |steps| {
        let mut index = open(backend, &dir);
        clear(&*index);
        let mut model = Model::new();
        for step in &steps {
            match step {
                Step::Reopen => {
                    drop(index);
                    index = open(backend, &dir);
                }
                Step::View(reads) => {
                    let read: Result<()> = index.read(|txn| reads.iter().try_for_each(|read| read.check(txn, &model)));
                    read.unwrap();
                }
                Step::Update(changes, end) => update(&*index, changes, *end, &mut model),
            }
            let rows = index.read(|txn| scanned(txn, b"", b"", usize::MAX)).unwrap();
            assert_eq!(rows, model.clone().into_iter().collect::<Vec<_>>());
        }
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{} differs from the model: {failure}", backend.name());
    }
}

fn clear(index: &dyn Index) {
    let cleared: Result<()> = index.write(|txn| {
        let rows = scanned(txn, b"", b"", usize::MAX)?;
        rows.iter().try_for_each(|(key, _)| txn.delete(key).map(drop))
    });
    cleared.unwrap();
}

fn update(index: &dyn Index, changes: &[Change], end: End, model: &mut Model) {
    let mut changed = model.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        index.write(|txn| {
            changes.iter().try_for_each(|change| change.apply(txn, &mut changed))?;
            match end {
                End::Commit => Ok(()),
                End::Error => Err(Error::Aborted),
                End::Panic => resume_unwind(Box::new(())),
            }
        })
    }));
    match (end, ran) {
        (End::Commit, Ok(Ok(()))) => *model = changed,
        (End::Error, Ok(Err(Error::Aborted))) => {}
        (End::Panic, Err(payload)) if payload.is::<()>() => {}
        (_, Ok(other)) => panic!("{end:?} gave {other:?}"),
        (_, Err(payload)) => resume_unwind(payload),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Update(Vec<Change>, End),
    View(Vec<Read>),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Error,
    Panic,
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Read(Read),
}

#[derive(Debug, Clone)]
enum Read {
    Get(Vec<u8>),
    Scan { prefix: Vec<u8>, from: Vec<u8>, limit: usize },
}

impl Change {
    fn apply(&self, txn: &mut dyn WriteTxn, model: &mut Model) -> Result<()> {
        match self {
            Self::Put(key, value) => {
                txn.put(key, value)?;
                model.insert(key.clone(), value.clone());
            }
            Self::Delete(key) => assert_eq!(txn.delete(key)?, model.remove(key).is_some()),
            Self::Read(read) => read.check(txn, model)?,
        }
        Ok(())
    }
}

impl Read {
    fn check(&self, txn: &(impl ReadTxn + ?Sized), model: &Model) -> Result<()> {
        match self {
            Self::Get(key) => assert_eq!(txn.get(key)?.as_ref(), model.get(key)),
            Self::Scan { prefix, from, limit } => {
                let mut rows: Vec<Row> = Vec::new();
                txn.scan(prefix, from, &mut |key, value| {
                    rows.push((key.to_vec(), value.to_vec()));
                    if rows.len() == *limit {
                        std::ops::ControlFlow::Break(())
                    } else {
                        std::ops::ControlFlow::Continue(())
                    }
                })?;
                let expected = model.iter().filter(|(key, _)| key.starts_with(prefix) && *key >= from).take(*limit);
                assert_eq!(rows, expected.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
            }
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![6 => Just(End::Commit), 1 => Just(End::Error), 1 => Just(End::Panic)];
    prop_oneof![
        6 => (vec(change(), 0..16), end).prop_map(|(changes, end)| Step::Update(changes, end)),
        3 => vec(read(), 0..8).prop_map(Step::View),
        1 => Just(Step::Reopen),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Change::Put(key, value)),
        2 => key().prop_map(Change::Delete),
        2 => read().prop_map(Change::Read),
    ]
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![
        key().prop_map(Read::Get),
        (bytes(0), bytes(0), 1..20_usize).prop_map(|(prefix, from, limit)| Read::Scan { prefix, from, limit }),
    ]
}

/// Few and alike, so that they meet; the bytes at both ends of the order among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => bytes(1), 1 => (bytes(1), 450..=474_usize).prop_map(|(key, times)| [key, vec![b'a'; times]].concat())]
}

fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&[0, 1, b'a', b'b', 0xfe, 0xff][..]), least..=4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..20), 1 => (any::<u8>(), 1000..20_000_usize).prop_map(|(byte, size)| vec![byte; size])]
}
