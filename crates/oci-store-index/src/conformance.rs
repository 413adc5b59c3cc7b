//! The contract of an index as a suite: every backend's tests run it, and it decides what a backend must do.
//!
//! ```
//! use oci_store_index::{conformance, memory::MemoryBackend};
//!
//! let dir = tempfile::tempdir().unwrap();
//! conformance::run(&MemoryBackend::default(), dir.path());
//! conformance::model(&MemoryBackend::default(), dir.path(), 8);
//! ```
//!
//! All functions panic where the backend fails. They take a folder in which they make one folder a check.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite fails by panicking")]

mod durable;
mod model;
mod processes;
mod rows;
mod scans;
mod transactions;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub use model::model;
pub use processes::{fresh_open, kills, processes};

use crate::{Backend, Index, IndexExt, ReadTxn, Result, WriteTxn};

/// Runs the checks that every backend passes.
pub fn run(backend: &dyn Backend, dir: &Path) {
    for (name, check) in rows::CHECKS.iter().chain(scans::CHECKS).chain(transactions::CHECKS) {
        check(backend, &dir.join(name));
    }
}

/// Runs the checks of what an index on a disk keeps when it is closed.
pub fn run_durable(backend: &dyn Backend, dir: &Path) {
    for (name, check) in durable::CHECKS {
        check(backend, &dir.join(name));
    }
}

/// A check: its name, and what it does in a folder that is not there yet.
type Check = (&'static str, fn(&dyn Backend, &Path));

type Row = (Vec<u8>, Vec<u8>);

fn open(backend: &dyn Backend, dir: &Path) -> Arc<dyn Index> {
    backend.open(dir).unwrap_or_else(|error| panic!("opening {}: {error}", dir.display()))
}

fn put(index: &dyn Index, key: &[u8], value: &[u8]) {
    index.write(|txn| txn.put(key, value).map(drop)).unwrap();
}

fn get(index: &dyn Index, key: &[u8]) -> Option<Vec<u8>> {
    index.read(|txn| txn.get(key)).unwrap()
}

/// The rows a scan visits, `limit` of them at most.
fn scanned(txn: &dyn ReadTxn, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    txn.scan(prefix, from, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(rows)
}

fn keys(index: &dyn Index, prefix: &[u8], from: &[u8]) -> Vec<Vec<u8>> {
    let rows = index.read(|txn| scanned(txn, prefix, from, usize::MAX)).unwrap();
    rows.into_iter().map(|(key, _)| key).collect()
}

/// Adds one to a counter, and returns what it then is.
fn increment(index: &dyn Index, key: &[u8]) -> u64 {
    index.write(|txn| add_one(txn, key)).unwrap()
}

fn add_one(txn: &mut dyn WriteTxn, key: &[u8]) -> Result<u64> {
    let next = number(txn.get(key)?) + 1;
    txn.put(key, &next.to_be_bytes())?;
    Ok(next)
}

fn counter(index: &dyn Index, key: &[u8]) -> u64 {
    number(get(index, key))
}

fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("a counter of eight bytes")))
}
