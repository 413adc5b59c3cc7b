//! Rows with a checksum: an index on a disk that rots must not give wrong answers. Each value ends in a CRC-32 over its
//! key and itself, so a row that has changed, or has come to stand under another key, is told from what was written. And
//! rows that are listed whole are [counted](crate::counts), so that a list with one too few is told from a whole one.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_index::{Error, Index, ReadTxn, Result, Visit, WriteTxn};

use crate::counts::Counts;
use crate::schema::{self, COUNT, COUNTED_SINCE};

/// Bytes that a row has more.
const SEAL: usize = size_of::<u32>();

/// An index whose rows are sealed when they are put, and checked whenever they are read.
#[derive(Debug)]
pub(crate) struct Sealed {
    index: Arc<dyn Index>,
    folder: PathBuf,
    is_counted: bool,
}

impl Sealed {
    pub(crate) fn over(index: Arc<dyn Index>, folder: &Path, format: u32) -> Arc<Self> {
        Arc::new(Self { index, folder: folder.to_owned(), is_counted: format >= COUNTED_SINCE })
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
        self.index.update(&mut |txn| {
            let mut writer = Writer { txn, sealed: self, counts: Counts::default() };
            body(&mut writer)?;
            std::mem::take(&mut writer.counts).write(&mut writer)
        })
    }

    fn check_readable(&self) -> Result<()> {
        self.index.check_readable()
    }

    /// And every row, for its checksum, and how many there are.
    fn check(&self) -> Result<()> {
        self.index.check()?;
        let (mut found, mut wanted, mut is_damaged) = (Counts::default(), Counts::default(), false);
        let mut last = Vec::new();
        self.index.view(&mut |txn| {
            txn.scan(&[], &[], &mut |key, row| {
                found.note(key, 1);
                let is_count = key.first() == Some(&COUNT);
                let value = open(key, row).filter(|_| is_behind(key, &mut last));
                is_damaged = !value.is_some_and(|value| !is_count || wanted.read(key, value).is_some());
                if is_damaged { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        if is_damaged {
            return Err(self.damaged(CHANGED));
        }
        if self.is_counted && found != wanted.without_zeros() { Err(self.damaged(MISSING)) } else { Ok(()) }
    }
}

const CHANGED: &str = "a row is not what was written";
const MISSING: &str = "it does not have the rows that were written";

impl Sealed {
    fn damaged(&self, why: impl ToString) -> Error {
        Error::damaged(self.index.name(), &self.folder, why)
    }

    fn get(&self, txn: &dyn ReadTxn, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(mut row) = txn.get(key)? else { return Ok(None) };
        let length = open(key, &row).ok_or_else(|| self.damaged(CHANGED))?.len();
        row.truncate(length);
        Ok(Some(row))
    }

    /// `reader` is what sees `txn` through the seals, and `counts` what came and went in it.
    fn scan(
        &self,
        txn: &dyn ReadTxn,
        reader: &dyn ReadTxn,
        counts: &Counts,
        (prefix, from): (&[u8], &[u8]),
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let (mut rows, mut is_damaged, mut is_ended) = (0, false, false);
        let mut last = Vec::new();
        txn.scan(prefix, from, &mut |key, row| {
            rows += 1;
            // Whoever goes on behind the last row of a page gets there only if each is behind the one before.
            let is_next = is_behind(key, &mut last) && key >= from && key.starts_with(prefix);
            let flow = match open(key, row).filter(|_| is_next) {
                // Not the store's rows, but this index's own.
                Some(_) if key.first() == Some(&COUNT) => ControlFlow::Continue(()),
                Some(value) => visit(key, value),
                None => {
                    is_damaged = true;
                    ControlFlow::Break(())
                }
            };
            is_ended = flow.is_break();
            flow
        })?;
        if is_damaged {
            return Err(self.damaged(CHANGED));
        }
        let is_whole = !is_ended && from <= prefix && schema::counted(prefix) == Some(prefix);
        if is_whole && self.is_counted && counts.wanted(reader, prefix)? != Some(rows) {
            return Err(self.damaged(MISSING));
        }
        Ok(())
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
        self.sealed.scan(self.txn, self, &Counts::default(), (prefix, from), visit)
    }
}

struct Writer<'a> {
    txn: &'a mut dyn WriteTxn,
    sealed: &'a Sealed,
    counts: Counts,
}

impl ReadTxn for Writer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.sealed.get(&*self.txn, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.sealed.scan(&*self.txn, self, &self.counts, (prefix, from), visit)
    }
}

impl WriteTxn for Writer<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let mut row = Vec::with_capacity(value.len() + SEAL);
        row.extend_from_slice(value);
        row.extend_from_slice(&seal(key, value));
        let is_new = self.txn.put(key, &row)?;
        if is_new {
            self.counts.note(key, 1);
        }
        Ok(is_new)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        let was_there = self.txn.delete(key)?;
        if was_there {
            self.counts.note(key, -1);
        }
        Ok(was_there)
    }
}

/// Whether a key stands behind the last one, whose place it takes.
fn is_behind(key: &[u8], last: &mut Vec<u8>) -> bool {
    let is_behind = key > last.as_slice();
    last.clear();
    last.extend_from_slice(key);
    is_behind
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
