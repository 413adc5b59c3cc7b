//! Where images come from, as a trait: a layout in a folder or an archive, the store itself, whatever a program brings.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;

use oci_spec::image::Platform;
use oci_store_cas::{Blob, Digest, Hasher};

use crate::archive::Opened;
use crate::document::MAX_DOCUMENT;
pub use crate::limits::{Limit, Limits};
use crate::limits::{Most, size_text};
use crate::platform::{narrow, text_of};
use crate::{Archive, Descriptor, Error, Layout, Place, Result, Stream, Transport};

/// What a source lists: an image, mostly with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, as it stands there: it may be none by the grammar.
    pub name: Option<String>,
    /// The image.
    pub descriptor: Descriptor,
}

/// A blob's bytes, not verified.
pub trait Content: Read + Send {
    /// The file under it, at its beginning, where there is one: for reflinks, and copies by the kernel.
    fn as_file(&self) -> Option<&File> {
        None
    }

    /// Goes to a position, in bytes from the beginning; `false`: this can't be done here, and nothing was.
    ///
    /// # Errors
    /// That it went wrong.
    fn skip_to(&mut self, position: u64) -> io::Result<bool> {
        let _ = position;
        Ok(false)
    }

    /// How many bytes there are to read, where that is known.
    fn size(&self) -> Option<u64> {
        self.as_file()?.metadata().ok().map(|meta| meta.len())
    }
}

impl Content for Box<dyn Blob> {
    fn as_file(&self) -> Option<&File> {
        (**self).as_file()
    }

    fn skip_to(&mut self, position: u64) -> io::Result<bool> {
        self.seek(SeekFrom::Start(position)).map(|_| true)
    }

    fn size(&self) -> Option<u64> {
        (**self).size()
    }
}

/// Where images come from. What it says is not believed: whoever reads from it verifies.
pub trait ImageSource: Debug + Sync {
    /// What it is, for people: a path.
    fn origin(&self) -> String;

    /// All that it lists, in its own order.
    ///
    /// # Errors
    /// That it can't be read.
    fn entries(&self) -> Result<Vec<Entry>>;

    /// The bytes of a blob, or `None` if it is not there.
    ///
    /// # Errors
    /// That it can't be read.
    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>>;

    /// Manifests that are about the blob `subject` (distribution-spec, *Listing Referrers*).
    ///
    /// # Errors
    /// That it can't be read.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// The most bytes that a manifest or an index from here may have. A larger one is refused before it is read.
    fn max_manifest(&self) -> u64 {
        MAX_DOCUMENT
    }

    /// The most [descriptors](Limits::descriptors) that an image from here may have. One with more is not imported.
    fn max_descriptors(&self) -> u64 {
        Limits::default().descriptors
    }

    /// The image layout in a folder that it is, if it is one: there each blob is a file of its own.
    fn as_layout(&self) -> Option<&Layout> {
        None
    }
}

impl<S: ImageSource + ?Sized> ImageSource for &S {
    fn origin(&self) -> String {
        (**self).origin()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        (**self).entries()
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        (**self).fetch(descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        (**self).referrers(subject)
    }

    fn max_manifest(&self) -> u64 {
        (**self).max_manifest()
    }

    fn max_descriptors(&self) -> u64 {
        (**self).max_descriptors()
    }

    fn as_layout(&self) -> Option<&Layout> {
        (**self).as_layout()
    }
}

/// What lies at a place, opened.
#[derive(Debug)]
pub enum Source<'s> {
    /// What can be read again and again, side by side.
    InPlace(Box<dyn ImageSource + Send + 's>),
    /// What can be read once: see [`Store::import_stream`](crate::Store::import_stream).
    Stream(Stream),
}

/// Opens what lies at `place`. Of a path: a folder is a [`Layout`]; a pipe, or a file that is compressed, a [`Stream`]; any
/// other file an [`Archive`]. The place's ref, if it has one, is for who picks from it.
///
/// # Errors
/// As [`Layout::open`] and [`Archive::open`].
pub fn open(place: &Place, limits: Limits) -> Result<Source<'static>> {
    let Place { path, transport, .. } = place;
    let stream = |stream: Stream| Source::Stream(stream.of(*transport).with_limits(limits));
    if place.is_stream() {
        return Ok(stream(Stream::new("stdin", std::io::stdin())));
    }
    let kind = std::fs::metadata(path).map_err(Error::io(path))?.file_type();
    if *transport == Transport::Oci || (*transport == Transport::Path && kind.is_dir()) {
        return Ok(Source::InPlace(Box::new(Layout::open(path)?.with_limits(limits))));
    }
    if kind.is_fifo() {
        return Ok(stream(Stream::new(path, File::open(path).map_err(Error::io(path))?)));
    }
    Ok(match Archive::open_as(path, *transport, limits)? {
        Opened::InPlace(archive) => Source::InPlace(archive),
        Opened::Once(file) => stream(Stream::new(path, file)),
    })
}

/// Picks the one entry called `name`, or of that digest, or without a name the only one; of several with one name that of
/// the `platform`, else the last, which the log tells: other tools take another. With a `platform`, of an index the manifest
/// for it.
///
/// # Errors
/// [`Error::NotInSource`], [`Error::SeveralInSource`], [`Error::NoName`], [`Error::NoPlatform`].
pub fn pick(source: &dyn ImageSource, name: Option<&str>, platform: Option<&PlatformSpec>) -> Result<Entry> {
    pick_from(source, &source.entries()?, name, platform)
}

fn pick_from(
    source: &dyn ImageSource,
    entries: &[Entry],
    name: Option<&str>,
    platform: Option<&PlatformSpec>,
) -> Result<Entry> {
    let Some(name) = name else {
        return match (names(entries).as_slice(), entries) {
            ([], [only]) => choose(source, vec![only], &source.origin(), platform, entries),
            ([only], _) => pick_named(source, entries, only, platform),
            ([], _) => Err(no_name(source, entries)),
            (has, _) => Err(Error::SeveralInSource { origin: source.origin(), has: has.to_vec() }),
        };
    };
    // Who asks for a digest gets what it names, whatever an entry calls itself. Of an unknown algorithm it may be a name:
    // `app:1` could be either.
    let is_name = entries.iter().any(|entry| entry.name.as_deref() == Some(name));
    let digest = name.parse::<Digest>().ok().filter(|digest| digest.known_algorithm().is_some() || !is_name);
    let Some(digest) = digest else { return pick_named(source, entries, name, platform) };
    let listed: Vec<&Entry> = entries.iter().filter(|entry| entry.descriptor.digest == digest).collect();
    if !listed.is_empty() {
        return choose(source, listed, name, platform, entries);
    }
    // An entry may reach it: its parent knows its type and size.
    let found = find_below(source, entries, &digest).map(|descriptor| Entry { name: None, descriptor });
    let found = found.ok_or_else(|| absent(source, entries, name))?;
    match platform {
        Some(platform) => for_platform(source, name, found, platform),
        None => Ok(found),
    }
}

/// The same, of `entries` that were read before, by a name alone, also if that looks like a digest.
pub(crate) fn pick_named(
    source: &dyn ImageSource,
    entries: &[Entry],
    name: &str,
    platform: Option<&PlatformSpec>,
) -> Result<Entry> {
    let named = entries.iter().filter(|entry| entry.name.as_deref() == Some(name)).collect();
    choose(source, named, name, platform, entries)
}

fn names(entries: &[Entry]) -> Vec<String> {
    distinct(entries.iter().filter_map(|entry| entry.name.clone()))
}

fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    texts.filter(|text| seen.insert(text.clone())).collect()
}

fn absent(source: &dyn ImageSource, entries: &[Entry], name: &str) -> Error {
    Error::NotInSource { name: name.to_owned(), origin: source.origin(), has: names(entries) }
}

/// For a source of which no entry has a name.
pub(crate) fn no_name(source: &dyn ImageSource, entries: &[Entry]) -> Error {
    let has = distinct(entries.iter().map(|entry| entry.descriptor.digest.to_string()));
    Error::NoName { origin: source.origin(), has }
}

/// Of several `candidates` that of the platform, else the last: tools that add an entry add it at the end.
fn choose(
    source: &dyn ImageSource,
    mut candidates: Vec<&Entry>,
    name: &str,
    platform: Option<&PlatformSpec>,
    entries: &[Entry],
) -> Result<Entry> {
    if let (Some(platform), [_, _, ..]) = (platform, candidates.as_slice()) {
        let mut has: Vec<String> =
            candidates.iter().filter_map(|entry| Some(text_of(&entry.descriptor.platform()?))).collect();
        candidates.retain(|entry| is_for(entry, platform));
        if candidates.is_empty() {
            has.dedup();
            return Err(Error::NoPlatform { name: name.to_owned(), platform: platform.to_string(), has });
        }
    }
    let (entry, others) = candidates.split_last().ok_or_else(|| absent(source, entries, name))?;
    let digest = &entry.descriptor.digest;
    if others.iter().any(|other| other.descriptor.digest != *digest) {
        let name = name.escape_debug();
        tracing::info!("{name} names several images in {}: the last is taken, {digest}", source.origin());
    }
    match platform {
        Some(platform) if !is_for(entry, platform) => for_platform(source, name, (*entry).clone(), platform),
        _ => Ok((*entry).clone()),
    }
}

/// Whether an entry itself says that it is for a platform.
fn is_for(entry: &Entry, platform: &PlatformSpec) -> bool {
    entry.descriptor.platform().is_some_and(|own| platform.matches(&own))
}

/// The same entry for one platform: of an index, its manifest.
fn for_platform(source: &dyn ImageSource, name: &str, entry: Entry, platform: &PlatformSpec) -> Result<Entry> {
    let descriptor = narrow(source, name, &entry.descriptor, platform)?;
    Ok(Entry { name: entry.name, descriptor })
}

/// Looks for a digest among what the documents of a source point at, as far as they can be read.
fn find_below(source: &dyn ImageSource, entries: &[Entry], digest: &Digest) -> Option<Descriptor> {
    let mut seen = HashSet::new();
    let mut stack: Vec<Descriptor> = entries.iter().map(|entry| entry.descriptor.clone()).collect();
    while let Some(descriptor) = stack.pop() {
        if descriptor.digest == *digest {
            return Some(descriptor);
        }
        if !crate::media_type::is_document(&descriptor.media_type) || !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        if let Ok(Some(bytes)) = read_document(source, &descriptor) {
            let children = crate::document::children(&descriptor, &bytes).unwrap_or_default();
            stack.extend(children.into_iter().map(|child| child.descriptor));
        }
    }
    None
}

/// Reads a manifest or an index from a source, verified; `None` if it is not there.
pub(crate) fn read_document(source: &dyn ImageSource, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
    let bytes = read_unverified(source, descriptor)?;
    bytes.map(|bytes| verify(source, descriptor, bytes)).transpose()
}

/// The same, of which only the size is right.
pub(crate) fn read_unverified(source: &dyn ImageSource, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
    let most = Most::manifest(source.max_manifest());
    let size = descriptor.size;
    if size > most.bytes {
        let why = format!("{size} bytes are too many: {} at most", size_text(most.bytes));
        return Err(most.refused(&descriptor.digest, why));
    }
    let Some(content) = source.fetch(descriptor)? else { return Ok(None) };
    check_size(&*content, descriptor).map_err(|error| blame(source, error))?;
    // Where it is known how long it is, nobody has to look for the end.
    let limit = if content.size().is_some() { size } else { size + 1 };
    let mut bytes = Vec::with_capacity(usize::try_from(limit.min(MAX_DOCUMENT)).unwrap_or_default());
    content.take(limit).read_to_end(&mut bytes).map_err(|error| blame(source, error.into()))?;
    let actual = bytes.len() as u64;
    if actual != size {
        let digest = descriptor.digest.clone();
        let error = oci_store_cas::Error::SizeMismatch { digest, expected: size, actual, truncated: actual < size };
        return Err(blame(source, error));
    }
    Ok(Some(bytes))
}

/// Returns a document's bytes if they are those that its descriptor names.
pub(crate) fn verify(source: &dyn ImageSource, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut hasher = Hasher::for_digest(&descriptor.digest)?;
    hasher.update(&bytes);
    let (expected, actual) = (&descriptor.digest, hasher.finish());
    if *expected == actual {
        return Ok(bytes);
    }
    Err(blame(source, oci_store_cas::Error::DigestMismatch { expected: expected.clone(), actual }))
}

fn blame(source: &dyn ImageSource, error: oci_store_cas::Error) -> Error {
    Error::Source { origin: source.origin(), error: Box::new(Error::Cas(error)) }
}

/// Says whether a source's blob has the size that its descriptor claims, where that can be seen without reading it:
/// one blob may be listed very often, each time with another size.
pub(crate) fn check_size(content: &dyn Content, descriptor: &Descriptor) -> oci_store_cas::Result<()> {
    let expected = descriptor.size;
    match content.size() {
        Some(actual) if actual != expected => Err(oci_store_cas::Error::SizeMismatch {
            digest: descriptor.digest.clone(),
            expected,
            actual: actual.min(expected.saturating_add(1)),
            truncated: actual < expected,
        }),
        _ => Ok(()),
    }
}

/// A platform that is asked for: `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSpec {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl PlatformSpec {
    pub(crate) fn matches(&self, platform: &Platform) -> bool {
        self.os == platform.os().to_string()
            && self.architecture == platform.architecture().to_string()
            && self.variant.as_ref().is_none_or(|variant| platform.variant().as_ref() == Some(variant))
    }
}

impl std::fmt::Display for PlatformSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl std::str::FromStr for PlatformSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None)
                if !os.is_empty() && !architecture.is_empty() && variant.as_deref() != Some("") =>
            {
                Ok(Self { os, architecture, variant })
            }
            _ => Err(format!("{text:?} is no platform: it takes OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")),
        }
    }
}
