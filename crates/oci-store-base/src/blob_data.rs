//! Additional data of blobs, by type.

use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::data::VERSION;
use crate::edges::scan;
use crate::name::Key;
use crate::schema::{self, DataHead};
use crate::time::now;
use crate::{Error, Result, Txn, View};

impl View<'_> {
    /// Additional data of a blob, or `None`.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn blob_data(&self, digest: &Digest, kind: &str) -> Result<Option<Vec<u8>>> {
        let row = self.0.get(&schema::blob_data(digest, Key::new(kind)?))?;
        row.map(|row| Ok(schema::decode::<DataHead>("additional data", &row)?.1.to_vec())).transpose()
    }

    /// The types of a blob's additional data, in order, each with its length in bytes.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn blob_data_list(&self, digest: &Digest) -> Result<Vec<(String, u64)>> {
        let prefix = schema::of_digest(schema::BLOB_DATA, digest);
        let mut list = Vec::new();
        scan(self.0, &prefix, &[], &mut |row, value| {
            let (head, bytes): (DataHead, _) = schema::decode("additional data", value)?;
            let short = || String::from_utf8(row.get(prefix.len()..)?.to_vec()).ok();
            let kind = head.key.or_else(short).ok_or(Error::Row { what: "additional data" })?;
            list.push((kind, bytes.len() as u64));
            Ok(ControlFlow::Continue(()))
        })?;
        list.sort();
        Ok(list)
    }
}

impl Txn<'_> {
    /// Sets additional data of a blob, which must be in the store. Idempotent.
    ///
    /// # Errors
    /// [`Error::BlobNotFound`], [`Error::InvalidName`], [`Error::Index`].
    pub fn set_blob_data(&mut self, digest: &Digest, kind: &str, value: &[u8]) -> Result<()> {
        let name = Key::new(kind)?;
        if self.view().blob(digest)?.is_none() {
            return Err(Error::BlobNotFound(digest.to_string()));
        }
        let version = self.count(VERSION)?;
        let head = DataHead { version, updated: now(), kind: None, key: name.spilled(), blob: None };
        self.0.put(&schema::blob_data(digest, name), &schema::encode("additional data", &head, value)?)?;
        Ok(())
    }

    /// Removes additional data of a blob; says whether it was there. Idempotent.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Index`].
    pub fn delete_blob_data(&mut self, digest: &Digest, kind: &str) -> Result<bool> {
        Ok(self.0.delete(&schema::blob_data(digest, Key::new(kind)?))?)
    }

    pub(crate) fn remove_blob_data(&mut self, digest: &Digest) -> Result<()> {
        let mut rows = Vec::new();
        self.0.scan(&schema::of_digest(schema::BLOB_DATA, digest), &[], &mut |row, _| {
            rows.push(row.to_vec());
            ControlFlow::Continue(())
        })?;
        for row in rows {
            self.0.delete(&row)?;
        }
        Ok(())
    }
}
