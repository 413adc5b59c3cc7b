//! An index that has lost the order of its rows: whoever goes on behind the last row that was read would read round and round.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci_store_base::{Condition, Error, OpenOptions, Space};
use oci_store_index::memory::MemoryBackend;
use oci_store_index::{Backend, Index, ReadTxn, Result, Visit, WriteTxn};

use crate::common::{failure, loose, put};

/// Whether rows come backwards.
type Switch = Arc<AtomicBool>;

#[derive(Debug)]
struct Jumbled {
    backend: MemoryBackend,
    switch: Switch,
}

#[derive(Debug)]
struct JumbledIndex {
    index: Arc<dyn Index>,
    switch: Switch,
}

struct Reader<'a> {
    txn: &'a dyn ReadTxn,
    switch: &'a Switch,
}

impl Backend for Jumbled {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>> {
        let index = self.backend.open(dir)?;
        // What is built anew is in order.
        let switch = if dir.ends_with("index/1") { Arc::clone(&self.switch) } else { Switch::default() };
        Ok(Arc::new(JumbledIndex { index, switch }))
    }
}

impl Index for JumbledIndex {
    fn name(&self) -> &'static str {
        self.index.name()
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        self.index.view(&mut |txn| body(&Reader { txn, switch: &self.switch }))
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        self.index.update(body)
    }
}

impl ReadTxn for Reader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.txn.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut rows = Vec::new();
        self.txn.scan(prefix, from, &mut |key, row| {
            rows.push((key.to_vec(), row.to_vec()));
            ControlFlow::Continue(())
        })?;
        if self.switch.load(Ordering::Relaxed) {
            // All of them, as LMDB would give those that it meets.
            rows.clear();
            self.txn.scan(prefix, &[], &mut |key, row| {
                rows.insert(0, (key.to_vec(), row.to_vec()));
                ControlFlow::Continue(())
            })?;
        }
        let _ = rows.iter().try_for_each(|(key, row)| visit(key, row));
        Ok(())
    }
}

#[test]
fn rows_in_no_order_are_damage_and_a_reindex_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::default();
    let backend = Arc::new(Jumbled { backend: MemoryBackend::default(), switch: Arc::clone(&switch) });
    let options = || OpenOptions::new("test", vec![Arc::clone(&backend) as Arc<dyn Backend>]);
    let store = options().open(dir.path()).unwrap();
    let blob = put(&store, "r", b"root");
    loose(&store, b"other");
    for key in ["a", "b"] {
        store.update(|txn| txn.set_data(Space::User, "kind", key, b"value", Some(&blob), Condition::Any)).unwrap();
    }
    let list = || store.view(|view| view.blobs(&Default::default(), None, 9));
    assert_eq!(list().unwrap().len(), 2);
    switch.store(true, Ordering::Relaxed);
    assert!(matches!(failure(list()), Error::IndexLost { .. }));
    assert!(matches!(
        failure(store.view(|view| view.data_page(Space::User, "kind", "", None, 9))),
        Error::IndexLost { .. }
    ));
    assert!(matches!(failure(store.check_index()), Error::IndexLost { .. }));
    let (store, found, ()) = options().reindex(dir.path(), |_| Ok(())).unwrap();
    assert_eq!(found.blobs, 2);
    assert!(found.lost.is_some());
    store.check_index().unwrap();
}
