//! A note of what `index.json` looked like when it was last known to be ours. Only a short cut: without it the file
//! is read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_store_cas::{Algorithm, Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::layout::open_regular;

/// The name of its file.
pub(crate) const NOTE: &str = "projection.json";

/// Two changes within so many nanoseconds may have the same time.
const TICK: i64 = 20_000_000;

/// What was last known to be ours.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) generation: u64,
    look: Look,
    /// Of the file's bytes.
    digest: Option<Digest>,
}

impl Note {
    pub(crate) fn new(generation: u64, look: Look, text: &[u8]) -> Self {
        Self { generation, look, digest: digest_of(text) }
    }

    /// Whether these are the bytes that it is about. Not by the look of their file, which is from before they were read:
    /// another tool may have written into it since.
    pub(crate) fn is_of(&self, text: &[u8]) -> bool {
        self.look.size == text.len() as u64 && self.digest.is_some() && self.digest == digest_of(text)
    }
}

pub(crate) fn digest_of(text: &[u8]) -> Option<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256)?;
    hasher.update(text);
    Some(hasher.finish())
}

/// The same of a file, which need not fit into memory.
pub(crate) fn digest_at(path: &Path) -> Option<Digest> {
    let (mut hasher, mut file) = (Hasher::new(Algorithm::Sha256)?, open_regular(path).ok()?);
    io::copy(&mut file, &mut hasher).ok()?;
    Some(hasher.finish())
}

/// A look at the file that `index.json` was, from before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    inode: u64,
    size: u64,
    /// When it changed last, and when it was looked at: nanoseconds since 1970.
    changed: i64,
    looked: i64,
}

impl Look {
    /// `looked` is the time [now] of before `meta` was asked for.
    pub(crate) fn new(meta: &Metadata, looked: i64) -> Self {
        let changed = meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec());
        Self { inode: meta.ino(), size: meta.size(), changed, looked }
    }

    /// Whether the file is still the one that was looked at. Not if it had just been changed then: another
    /// change in the same tick of the clock would not show.
    fn still_holds(&self, now: &Self) -> bool {
        (self.inode, self.size, self.changed) == (now.inode, now.size, now.changed)
            && self.looked.saturating_sub(self.changed) > TICK
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

impl Store {
    /// Whether `index.json` is known to show this generation, by a look at it from outside.
    pub(crate) fn is_noted(&self, generation: u64) -> bool {
        let (Some(note), Ok(meta)) = (self.noted(), fs::symlink_metadata(self.index_json())) else { return false };
        note.generation == generation && note.look.still_holds(&Look::new(&meta, 0))
    }

    /// The note, if there is one that can be read.
    pub(crate) fn noted(&self) -> Option<Note> {
        serde_json::from_slice(&fs::read(self.note_path()).ok()?).ok()
    }

    pub(crate) fn note(&self, note: &Note) {
        // Should it fail, the file is parsed the next time.
        if let Ok(text) = serde_json::to_vec(note) {
            let _ = self.write_own("projection.", &text, &self.note_path(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Note};

    #[test]
    fn bytes_that_came_after_the_look_are_not_taken_for_ours() {
        let look = Look { inode: 1, size: 4, changed: 0, looked: i64::MAX };
        let note = Note::new(1, look, b"ours");
        assert!(note.is_of(b"ours"));
        assert!(!note.is_of(b"them"));
    }

    #[test]
    fn a_look_within_a_tick_of_the_change_is_not_believed() {
        let second = 1_000_000_000;
        for (changed, looked, holds) in [
            (10 * second, 10 * second + 5_000_000, false),
            // Beyond a full second, but five milliseconds apart.
            (10 * second - 1, 10 * second + 5_000_000, false),
            (10 * second - 1, 10 * second + 30_000_000, true),
            (10 * second, 11 * second, true),
            // The clock was set back.
            (10 * second, 9 * second, false),
        ] {
            let look = Look { inode: 1, size: 1, changed, looked };
            assert_eq!(look.still_holds(&Look { looked: 0, ..look }), holds, "{look:?}");
            assert!(!look.still_holds(&Look { inode: 2, looked: 0, ..look }));
        }
    }
}
