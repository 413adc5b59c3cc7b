//! More rows than memory takes, in their order: an index that is filled in the order of its keys writes each of its pages
//! once, and fills it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

/// What is sorted in memory before it goes to the disk, in bytes.
const MOST: usize = 2 << 20;

/// What is written or read of a run at once, in bytes.
const PIECE: usize = 32 << 10;

/// Takes rows in any order, and gives them back in the order of their bytes. What does not fit into memory lies in a file
/// without a name, which goes with the process.
#[derive(Debug)]
pub(crate) struct Sorter {
    folder: PathBuf,
    most: usize,
    /// The bytes of the rows in memory, and where each of them is, behind its [head].
    bytes: Vec<u8>,
    rows: Vec<(u64, Range<u32>)>,
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

    /// Takes the row that `parts` are, one behind the other.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.bytes.len() + length > self.most && !self.rows.is_empty() {
            self.spill()?;
        }
        let place = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let from = place(self.bytes.len())?;
        let to = place(self.bytes.len() + length)?;
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let row = from..to;
        self.rows.push((head(row_at(&self.bytes, &row)), row));
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let rest = |row: &Range<u32>| row_at(bytes, row);
        self.rows.sort_unstable_by(|(a, row), (b, other)| a.cmp(b).then_with(|| rest(row).cmp(rest(other))));
    }

    /// Writes what is in memory to the file, sorted.
    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let from = file.seek(SeekFrom::End(0))?;
        let mut run = BufWriter::with_capacity(PIECE, file);
        for (_, row) in self.rows.drain(..) {
            run.write_all(&(row.end - row.start).to_le_bytes())?;
            run.write_all(row_at(&self.bytes, &row))?;
        }
        self.bytes.clear();
        run.flush()?;
        self.runs.push(from..run.get_mut().stream_position()?);
        Ok(())
    }

    /// All rows, in order.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted> {
        if !self.runs.is_empty() {
            self.spill()?;
            self.bytes = Vec::new();
        }
        self.sort();
        let runs = self.runs.into_iter().zip(self.file.map(Arc::new).into_iter().cycle());
        let runs = runs.map(|(left, file)| BufReader::with_capacity(PIECE, Run { file, left })).collect();
        let mut sorted = Sorted { bytes: self.bytes, rows: self.rows.into_iter(), runs, first: BinaryHeap::new() };
        for number in 0..sorted.runs.len() {
            sorted.advance(number)?;
        }
        Ok(sorted)
    }
}

fn row_at<'b>(bytes: &'b [u8], row: &Range<u32>) -> &'b [u8] {
    bytes.get(row.start as usize..row.end as usize).unwrap_or_default()
}

/// The beginning of a row, as a number: rows that differ in it are in its order.
fn head(row: &[u8]) -> u64 {
    let mut head = [0; 8];
    head.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(head)
}

/// The rows of a [`Sorter`] that are left: in memory, or in several runs.
pub(crate) struct Sorted {
    bytes: Vec<u8>,
    rows: vec::IntoIter<(u64, Range<u32>)>,
    runs: Vec<BufReader<Run>>,
    /// The first row of each that is left, and whose it is.
    first: BinaryHeap<Reverse<(u64, Vec<u8>, usize)>>,
}

impl Sorted {
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(number) else { return Ok(()) };
        let mut length = [0; size_of::<u32>()];
        match run.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let mut row = vec![0; usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?];
        run.read_exact(&mut row)?;
        self.first.push(Reverse((head(&row), row, number)));
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((_, row)) = self.rows.next() {
            return Some(Ok(row_at(&self.bytes, &row).to_vec()));
        }
        let Reverse((_, row, number)) = self.first.pop()?;
        Some(self.advance(number).map(|()| row))
    }
}

/// A part of the file. Each has a position of its own.
struct Run {
    file: Arc<File>,
    left: Range<u64>,
}

impl Read for Run {
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
                let (head, rest) = row.split_at(row.len() / 2);
                sorter.push(&[head, rest]).unwrap();
            }
            let found: Vec<_> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            assert_eq!(found, sorted, "{most}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
