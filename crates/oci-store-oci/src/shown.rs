//! The text of `index.json`: as the index has it to be, and as it is found, ours or another tool's.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use oci_store_base::View;
use oci_store_cas::{Algorithm, Digest, Hasher};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::entries::Entries;
use crate::index_json::IndexJson;
use crate::layout::{open_regular, read_all};
use crate::limits::{Limits, Most};
use crate::media_type::INDEX;
use crate::note::{self, Look, Note};
use crate::{Error, Result, refs};

/// The generation that the file shows.
const GENERATION: &str = "io.oci-store.generation";
/// Over the store's id, generation and entries.
const CHECKSUM: &str = "io.oci-store.checksum";

/// What there is at the place of `index.json`.
#[derive(Debug)]
pub(crate) enum Found {
    /// Written by this store, and by nobody else since.
    Ours(Ours),
    /// Written by another tool, or store, which has read, or not, what we wrote in `generation`.
    Foreign { generation: u64, digest: Option<Digest>, index: IndexJson<Entries> },
    /// Nothing, or nothing that can be read.
    Nothing,
}

impl Found {
    /// Of the bytes, if there are some that can be read.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Ours(ours) => note::digest_of(&ours.text),
            Self::Foreign { digest, .. } => digest.clone(),
            Self::Nothing => None,
        }
    }
}

/// A file that is ours.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) generation: u64,
    pub(crate) look: Look,
    pub(crate) text: Vec<u8>,
}

/// Of the file, what tells whether it is current.
#[derive(Deserialize)]
struct Text<'t> {
    #[serde(borrow)]
    manifests: &'t RawValue,
}

/// What `index.json` is to be. It may be long: it is put together once, where it stays, and where `room` for it is taken
/// at once, as to grow it takes twice as much meanwhile.
pub(crate) fn render(view: View<'_>, room: usize) -> Result<(u64, Vec<u8>)> {
    let generation = refs::generation(view)?;
    let mut text = Vec::new();
    // If there is not so much, it grows.
    let _ = text.try_reserve_exact(room);
    text.extend_from_slice(format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[").as_bytes());
    let begin = text.len() - 1;
    refs::each_entry(view, &mut |entry| {
        if text.len() > begin + 1 {
            text.push(b',');
        }
        text.extend_from_slice(entry.as_bytes());
        Ok(())
    })?;
    text.push(b']');
    let manifests = text.get(begin..).unwrap_or_default();
    let sum = checksum(view.store_id()?, generation, |hasher| hasher.update(manifests)).unwrap_or_default();
    let annotations = serde_json::json!({ GENERATION: generation.to_string(), CHECKSUM: sum });
    text.extend_from_slice(format!(",\"annotations\":{annotations}}}").as_bytes());
    Ok((generation, text))
}

impl Ours {
    /// Whether it lists what [`render`] would list now.
    pub(crate) fn is_current(&self, view: View<'_>) -> Result<bool> {
        let Ok(text) = serde_json::from_slice::<Text<'_>>(&self.text) else { return Ok(false) };
        let list = text.manifests.get().strip_prefix('[').and_then(|list| list.strip_suffix(']'));
        let mut rest = Some(list.unwrap_or_default());
        let mut is_first = true;
        refs::each_entry(view, &mut |entry| {
            let separator = if std::mem::take(&mut is_first) { "" } else { "," };
            rest = rest.and_then(|rest| rest.strip_prefix(separator)?.strip_prefix(entry));
            Ok(())
        })?;
        Ok(rest == Some(""))
    }

    pub(crate) fn index(&self, path: &Path) -> Result<IndexJson<Entries>> {
        IndexJson::parse_own(path, &self.text)
    }
}

/// How long another tool may take between truncating a file and having written it: on a busy machine it waits for the
/// processor in between.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What is there now, in the store of that id. A file without an end is being written in place by a tool that truncates it
/// first, or was being
/// written when that tool was killed: it gets a moment.
pub(crate) fn look_at(path: &Path, store: u64, patience: Duration, noted: Option<&Note>) -> Result<Found> {
    let began = Instant::now();
    loop {
        match read_own(path, store, noted) {
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

/// Reads a store's own `index.json`: never [`Found::Nothing`]. What is `noted` to be ours is not parsed.
fn read_own(path: &Path, store: u64, noted: Option<&Note>) -> Result<Found> {
    let (found, _) = settled(path, store, noted, || read_text(path))?.ok_or_else(|| restless(path))?;
    Ok(found)
}

/// What a store's own `index.json` lists, the generation that it shows, and whether it is ours.
pub(crate) fn read_entries(path: &Path, store: u64) -> Result<(u64, IndexJson<Entries>, bool)> {
    match settled(path, store, None, || read_text(path))?.ok_or_else(|| restless(path))? {
        (Found::Foreign { generation, index, .. }, _) => Ok((generation, index, false)),
        (Found::Ours(Ours { generation, .. }), Some(index)) => Ok((generation, index, true)),
        (Found::Ours(_) | Found::Nothing, _) => Err(restless(path)),
    }
}

fn restless(path: &Path) -> Error {
    Error::document(path.display(), "it changes all the time")
}

fn read_text(path: &Path) -> Result<(Look, Vec<u8>)> {
    let looked = note::now();
    let file = open_regular(path).map_err(Error::io(path))?;
    let look = Look::new(&file.metadata().map_err(Error::io(path))?, looked);
    Ok((look, read_all(path, file, Most::index_json(Limits::OWN.index_json))?))
}

/// Reads until it is ours, or is twice the same. Some tools write the file in place: what is read in that moment may
/// begin as the file did before and end as it does now, and even be an index. What is ours comes with what it lists, if it
/// was parsed.
fn settled(
    path: &Path,
    store: u64,
    noted: Option<&Note>,
    mut read: impl FnMut() -> Result<(Look, Vec<u8>)>,
) -> Result<Option<(Found, Option<IndexJson<Entries>>)>> {
    // Of what was read before, not the text: both may be long.
    let mut before = None;
    for _ in 0..=10 {
        let (look, text) = read()?;
        if let Some(note) = noted.filter(|note| note.is_of(&text)) {
            return Ok(Some((Found::Ours(Ours { generation: note.generation, look, text }), None)));
        }
        let digest = note::digest_of(&text);
        if let Some(same) = before.take().filter(|before: &Found| before.digest() == digest) {
            return Ok(Some((same, None)));
        }
        let index = IndexJson::parse_own(path, &text)?;
        let generation = generation_of(&index);
        if is_ours(store, generation, &index) {
            return Ok(Some((Found::Ours(Ours { generation, look, text }), Some(index))));
        }
        before = Some(Found::Foreign { generation, digest, index });
    }
    Ok(None)
}

/// Whether nobody has changed what we wrote. Who only formats the file anew has changed nothing.
fn is_ours(store: u64, generation: u64, index: &IndexJson<Entries>) -> bool {
    // One entry after the other: as values, all of them would take very much more memory than the file.
    let list = |hasher: &mut Hasher| {
        for (number, entry) in index.manifests.texts().enumerate() {
            hasher.update(if number == 0 { b"[" } else { b"," });
            hasher.update(serde_json::from_str::<Value>(entry).unwrap_or_default().to_string().as_bytes());
        }
        hasher.update(if index.manifests.len() == 0 { b"[]" } else { b"]" });
    };
    let sum = || checksum(store, generation, list);
    // Whoever added what is no descriptor was not us, even if all the rest is ours.
    !index.is_lossy && annotation(index, CHECKSUM).is_some_and(|said| sum().as_deref() == Some(said))
}

fn annotation<'i>(index: &'i IndexJson<Entries>, key: &str) -> Option<&'i str> {
    index.other.get("annotations")?.get(key)?.as_str()
}

/// The generation that a file shows; 0 if it shows none.
fn generation_of(index: &IndexJson<Entries>) -> u64 {
    annotation(index, GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Over the list of entries, as text without spaces and with fields in the order of the alphabet, and over who wrote it when:
/// two stores may come to the same generation.
fn checksum(store: u64, generation: u64, list: impl FnOnce(&mut Hasher)) -> Option<String> {
    let mut hasher = Hasher::new(Algorithm::Sha256)?;
    hasher.update(format!("{store} {generation}").as_bytes());
    list(&mut hasher);
    Some(hasher.finish().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: u64) -> (Look, Vec<u8>) {
        let look = Look::new(&tempfile::tempfile().unwrap().metadata().unwrap(), note::now());
        (look, format!("{{\"schemaVersion\":2,\"manifests\":[],\"version\":{version}}}").into_bytes())
    }

    #[test]
    fn what_was_read_while_it_was_written_is_read_again() {
        let (torn, new) = (1, 2);
        let mut reads = [torn, new, new, 3].map(text).into_iter();
        let settled_on = settled(Path::new("index.json"), 1, None, || Ok(reads.next().unwrap())).unwrap();
        assert!(matches!(settled_on, Some((Found::Foreign { index, .. }, _)) if index.other["version"] == new));
        assert_eq!(reads.count(), 1);
        let mut number = 0;
        let restless = settled(Path::new("index.json"), 1, None, || {
            number += 1;
            Ok(text(number))
        });
        assert!(restless.unwrap().is_none());
    }
}
