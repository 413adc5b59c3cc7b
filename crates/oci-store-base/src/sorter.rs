//! More rows than memory takes, in their order: an index that is filled in the order of its keys writes each of its pages
//! once, and fills it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is sorted in memory before it goes to the disk, in bytes.
const MOST: usize = 8 << 20;

/// Takes rows in any order, and gives them back in the order of their bytes. What does not fit into memory lies in a file
/// without a name, which goes with the process.
#[derive(Debug)]
pub(crate) struct Sorter {
    folder: PathBuf,
    most: usize,
    /// The bytes of the rows in memory, and where each of them is.
    bytes: Vec<u8>,
    rows: Vec<Range<u32>>,
    file: Option<File>,
    /// Where in the file sorted rows begin and end.
    runs: Vec<Range<u64>>,
}

impl Sorter {
    /// One whose file lies in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            most: MOST,
            bytes: Vec::new(),
            rows: Vec::new(),
            file: None,
            runs: Vec::new(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes a row of at most 64 KiB.
    pub(crate) fn push(&mut self, row: &[u8]) -> io::Result<()> {
        if self.bytes.len() + row.len() > self.most && !self.rows.is_empty() {
            self.spill()?;
        }
        let place = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let from = place(self.bytes.len())?;
        self.bytes.extend_from_slice(row);
        self.rows.push(from..place(self.bytes.len())?);
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows.sort_unstable_by(|a, b| row_at(bytes, a).cmp(row_at(bytes, b)));
    }

    /// Writes what is in memory to the file, sorted.
    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut run = Vec::with_capacity(self.bytes.len() + 2 * self.rows.len());
        for row in self.rows.drain(..) {
            let row = row_at(&self.bytes, &row);
            run.extend_from_slice(&u16::try_from(row.len()).map_err(io::Error::other)?.to_le_bytes());
            run.extend_from_slice(row);
        }
        self.bytes.clear();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let from = file.seek(SeekFrom::End(0))?;
        file.write_all(&run)?;
        self.runs.push(from..from + run.len() as u64);
        Ok(())
    }

    /// Gives all rows to `visit`, in order, at most `many` at a time.
    pub(crate) fn drain<E: From<io::Error>>(
        mut self,
        many: usize,
        mut visit: impl FnMut(&[Vec<u8>]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.runs.is_empty() {
            self.spill()?;
        }
        self.sort();
        let mut rest = self.rows.drain(..).map(|row| Ok(row_at(&self.bytes, &row).to_vec()));
        let mut merged = Merged::of(self.file.as_ref(), &self.runs)?;
        let mut page = Vec::new();
        while let Some(row) = rest.next().or_else(|| merged.next()) {
            page.push(row?);
            if page.len() == many {
                visit(&page)?;
                page.clear();
            }
        }
        if page.is_empty() { Ok(()) } else { visit(&page) }
    }
}

fn row_at<'b>(bytes: &'b [u8], row: &Range<u32>) -> &'b [u8] {
    bytes.get(row.start as usize..row.end as usize).unwrap_or_default()
}

/// The rows of several runs as one.
struct Merged<'f> {
    runs: Vec<BufReader<Run<'f>>>,
    /// The first row of each that is left, and whose it is.
    first: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl<'f> Merged<'f> {
    fn of(file: Option<&'f File>, runs: &[Range<u64>]) -> io::Result<Self> {
        let reader =
            |run: &Range<u64>| Some(BufReader::with_capacity(64 << 10, Run { file: file?, left: run.clone() }));
        let mut merged = Self { runs: runs.iter().filter_map(reader).collect(), first: BinaryHeap::new() };
        for number in 0..merged.runs.len() {
            merged.advance(number)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, number: usize) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(number) else { return Ok(()) };
        let mut length = [0; 2];
        match run.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let mut row = vec![0; u16::from_le_bytes(length).into()];
        run.read_exact(&mut row)?;
        self.first.push(Reverse((row, number)));
        Ok(())
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((row, number)) = self.first.pop()?;
        Some(self.advance(number).map(|()| row))
    }
}

/// A part of the file. Each has a position of its own.
struct Run<'f> {
    file: &'f File,
    left: Range<u64>,
}

impl Read for Run<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let n = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.left.start)?;
        self.left.start += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_order_whether_they_fit_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Vec<u8>> =
            (0..5000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[..1 + n as usize % 4].to_vec()).collect();
        let mut sorted = rows.clone();
        sorted.sort();
        for most in [MOST, 1000, 3] {
            let mut sorter = Sorter { most, ..Sorter::new(folder.path()) };
            for row in &rows {
                sorter.push(row).unwrap();
            }
            let mut found = Vec::new();
            sorter
                .drain(7, |page| {
                    assert!(page.len() <= 7);
                    found.extend_from_slice(page);
                    Ok::<_, io::Error>(())
                })
                .unwrap();
            assert_eq!(found, sorted, "{most}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
