//! Blobs by number, for what looks at very many of them: 32 bytes each, where a set of digests takes three times that.

use std::collections::HashMap;

use oci_store_cas::{Algorithm, Digest};

/// Which blob has which number. A number once given stays.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// SHA-256, as nearly all are, in their order: the number is the place.
    hashes: Vec<[u8; 32]>,
    /// By [`head`], the first of those hashes that begins so, or would: what is looked for lies close to it, and to look
    /// elsewhere costs more than to compare. Empty where there are few.
    begins: Vec<u32>,
    /// What came in another order, or is of another algorithm. Numbered behind those.
    others: Vec<Digest>,
    other_ids: HashMap<Digest, usize>,
}

impl Ids {
    /// Gives a blob the next number, if it comes behind all that have one: blobs should come in their order, and those that
    /// don't fit in at the end.
    pub(crate) fn push(&mut self, digest: &Digest) -> Option<usize> {
        let hash = sha256(digest).filter(|_| self.others.is_empty())?;
        if self.hashes.last().is_some_and(|last| *last >= hash) {
            return None;
        }
        let place = self.hashes.len();
        self.hashes.push(hash);
        // Of those before, once there are enough.
        let unnoted = if place == FEW { 0 } else { place.max(FEW) };
        for (place, hash) in self.hashes.iter().enumerate().skip(unnoted) {
            if self.begins.len() <= head(hash) {
                self.begins.resize(head(hash) + 1, u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
        Some(place)
    }

    /// The number of a blob; a new one, if it has none.
    pub(crate) fn id(&mut self, digest: &Digest) -> usize {
        if let Some(id) = self.find(digest).or_else(|| self.push(digest)) {
            return id;
        }
        let id = self.len();
        self.others.push(digest.clone());
        self.other_ids.insert(digest.clone(), id);
        id
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<usize> {
        sha256(digest).and_then(|hash| self.place(&hash)).or_else(|| self.other_ids.get(digest).copied())
    }

    fn place(&self, hash: &[u8; 32]) -> Option<usize> {
        if self.begins.is_empty() {
            return self.hashes.binary_search(hash).ok();
        }
        let begin = *self.begins.get(head(hash))? as usize;
        let end = self.begins.get(head(hash) + 1).map_or(self.hashes.len(), |end| *end as usize);
        let place = self.hashes.get(begin..end)?.binary_search(hash).ok()?;
        Some(begin + place)
    }

    pub(crate) fn digest(&self, id: usize) -> Option<Digest> {
        match self.hashes.get(id) {
            Some(hash) => Digest::from_raw(Algorithm::Sha256, hash),
            None => self.others.get(id.checked_sub(self.hashes.len())?).cloned(),
        }
    }

    /// How many there are: all numbers are below.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len() + self.others.len()
    }
}

/// So many are found without a table.
const FEW: usize = 4096;

/// The first two bytes: of a million hashes, sixteen begin alike.
fn head(hash: &[u8; 32]) -> usize {
    let [first, second, ..] = *hash;
    usize::from(u16::from_be_bytes([first, second]))
}

fn sha256(digest: &Digest) -> Option<[u8; 32]> {
    let is_it = digest.known_algorithm() == Some(Algorithm::Sha256);
    is_it.then(|| digest.raw().try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_number_whatever_the_order() {
        let text = |algorithm: &str, byte: u8| format!("{algorithm}:{}", format!("{byte:02x}").repeat(32));
        let [a, b, c] = [1, 2, 3].map(|byte| text("sha256", byte).parse::<Digest>().unwrap());
        let [other, blake3] = [text("x+y", 1), text("blake3", 2)].map(|text| text.parse::<Digest>().unwrap());
        let mut ids = Ids::default();
        assert_eq!((ids.push(&other), ids.push(&a), ids.push(&c), ids.push(&b)), (None, Some(0), Some(1), None));
        assert_eq!([&b, &other, &blake3, &a, &b].map(|digest| ids.id(digest)), [2, 3, 4, 0, 2]);
        // Behind all, but numbers are given.
        let last = text("sha256", 9).parse().unwrap();
        assert_eq!((ids.push(&last), ids.id(&last), ids.len()), (None, 5, 6));
        for (id, digest) in [a, c, b, other, blake3, last].iter().enumerate() {
            assert_eq!((ids.find(digest), ids.digest(id).as_ref()), (Some(id), Some(digest)));
        }
        // Many, in all places, and in one.
        let mut many = Ids::default();
        let spread = |n: u32| Digest::from_raw(Algorithm::Sha256, &[&(n << 12).to_be_bytes()[..], &[0; 28]].concat());
        let digests: Vec<_> = (0..2 * FEW as u32).filter_map(spread).collect();
        assert!(digests.iter().enumerate().all(|(id, digest)| many.push(digest) == Some(id)));
        assert!(digests.iter().enumerate().all(|(id, digest)| many.find(digest) == Some(id)));
        assert_eq!(many.find(&spread(u32::MAX).unwrap()), None);
        let crowd = |ids: &mut Ids, first: u8| {
            let numbered =
                |n: u16| Digest::from_raw(Algorithm::Sha256, &[&[first], &[0; 29][..], &n.to_be_bytes()].concat());
            (0..5000).filter_map(numbered).map(|digest| ids.id(&digest)).collect::<Vec<_>>()
        };
        for first in [0, 0x40, 0xff] {
            let mut crowded = Ids::default();
            let given = crowd(&mut crowded, first);
            assert_eq!((&given, crowded.others.len()), (&(0..5000).collect(), 0));
            assert_eq!(crowd(&mut crowded, first), given);
        }
        assert_eq!((ids.digest(6), ids.find(&text("sha256", 7).parse().unwrap())), (None, None));
    }
}
