use oci_store_index::{ReadTxn, WriteTxn};

use crate::schema;
use crate::{Error, Result};

/// A consistent view of a store's index, as it was when it began. Made by [`Store::view`](crate::Store::view).
#[derive(Clone, Copy)]
pub struct View<'t>(pub(crate) &'t dyn ReadTxn);

/// An exclusive transaction on a store's index: all of it is committed, or nothing. Made by
/// [`Store::update`](crate::Store::update).
///
/// Everything that decides runs in one of these: that is what makes the store safe to share. A transaction
/// should be short, as every other writer waits for it.
pub struct Txn<'t>(pub(crate) &'t mut dyn WriteTxn);

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Txn")
    }
}

impl Txn<'_> {
    /// What the transaction sees: the newest state, with its own changes.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View(&*self.0)
    }

    /// Counts up the counter `name`, and returns the new number. One that has come to its end is damaged: nobody has counted
    /// so far.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn count(&mut self, name: &str) -> Result<u64> {
        let next = self.view().number(name)?.checked_add(1).ok_or(Error::Row { what: "number" })?;
        self.set_number(name, next)?;
        Ok(next)
    }

    /// Sets the number called `name`.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn set_number(&mut self, name: &str, number: u64) -> Result<()> {
        self.0.put(&schema::meta(name), &number.to_be_bytes())?;
        Ok(())
    }
}

impl View<'_> {
    /// The number called `name`; 0 if it was never set.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn number(&self, name: &str) -> Result<u64> {
        match self.0.get(&schema::meta(name))? {
            None => Ok(0),
            Some(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Row { what: "number" }),
        }
    }
}
