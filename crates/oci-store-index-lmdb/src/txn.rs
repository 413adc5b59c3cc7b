use std::ops::{Bound, ControlFlow};

use heed::{MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};
use oci_store_index::limits::{check_key, check_value};
use oci_store_index::{Range, ReadTxn, Result, Visit, WriteTxn};

use crate::environment::{Environment, Rows};

/// A view.
pub(crate) struct Reader<'a> {
    pub(crate) txn: RoTxn<'a, WithoutTls>,
    pub(crate) rows: Rows,
    pub(crate) environment: &'a Environment,
}

/// An update.
pub(crate) struct Writer<'a> {
    pub(crate) txn: RwTxn<'a>,
    pub(crate) rows: Rows,
    pub(crate) environment: &'a Environment,
}

impl ReadTxn for Reader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(self.environment, self.rows, &self.txn, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        scan(self.environment, self.rows, &self.txn, prefix, from, visit)
    }
}

impl ReadTxn for Writer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(self.environment, self.rows, &self.txn, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        scan(self.environment, self.rows, &self.txn, prefix, from, visit)
    }
}

impl WriteTxn for Writer<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        check_key(key)?;
        check_value(value)?;
        let put = match self.rows.put_with_flags(&mut self.txn, PutFlags::NO_OVERWRITE, key, value) {
            Err(heed::Error::Mdb(MdbError::KeyExist)) => self.rows.put(&mut self.txn, key, value).map(|()| false),
            put => put.map(|()| true),
        };
        put.map_err(|error| self.environment.failed(error))
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        self.rows.delete(&mut self.txn, key).map_err(|error| self.environment.failed(error))
    }
}

fn get(environment: &Environment, rows: Rows, txn: &RoTxn<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
    check_key(key)?;
    let value = rows.get(txn, key).map_err(|error| environment.failed(error))?;
    Ok(value.map(<[u8]>::to_vec))
}

fn scan(
    environment: &Environment,
    rows: Rows,
    txn: &RoTxn<'_>,
    prefix: &[u8],
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<()> {
    let Some(range) = Range::of_scan(prefix, from) else { return Ok(()) };
    // LMDB refuses to look up an empty key.
    let start = if range.start.is_empty() { Bound::Unbounded } else { Bound::Included(range.start.as_slice()) };
    let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    for row in rows.range(txn, &(start, end)).map_err(|error| environment.failed(error))? {
        let (key, value) = row.map_err(|error| environment.failed(error))?;
        if let ControlFlow::Break(()) = visit(key, value) {
            break;
        }
    }
    Ok(())
}
