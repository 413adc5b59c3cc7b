//! A look at all pages that the trees of a data file refer to, for a file that ends before the last page in its
//! header. It may do so rightly: a page that was allocated and freed at once is never written. If not, LMDB would meet
//! the missing page through its map, and the process a SIGBUS.
//!
//! ```text
//! page    pgno u64 | pad u16 | flags u16 | lower, upper u16 (overflow: pages u32) | in lower: nodes' offsets u16
//! node    low u16 | high u16 | flags u16 | key size u16 | key | leaf: value, or u64 page of a large one
//! ```
//! A branch's node has its child's number in low, high and flags.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use crate::header::read_at;

const HEAD: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const LARGE: u16 = 1;

/// Whether all pages below `roots` lie within the first `pages` pages.
pub(crate) fn is_whole(file: &File, page_size: usize, pages: u64, roots: &[u64]) -> io::Result<bool> {
    let mut page = vec![0; page_size];
    let mut seen = HashSet::new();
    let mut stack = roots.to_vec();
    while let Some(number) = stack.pop() {
        if number >= pages {
            return Ok(false);
        }
        // Of a damaged tree, perhaps one in a ring.
        if !seen.insert(number) {
            continue;
        }
        if read_at(file, &mut page, number * page_size as u64)? < page_size {
            return Ok(false);
        }
        match below(&page, &mut stack) {
            Some(true) => {}
            // The value of a node that was just read.
            Some(false) => {
                let count = u64::from(u32_at(&page, 12).unwrap_or(0));
                if number.checked_add(count).is_none_or(|end| end > pages) {
                    return Ok(false);
                }
            }
            // No page as it should be: not cut off, but damaged.
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Adds the pages that a page of a tree refers to; `None` if it is none, `Some(false)` if it holds a large value.
fn below(page: &[u8], stack: &mut Vec<u64>) -> Option<bool> {
    let flags = u16_at(page, 10)?;
    if flags & (BRANCH | LEAF) == 0 {
        return Some(false);
    }
    let offsets = page.get(HEAD..usize::from(u16_at(page, 12)?))?;
    for at in (0..offsets.len() / 2).map(|n| u16_at(offsets, n * 2)) {
        let at = usize::from(at?);
        let (low, high, node_flags) = (u16_at(page, at)?, u16_at(page, at + 2)?, u16_at(page, at + 4)?);
        if flags & BRANCH != 0 {
            let (low, high) = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
            stack.push(u64::from(low) | u64::from(high) << 16 | u64::from(node_flags) << 32);
        } else if node_flags & LARGE != 0 {
            let value = at + 8 + usize::from(u16_at(page, at + 6)?);
            stack.push(u64::from_ne_bytes(page.get(value..value + 8)?.try_into().ok()?));
        }
    }
    Some(true)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
