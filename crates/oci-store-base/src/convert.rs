use oci_store_index::Index as _;

use crate::current::find_backend;
use crate::replace::{Replacing, copy_rows, replace};
use crate::{Result, Store};

impl Store {
    /// Converts the store's index to the backend called `to`: every row, as it is. Says whether there was anything
    /// to do. Others wait meanwhile, and go on over the new index. The index before is kept as a backup.
    ///
    /// # Errors
    /// [`NoBackend`](crate::Error::NoBackend), [`IndexLost`](crate::Error::IndexLost),
    /// [`Index`](crate::Error::Index), [`Io`](crate::Error::Io), [`LockTimeout`](crate::Error::LockTimeout).
    pub fn convert(&self, to: &str) -> Result<bool> {
        find_backend(self.backends(), to)?;
        let replaced = replace(
            self.own_folder(),
            self.locks(),
            self.backends(),
            self.wait(),
            Some(to),
            None,
            |config| config.index != to,
            |Replacing { old, new }| {
                let old = old?;
                // What it doesn't show is not to be missing in the new one as if it had never been.
                old.check()?;
                copy_rows(&*old, &*new, &[], &|_, value| Some(value))
            },
        )?;
        let Some((current, _)) = replaced else { return Ok(false) };
        self.set_current(current);
        Ok(true)
    }
}
