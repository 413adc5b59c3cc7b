//! `index.json`: the refs as every other tool sees them.
//!
//! The index is the truth, and this file shows it. It carries the generation of the refs that it shows, and a
//! checksum over both and the store's id, so that a file that somebody else has written, or another store, is told from one of
//! ours, whenever a crash came. After a commit that changed refs, whoever made it takes the projection's lock; if the file is already
//! as new, somebody else's rewrite covered it. So a storm of taggers costs few rewrites.
//!
//! A file that somebody else has written is [merged](crate::merge) first, and what was swapped out when ours went in
//! is looked at again: what is written in that moment is not lost either.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_store_base::{self as base, Lock, Mode};
use oci_store_cas::Digest;
use oci_store_cas::attack::{Guard, Point, reached, without};
use oci_store_cas::folder::sync_folder;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::note::{self, Look, NOTE, Note};
use crate::shown::{Found, MOMENT, look_at, render};
use crate::{Error, Result, Store, refs};

/// What a new `index.json` may have more than the one before, so that its text need not grow, in bytes.
const ROOM: u64 = 64 << 10;

impl Store {
    pub(crate) fn index_json(&self) -> PathBuf {
        self.root().join("index.json")
    }

    pub(crate) fn note_path(&self) -> PathBuf {
        self.base().own_folder().join(NOTE)
    }

    /// Takes in what others have written into the folder, and mends what a crash has left. Costs two looks at
    /// files when there is nothing to do.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn refresh(&self) -> Result<()> {
        let generation = self.base().view(refs::generation)?;
        // What was swapped out by a process that died may be news.
        let is_noted = self.is_noted(generation) && fs::symlink_metadata(self.swapped_path()).is_err();
        if is_noted { Ok(()) } else { self.project(generation) }
    }

    /// Brings `index.json` to generation `need`, or a later one.
    pub(crate) fn project(&self, need: u64) -> Result<()> {
        reached(Point::BeforeProjection);
        if without(Guard::RefOrder) {
            return self.project_locked(need);
        }
        self.with_projection(|| self.project_locked(need))
    }

    /// Brings `index.json` up to date with records that went with their blobs, if there were any.
    pub(crate) fn project_changed(&self) -> Result<()> {
        self.with_projection(|| self.try_project_changed())
    }

    /// Runs `op`, which is idempotent, under the projection's lock, with the reserve to draw on.
    fn with_projection(&self, op: impl Fn() -> Result<()>) -> Result<()> {
        self.base().with_reserve(Error::is_no_space, || {
            let _lock = self.base().lock(Lock::Projection, Mode::Alone)?;
            op()
        })
    }

    fn try_project_changed(&self) -> Result<()> {
        let same = match self.found_at(&self.index_json(), MOMENT, self.noted().as_ref())? {
            Found::Ours(ours) => self.base().view(|view| ours.is_current(view))?,
            _ => self.base().view(refs::is_empty)?,
        };
        let need = if same {
            self.base().view(refs::generation)?
        } else {
            self.base().update(|txn| txn.count(refs::GENERATION))?
        };
        self.project_locked(need)
    }

    fn project_locked(&self, need: u64) -> Result<()> {
        self.write_layout()?;
        self.take_in_leftover()?;
        let mut found = self.found_at(&self.index_json(), MOMENT, self.noted().as_ref())?;
        let known = self.base().view(refs::generation)?;
        loop {
            match &found {
                Found::Ours(ours) if (need..=known).contains(&ours.generation) => {
                    self.note(&Note::new(ours.generation, ours.look, &ours.text));
                    return Ok(());
                }
                // Of a generation that is still to come: an older index was put back.
                Found::Ours(ours) if ours.generation > known => {
                    self.merge(ours.generation, &ours.index(&self.index_json())?.manifests)?;
                }
                Found::Foreign { generation, index, .. } => self.merge(*generation, &index.manifests)?,
                _ => {}
            }
            // Both may be long: what was found is dropped before what is to be is put together.
            let room = fs::metadata(self.index_json()).map_or(0, |file| file.len()).saturating_add(ROOM);
            let room = usize::try_from(room).unwrap_or_default();
            let (expected, is_nothing) = (found.digest(), matches!(found, Found::Nothing));
            drop(found);
            let (generation, text) = self.base().view(|view| render(view, room))?;
            reached(Point::Rendered);
            // What was no use when it was looked at has had its moment.
            let patience = if is_nothing { Duration::ZERO } else { MOMENT };
            match self.swap_in(generation, &text, expected.as_ref(), patience)? {
                None => return Ok(()),
                // Somebody else wrote in that very moment.
                Some(other) => found = other,
            }
        }
    }

    fn swapped_path(&self) -> PathBuf {
        self.base().own_folder().join("index.json.new")
    }

    fn found_at(&self, path: &Path, patience: Duration, noted: Option<&Note>) -> Result<Found> {
        look_at(path, self.base().view(|view| view.store_id())?, patience, noted)
    }

    /// What was swapped out by a process that died before it looked at it.
    fn take_in_leftover(&self) -> Result<()> {
        let path = self.swapped_path();
        if !path.exists() {
            return Ok(());
        }
        if let Found::Foreign { generation, index, .. } = self.found_at(&path, MOMENT, None)? {
            self.merge(generation, &index.manifests)?;
        }
        fs::remove_file(&path).map_err(Error::io(&path))
    }

    /// Puts `text` in the place of `index.json`. Returns what was there, if another tool wrote it since the bytes with the
    /// digest `expected` were read; a file without an end gets `patience`.
    fn swap_in(
        &self,
        generation: u64,
        text: &[u8],
        expected: Option<&Digest>,
        patience: Duration,
    ) -> Result<Option<Found>> {
        let path = self.index_json();
        let temporary = self.write_own("index.", text, &self.swapped_path(), true)?;
        let written = fs::symlink_metadata(&temporary).map_err(Error::io(&temporary))?;
        let swapped = renameat_with(CWD, &temporary, CWD, &path, RenameFlags::EXCHANGE);
        match swapped {
            Ok(()) => {}
            // No file to exchange with, or a filesystem that can't.
            Err(_) => fs::rename(&temporary, &path).map_err(Error::io(&path))?,
        }
        // Whatever it fails of, no room is made for it: a second try would find the file in its place, and all well.
        sync_folder(self.root())
            .map_err(|error| Error::io(self.root())(io::Error::other(format!("can't be synced: {error}"))))?;
        let looked = note::now();
        let contents = |meta: &Metadata| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        if let Ok(meta) = fs::symlink_metadata(&path)
            && contents(&meta) == contents(&written)
        {
            self.note(&Note::new(generation, Look::new(&meta, looked), text));
        }
        if swapped.is_err() {
            return Ok(None);
        }
        let is_expected = expected.is_some() && note::digest_at(&temporary).as_ref() == expected;
        if !is_expected && let before @ Found::Foreign { .. } = self.found_at(&temporary, patience, None)? {
            // The file stays until it is merged: whoever comes after a crash in between takes it in.
            return Ok(Some(before));
        }
        fs::remove_file(&temporary).map_err(Error::io(&temporary))?;
        Ok(None)
    }

    /// The file that makes the folder an image layout.
    fn write_layout(&self) -> Result<()> {
        let path = self.root().join("oci-layout");
        if path.exists() {
            return Ok(());
        }
        self.write_own("oci-layout.", b"{\"imageLayoutVersion\":\"1.0.0\"}", &path, true).map(|_| ())
    }

    /// Writes a file as a whole: under a temporary name in the store's own folder, then renamed. The caller holds
    /// the projection's lock: without it, the file is one of the dead.
    pub(crate) fn write_own(&self, prefix: &str, text: &[u8], to: &Path, durable: bool) -> Result<PathBuf> {
        let own = self.base().own_folder();
        let file = tempfile::Builder::new().prefix(prefix).suffix(base::TEMPORARY).tempfile_in(own);
        let mut file = file.map_err(Error::io(own))?;
        file.write_all(text).map_err(Error::io(to))?;
        // What other tools read, whoever may read the folder may read.
        let mode = match self.base().access() {
            base::Access::Private => 0o644,
            base::Access::Group => 0o664,
        };
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(Error::io(to))?;
        if durable {
            file.as_file().sync_all().map_err(Error::io(to))?;
        }
        file.persist(to).map_err(|error| Error::io(to)(error.error))?;
        Ok(to.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oci_store_base::index::memory::MemoryBackend;

    use oci_store_cas::{Algorithm, Hasher};

    use super::*;
    use crate::index_json::IndexJson;
    use crate::{Descriptor, OpenOptions};

    fn foreign(name: &str) -> IndexJson {
        let bytes = br#"{"schemaVersion":2}"#;
        let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
        hasher.update(bytes);
        let mut entry = Descriptor::new("text/plain", hasher.finish(), bytes.len() as u64);
        entry.set_annotation(crate::descriptor::REF_NAME, Some(name));
        IndexJson::new(vec![entry])
    }

    #[test]
    fn what_was_swapped_out_outlives_a_crash_before_it_is_merged() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let memory = MemoryBackend::default();
        let open = || OpenOptions::new(vec![Arc::new(memory.clone())]).open(&root).unwrap();
        let store = open();
        store.project(1).unwrap();
        // Another tool writes between our look and our swap.
        let found = store.found_at(&store.index_json(), MOMENT, None).unwrap();
        let theirs = foreign("theirs");
        let blob = root.join("blobs").join(theirs.manifests[0].digest.to_string().replacen(':', "/", 1));
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, br#"{"schemaVersion":2}"#).unwrap();
        fs::write(store.index_json(), serde_json::to_vec(&theirs).unwrap()).unwrap();
        let (generation, text) = store.base().view(|view| render(view, 0)).unwrap();
        let swapped = store.swap_in(generation, &text, found.digest().as_ref(), MOMENT).unwrap();
        assert!(matches!(swapped, Some(Found::Foreign { .. })));
        // Here the process dies.
        drop((store, swapped));
        let store = open();
        assert!(store.get_ref(&"theirs".parse().unwrap()).unwrap().is_some());
        assert!(!store.swapped_path().exists());
    }
}
