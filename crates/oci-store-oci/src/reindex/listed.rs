//! What an index is built for: the entries of the one before, or of `index.json`.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use oci_store_base::{Rebuild, View};

use super::to_base;
use crate::entries::Entries;
use crate::shown::read_entries;
use crate::{Descriptor, Error, RefName, Result, refs};

/// Entries, and when they were set.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) entries: Entries,
    /// By place: in which generation it was set.
    pub(super) set: Vec<u64>,
    /// How many of the first are from the index before, or from a file that the store wrote: they were whole once.
    pub(super) own: usize,
    /// That of the index before, or of the file.
    pub(super) generation: u64,
}

impl Listed {
    /// Of the index before, or of the file, or of both: nothing that is to be kept is left out.
    pub(super) fn read(rebuild: &Rebuild<'_>, root: &Path) -> Result<Self> {
        match rebuild.old_view(|view| Self::of_index(view).map_err(to_base)) {
            // The index was the truth: its refs are newer than the file, or the same.
            Some(Ok(old)) if rebuild.is_old_whole() => Ok(old),
            Some(Ok(old)) => old.with_others(rebuild, &Self::of_file(rebuild, root)?),
            // It can be read another time.
            Some(Err(error)) if error.as_io().is_some() => Err(error.into()),
            Some(Err(_)) | None => Self::of_file(rebuild, root),
        }
    }

    /// What `index.json` would show of the index before.
    fn of_index(view: View<'_>) -> Result<Self> {
        let mut listed = Self { generation: refs::counted(refs::generation(view)?), ..Self::default() };
        refs::each_entry(view, &mut |text| {
            let entry: Descriptor = serde_json::from_str(text).map_err(|error| Error::document("record", error))?;
            let name = entry.ref_name().map(str::parse::<RefName>).transpose()?;
            let found = name.map(|name| refs::get(view, &name)).transpose()?.flatten();
            listed.entries.push(text);
            listed.set.push(found.map_or(listed.generation, |found| refs::counted(found.generation)));
            Ok(())
        })?;
        listed.own = listed.entries.len();
        Ok(listed)
    }

    /// What `index.json` lists.
    fn of_file(rebuild: &Rebuild<'_>, root: &Path) -> Result<Self> {
        let path = root.join("index.json");
        let (generation, index, is_own) = match read_entries(&path, rebuild.store_id()) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read?,
        };
        let generation = refs::counted(generation);
        let set = vec![generation; index.manifests.len()];
        let own = if is_own { index.manifests.len() } else { 0 };
        Ok(Self { entries: index.manifests, set, own, generation })
    }

    /// The entries of an index that may hide some, with those that `index.json` lists beside them. What was removed since that
    /// was written may be among them: it can't be told from what is hidden, unless its removal is known.
    fn with_others(mut self, rebuild: &Rebuild<'_>, file: &Self) -> Result<Self> {
        let key = |listed: &Self, place| {
            let entry = listed.entries.get(place)?;
            Ok(entry.ref_name().map_or_else(|| entry.digest.to_string(), str::to_owned))
        };
        let known = (0..self.entries.len()).map(|place| key(&self, place)).collect::<Result<HashSet<String>>>()?;
        let removed = |key: &str| rebuild.old_view(|view| refs::removed(view, key).map_err(to_base));
        for (place, (text, set)) in file.entries.texts().zip(&file.set).enumerate() {
            let key = key(file, place)?;
            let is_removed = matches!(removed(&key), Some(Ok(Some(removed))) if removed.generation >= *set);
            if !known.contains(&key) && !is_removed {
                self.entries.push(text);
                self.set.push(*set);
            }
        }
        if file.own > 0 {
            self.own = self.entries.len();
        }
        self.generation = self.generation.max(file.generation);
        Ok(self)
    }
}
