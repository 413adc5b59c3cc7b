//! Images in a tar archive, as a source: an image layout, or what `docker save` makes. A file that is not compressed is read
//! in place, and never unpacked; all else comes as a [`Stream`].
//!
//! Opening reads the headers of the members, and of their bodies nothing but documents. What of an archive is taken, and
//! what is refused, says [`members`].

mod codec;
mod docker;
mod members;
mod name;
mod received;
mod scan;
mod stream;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oci_store_cas::Digest;

use crate::archive::codec::Codec;
use crate::archive::docker::{Item, Layer, Made};
use crate::archive::scan::{Extent, Members};
use crate::index_json::{IndexJson, check_version};
use crate::layout::{MAX_OCI_LAYOUT, open_regular};
use crate::limits::{Limits, Most};
use crate::referrers::Referrers;
use crate::source::{Content, Entry, ImageSource};
use crate::{Descriptor, Error, Result, Transport};

pub use stream::Stream;

/// An image layout, version 1, or an archive of `docker save`, in an uncompressed tar archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    members: Members,
    limits: Limits,
    referrers: Referrers,
    form: Form,
}

/// What says which images an archive has.
#[derive(Debug)]
enum Form {
    /// `index.json`.
    Layout(Extent),
    /// `index.json`, and `manifest.json` for the names: `docker save` since version 25.
    Both(Extent, Vec<Item>),
    /// `manifest.json`.
    Docker(Made),
}

/// An archive in a file, as it can be read.
pub(crate) enum Opened {
    InPlace(Box<Archive>),
    /// Only from its beginning to its end: it is compressed, or what it has is named by nothing but its content.
    Once(File),
}

const NO_INDEX: &str = "it has no index.json at its top";

impl Archive {
    /// Opens the archive in the file `path`: reads the headers of its members, and keeps where the blobs are.
    ///
    /// # Errors
    /// [`Error::NotALayout`] if it has neither `index.json` nor `manifest.json`; [`Error::Archive`] if it is cut off, has a
    /// member that it should not have, or can only be read as a [`Stream`], as it or a layer of `docker save` is compressed;
    /// [`Error::Document`] if the layout's version is not 1, or `manifest.json` is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match Self::open_as(&path, Transport::Path, Limits::default())? {
            Opened::InPlace(archive) => Ok(*archive),
            Opened::Once(_) => Err(Error::archive(&path, "it is compressed, and can only be read as a stream")),
        }
    }

    /// The same of what is said to lie there.
    pub(crate) fn open_as(path: &Path, transport: Transport, limits: Limits) -> Result<Opened> {
        // A link to an archive is good, and what stands at its end has to be a file.
        let file = path.canonicalize().and_then(|real| open_regular(&real)).map_err(Error::io(path))?;
        let whole = Extent { at: 0, size: u64::MAX };
        let first = codec::first(&mut Section::new(&file, whole)).map_err(Error::io(path))?;
        if Codec::of(&first).is_some() {
            return Ok(Opened::Once(file));
        }
        if let Some(why) = codec::unreadable(Some(path), &first) {
            return Err(Error::archive(path, why));
        }
        let members = scan::scan(path, &file)?;
        let form = Form::Docker(Made::default());
        let archive = Self { path: path.to_owned(), file, members, limits, referrers: Referrers::default(), form };
        archive.with_form(transport)
    }

    /// Reads what says which images there are.
    fn with_form(mut self, transport: Transport) -> Result<Opened> {
        let is_docker = transport == Transport::DockerArchive;
        let manifest_json = self.members.manifest_json.filter(|_| transport != Transport::OciArchive);
        if is_docker && manifest_json.is_none() {
            return Err(not(&self.path, docker::NO_MANIFEST));
        }
        let items = manifest_json.map(|extent| {
            let bytes = self.read("manifest.json", extent, Most::index_json(self.limits.index_json))?;
            docker::items(&self.path_of("manifest.json"), &bytes)
        });
        let items = items.transpose()?;
        let Some(index_json) = self.members.index_json else {
            let items = items.ok_or_else(|| not(&self.path, NO_INDEX))?;
            return self.with_files(&items);
        };
        self.members.check_links(&self.path)?;
        if let Some(extent) = self.members.oci_layout {
            check_version(&self.path_of("oci-layout"), &self.read("oci-layout", extent, MAX_OCI_LAYOUT)?)?;
        }
        self.form = items.map_or(Form::Layout(index_json), |items| Form::Both(index_json, items));
        Ok(Opened::InPlace(Box::new(self)))
    }

    /// Finds the files that `manifest.json` names.
    fn with_files(mut self, items: &[Item]) -> Result<Opened> {
        let all = scan::files(&self.path, &self.file)?;
        let mut files = InPlace { archive: &self, all, found: Vec::new(), is_compressed: false };
        let made = docker::make(&self.path_of("manifest.json"), items, self.limits, &mut files)?;
        let InPlace { found, is_compressed, .. } = files;
        if is_compressed {
            return Ok(Opened::Once(self.file));
        }
        self.members.add(found);
        self.form = Form::Docker(made);
        Ok(Opened::InPlace(Box::new(self)))
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

    fn read(&self, name: &str, extent: Extent, most: Most) -> Result<Vec<u8>> {
        read_member(&self.path, name, extent.size, &mut Section::new(&self.file, extent), most)
    }
}

fn not(path: &Path, why: &'static str) -> Error {
    Error::NotALayout { path: path.to_owned(), why }
}

/// Reads a member of an archive that has `size` bytes, if it may have so many.
fn read_member(path: &Path, name: &str, size: u64, bytes: &mut dyn Read, most: Most) -> Result<Vec<u8>> {
    let path = path.join(name);
    if size > most.bytes {
        return Err(most.exceeded(path.display()));
    }
    let mut all = Vec::new();
    bytes.read_to_end(&mut all).map_err(Error::io(path))?;
    Ok(all)
}

impl ImageSource for Archive {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let (index_json, items) = match &self.form {
            Form::Docker(made) => return Ok(made.entries.clone()),
            Form::Layout(index_json) => (index_json, None),
            Form::Both(index_json, items) => (index_json, Some(items)),
        };
        let bytes = self.read("index.json", *index_json, Most::index_json(self.limits.index_json))?;
        let entries = IndexJson::parse(&self.path_of("index.json"), &bytes, self.limits)?.into_entries();
        Ok(match items {
            Some(items) => docker::names(self, entries, items),
            None => entries,
        })
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        if let Form::Docker(made) = &self.form
            && let Some(bytes) = made.manifests.get(&descriptor.digest)
        {
            return Ok(Some(Box::new(InMemory(bytes))));
        }
        let extent = self.members.blob(&descriptor.digest)?;
        Ok(extent.map(|extent| Box::new(Section::new(&self.file, extent)) as Box<dyn Content>))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers.of(self, subject)
    }

    fn max_manifest(&self) -> u64 {
        self.limits.manifest
    }

    fn max_descriptors(&self) -> u64 {
        self.limits.descriptors
    }
}

/// The files of an archive that is read in place. A layer that is not compressed is the blob that its diff_id names, so
/// that nobody has to read it for that; whoever copies it verifies that it is.
struct InPlace<'a> {
    archive: &'a Archive,
    all: HashMap<Vec<u8>, Extent>,
    found: Vec<(Digest, Extent)>,
    is_compressed: bool,
}

impl docker::Files for InPlace<'_> {
    fn config(&mut self, name: &str, most: Most) -> Result<Option<Vec<u8>>> {
        let Some(&extent) = self.all.get(&name::normal(name.as_bytes())) else { return Ok(None) };
        let bytes = self.archive.read(name, extent, most)?;
        self.found.push((docker::digest_of(&bytes)?, extent));
        Ok(Some(bytes))
    }

    fn layer(&mut self, name: &str, diff_id: &Digest) -> Result<Option<Layer>> {
        let Some(&extent) = self.all.get(&name::normal(name.as_bytes())) else { return Ok(None) };
        let path = || self.archive.path_of(name);
        let first = codec::first(&mut Section::new(&self.archive.file, extent)).map_err(Error::io(path()))?;
        let compression = Codec::of(&first);
        self.is_compressed |= compression.is_some();
        self.found.push((diff_id.clone(), extent));
        Ok(Some(Layer { digest: diff_id.clone(), size: extent.size, compression }))
    }
}

/// A document that was made, and is in memory.
struct InMemory<'b>(&'b [u8]);

impl Read for InMemory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for InMemory<'_> {
    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

/// A member's bytes. It has a position of its own: any number of them are read side by side.
struct Section<'f> {
    file: &'f File,
    begin: u64,
    at: u64,
    end: u64,
}

impl<'f> Section<'f> {
    /// The scan has seen that the end is in the file, so that the sum can't overflow.
    fn new(file: &'f File, Extent { at, size }: Extent) -> Self {
        Self { file, begin: at, at, end: at.saturating_add(size) }
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
    fn skip_to(&mut self, position: u64) -> io::Result<bool> {
        self.at = self.begin.saturating_add(position).min(self.end);
        Ok(true)
    }

    fn size(&self) -> Option<u64> {
        Some(self.end.saturating_sub(self.at))
    }
}
