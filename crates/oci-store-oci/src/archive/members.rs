//! The strict look at the members of an archive, whichever way it is read.
//!
//! Refused, whatever its name, is a member over which readers of tar archives disagree, or that leads out of the
//! archive: links, devices, FIFOs and sparse files; names that are absolute or have `..` or a zero byte; sizes that are
//! said twice, and differently, or that go beyond the file. So is a second member of one name: some readers take the
//! first, others the last, and what one has verified the other would not see.
//!
//! The one link that is let through is that of `docker save`: from one layer to the file of another, by a name that
//! stays inside. It is for archives of that form alone.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use tar::EntryType;

use super::name::{Place, layer_link, place};
use crate::{Error, Result};

/// The most members that an archive may have. What is kept of a blob is its digest and place, so that this bounds
/// the memory: about 50 MiB with the longest digests.
pub(super) const MAX_MEMBERS: usize = 400_000;

/// The most bytes that the headers of one member may have, with long names and attributes.
pub(super) const MAX_HEADERS: u64 = 256 << 10;

/// From here on a size does not fit into a header's digits, and stands in an extended header alone.
const LARGE: u64 = 1 << 33;

pub(super) const TWICE: &str = "it is there twice, and readers differ in which they take";
pub(super) const NO_FILE: &str = "neither a file nor a folder";
pub(super) const ENDS: &str = "the archive ends before it does";

/// What `tar` says of a header that is none.
const NO_NUMBER: &str = "numeric field was not a number";

/// A member, as all readers of tar archives see it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) size: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link from a layer to another one's file, by its name in the archive.
    Link(Vec<u8>),
}

/// Counts members, and looks at each; `path` is for messages.
pub(super) struct Look<'p> {
    path: &'p Path,
    most: usize,
    seen: usize,
}

impl<'p> Look<'p> {
    pub(super) fn new(path: &'p Path, most: usize) -> Self {
        Self { path, most, seen: 0 }
    }

    /// Takes what `tar` says of the next member. `None`: it is a global header, which changes nothing.
    pub(super) fn at<'a, R: Read>(
        &mut self,
        entry: io::Result<tar::Entry<'a, R>>,
    ) -> Result<(Option<Member>, tar::Entry<'a, R>)> {
        let refuse = |why: String| Error::archive(self.path, why);
        let n = self.seen;
        self.seen += 1;
        let mut entry = entry.map_err(|error| match n {
            // Its text would have what stands where numbers should, of whatever file it is.
            0 if error.to_string().contains(NO_NUMBER) => refuse("not a tar archive".to_owned()),
            0 => refuse(format!("not a tar archive: {error}")),
            _ if error.to_string().contains(NO_NUMBER) => refuse(format!("member {}: {NO_NUMBER}", n + 1)),
            _ => refuse(format!("member {}: {error}", n + 1)),
        })?;
        if n >= self.most {
            return Err(refuse(format!("it has more than {} members", self.most)));
        }
        let name = entry.path_bytes().into_owned();
        let member = look(&mut entry, &name).map_err(|why| Error::member(self.path, &name, why))?;
        Ok((member.map(|(place, kind, size)| Member { name, place, kind, size }), entry))
    }
}

fn look<R: Read>(entry: &mut tar::Entry<'_, R>, name: &[u8]) -> Result<Option<(Place, Kind, u64)>, String> {
    let extended = extended(entry)?;
    if extended.path.as_ref().is_some_and(|path| path != name) {
        return Err("it has two long names".to_owned());
    }
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        global(entry, &extended)?;
        return Ok(None);
    }
    let size = size_of(entry, &extended)?;
    let kind = match kind {
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory if size == 0 => Kind::Folder,
        EntryType::Directory => return Err("a folder with a size".to_owned()),
        EntryType::GNUSparse => return Err("a sparse file: pack it without --sparse".to_owned()),
        EntryType::Symlink if size == 0 => {
            let target = entry.link_name_bytes().unwrap_or_default();
            if extended.link.as_ref().is_some_and(|link| **link != *target) {
                return Err("it has two targets".to_owned());
            }
            Kind::Link(layer_link(name, &target).ok_or(NO_FILE)?)
        }
        _ => return Err(NO_FILE.to_owned()),
    };
    Ok(Some((place(name, kind == Kind::Folder)?, kind, size)))
}

/// What an extended header (PAX) of a member says that matters here.
#[derive(Default)]
struct Extended {
    size: Option<u64>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn extended<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Extended, String> {
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
            b"linkpath" => found.link.replace(record.value_bytes().to_owned()).is_some(),
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
fn global<R: Read>(entry: &mut tar::Entry<'_, R>, extended: &Extended) -> Result<(), String> {
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
fn size_of<R: Read>(entry: &tar::Entry<'_, R>, extended: &Extended) -> Result<u64, String> {
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

/// How many bytes are still given to `tar`, which takes what describes a member into memory as a whole, however long that
/// is. Shared with who reads the members.
#[derive(Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(MAX_HEADERS)))
    }

    /// From now on, headers of one member.
    pub(super) fn headers(&self) {
        self.0.set(MAX_HEADERS);
    }

    /// From now on, the bytes of a member, which nobody takes into memory.
    pub(super) fn body(&self) {
        self.0.set(u64::MAX);
    }

    pub(super) fn take(&self, n: usize) -> io::Result<usize> {
        let left = self.0.get().checked_sub(n as u64);
        self.0.set(left.ok_or_else(|| io::Error::other("its headers are too long"))?);
        Ok(n)
    }
}
