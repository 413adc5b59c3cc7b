//! How many rows there are of what is listed whole. An index on a disk that rots may not lead to some of its rows any more,
//! and all that it still shows is right: only their number tells.

use std::collections::BTreeMap;

use oci_store_index::{ReadTxn, Result, WriteTxn};

use crate::View;
use crate::schema::{self, COUNT};

/// By the beginning of their keys, how many rows came or went, or how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<Vec<u8>, i64>);

impl Counts {
    /// Notes that a row with this key came (1) or went (-1), if such rows are counted.
    pub(crate) fn note(&mut self, key: &[u8], by: i64) {
        let Some(beginning) = schema::counted(key) else { return };
        match self.0.get_mut(beginning) {
            Some(count) => *count += by,
            None => drop(self.0.insert(beginning.to_vec(), by)),
        }
    }

    /// Takes over what a row says that counts others; whether it is one.
    pub(crate) fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let beginning = key.strip_prefix(&[COUNT])?.to_vec();
        self.0.insert(beginning, i64::from_be_bytes(value.try_into().ok()?));
        Some(())
    }

    /// Counts what came and went in a transaction, at its end. A count stays when there is nothing left to count.
    pub(crate) fn write(&self, txn: &mut dyn WriteTxn) -> Result<()> {
        for (beginning, by) in self.0.iter().filter(|(_, by)| **by != 0) {
            let key = [&[COUNT], beginning.as_slice()].concat();
            let count = known(txn, &key)?.unwrap_or_default() + by;
            txn.put(&key, &count.to_be_bytes())?;
        }
        Ok(())
    }

    /// How many rows with this beginning there have to be now; `None` if nobody knows, as the count is gone.
    pub(crate) fn wanted(&self, txn: &dyn ReadTxn, beginning: &[u8]) -> Result<Option<i64>> {
        let known = known(txn, &[&[COUNT], beginning].concat())?;
        let is_always = matches!(beginning, [table] if ALWAYS.contains(table));
        let known = if is_always { known } else { known.or(Some(0)) };
        Ok(known.map(|known| known + self.0.get(beginning).copied().unwrap_or_default()))
    }

    /// Leaves out what there is none of.
    pub(crate) fn without_zeros(mut self) -> Self {
        self.0.retain(|_, count| *count != 0);
        self
    }
}

/// Tables that are counted from the beginning: their counts stand beside the first of their rows, and what hides all of these
/// may hide the count.
const ALWAYS: [u8; 2] = [schema::BLOB, schema::EDGES];

/// Begins to count in a new index. Idempotent.
pub(crate) fn begin(txn: &mut dyn WriteTxn) -> Result<()> {
    for table in ALWAYS {
        let key = [COUNT, table];
        if known(txn, &key)?.is_none() {
            txn.put(&key, &0_i64.to_be_bytes())?;
        }
    }
    Ok(())
}

/// About how many blobs there are; 0 if nobody knows.
pub(crate) fn blobs(view: View<'_>) -> Result<usize> {
    let count = known(view.0, &[COUNT, schema::BLOB])?;
    Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default())
}

/// What a row counts; `None` if it is not there, or has another length than those that are written here.
fn known(txn: &dyn ReadTxn, key: &[u8]) -> Result<Option<i64>> {
    let value = txn.get(key)?.and_then(|value| value.try_into().ok());
    Ok(value.map(i64::from_be_bytes))
}
