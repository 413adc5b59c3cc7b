//! Rows with a checksum: an index on a disk that rots must not give wrong answers. Each value ends in a CRC-32 over its
//! key and itself, so a row that has changed, or has come to stand under another key, is told from what was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_index::{Error, Index, ReadTxn, Result, Visit, WriteTxn};

/// Bytes that a row has more.
const SEAL: usize = size_of::<u32>();

/// An index whose rows are sealed when they are put, and checked whenever they are read.
#[derive(Debug)]
pub(crate) struct Sealed {
    index: Arc<dyn Index>,
    folder: PathBuf,
}

impl Sealed {
    pub(crate) fn over(index: Arc<dyn Index>, folder: &Path) -> Arc<Self> {
        Arc::new(Self { index, folder: folder.to_owned() })
    }

    /// The index below, with its rows as they lie there: to save what can be saved of a damaged one.
    pub(crate) fn raw(&self) -> &dyn Index {
        &*self.index
    }
}

impl Index for Sealed {
    fn name(&self) -> &'static str {
        self.index.name()
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        self.index.view(&mut |txn| body(&Reader { txn, sealed: self }))
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        self.index.update(&mut |txn| body(&mut Writer { txn, sealed: self }))
    }

    fn check_readable(&self) -> Result<()> {
        self.index.check_readable()
    }

    fn check(&self) -> Result<()> {
        self.index.check()?;
        // Every row, for its checksum.
        self.view(&mut |txn| txn.scan(&[], &[], &mut |_, _| std::ops::ControlFlow::Continue(())))
    }
}

impl Sealed {
    fn damaged(&self) -> Error {
        Error::damaged(self.index.name(), &self.folder, "a row is not what was written")
    }

    fn get(&self, txn: &dyn ReadTxn, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(mut row) = txn.get(key)? else { return Ok(None) };
        let length = open(key, &row).ok_or_else(|| self.damaged())?.len();
        row.truncate(length);
        Ok(Some(row))
    }

    fn scan(&self, txn: &dyn ReadTxn, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut is_damaged = false;
        txn.scan(prefix, from, &mut |key, row| match open(key, row) {
            Some(value) => visit(key, value),
            None => {
                is_damaged = true;
                std::ops::ControlFlow::Break(())
            }
        })?;
        if is_damaged { Err(self.damaged()) } else { Ok(()) }
    }
}

struct Reader<'a> {
    txn: &'a dyn ReadTxn,
    sealed: &'a Sealed,
}

impl ReadTxn for Reader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.sealed.get(self.txn, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.sealed.scan(self.txn, prefix, from, visit)
    }
}

struct Writer<'a> {
    txn: &'a mut dyn WriteTxn,
    sealed: &'a Sealed,
}

impl ReadTxn for Writer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.sealed.get(&*self.txn, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.sealed.scan(&*self.txn, prefix, from, visit)
    }
}

impl WriteTxn for Writer<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut row = Vec::with_capacity(value.len() + SEAL);
        row.extend_from_slice(value);
        row.extend_from_slice(&seal(key, value));
        self.txn.put(key, &row)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.txn.delete(key)
    }
}

fn seal(key: &[u8], value: &[u8]) -> [u8; SEAL] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_be_bytes()
}

/// The value of a row; `None` if it is not what was sealed.
pub(crate) fn open<'r>(key: &[u8], row: &'r [u8]) -> Option<&'r [u8]> {
    let (value, sum) = row.split_last_chunk()?;
    (seal(key, value) == *sum).then_some(value)
}
