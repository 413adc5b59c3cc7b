//! Blobs in memory, for tests and for images that never reach a disk.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::mem;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Batch, Blob, Cas, Digest, Error, Result, Stage, check_batch_name};

/// Blobs in memory. A clone shares the blobs of its original.
#[derive(Clone, Debug, Default)]
pub struct MemoryCas {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Arc<[u8]>>,
    /// By batch and number. Kept here and not in the batch, as files would be: what a batch that was never
    /// dropped left can then be found and discarded.
    staged: BTreeMap<(String, u64), Arc<[u8]>>,
    next: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("blobs", &self.blobs.len()).field("staged", &self.staged.len()).finish()
    }
}

impl MemoryCas {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cas for MemoryCas {
    fn batch(&self, name: &str) -> Result<Box<dyn Batch>> {
        check_batch_name(name)?;
        Ok(Box::new(MemoryBatch { cas: self.clone(), name: name.to_owned(), sealed: Mutex::default() }))
    }

    fn batches(&self) -> Result<Vec<String>> {
        let mut names: Vec<_> = self.state().staged.keys().map(|(batch, _)| batch.clone()).collect();
        names.dedup();
        Ok(names)
    }

    fn discard(&self, name: &str) -> Result<u64> {
        check_batch_name(name)?;
        let mut discarded = 0;
        self.state().staged.retain(|(batch, _), bytes| {
            let keep = batch != name;
            discarded += if keep { 0 } else { bytes.len() as u64 };
            keep
        });
        Ok(discarded)
    }

    fn staged(&self, name: &str) -> Result<u64> {
        check_batch_name(name)?;
        let state = self.state();
        Ok(state.staged.iter().filter(|((batch, _), _)| batch == name).map(|(_, bytes)| bytes.len() as u64).sum())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        let bytes = self.state().blobs.get(digest).cloned();
        Ok(bytes.map(|bytes| Box::new(MemoryBlob(Cursor::new(bytes))) as Box<dyn Blob>))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.state().blobs.get(digest).map(|bytes| bytes.len() as u64))
    }

    fn delete(&self, digest: &Digest) -> Result<bool> {
        Ok(self.state().blobs.remove(digest).is_some())
    }

    fn list(&self, visit: &mut dyn FnMut(Digest, u64) -> ControlFlow<()>) -> Result<()> {
        // A copy of the names, so that `visit` may call anything here.
        let blobs: Vec<_> = self.state().blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len())).collect();
        let _ = blobs.into_iter().try_for_each(|(digest, size)| visit(digest, size as u64));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

struct MemoryBlob(Cursor<Arc<[u8]>>);

impl Blob for MemoryBlob {}

impl fmt::Debug for MemoryBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBlob({} bytes)", self.0.get_ref().len())
    }
}

impl Read for MemoryBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for MemoryBlob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[derive(Debug)]
struct MemoryBatch {
    cas: MemoryCas,
    name: String,
    /// The number of each. Locked before the state is.
    sealed: Mutex<BTreeMap<Digest, u64>>,
}

impl MemoryBatch {
    fn sealed(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, number: u64) -> Option<Arc<[u8]>> {
        self.cas.state().staged.remove(&(self.name.clone(), number))
    }
}

impl Batch for MemoryBatch {
    fn stage(&self) -> Result<Box<dyn Stage + '_>> {
        let mut state = self.cas.state();
        let number = state.next;
        state.next += 1;
        state.staged.insert((self.name.clone(), number), Arc::default());
        Ok(Box::new(MemoryStage { batch: self, number: Some(number), bytes: Vec::new() }))
    }

    fn persist(&self) -> Result<()> {
        let mut sealed = self.sealed();
        let mut all = mem::take(&mut *sealed).into_iter();
        let mut state = self.cas.state();
        while let Some((digest, number)) = all.next() {
            let Some(bytes) = state.staged.remove(&(self.name.clone(), number)) else {
                for (_, number) in all {
                    state.staged.remove(&(self.name.clone(), number));
                }
                let why = format!("{digest} was discarded with its batch, {}", self.name);
                return Err(Error::Stream(io::Error::new(ErrorKind::NotFound, why)));
            };
            state.blobs.insert(digest, bytes);
        }
        Ok(())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        let sealed = self.sealed();
        let number = sealed.get(digest).copied();
        let bytes = number.and_then(|number| self.cas.state().staged.get(&(self.name.clone(), number)).cloned());
        Ok(bytes.map(|bytes| Box::new(MemoryBlob(Cursor::new(bytes))) as Box<dyn Blob>))
    }

    fn forget(&self, digest: &Digest) -> Result<bool> {
        let number = self.sealed().remove(digest);
        Ok(number.map(|number| self.remove(number)).is_some())
    }
}

impl Drop for MemoryBatch {
    fn drop(&mut self) {
        for (_, number) in mem::take(&mut *self.sealed()) {
            self.remove(number);
        }
    }
}

struct MemoryStage<'b> {
    batch: &'b MemoryBatch,
    /// Gone once it is sealed.
    number: Option<u64>,
    bytes: Vec<u8>,
}

impl fmt::Debug for MemoryStage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStage({} bytes in {})", self.bytes.len(), self.batch.name)
    }
}

impl Write for MemoryStage<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for MemoryStage<'_> {
    fn seal(mut self: Box<Self>, digest: &Digest) -> Result<()> {
        let Some(number) = self.number.take() else { return Ok(()) };
        // If it was discarded meanwhile it stays so, and `persist` says it.
        if let Some(staged) = self.batch.cas.state().staged.get_mut(&(self.batch.name.clone(), number)) {
            *staged = mem::take(&mut self.bytes).into();
        }
        let replaced = self.batch.sealed().insert(digest.clone(), number);
        if let Some(number) = replaced {
            self.batch.remove(number);
        }
        Ok(())
    }

    fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.bytes.as_slice()))
    }
}

impl Drop for MemoryStage<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.batch.remove(number);
        }
    }
}
