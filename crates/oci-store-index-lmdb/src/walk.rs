//! A look at all pages that the trees of a data file refer to. LMDB believes its pages: what refers to another place than
//! it should ends the process, with a SIGBUS behind the end of the file, else with a SIGSEGV or an assertion.
//!
//! A file may rightly end before the last page in its header, as a page that was allocated and freed at once is never written.
//!
//! ```text
//! page    pgno u64 | pad u16 | flags u16 | lower, upper u16 (overflow: pages u32) | in lower: nodes' offsets u16
//! node    low u16 | high u16 | flags u16 | key size u16 | key | leaf: value, or u64 page of a large one
//! ```
//! A branch's node has its child's number in low, high and flags.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const HEAD: usize = 16;
const NODE: usize = 8;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const LARGE: u16 = 1;
/// Levels that a cursor of LMDB's has room for.
const DEEPEST: u16 = 32;

/// What pages are to be, below a root.
#[derive(Clone, Copy)]
enum Wanted {
    /// Of the level, the root's being 0.
    Tree(u16),
    /// With a value of so many bytes.
    Large(usize),
}

/// Whether all pages below `roots` lie within the first `pages` pages, and are as LMDB takes them to be.
pub(crate) fn is_sound(
    file: &File,
    page_size: usize,
    pages: u64,
    roots: impl IntoIterator<Item = u64>,
) -> io::Result<bool> {
    let mut page = vec![0; page_size];
    let mut seen = HashSet::new();
    for root in roots {
        let mut leaves = None;
        let mut stack = vec![(root, Wanted::Tree(0))];
        while let Some((number, wanted)) = stack.pop() {
            // In a tree each page has one place.
            if number >= pages
                || !seen.insert(number)
                || read_at(file, &mut page, number * page_size as u64)? < page_size
                || u64_at(&page, 0) != Some(number)
            {
                return Ok(false);
            }
            let is_good = match wanted {
                Wanted::Large(length) => {
                    let count = u64::from(u32_at(&page, 12).unwrap_or(0));
                    let enough = (count as usize).saturating_mul(page_size) >= length.saturating_add(HEAD);
                    let is_inside = number.checked_add(count).is_some_and(|end| end <= pages);
                    u16_at(&page, 10) == Some(OVERFLOW) && enough && is_inside
                }
                Wanted::Tree(level) => {
                    let is_leaf = u16_at(&page, 10) == Some(LEAF);
                    // All leaves have the same distance from the root.
                    let is_level = !is_leaf || *leaves.get_or_insert(level) == level;
                    is_level && level < DEEPEST && below(&page, level, &mut stack).is_some()
                }
            };
            if !is_good {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Adds the pages that a page of a tree refers to; `None` if it is not as it should be.
fn below(page: &[u8], level: u16, stack: &mut Vec<(u64, Wanted)>) -> Option<()> {
    let flags = u16_at(page, 10)?;
    let (lower, upper) = (usize::from(u16_at(page, 12)?), usize::from(u16_at(page, 14)?));
    let offsets = page.get(HEAD..lower)?;
    let is_branch = flags == BRANCH;
    if !(is_branch || flags == LEAF) || offsets.len() % 2 != 0 || lower > upper || offsets.len() < 2 {
        return None;
    }
    for at in (0..offsets.len() / 2).map(|n| u16_at(offsets, n * 2)) {
        let at = usize::from(at?);
        let (low, high, node_flags) = (u16_at(page, at)?, u16_at(page, at + 2)?, u16_at(page, at + 4)?);
        let (low, high) = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
        let low = u64::from(low) | u64::from(high) << 16;
        let key = usize::from(u16_at(page, at + 6)?);
        let value = at + NODE + key;
        if at < upper || value > page.len() {
            return None;
        }
        if is_branch {
            stack.push((low | u64::from(node_flags) << 32, Wanted::Tree(level + 1)));
            continue;
        }
        let length = usize::try_from(low).ok()?;
        match node_flags {
            0 if value.checked_add(length)? <= page.len() => {}
            LARGE => stack.push((u64_at(page, value)?, Wanted::Large(length))),
            _ => return None,
        }
    }
    Some(())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
