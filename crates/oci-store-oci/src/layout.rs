//! Image layouts in a folder, as a source: version 1 (image-spec, *Image Layout*), and the form of 2016, with
//! `refs/NAME` and `blobs/ALGORITHM-HEX`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oci_store_cas::{Access, Cas, Digest, folder::FolderCas};
use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::document::{Role, children};
use crate::media_type::is_document;
use crate::source::{Content, Entry, ImageSource, read_document};
use crate::{Descriptor, Error, Result};

/// The most bytes that somebody else's `index.json` may have.
pub(crate) const MAX_INDEX_JSON: u64 = 32 << 20;

/// An image layout in a folder.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    form: Form,
    /// What has a subject, by it; found on first need.
    referrers: OnceLock<HashMap<Digest, Vec<Descriptor>>>,
}

#[derive(Debug)]
enum Form {
    V1(FolderCas),
    Of2016,
}

/// `index.json`, and every field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexJson {
    #[serde(rename = "schemaVersion")]
    pub(crate) schema_version: u64,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    crate::document::list(deserializer).map(Option::unwrap_or_default)
}

impl IndexJson {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        let media_type = Some(crate::media_type::INDEX.to_owned());
        Self { schema_version: 2, media_type, manifests, other: Map::new() }
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let why = |error| Error::document(path.display(), format!("not an index: {error}"));
        let index: Self = serde_json::from_slice(bytes).map_err(why)?;
        if index.schema_version != 2 {
            return Err(Error::document(path.display(), format!("schemaVersion {}, not 2", index.schema_version)));
        }
        Ok(index)
    }

    /// The same of a store's own file: an entry that another tool has written and that is no descriptor is left
    /// out, with a warning, and does not take the others with it.
    pub(crate) fn parse_own(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::parse(path, bytes).or_else(|error| {
            let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return Err(error) };
            let Some(entries) = value.get_mut("manifests").and_then(Value::as_array_mut) else { return Err(error) };
            entries.retain(|entry| match Descriptor::deserialize(entry) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!("{}: an entry is no descriptor, and left out: {error}", path.display());
                    false
                }
            });
            Self::parse(path, value.to_string().as_bytes())
        })
    }
}

impl Layout {
    /// Opens the layout in `folder`.
    ///
    /// # Errors
    /// [`Error::NotALayout`], [`Error::Document`] if its version is not 1.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let form = if folder.join("index.json").exists() {
            check_version(&folder)?;
            return Ok(Self::of_store(&folder));
        } else if folder.join("refs").is_dir() && folder.join("blobs").is_dir() {
            Form::Of2016
        } else if folder.is_dir() {
            return Err(Error::NotALayout { path: folder, why: "it has no index.json" });
        } else if folder.exists() {
            return Err(Error::NotALayout { path: folder, why: "it is not a folder" });
        } else {
            return Err(Error::io(folder)(rustix::io::Errno::NOENT.into()));
        };
        Ok(Self { folder, form, referrers: OnceLock::new() })
    }

    /// A folder that is known to be one, whatever stands in it now.
    pub(crate) fn of_store(folder: &Path) -> Self {
        let cas = FolderCas::new(folder.join("blobs"), folder.join("blobs"), Access::Private);
        Self { folder: folder.to_owned(), form: Form::V1(cas), referrers: OnceLock::new() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn refs_of_2016(&self) -> Result<Vec<Entry>> {
        let folder = self.folder.join("refs");
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let bytes = read_small(&path, MAX_INDEX_JSON)?;
            let descriptor = serde_json::from_slice(&bytes)
                .map_err(|error| Error::document(path.display(), format!("not a descriptor: {error}")))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            entries.push(Entry { name, descriptor });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Reads what is listed, to see what has a subject. A document that can't be read is nobody's referrer.
    fn find_referrers(&self) -> Result<HashMap<Digest, Vec<Descriptor>>> {
        let mut found: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        let mut add = |descriptor: &Descriptor| {
            let Ok(Some(bytes)) = read_document(self, descriptor) else { return };
            let Ok(children) = children(descriptor, &bytes) else { return };
            for subject in children.into_iter().filter(|child| child.role == Role::Subject) {
                let list = found.entry(subject.descriptor.digest).or_default();
                if !list.iter().any(|known| known.digest == descriptor.digest) {
                    list.push(descriptor.clone());
                }
            }
        };
        for entry in self.entries()? {
            if !is_document(&entry.descriptor.media_type) {
                continue;
            }
            if is_fallback_tag(entry.name.as_deref()) {
                // An index of referrers, for registries that can't list them: each of its manifests is one.
                let Ok(Some(bytes)) = read_document(self, &entry.descriptor) else { continue };
                let children = children(&entry.descriptor, &bytes).unwrap_or_default();
                for child in children.iter().filter(|child| child.role == Role::Manifest) {
                    add(&child.descriptor);
                }
            }
            let mut descriptor = entry.descriptor;
            descriptor.set_annotation(crate::descriptor::REF_NAME, None);
            add(&descriptor);
        }
        Ok(found)
    }
}

/// `sha256-HEX`: where a registry without a referrers list keeps one (distribution-spec, *Referrers Tag Schema*).
fn is_fallback_tag(name: Option<&str>) -> bool {
    name.and_then(|name| name.split_once('-')).is_some_and(|(algorithm, hex)| {
        format!("{algorithm}:{hex}").parse::<Digest>().is_ok_and(|digest| digest.known_algorithm().is_some())
    })
}

impl ImageSource for Layout {
    fn origin(&self) -> String {
        self.folder.display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        if matches!(self.form, Form::Of2016) {
            return self.refs_of_2016();
        }
        let path = self.folder.join("index.json");
        let index = IndexJson::parse(&path, &read_small(&path, MAX_INDEX_JSON)?)?;
        let entry = |descriptor: Descriptor| Entry { name: descriptor.ref_name().map(str::to_owned), descriptor };
        Ok(index.manifests.into_iter().map(entry).collect())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        match &self.form {
            Form::V1(cas) => Ok(cas.open(&descriptor.digest)?.map(|blob| Box::new(blob) as Box<dyn Content>)),
            Form::Of2016 => {
                let name = format!("{}-{}", descriptor.digest.algorithm(), descriptor.digest.encoded());
                let path = self.folder.join("blobs").join(name);
                match open_regular(&path) {
                    Ok(file) => Ok(Some(Box::new(PlainFile(file)))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io(path)(error)),
                }
            }
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        if let Some(known) = self.referrers.get() {
            return Ok(known.get(subject).cloned().unwrap_or_default());
        }
        let found = self.find_referrers()?;
        Ok(self.referrers.get_or_init(|| found).get(subject).cloned().unwrap_or_default())
    }
}

struct PlainFile(File);

impl Read for PlainFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for PlainFile {
    fn as_file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

fn check_version(folder: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let path = folder.join("oci-layout");
    let bytes = match read_small(&path, 1 << 16) {
        Ok(bytes) => bytes,
        // Required by the spec, but some tools leave it away, and index.json says enough.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Version { version } = serde_json::from_slice(&bytes).map_err(|error| Error::document(path.display(), error))?;
    if version.split('.').next() != Some("1") {
        return Err(Error::document(path.display(), format!("image layout version {version}, not 1")));
    }
    Ok(())
}

/// Opens a file that is really one: no link, FIFO, device or folder in its place, and without waiting for one.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let not_regular = || io::Error::new(ErrorKind::InvalidData, "is not a regular file");
    match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(not_regular()),
        // What opening a symlink or a socket says.
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP | Errno::NXIO) => Err(not_regular()),
            _ => Err(error),
        },
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open_regular(path).map_err(Error::io(path))?;
    read_all(path, file, limit)
}

pub(crate) fn read_all(path: &Path, file: File, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let is_long = file.metadata().map_err(Error::io(path))?.len() > limit;
    if !is_long {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    }
    if is_long || bytes.len() as u64 > limit {
        return Err(Error::document(path.display(), format!("it has more than {} MiB", limit >> 20)));
    }
    Ok(bytes)
}
