//! What a store wants from time to time: a collection, and a look at the bytes.

use std::time::Duration;

use oci_store_base::{Collected, Extent};

use crate::progress::Progress;
use crate::{Checked, Reading, Result, Store};

/// What maintenance has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// What went.
    pub collected: Collected,
    /// What was looked at, and read.
    pub checked: Checked,
}

impl Store {
    /// Checks the index, collects what nothing keeps, then checks all images, and reads blobs for as long as `budget`: those
    /// that were verified longest ago, so that call by call all are. Over a damaged index it does nothing. Refs stay as they
    /// are. Beside anything, at any moment; what is cancelled goes on with the next call.
    ///
    /// # Errors
    /// Those of [`gc`](Self::gc) and [`check`](Self::check). That something is wrong is none: the outcome says so.
    pub fn maintain(&self, budget: Duration, progress: &dyn Progress) -> Result<Maintained> {
        // First: a collection believes the index.
        if let index @ Some(_) = self.index_damage()? {
            return Ok(Maintained { checked: Checked { index, ..Checked::default() }, ..Maintained::default() });
        }
        let collected = self.gc(Extent::Changed, false)?;
        let checked = self.check_images(&[], Reading::Within(budget), progress)?;
        Ok(Maintained { collected, checked })
    }
}
