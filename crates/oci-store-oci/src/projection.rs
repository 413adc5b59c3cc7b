//! `index.json`: the refs as every other tool sees them.
//!
//! The index is the truth, and this file shows it. It carries the generation of the refs that it shows, and a
//! checksum over both, so that a file that somebody else has written is told from one of ours, whenever a crash
//! came. After a commit that changed refs, whoever made it takes the projection's lock; if the file is already
//! as new, somebody else's rewrite covered it. So a storm of taggers costs few rewrites.
//!
//! A file that somebody else has written is [merged](crate::merge) first, and what was swapped out when ours went in
//! is looked at again: what is written in that moment is not lost either.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_store_base::{self as base, Lock, Mode, View};
use oci_store_cas::attack::{Guard, Point, reached, without};
use oci_store_cas::{Algorithm, Hasher};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::index_json::IndexJson;
use crate::layout::{open_regular, read_all};
use crate::note::{self, Look};
use crate::source::Limits;
use crate::{Error, Result, Store, refs};

/// The generation that the file shows.
const GENERATION: &str = "io.oci-store.generation";
/// Over generation and entries.
const CHECKSUM: &str = "io.oci-store.checksum";

/// What there is at the place of `index.json`.
pub(crate) enum Found {
    /// Written by a store, and by nobody else since.
    Ours { generation: u64, index: IndexJson, look: Look },
    /// Written by another tool, which has read, or not, what we wrote in `generation`.
    Foreign { generation: u64, index: IndexJson },
    /// Nothing, or nothing that can be read.
    Nothing,
}

impl Store {
    pub(crate) fn index_json(&self) -> PathBuf {
        self.root().join("index.json")
    }

    pub(crate) fn note_path(&self) -> PathBuf {
        self.base().own_folder().join("projection.json")
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
        self.base().with_reserve(Error::is_no_space, || {
            let _lock = self.base().lock(Lock::Projection, Mode::Alone)?;
            self.project_locked(need)
        })
    }

    /// Brings `index.json` up to date with records that went with their blobs, if there were any.
    pub(crate) fn project_changed(&self) -> Result<()> {
        self.base().with_reserve(Error::is_no_space, || self.try_project_changed())
    }

    fn try_project_changed(&self) -> Result<()> {
        let _lock = self.base().lock(Lock::Projection, Mode::Alone)?;
        let shown = match look_at(&self.index_json(), MOMENT)? {
            Found::Ours { index, .. } => index.manifests,
            _ => Vec::new(),
        };
        let same = self.base().view(|view| Ok::<_, Error>(entries(view)? == shown))?;
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
        let mut found = look_at(&self.index_json(), MOMENT)?;
        let known = self.base().view(refs::generation)?;
        loop {
            match &found {
                Found::Ours { generation, look, .. } if (need..=known).contains(generation) => {
                    self.note(*generation, *look);
                    return Ok(());
                }
                // Of a generation that is still to come: an older index was put back, or the file is another store's.
                Found::Ours { generation, index, .. } if *generation > known => {
                    self.merge(*generation, &index.manifests)?;
                }
                Found::Foreign { generation, index } => self.merge(*generation, &index.manifests)?,
                _ => {}
            }
            let (generation, index) = self.base().view(render)?;
            let text = serde_json::to_vec(&index).map_err(|error| Error::document("index.json", error))?;
            reached(Point::Rendered);
            match self.swap_in(generation, &text, &found)? {
                None => return Ok(()),
                // Somebody else wrote in that very moment.
                Some(other) => found = other,
            }
        }
    }

    fn swapped_path(&self) -> PathBuf {
        self.base().own_folder().join("index.json.new")
    }

    /// What was swapped out by a process that died before it looked at it.
    fn take_in_leftover(&self) -> Result<()> {
        let path = self.swapped_path();
        if !path.exists() {
            return Ok(());
        }
        if let Found::Foreign { generation, index } = look_at(&path, MOMENT)? {
            self.merge(generation, &index.manifests)?;
        }
        fs::remove_file(&path).map_err(Error::io(&path))
    }

    /// Puts `text` in the place of `index.json`. Returns what was there, if that is not what was `expected`.
    fn swap_in(&self, generation: u64, text: &[u8], expected: &Found) -> Result<Option<Found>> {
        let path = self.index_json();
        let temporary = self.write_own("index.", text, &self.swapped_path(), true)?;
        let written = fs::symlink_metadata(&temporary).map_err(Error::io(&temporary))?;
        let swapped = renameat_with(CWD, &temporary, CWD, &path, RenameFlags::EXCHANGE);
        match swapped {
            Ok(()) => {}
            // No file to exchange with, or a filesystem that can't.
            Err(_) => fs::rename(&temporary, &path).map_err(Error::io(&path))?,
        }
        File::open(self.root()).and_then(|folder| folder.sync_all()).map_err(Error::io(self.root()))?;
        let looked = note::now();
        let contents = |meta: &Metadata| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        if let Ok(meta) = fs::symlink_metadata(&path)
            && contents(&meta) == contents(&written)
        {
            self.note(generation, Look::new(&meta, looked));
        }
        if swapped.is_err() {
            return Ok(None);
        }
        // What was no use when it was looked at has had its moment.
        let patience = if matches!(expected, Found::Nothing) { Duration::ZERO } else { MOMENT };
        let before = look_at(&temporary, patience)?;
        let same = match (&before, expected) {
            (Found::Ours { generation: a, .. }, Found::Ours { generation: b, .. }) => a == b,
            (Found::Foreign { index: a, .. }, Found::Foreign { index: b, .. }) => a == b,
            (Found::Foreign { .. }, _) => false,
            _ => true,
        };
        if !same && matches!(before, Found::Foreign { .. }) {
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

/// How long another tool may take between truncating a file and having written it: on a busy machine it waits for the
/// processor in between.
const MOMENT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What is there now. A file without an end is being written in place by a tool that truncates it first, or was being
/// written when that tool was killed: it gets a moment.
fn look_at(path: &Path, patience: Duration) -> Result<Found> {
    let began = Instant::now();
    loop {
        match read_own(path) {
            Ok(found) => return Ok(found),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error @ Error::Document { .. }) => {
                if began.elapsed() >= if has_end(path) { patience / 5 } else { patience } {
                    tracing::warn!("{error}; it is written anew from the index");
                    return Ok(Found::Nothing);
                }
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a file ends as a whole `index.json` does, whatever stands before.
fn has_end(path: &Path) -> bool {
    let mut tail = Vec::new();
    let read = open_regular(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(64)))?;
        file.read_to_end(&mut tail)
    });
    read.is_ok() && tail.trim_ascii_end().ends_with(b"}")
}

/// Reads a store's own `index.json`: never [`Found::Nothing`].
pub(crate) fn read_own(path: &Path) -> Result<Found> {
    let read = || {
        let looked = note::now();
        let file = open_regular(path).map_err(Error::io(path))?;
        let look = Look::new(&file.metadata().map_err(Error::io(path))?, looked);
        let index = IndexJson::parse_own(path, &read_all(path, file, Limits::OWN.index_json)?)?;
        Ok(judge(index, look))
    };
    settled(read)?.ok_or_else(|| Error::document(path.display(), "it changes all the time"))
}

/// Reads until it is ours, or is twice the same. Some tools write the file in place: what is read in that moment may
/// begin as the file did before and end as it does now, and even be an index.
fn settled(mut read: impl FnMut() -> Result<Found>) -> Result<Option<Found>> {
    let mut found = read()?;
    for _ in 0..10 {
        let Found::Foreign { index: before, .. } = &found else { return Ok(Some(found)) };
        let again = read()?;
        if matches!(&again, Found::Foreign { index, .. } if index == before) {
            return Ok(Some(again));
        }
        found = again;
    }
    Ok(None)
}

fn judge(index: IndexJson, look: Look) -> Found {
    let generation = generation_of(&index);
    let is_right = |sum| checksum(generation, &index).as_deref() == Some(sum);
    // Whoever added what is no descriptor was not us, even if all the rest is ours.
    let ours = !index.is_lossy && annotation(&index, CHECKSUM).is_some_and(is_right);
    if ours { Found::Ours { generation, index, look } } else { Found::Foreign { generation, index } }
}

fn annotation<'i>(index: &'i IndexJson, key: &str) -> Option<&'i str> {
    index.other.get("annotations")?.get(key)?.as_str()
}

/// The generation that a file shows; 0 if it shows none.
fn generation_of(index: &IndexJson) -> u64 {
    annotation(index, GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Over the entries as values, so that who only formats the file anew has changed nothing.
fn checksum(generation: u64, index: &IndexJson) -> Option<String> {
    let entries = serde_json::to_value(&index.manifests).ok()?;
    let mut hasher = Hasher::new(Algorithm::Sha256)?;
    hasher.update(generation.to_string().as_bytes());
    hasher.update(entries.to_string().as_bytes());
    Some(hasher.finish().to_string())
}

/// What `index.json` is to be.
fn render(view: View<'_>) -> Result<(u64, IndexJson)> {
    let generation = refs::generation(view)?;
    let mut index = IndexJson::new(entries(view)?);
    let sum = checksum(generation, &index).unwrap_or_default();
    let annotations = serde_json::json!({ GENERATION: generation.to_string(), CHECKSUM: sum });
    index.other.insert("annotations".to_owned(), annotations);
    Ok((generation, index))
}

/// The entries: refs by name, then, without one, pins and what nobody has named that is about an image.
pub(crate) fn entries(view: View<'_>) -> Result<Vec<crate::Descriptor>> {
    let mut entries = Vec::new();
    let mut named = std::collections::HashSet::new();
    refs::each(view, &mut |found| {
        let mut entry = found.target;
        named.insert(entry.digest.clone());
        entry.set_annotation(crate::descriptor::REF_NAME, Some(found.name.as_str()));
        entry.set_annotation(refs::INCOMPLETE, found.incomplete.then_some("true"));
        entries.push(entry);
        Ok(())
    })?;
    refs::each_unnamed(view, refs::PIN, &mut |mut pin| {
        named.insert(pin.digest.clone());
        pin.set_annotation(refs::PINNED, Some("true"));
        entries.push(pin);
        Ok(())
    })?;
    refs::each_unnamed(view, refs::REFERRER, &mut |referrer| {
        if !named.contains(&referrer.digest) {
            entries.push(referrer);
        }
        Ok(())
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oci_store_base::index::memory::MemoryBackend;

    use super::*;
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
        let found = look_at(&store.index_json(), MOMENT).unwrap();
        let theirs = foreign("theirs");
        let blob = root.join("blobs").join(theirs.manifests[0].digest.to_string().replacen(':', "/", 1));
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, br#"{"schemaVersion":2}"#).unwrap();
        fs::write(store.index_json(), serde_json::to_vec(&theirs).unwrap()).unwrap();
        let (generation, index) = store.base().view(render).unwrap();
        let swapped = store.swap_in(generation, &serde_json::to_vec(&index).unwrap(), &found).unwrap();
        assert!(matches!(swapped, Some(Found::Foreign { .. })));
        // Here the process dies.
        drop((store, swapped));
        let store = open();
        assert!(store.get_ref(&"theirs".parse().unwrap()).unwrap().is_some());
        assert!(!store.swapped_path().exists());
    }

    #[test]
    fn what_was_read_while_it_was_written_is_read_again() {
        let theirs = |name: &str| Found::Foreign { generation: 1, index: foreign(name) };
        let mut reads = ["torn", "new", "new", "never read"].map(theirs).into_iter();
        let found = settled(|| Ok(reads.next().unwrap())).unwrap();
        assert!(matches!(found, Some(Found::Foreign { index, .. }) if index == foreign("new")));
        assert_eq!(reads.count(), 1);
        let mut number = 0;
        let restless = settled(|| {
            number += 1;
            Ok(theirs(&number.to_string()))
        });
        assert!(restless.unwrap().is_none());
    }
}
