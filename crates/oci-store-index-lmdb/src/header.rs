//! A look at a data file before LMDB maps it: what LMDB does not check would end the process with a SIGBUS.
//!
//! ```text
//! page    pgno u64 | pad u16 | flags u16 | lower, upper u16                            16 bytes
//! meta    magic u32 | version u32 | address u64 | map size u64                         24
//!         free list: page size u32, flags u16, 34 bytes, root u64                      48
//!         rows: 4 bytes, flags u16, 34 bytes, root u64                                 48
//!         last page u64 | transaction u64
//! ```
//! Pages 0 and 1 are metas; the one with the higher transaction counts. LMDB writes in the machine's byte order.

use std::fs::File;
use std::io;

use crate::environment::MAP_MOST;
use crate::walk::{self, read_at};

const META: usize = 152;
const FLAG_META: u16 = 8;
/// The keys of the free list are numbers.
const FLAG_NUMBERS: u16 = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 256..=65536;
/// Stands for the root of an empty tree.
const NO_PAGE: u64 = u64::MAX;

/// What a data file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing yet, or what a machine that went down while it made the file may leave.
    Blank,
    /// An environment whose trees lie inside the file.
    Sound,
    /// No environment.
    Foreign,
    /// An environment that lacks pages which it refers to.
    Truncated,
    /// An environment with pages that are not as LMDB takes them to be.
    Damaged,
}

/// Looks that are lost to writers beside us are repeated. After so many there is one whose map is whole.
const LOOKS: u32 = 20;

pub(crate) fn read(file: &File) -> io::Result<Header> {
    settled(file, |newest| Ok(newest.is_long(file)? || newest.is_sound(file, &newest.roots)?))
}

/// The same, after a look at every page with rows. The free list is the writers' business alone.
pub(crate) fn read_all(file: &File) -> io::Result<Header> {
    settled(file, |newest| newest.is_sound(file, &newest.roots[1..]))
}

fn settled(file: &File, is_good: impl Fn(&Meta) -> io::Result<bool>) -> io::Result<Header> {
    for _ in 0..LOOKS {
        let (header, newest) = look(file)?;
        match newest {
            Some(newest) if header == Header::Sound && !is_good(&newest)? => {
                // What was read may have been written anew meanwhile.
                if look(file)?.1 == Some(newest) {
                    return Ok(if newest.is_long(file)? { Header::Damaged } else { Header::Truncated });
                }
            }
            _ => return Ok(header),
        }
    }
    Ok(Header::Sound)
}

/// What the metas say, and the one that counts.
fn look(file: &File) -> io::Result<(Header, Option<Meta>)> {
    let mut page = [0; META];
    let got = read_at(file, &mut page, 0)?;
    if page[..got].iter().all(|byte| *byte == 0) {
        return Ok((blank(file)?, None));
    }
    let Some(first) = Meta::parse(&page[..got]) else { return Ok((Header::Foreign, None)) };
    if !PAGE_SIZES.contains(&first.page_size) {
        return Ok((Header::Foreign, None));
    }
    let got = read_at(file, &mut page, first.page_size)?;
    if got < META {
        return Ok((Header::Truncated, None));
    }
    let Some(second) = Meta::parse(&page) else { return Ok((Header::Foreign, None)) };
    // LMDB would map as much as it is told that was used.
    if [&first, &second].iter().any(|meta| meta.last >= MAP_MOST as u64 / first.page_size) {
        return Ok((Header::Damaged, None));
    }
    let newest = if second.transaction > first.transaction { second } else { first };
    // Taken after the metas: a writer beside us extends the file before it writes a meta.
    let pages = file.metadata()?.len() / first.page_size;
    Ok((if pages >= 2 { Header::Sound } else { Header::Truncated }, Some(newest)))
}

/// A file that ever took a commit is longer than its metas, and they were on the disk before.
fn blank(file: &File) -> io::Result<Header> {
    let len = file.metadata()?.len();
    if len > 2 * PAGE_SIZES.end() {
        return Ok(Header::Foreign);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = read_at(file, &mut bytes, 0)?;
    Ok(if bytes[..got].iter().all(|byte| *byte == 0) { Header::Blank } else { Header::Foreign })
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Meta {
    page_size: u64,
    roots: [u64; 2],
    last: u64,
    transaction: u64,
}

impl Meta {
    fn parse(page: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_ne_bytes(page.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_ne_bytes(page.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(page.get(at..at + 8)?.try_into().ok()?));
        // Of the trees' flags LMDB would take some for another kind of rows, or for a map at a fixed address.
        let flags = (u16_at(44)?, u16_at(92)?);
        if u16_at(10)? & FLAG_META == 0 || u32_at(16)? != MAGIC || flags != (FLAG_NUMBERS, 0) {
            return None;
        }
        Some(Self {
            page_size: u32_at(40)?.into(),
            roots: [u64_at(80)?, u64_at(128)?],
            last: u64_at(136)?,
            transaction: u64_at(144)?,
        })
    }

    /// Whether the file has the last page that was ever used, and so all of them. It is rarely that more has to be looked for.
    fn is_long(&self, file: &File) -> io::Result<bool> {
        Ok(self.last < file.metadata()?.len() / self.page_size)
    }

    /// Whether the file has all pages that the trees below `roots` refer to, and these are as they should be.
    fn is_sound(&self, file: &File, roots: &[u64]) -> io::Result<bool> {
        let pages = file.metadata()?.len() / self.page_size;
        let roots = roots.iter().copied().filter(|root| *root != NO_PAGE);
        let page_size = usize::try_from(self.page_size).map_err(io::Error::other)?;
        walk::is_sound(file, page_size, pages, roots)
    }
}
