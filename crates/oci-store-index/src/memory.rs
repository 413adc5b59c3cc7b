//! An index in memory, for tests and for stores that need not last.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::path::{Component, Path, PathBuf, absolute};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::limits::{check_key, check_value};
use crate::{Backend, Error, Index, Range, ReadTxn, Result, Visit, WriteTxn};

const NAME: &str = "memory";

/// Opens indexes in memory. One value of it (clones share it) gives the same index for the same path; nothing
/// is read from or written to the folder.
#[derive(Debug, Default, Clone)]
pub struct MemoryBackend {
    indexes: Arc<Mutex<HashMap<PathBuf, Arc<MemoryIndex>>>>,
}

impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>> {
        let path = normal(&absolute(dir).map_err(|error| Error::backend(NAME, error))?);
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(indexes.entry(path).or_default().clone())
    }
}

/// Resolves `..` by the words alone: there need not be a folder.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            component => normal.push(component),
        }
    }
    normal
}

/// Both sides are shared, so that the copy made for a commit beside an open view copies no rows.
type Map = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// An index in memory. A view keeps the map it began with; an update collects its changes beside the map and
/// applies them at its end, so that neither waits for the other.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    map: RwLock<Arc<Map>>,
    writer: Mutex<()>,
}

impl MemoryIndex {
    fn snapshot(&self) -> Arc<Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Must be called with the writer's lock held.
    fn commit(&self, changes: Changes) {
        {
            let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(map) = Arc::get_mut(&mut current) {
                return apply(map, changes);
            }
        }
        // A view is open. It takes time to copy the map, and nobody should wait for that.
        let mut map = Map::clone(&self.snapshot());
        apply(&mut map, changes);
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }
}

fn apply(map: &mut Map, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

impl Index for MemoryIndex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        body(&Txn { base: self.snapshot(), changes: Changes::new() })
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        // A body that panicked has poisoned the lock but changed nothing.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn { base: self.snapshot(), changes: Changes::new() };
        body(&mut txn)?;
        let Txn { base, changes } = txn;
        drop(base);
        self.commit(changes);
        Ok(())
    }
}

/// What a transaction has set, or deleted (`None`).
type Changes = BTreeMap<Arc<[u8]>, Option<Arc<[u8]>>>;

struct Txn {
    base: Arc<Map>,
    changes: Changes,
}

impl ReadTxn for Txn {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let value = match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.base.get(key),
        };
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let Some(range) = Range::of_scan(prefix, from) else { return Ok(()) };
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(range.start.as_slice()), end);
        let mut base = self.base.range::<[u8], _>(bounds).peekable();
        let mut changes = self.changes.range::<[u8], _>(bounds).peekable();
        loop {
            let changed = match (base.peek(), changes.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((old, _)), Some((new, _))) => new <= old,
            };
            let row = if changed {
                let change = changes.next();
                // A change hides the row that was there.
                base.next_if(|(old, _)| change.is_some_and(|(new, _)| new == *old));
                change.and_then(|(key, value)| Some((key, value.as_ref()?)))
            } else {
                base.next()
            };
            if let Some((key, value)) = row
                && let ControlFlow::Break(()) = visit(key, value)
            {
                return Ok(());
            }
        }
    }
}

impl WriteTxn for Txn {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        check_key(key)?;
        check_value(value)?;
        let before = self.changes.insert(key.into(), Some(value.into()));
        Ok(before.map_or_else(|| !self.base.contains_key(key), |change| change.is_none()))
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let in_base = self.base.contains_key(key);
        let before = if in_base { self.changes.insert(key.into(), None) } else { self.changes.remove(key) };
        Ok(before.map_or(in_base, |change| change.is_some()))
    }
}
