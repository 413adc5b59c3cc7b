//! Image layouts in a tar archive, as a source: read in place, never unpacked.
//!
//! Opening reads the headers of the members, and of their bodies nothing. What of the archive is taken, and what
//! is refused, says [`scan`].

mod name;
mod scan;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oci_store_cas::Digest;

use crate::archive::scan::{Extent, Members};
use crate::index_json::{IndexJson, check_version};
use crate::layout::{MAX_OCI_LAYOUT, open_regular};
use crate::referrers::Referrers;
use crate::source::{Content, Entry, ImageSource, Limits, size_text};
use crate::{Descriptor, Error, Result};

/// An image layout, version 1, in an uncompressed tar archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    members: Members,
    limits: Limits,
    referrers: Referrers,
}

impl Archive {
    /// Opens the archive in the file `path`: reads the headers of its members, and keeps where the blobs are.
    ///
    /// # Errors
    /// [`Error::NotALayout`] if it has no `index.json`; [`Error::Archive`] if it is compressed, cut off, or has a
    /// member that it should not have; [`Error::Document`] if the layout's version is not 1.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // A link to an archive is good, and what stands at its end has to be a file.
        let file = path.canonicalize().and_then(|real| open_regular(&real)).map_err(Error::io(&path))?;
        let members = scan::scan(&path, &file)?;
        let archive = Self { path, file, members, limits: Limits::default(), referrers: Referrers::default() };
        if let Some(extent) = archive.members.oci_layout {
            check_version(&archive.path_of("oci-layout"), &archive.read("oci-layout", extent, MAX_OCI_LAYOUT)?)?;
        }
        Ok(archive)
    }

    /// With other limits than [those by default](Limits::default).
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A member's path, for people.
    fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn read(&self, name: &str, extent: Extent, limit: u64) -> Result<Vec<u8>> {
        let path = self.path_of(name);
        if extent.size > limit {
            return Err(Error::document(path.display(), format!("it has more than {}", size_text(limit))));
        }
        let mut bytes = Vec::new();
        Section::new(&self.file, extent).read_to_end(&mut bytes).map_err(Error::io(path))?;
        Ok(bytes)
    }
}

impl ImageSource for Archive {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let bytes = self.read("index.json", self.members.index_json, self.limits.index_json)?;
        Ok(IndexJson::parse(&self.path_of("index.json"), &bytes)?.into_entries())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        let extent = self.members.blob(&descriptor.digest)?;
        Ok(extent.map(|extent| Box::new(Section::new(&self.file, extent)) as Box<dyn Content>))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers.of(self, subject)
    }

    fn max_manifest(&self) -> u64 {
        self.limits.manifest
    }
}

/// A member's bytes. It has a position of its own: any number of them are read side by side.
struct Section<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl<'f> Section<'f> {
    /// The scan has seen that the end is in the file, so that the sum can't overflow.
    fn new(file: &'f File, Extent { at, size }: Extent) -> Self {
        Self { file, at, end: at.saturating_add(size) }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let n = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Content for Section<'_> {
    fn size(&self) -> Option<u64> {
        Some(self.end.saturating_sub(self.at))
    }
}
