//! The entries of an `index.json` of which there may be very many: as text, which takes less than half of what they do as
//! descriptors, and no allocation each.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Descriptor, Error, Result};

/// Where text is put, as long as there is room: to let one piece of all of it grow takes twice as much meanwhile.
const PIECE: usize = 64 << 10;

/// Descriptors, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// One behind the other, each as JSON, and none in two pieces.
    pieces: Vec<String>,
    /// In which piece each is, and where it ends.
    ends: Vec<(usize, usize)>,
}

impl Entries {
    /// Takes one that is JSON already.
    pub(crate) fn push(&mut self, entry: &str) {
        if self.pieces.last().is_none_or(|piece| piece.len() + entry.len() > piece.capacity()) {
            self.pieces.push(String::with_capacity(PIECE.max(entry.len())));
        }
        let piece = self.pieces.len() - 1;
        if let Some(text) = self.pieces.last_mut() {
            text.push_str(entry);
            self.ends.push((piece, text.len()));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each as JSON.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|place| self.text(place))
    }

    fn text(&self, place: usize) -> Option<&str> {
        let (piece, end) = *self.ends.get(place)?;
        let before = place.checked_sub(1).and_then(|before| self.ends.get(before));
        let begin = before.filter(|(before, _)| *before == piece).map_or(0, |(_, end)| *end);
        self.pieces.get(piece)?.get(begin..end)
    }

    pub(crate) fn get(&self, place: usize) -> Result<Descriptor> {
        let text = self.text(place).unwrap_or_default();
        serde_json::from_str(text).map_err(|error| Error::document("index.json", error))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Descriptors)
    }
}

/// One after the other: never all of them as descriptors.
struct Descriptors;

impl<'de> Visitor<'de> for Descriptors {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some(entry) = list.next_element::<Descriptor>()? {
            entries.push(&serde_json::to_string(&entry).map_err(de::Error::custom)?);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_where_it_was_put_however_long() {
        let texts: Vec<String> = [0, 3, PIECE - 3, 1, PIECE, 2 * PIECE, 7, 0, PIECE / 2, PIECE / 2, 1]
            .iter()
            .zip('a'..)
            .map(|(length, letter)| letter.to_string().repeat(*length))
            .collect();
        let mut entries = Entries::default();
        texts.iter().for_each(|text| entries.push(text));
        assert_eq!(entries.texts().collect::<Vec<_>>(), texts);
        assert_eq!((entries.len(), entries.text(texts.len())), (texts.len(), None));
    }
    proptest::proptest! {
        /// A store tells its own `index.json` by its text: an entry that was taken over must come back as it was written.
        #[test]
        fn a_number_is_read_as_it_was_written(number in proptest::num::f64::NORMAL) {
            let entry = format!(r#"{{"mediaType":"m","digest":"sha256:{}","size":1,"x":{}}}"#, "a".repeat(64), serde_json::json!(number));
            let entries: Entries = serde_json::from_str(&format!("[{entry}]")).unwrap();
            proptest::prop_assert_eq!(entries.texts().collect::<Vec<_>>(), [entry.as_str()]);
        }
    }
}
