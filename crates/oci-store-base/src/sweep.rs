//! What a kill may leave in a store's own folder: files that were to replace another, and an index that was being
//! built. Each is written under a lock; while we hold that, its writer is dead.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::config::TEMPORARY;
use crate::current::{epochs, index_folder};
use crate::locks::{Lock, Mode};
use crate::{Error, Extent, Result, Store};

impl Store {
    /// Removes what the dead have left in the store's own folder, and if everything is asked for, what lies in
    /// `ingest/` and is of no batch; returns how many bytes of that there were.
    pub(crate) fn sweep(&self, extent: Extent) -> Result<u64> {
        // Most often there is nothing, and nobody has to wait.
        if !self.leftovers()?.is_empty() {
            // All who write such files hold one of these, alone.
            let _projection = self.lock(Lock::Projection, Mode::Alone)?;
            let _store = self.share()?;
            for path in self.leftovers()? {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                match removed {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(path)(error)),
                    _ => tracing::debug!("{}: left by a process that died: removed", path.display()),
                }
            }
        }
        Ok(if extent == Extent::Full { self.cas().discard_strays()? } else { 0 })
    }

    /// How many bytes dead processes have left in `ingest/`, of blobs on their way: what a
    /// [`collect`](Self::collect) would remove of them now. Nothing is changed, and nobody is kept waiting.
    ///
    /// # Errors
    /// [`Error::Cas`], [`Error::Io`].
    pub fn unfinished(&self) -> Result<u64> {
        // Batches before leases: one without a lease by now has lost its owner.
        let batches = self.cas().batches()?;
        let leases = self.look_at_leases()?;
        let is_live = |id: &String| leases.iter().any(|lease| lease.live && lease.id == *id);
        let dead = batches.iter().filter(|id| !is_live(id));
        dead.map(|id| Ok(self.cas().staged(id)?)).sum()
    }

    fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let own = self.own_folder();
        let mut found = Vec::new();
        for entry in fs::read_dir(own).map_err(Error::io(own))? {
            let entry = entry.map_err(Error::io(own))?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && entry.file_name().to_str().is_some_and(|name| name.ends_with(TEMPORARY)) {
                found.push(entry.path());
            }
        }
        let epoch = self.current()?.config.epoch;
        found.extend(epochs(own)?.into_iter().filter(|to_come| *to_come > epoch).map(|n| index_folder(own, n)));
        Ok(found)
    }
}
