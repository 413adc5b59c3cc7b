//! Garbage collection of an OCI store.

use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_store_base::{Collected, Extent};
use oci_store_cas::attack::{Point, reached};

use crate::{Error, Result, Store, refs};

/// How long it is remembered that a ref was removed, in seconds: longer than any tool holds an `index.json` that
/// it has read before it writes it again.
const REMEMBERED: u64 = 24 * 3600;

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
        let mut left = false;
        base.view(|view| {
            view.each_pending(None, &mut |_, _| {
                left = true;
                Ok(ControlFlow::Break(()))
            })
        })?;
        let rows = base.collect(&refs::ROOTS, extent, dry_run)?;
        if dry_run {
            return Ok(rows);
        }
        reached(Point::AfterMark);
        // Nobody outside is told any more of what goes: referrers went with their subjects, and their records with them; or
        // with those that a gc had taken which came no further.
        if rows.records > 0 || left {
            self.project_changed()?;
        }
        let removed = Collected { unfinished: rows.unfinished, records: rows.records, ..base.unlink_pending()? };
        // One may have come no further meanwhile.
        if removed.blobs > rows.blobs && !left {
            self.project_changed()?;
        }
        if extent == Extent::Full {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let forget = || base.update(|txn| refs::forget_removed(txn, now.saturating_sub(REMEMBERED)));
            base.with_reserve(Error::is_no_space, forget)?;
        }
        self.prune_log()?;
        Ok(removed)
    }
}
