//! An index of one's own, whole: a sorted map in memory. It passes the suite that every backend passes, and then has
//! an OCI store over it. (What is in memory only is one process's: a real one is on disk, or on a server.)
//!
//! `cargo run -p oci-store --example own_backend`

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci_store::index::limits::{check_key, check_value};
use oci_store::index::{Backend, Error, Index, ReadTxn, Result, Visit, WriteTxn};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Opens one index a folder.
#[derive(Debug, Default)]
struct MapBackend(Mutex<HashMap<PathBuf, Arc<MapIndex>>>);

/// The committed rows, never changed: a view is a clone of the pointer.
#[derive(Debug, Default)]
struct MapIndex {
    rows: Mutex<Arc<Rows>>,
    writer: Mutex<()>,
}

impl Backend for MapBackend {
    fn name(&self) -> &'static str {
        "map"
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>> {
        // One folder has many names.
        let dir = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
        let dir = dir.map_err(|error| Error::backend("map", error))?;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::<MapIndex>::clone(open.entry(dir).or_default()))
    }
}

impl MapIndex {
    fn snapshot(&self) -> Arc<Rows> {
        Arc::clone(&self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Index for MapIndex {
    fn name(&self) -> &'static str {
        "map"
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        body(&Txn(self.snapshot()))
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn(self.snapshot());
        // An error, or a panic, leaves the committed rows as they are.
        body(&mut txn)?;
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = txn.0;
        Ok(())
    }
}

struct Txn(Arc<Rows>);

impl ReadTxn for Txn {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        for (key, value) in self.0.range(from.max(prefix).to_vec()..) {
            if !key.starts_with(prefix) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl WriteTxn for Txn {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        check_key(key)?;
        check_value(value)?;
        Ok(Arc::make_mut(&mut self.0).insert(key.to_vec(), value.to_vec()).is_none())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        Ok(Arc::make_mut(&mut self.0).remove(key).is_some())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    oci_store::index::conformance::run(&MapBackend::default(), folder.path());
    println!("the suite passes");

    let store = oci_store::OpenOptions::new(vec![Arc::new(MapBackend::default())]).open(folder.path().join("store"))?;
    println!("a store over the index {:?}", store.base().index_name()?);
    Ok(())
}
