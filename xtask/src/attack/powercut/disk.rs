//! A disk in memory: sparse pages, cheap to copy, and a log of what was written to it and when it was flushed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;

/// What lies on a disk. A copy shares its pages with the original until one of them is written to.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(HashMap<u64, Arc<[u8; PAGE]>>);

/// What came to a disk, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// All writes before this are durable.
    Flush,
}

/// A disk that can be shared with who serves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pages: Pages,
    /// None if nobody wants to know.
    pub(super) log: Option<Vec<Entry>>,
}

impl Disk {
    /// The disk's state; a panic elsewhere does not spoil it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries the log has.
    pub(super) fn position(&self) -> usize {
        self.lock().log.as_ref().map_or(0, Vec::len)
    }
}

impl State {
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.pages.write(offset, bytes);
        if let Some(log) = &mut self.log {
            log.push(Entry::Write { offset, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            log.push(Entry::Flush);
        }
    }
}

impl Pages {
    /// `size` bytes from `offset` on; what was never written is zero.
    pub(super) fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (number, skip, part) in parts(offset, size) {
            if let (Some(page), Some(to)) = (self.0.get(&number), bytes.get_mut(part.clone())) {
                to.copy_from_slice(page.get(skip..skip + part.len()).unwrap_or_default());
            }
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (number, skip, part) in parts(offset, bytes.len()) {
            let from = bytes.get(part).unwrap_or_default();
            if from.len() == PAGE && from.iter().all(|byte| *byte == 0) {
                self.0.remove(&number);
                continue;
            }
            let page = self.0.entry(number).or_insert_with(|| Arc::new([0; PAGE]));
            if let Some(to) = Arc::make_mut(page).get_mut(skip..skip + from.len()) {
                to.copy_from_slice(from);
            }
        }
    }

    /// The pages that are not zero, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8; PAGE])> {
        self.0.iter().map(|(number, page)| (*number, &**page))
    }
}

/// Splits a range at the pages' borders: page, where in it, which of the range's bytes.
fn parts(offset: u64, size: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= size {
            return None;
        }
        let at = offset + done as u64;
        let skip = (at % PAGE as u64) as usize;
        let part = done..(done + PAGE - skip).min(size);
        done = part.end;
        Some((at / PAGE as u64, skip, part))
    })
}

#[cfg(test)]
mod tests {
    use super::Pages;

    #[test]
    fn what_is_written_is_read_and_a_copy_keeps_its_own() {
        let mut pages = Pages::default();
        pages.write(4000, &[7; 5000]);
        let copy = pages.clone();
        pages.write(4096, &[0; 4096]);
        pages.write(10, &[1]);
        assert_eq!(copy.read(3999, 5002), [vec![0], vec![7; 5000], vec![0]].concat());
        assert_eq!(pages.read(3999, 5002), [vec![0], vec![7; 96], vec![0; 4096], vec![7; 808], vec![0]].concat());
        assert_eq!(pages.read(9, 3), [0, 1, 0]);
    }
}
