//! The look over an archive's headers: where the members are that an image layout consists of.
//!
//! Taken are `index.json`, `oci-layout` and `blobs/<algorithm>/<encoded>`, also behind `./`. Other files and folders
//! are passed over. Refused, whatever its name, is a member over which readers of tar archives disagree, or that
//! leads out of the archive: links, devices, FIFOs and sparse files; names that are absolute or have `..` or a zero
//! byte; sizes that are said twice, and differently, or that go beyond the file. So is a second member of one name:
//! some readers take the first, others the last, and what one has verified the other would not see.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use oci_store_cas::Digest;
use tar::EntryType;

use super::name::{Place, place};
use crate::{Error, Result};

/// The most members that an archive may have. What is kept of a blob is its digest and place, so that this bounds
/// the memory: about 50 MiB with the longest digests.
const MAX_MEMBERS: usize = 400_000;

/// The most bytes that the headers of one member may have, with long names and attributes.
const MAX_HEADERS: u64 = 256 << 10;

/// From here on a size does not fit into a header's digits, and stands in an extended header alone.
const LARGE: u64 = 1 << 33;

/// Where a member's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) at: u64,
    pub(super) size: u64,
}

/// The members of an image layout.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) index_json: Extent,
    pub(super) oci_layout: Option<Extent>,
    /// By digest. A vector, as there may be very many.
    blobs: Vec<(Digest, Extent)>,
}

impl Members {
    /// Where a blob is, or `None` if it is not there.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`](oci_store_cas::Error::UnknownAlgorithm).
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Extent>> {
        if digest.known_algorithm().is_none() {
            return Err(oci_store_cas::Error::UnknownAlgorithm(digest.clone()).into());
        }
        let found = self.blobs.binary_search_by(|(other, _)| other.cmp(digest)).ok();
        Ok(found.and_then(|at| self.blobs.get(at)).map(|(_, extent)| *extent))
    }
}

/// Looks over the archive in `file`; `path` is for messages.
pub(super) fn scan(path: &Path, file: &File) -> Result<Members> {
    scan_at_most(MAX_MEMBERS, path, file)
}

fn scan_at_most(most: usize, path: &Path, file: &File) -> Result<Members> {
    let refuse = |why: String| Error::archive(path, why);
    let length = file.metadata().map_err(Error::io(path))?.len();
    if let Some(why) = compression(path, file).map_err(Error::io(path))? {
        return Err(refuse(why));
    }
    let budget = Rc::new(Cell::new(MAX_HEADERS));
    let mut archive = tar::Archive::new(Headers { file, at: 0, budget: Rc::clone(&budget) });
    let mut oci_layout = None;
    let mut index_json = None;
    let mut blobs: Vec<(Digest, Extent)> = Vec::new();
    let entries = archive.entries_with_seek().map_err(Error::io(path))?;
    for (n, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| match n {
            0 => refuse(format!("not a tar archive: {error}")),
            _ => refuse(format!("member {}: {error}", n + 1)),
        })?;
        budget.set(MAX_HEADERS);
        if n >= most {
            return Err(refuse(format!("it has more than {most} members")));
        }
        let name = entry.path_bytes().into_owned();
        let wrong = |why: &str| Error::member(path, &name, why);
        let extended = extended(&mut entry).map_err(|why| wrong(&why))?;
        if extended.path.as_ref().is_some_and(|path| *path != name) {
            return Err(wrong("it has two long names"));
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            global(&mut entry, &extended).map_err(|why| wrong(&why))?;
            continue;
        }
        let size = size_of(&entry, &extended).map_err(|why| wrong(&why))?;
        let extent = Extent { at: entry.raw_file_position(), size };
        // With what fills its last block: an archive that lacks that was cut off, too.
        let end = size.checked_next_multiple_of(512).and_then(|size| extent.at.checked_add(size));
        if end.is_none_or(|end| end > length) {
            return Err(wrong("the archive ends before it does"));
        }
        let is_folder = match kind {
            EntryType::Regular | EntryType::Continuous => false,
            EntryType::Directory if size == 0 => true,
            EntryType::Directory => return Err(wrong("a folder with a size")),
            EntryType::GNUSparse => return Err(wrong("a sparse file: pack it without --sparse")),
            _ => return Err(wrong("neither a file nor a folder")),
        };
        let once = |place: &mut Option<Extent>| match place.replace(extent) {
            Some(_) => Err(wrong(TWICE)),
            None => Ok(()),
        };
        match place(&name, is_folder).map_err(wrong)? {
            Place::IndexJson => once(&mut index_json)?,
            Place::OciLayout => once(&mut oci_layout)?,
            Place::Blob(digest) => blobs.push((digest, extent)),
            Place::Other => {}
        }
    }
    blobs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if let Some([(digest, _), _]) = blobs.array_windows().find(|[(a, _), (b, _)]| a == b) {
        return Err(refuse(format!("blobs/{}/{}: {TWICE}", digest.algorithm(), digest.encoded())));
    }
    blobs.shrink_to_fit();
    let why = "it has no index.json at its top";
    let index_json = index_json.ok_or_else(|| Error::NotALayout { path: path.to_owned(), why })?;
    Ok(Members { index_json, oci_layout, blobs })
}

const TWICE: &str = "it is there twice, and readers differ in which they take";

/// What an extended header (PAX) of a member says that matters here.
#[derive(Default)]
struct Extended {
    size: Option<u64>,
    path: Option<Vec<u8>>,
}

type Entry<'a> = tar::Entry<'a, Headers<'a>>;

fn extended(entry: &mut Entry<'_>) -> Result<Extended, String> {
    let mut found = Extended::default();
    let unreadable = |error: io::Error| error.to_string();
    for record in entry.pax_extensions().map_err(unreadable)?.into_iter().flatten() {
        let record = record.map_err(unreadable)?;
        let twice = match record.key_bytes() {
            b"size" => {
                let size = record.value().ok().and_then(|value| value.parse().ok());
                found.size.replace(size.ok_or("its extended header has a size that is no number")?).is_some()
            }
            b"path" => found.path.replace(record.value_bytes().to_owned()).is_some(),
            key if key.starts_with(b"GNU.sparse.") => return Err("a sparse file: pack it without --sparse".to_owned()),
            _ => false,
        };
        if twice {
            return Err("its extended header says one thing twice".to_owned());
        }
    }
    Ok(found)
}

/// Looks at a global header. What git writes has a comment alone: anything else would change what follows.
fn global(entry: &mut Entry<'_>, extended: &Extended) -> Result<(), String> {
    if extended.size.is_some() || extended.path.is_some() {
        return Err("a global header that changes the members behind it".to_owned());
    }
    // Its body was taken as what describes it, unless something else was there for that, and is lost on it.
    let mut body = Vec::new();
    entry.read_to_end(&mut body).map_err(|error| error.to_string())?;
    let has_body = entry.header().entry_size().is_ok_and(|size| size > 0);
    if !body.is_empty() || !has_body || entry.path_bytes() != entry.header().path_bytes() {
        return Err("a global header between a member and what describes it".to_owned());
    }
    Ok(())
}

/// A member's size, if all places that say it agree.
fn size_of(entry: &Entry<'_>, extended: &Extended) -> Result<u64, String> {
    let header = entry.header();
    let field = header.as_old().size;
    if field.first().is_some_and(|first| first & 0x80 != 0) && !field.starts_with(&[0x80, 0, 0, 0]) {
        return Err("a size of more than 64 bits".to_owned());
    }
    let size = header.entry_size().map_err(|error| error.to_string())?;
    match extended.size {
        None => Ok(size),
        Some(real) if real == size || (size == 0 && real >= LARGE) => Ok(real),
        Some(real) => Err(format!("its header says {size} bytes, its extended header {real}")),
    }
}

/// What to say about a file that is compressed: its first bytes tell.
fn compression(path: &Path, file: &File) -> io::Result<Option<String>> {
    const KNOWN: &[(&[u8], &str, &str)] = &[
        (&[0x1f, 0x8b], "gzip", "gzip -dc"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -dc"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", "xz -dc"),
        (b"BZh", "bzip2", "bzip2 -dc"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -dc"),
    ];
    let mut first = Vec::new();
    Headers { file, at: 0, budget: Rc::new(Cell::new(MAX_HEADERS)) }.take(6).read_to_end(&mut first)?;
    let known = KNOWN.iter().find(|(magic, ..)| first.starts_with(magic));
    Ok(known.map(|(_, name, command)| {
        let from = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        format!("it is compressed with {name}: decompress it first, as by {command} {from} >{from}.tar")
    }))
}

/// The archive as `tar` reads it. `tar` takes what describes a member into memory as a whole, however long that is:
/// of each, no more than the budget is given to it.
struct Headers<'f> {
    file: &'f File,
    at: u64,
    budget: Rc<Cell<u64>>,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        let left = self.budget.get().checked_sub(n as u64);
        self.budget.set(left.ok_or_else(|| io::Error::other("its headers are too long"))?);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn members_are_counted() {
        let mut file = tempfile::tempfile().unwrap();
        for name in ["index.json", "x", "x"] {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_size(0);
            header.set_entry_type(EntryType::Regular);
            header.set_cksum();
            file.write_all(header.as_bytes()).unwrap();
        }
        let path = Path::new("image.tar");
        scan_at_most(3, path, &file).unwrap();
        let error = scan_at_most(2, path, &file).unwrap_err();
        assert_eq!(error.to_string(), "image.tar: it has more than 2 members");
    }
}
