//! The ways in which a power cut can leave a disk: a moment, and what of the writes that were not flushed is there.

use std::fmt;
use std::str::FromStr;

use super::chance::Chance;
use super::disk::{Entry, Pages};
use super::recording::Recording;

/// What a disk may lose or tear without a flush.
const SECTOR: usize = 512;

/// One crash image of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    /// So many entries of the log came to the disk.
    pub(super) position: usize,
    pub(super) kind: Kind,
    pub(super) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// All of these are there.
    Prefix,
    /// Of those after the last flush, some are there. As two writes to one place may both be among them, so are
    /// all orders.
    Subset,
    /// The same, and of some writes only some sectors are there.
    Torn,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Prefix, Kind::Subset, Kind::Torn];

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Subset => "subset",
            Self::Torn => "torn",
        }
    }
}

/// `count` cases of a recording, in the order of their positions: up to a third are prefixes, spread evenly. The others
/// are spread over the stretches between two flushes, long or short: what matters is which flush was the last.
pub(super) fn choose(recording: &Recording, count: usize, seed: u64) -> Vec<Case> {
    let first = recording.ran.first().map_or(0, |range| range.start);
    let points: Vec<usize> = (first..=recording.log.len()).collect();
    let prefixes = points.len().min(count / 3);
    let mut cases: Vec<Case> = (0..prefixes)
        .map(|nth| Case { position: first + nth * points.len() / prefixes, kind: Kind::Prefix, seed: 0 })
        .collect();
    // A stretch begins after a flush, and ends where the next is not done yet.
    let stretches: Vec<&[usize]> =
        points.chunk_by(|_, next| recording.log.get(next - 1) != Some(&Entry::Flush)).collect();
    let mut chance = Chance::new(seed);
    while cases.len() < count && !stretches.is_empty() {
        let stretch = stretches[chance.below(stretches.len())];
        let position = stretch[chance.below(stretch.len())];
        let kind = if chance.below(2) == 0 { Kind::Subset } else { Kind::Torn };
        cases.push(Case { position, kind, seed: chance.next() });
    }
    cases.sort();
    cases
}

/// Walks through a recording, to build its cases in the order of their positions.
pub(super) struct Cursor<'r> {
    recording: &'r Recording,
    /// What is durable: all up to the last flush.
    flushed: Pages,
    /// The entries in `flushed`.
    at: usize,
}

impl<'r> Cursor<'r> {
    pub(super) fn new(recording: &'r Recording) -> Self {
        Self { recording, flushed: recording.base.clone(), at: 0 }
    }

    /// The disk of a case; its position must not be before that of the case built last.
    pub(super) fn build(&mut self, case: Case) -> Pages {
        let came = self.recording.log.get(self.at..case.position).unwrap_or_default();
        let flushed = came.iter().rposition(|entry| *entry == Entry::Flush).map_or(0, |at| at + 1);
        let (durable, loose) = came.split_at(flushed);
        for entry in durable {
            if let Entry::Write { offset, bytes } = entry {
                self.flushed.write(*offset, bytes);
            }
        }
        self.at += flushed;
        let mut pages = self.flushed.clone();
        let mut chance = Chance::new(case.seed);
        // How likely each is to be there, in quarters: none, few, half, most.
        let quarters = chance.below(4);
        for entry in loose {
            let Entry::Write { offset, bytes } = entry else { continue };
            if case.kind != Kind::Prefix && chance.below(4) >= quarters {
                continue;
            }
            if case.kind != Kind::Torn || chance.below(2) == 0 {
                pages.write(*offset, bytes);
                continue;
            }
            for (nth, sector) in bytes.chunks(SECTOR).enumerate() {
                if chance.below(2) == 0 {
                    pages.write(offset + (nth * SECTOR) as u64, sector);
                }
            }
        }
        pages
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.position, self.kind.name(), self.seed)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let [position, kind, seed] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
            let kind = KINDS.into_iter().find(|known| known.name() == kind)?;
            Some(Self { position: position.parse().ok()?, kind, seed: seed.parse().ok()? })
        };
        parse().ok_or_else(|| "a case is POSITION:prefix|subset|torn:SEED".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::powercut::filesystem::Filesystem;

    /// Two sectors of ones at 0, a flush, two of twos at 0, two of threes at 1024.
    fn recording() -> Recording {
        let write = |offset, byte| Entry::Write { offset, bytes: vec![byte; 2 * SECTOR] };
        let log = vec![write(0, 1), Entry::Flush, write(0, 2), write(1024, 3)];
        let ran = std::iter::once(0..4).collect();
        Recording { filesystem: Filesystem::Ext4, index: "lmdb", seed: 1, base: Pages::default(), log, ran }
    }

    fn sectors(pages: &Pages) -> Vec<u8> {
        pages.read(0, 4 * SECTOR).chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_not_may_be() {
        let recording = recording();
        let mut seen = std::collections::BTreeSet::new();
        for case in choose(&recording, 20_000, 1) {
            let pages = Cursor::new(&recording).build(case);
            let found = sectors(&pages);
            if case.kind == Kind::Prefix {
                let expected: [u8; 4] = match case.position {
                    0 => [0; 4],
                    1 | 2 => [1, 1, 0, 0],
                    3 => [2, 2, 0, 0],
                    _ => [2, 2, 3, 3],
                };
                assert_eq!(found, expected, "{case}");
            }
            if case.position == 4 {
                assert!(found[..2].iter().all(|sector| [1, 2].contains(sector)), "{case}: {found:?}");
                assert!(found[2..].iter().all(|sector| [0, 3].contains(sector)), "{case}: {found:?}");
                seen.insert(found);
            }
        }
        assert_eq!(seen.len(), 16, "all that the four sectors can be was seen");
    }

    #[test]
    fn a_case_is_built_the_same_by_its_name_alone() {
        let recording = recording();
        let mut cursor = Cursor::new(&recording);
        for case in choose(&recording, 100, 7) {
            let again = case.to_string().parse().expect("its own name");
            assert_eq!(case, again);
            assert_eq!(sectors(&cursor.build(case)), sectors(&Cursor::new(&recording).build(again)), "{case}");
        }
        assert!("1:prefix".parse::<Case>().is_err());
    }
}
