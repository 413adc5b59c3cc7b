//! Garbage collection of an OCI store.

use std::time::{SystemTime, UNIX_EPOCH};

use oci_store_base::{Collected, Error as BaseError, Extent, RECORDS_GONE, View};
use oci_store_cas::attack::{Point, reached};

use crate::{Error, Result, Store, refs};

/// How long it is remembered that a ref was removed, in seconds: longer than any tool holds an `index.json` that
/// it has read before it writes it again.
const REMEMBERED: u64 = 24 * 3600;

/// The number of [`RECORDS_GONE`] that `index.json` shows.
const SHOWN: &str = "records-gone-shown";

impl Store {
    /// Removes what no ref and no pin reaches, and no live operation needs. What is about a kept image (by
    /// `subject`) is kept with it. Never removes a ref. Runs beside anything, at any time.
    ///
    /// A plain collection looks at what has changed since the last; [`Extent::Full`] at everything, and removes files
    /// that nobody has listed yet: it is not for the moment at which another tool writes into the folder. With
    /// `dry_run` nothing is changed. Returns the files that went, or would go. Works on a full disk.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn gc(&self, extent: Extent, dry_run: bool) -> Result<Collected> {
        self.refresh()?;
        let base = self.base();
        let rows = base.collect(&refs::ROOTS, extent, dry_run)?;
        if dry_run {
            return Ok(Collected { unfinished: base.unfinished()?, ..rows });
        }
        reached(Point::AfterMark);
        // Nobody outside is told any more of what goes: referrers went with their subjects, and their records with them.
        self.show_gone()?;
        let removed = Collected { unfinished: rows.unfinished, ..base.unlink_pending()? };
        if extent == Extent::Full {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let forget = || base.update(|txn| refs::forget_removed(txn, now.saturating_sub(REMEMBERED)));
            base.with_reserve(Error::is_no_space, forget)?;
        }
        self.prune_log()?;
        Ok(removed)
    }

    /// Brings `index.json` up to date if records have gone with their blobs since that was done last: now, or when a gc came no
    /// further.
    fn show_gone(&self) -> Result<()> {
        let numbers = |view: View<'_>| Ok::<_, Error>((view.number(RECORDS_GONE)?, view.number(SHOWN)?));
        let (gone, shown) = self.base().view(numbers)?;
        if gone == shown {
            return Ok(());
        }
        self.project_changed()?;
        // What goes from now on is another number.
        let note = || self.base().update(|txn| txn.set_number(SHOWN, gone));
        Ok(self.base().with_reserve(BaseError::is_no_space, note)?)
    }
}
